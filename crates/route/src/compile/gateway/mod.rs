//! The table of a gateway: listeners that Gateway documents ask for (GW-1..75).
//!
//! `servers` says which servers are served where, and which of them share a place; `speakers`
//! which VirtualServices are bound to each Gateway; `http` makes host tables, `raw` what is routed
//! as bytes: TLS by server name, and TCP. Services, backends and single rules are compiled as for
//! the mesh.
mod http;
mod raw;
mod servers;
mod speakers;

use crate::{
    gateway::listener::{AfterTls, GatewayListener, Serves, TlsChain, TlsServer},
    hosts::HostTable,
    listener::{Bind, Inspection, Listener, Purpose},
    rule::Origin,
};
use pointsman_model::{ClientContext, Finding, Level, VirtualService, World};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use super::{
    findings::{Findings, SERVER_LEFT_OUT, SERVER_UNROUTED, TLS_NOT_ENDED},
    hosts::Known,
    listeners::Draft,
    rules::Compiler,
};
use servers::{Family, Served, Site};
use speakers::Speakers;

/// Is the VirtualService bound to a Gateway that is served?
pub(crate) fn binds(service: &VirtualService, world: &World, context: &ClientContext) -> bool {
    servers::gateways(world, context).any(|gateway| {
        let name = gateway.full_name();
        service.gateways.iter().any(|bound| **bound == *name)
    })
}

/// Without a Gateway there is nothing to compile: no backend is looked at.
pub(crate) fn serves_nothing(world: &World, context: &ClientContext) -> bool {
    servers::gateways(world, context).next().is_none()
}

/// Listeners, and the host tables they name.
pub(crate) fn build<'w>(
    world: &'w World,
    speakers: &[&'w Arc<VirtualService>],
    known: &Known<'_>,
    rules: &mut Compiler<'_, 'w>,
    context: &'w ClientContext,
    findings: &mut Findings,
) -> (Vec<Draft>, Vec<Arc<HostTable>>) {
    let speakers = Speakers::new(speakers);
    let mut made = Maker {
        tables: http::Tables::new(known),
        speakers: &speakers,
        rules,
        findings,
    };
    let sites = servers::sites(world, context);
    let drafts = sites.iter().filter_map(|site| made.listener(site));
    let drafts = drafts.collect();
    (drafts, made.tables.finish())
}

struct Maker<'m, 'a, 'w> {
    tables: http::Tables<'m>,
    speakers: &'m Speakers<'w>,
    rules: &'m mut Compiler<'a, 'w>,
    findings: &'m mut Findings,
}

impl<'w> Maker<'_, '_, 'w> {
    /// The listener of a site; `None` where nothing could be taken: the port is not opened (GW-48).
    fn listener(&mut self, site: &Site<'w>) -> Option<Draft> {
        let wildcard = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let address = SocketAddr::new(site.bind.unwrap_or(wildcard), site.port);
        let mut considered = Vec::new();
        for (served, why) in &site.left_out {
            self.findings.push(left_out(served, address, why));
            considered.push(served.considered(Some(why)));
        }
        let first = site.servers.first()?;
        let serves = match site.family {
            Family::Http => Some(self.http(site, address)),
            Family::Tcp => self.rule(first).map(Serves::Bytes),
            Family::Tls => self.tls(site),
        };
        for served in &site.servers {
            let without = self.speakers.has_nothing_for(served);
            if without {
                self.findings.push(unrouted(served, site.family, address));
            }
            let why = without.then(|| nothing(served));
            considered.push(served.considered(why.as_ref()));
        }
        considered.sort_by_key(|one| one.0);
        let gateway = GatewayListener {
            serves: serves?,
            servers: considered.into_iter().map(|(_, one)| one).collect(),
        };
        let mut listener = Listener {
            address: site.bind,
            port: site.port,
            inspection: Inspection::NONE,
            http: None,
            open: None,
            chains: None,
            gateway: Some(Box::new(gateway)),
        };
        listener.derive_inspection();
        Some(Draft {
            listener,
            bind: Bind {
                address,
                place: first.server.place.clone(),
                object: first.gateway.meta.key.clone(),
                purpose: Purpose::Gateway,
            },
            protocol: first.server.protocol,
        })
    }

    /// Plain HTTP: always opened; hosts nobody has are answered 404 (GW-47).
    fn http(&mut self, site: &Site<'w>, address: SocketAddr) -> Serves {
        let label = format!("http {address}").into();
        let table = self.tables.build(
            label,
            &site.servers,
            self.speakers,
            self.rules,
            self.findings,
        );
        Serves::Http(table)
    }

    fn tls(&mut self, site: &Site<'w>) -> Option<Serves> {
        let mut chains = raw::Chains::default();
        for served in &site.servers {
            use pointsman_model::gateway::ServerTlsMode::{AutoPassthrough, Passthrough};
            let Some(tls) = &served.server.tls else {
                continue; // refused by validation (GW-7)
            };
            match tls.mode {
                Passthrough => {
                    chains.passthrough(served, self.speakers, self.rules, self.findings);
                }
                AutoPassthrough => chains.mesh(served, &self.rules.destinations),
                _ => {
                    let Some(then) = self.after_tls(served, site.port) else {
                        continue;
                    };
                    self.findings.push(not_ended(served));
                    let server = TlsServer {
                        origin: served.origin(),
                        tls: tls.clone(),
                        then,
                    };
                    chains.terminate(served, TlsChain::Terminate(Arc::new(server)));
                }
            }
        }
        let chains = chains.finish();
        (!chains.is_empty()).then(|| Serves::Tls(Box::new(chains)))
    }

    /// HTTPS routes requests, TLS routes bytes (GW-70); without a rule for those the server has no
    /// chain.
    fn after_tls(&mut self, served: &Served<'w>, port: u16) -> Option<AfterTls> {
        if !served.is_https() {
            return self.rule(served).map(AfterTls::Forward);
        }
        // Its own table: servers of HTTPS share no hosts (GW-37).
        let label = format!("{} :{port}", served.label()).into();
        let servers = std::slice::from_ref(served);
        let table = self
            .tables
            .build(label, servers, self.speakers, self.rules, self.findings);
        Some(AfterTls::Http(table))
    }

    fn rule(&mut self, served: &Served<'w>) -> Option<Arc<crate::rule::TcpRule>> {
        raw::first_tcp(served, self.speakers, self.rules, self.findings)
    }
}

impl Served<'_> {
    /// `infra/edge.servers#1`.
    fn label(&self) -> String {
        format!("{}.servers#{}", self.name, self.server.index)
    }

    fn origin(&self) -> Origin {
        Origin {
            object: self.gateway.meta.key.clone(),
            rule: Some(self.server.index),
            name: self.server.name.clone(),
            place: self.server.place.clone(),
            label: self.label().into(),
        }
    }
}

fn nothing(served: &Served<'_>) -> Arc<str> {
    format!("no VirtualService bound to {} routes it", served.name).into()
}

fn about(served: &Served<'_>, code: pointsman_model::Code, message: String) -> Finding {
    Finding::new(code, Level::Warning, message)
        .of(&served.gateway.meta.key)
        .at(&served.server.place)
}

fn left_out(served: &Served<'_>, address: SocketAddr, why: &str) -> Finding {
    let message = format!(
        "server {} cannot listen on {address}: {why}",
        served.server.index
    );
    about(served, SERVER_LEFT_OUT, message)
        .effect("the whole server is left out, with all its hosts; the others stay")
        .help("give one of them another port, or another host")
}

fn unrouted(served: &Served<'_>, family: Family, address: SocketAddr) -> Finding {
    let message = format!("server {}: {}", served.server.index, nothing(served));
    let effect = match family {
        Family::Http => "all its requests are answered 404".to_owned(),
        _ if served.is_https() && served.terminates() => "all its requests are answered 404".into(),
        _ => format!(
            "nothing is served for it on {address}; if it is alone there, the port is not opened"
        ),
    };
    let section = match family {
        Family::Http => "http",
        Family::Tcp => "tcp",
        Family::Tls if !served.terminates() => "tls",
        Family::Tls if served.is_https() => "http",
        Family::Tls => "tcp",
    };
    about(served, SERVER_UNROUTED, message)
        .effect(effect)
        .help(format!(
            "write a VirtualService with `{section}` rules, one of these hosts, and `gateways: [{}]`",
            served.name
        ))
}

fn not_ended(served: &Served<'_>) -> Finding {
    let mode = served
        .server
        .tls
        .as_ref()
        .map_or("", |tls| tls.mode.as_str());
    let message = format!(
        "server {}: TLS cannot be ended here yet (mode {mode})",
        served.server.index
    );
    about(served, TLS_NOT_ENDED, message)
        .effect("its connections are accepted and closed, and never continue in plain text")
        .help("PASSTHROUGH forwards TLS as it is")
}
