//! Which server of a gateway takes a connection (GW-30..43).
use crate::{
    hosts::{FixedText, SuffixMap},
    listener::{Chosen, Inspection},
    rule::{Origin, TcpRule},
    table::HttpTableId,
    trace::{ChainStep, Reason, Trace},
    traffic::{Class, Connection},
};
use foldhash::HashMap;
use pointsman_model::gateway::ServerTls;
use std::sync::Arc;

/// A server that ends TLS: with these certificates, and then this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServer {
    /// The server: its Gateway, and its index among the servers.
    pub origin: Origin,
    /// Mode and certificates.
    pub tls: ServerTls,
    /// What becomes of the content.
    pub then: AfterTls,
}

/// What becomes of what a TLS server has decrypted (GW-70).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterTls {
    /// Protocol HTTPS: requests, by the hosts of this server alone (GW-37, GW-44).
    Http(HttpTableId),
    /// Protocol TLS: bytes.
    Forward(Arc<TcpRule>),
}

/// The servers of one port and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GatewayListener {
    pub(crate) serves: Serves,
    /// All servers that asked for the place, in their order, for `explain`.
    pub(crate) servers: Box<[Considered]>,
}

/// A server, and why it is left out, if it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The server.
    pub origin: Origin,
    /// Its `port.number`: what a Service in front of the gateway calls the port (GW-3).
    pub port: u16,
    /// What it is: `HTTP`, `HTTPS SIMPLE, hosts a.example.com`.
    pub what: Arc<str>,
    /// Why nothing reaches it (GW-31, GW-32, GW-36, GW-43).
    pub left_out: Option<Arc<str>>,
}

/// What a port of a gateway speaks: its servers declare it, nothing is detected (PS-70).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// Plain HTTP servers, which share one table (GW-37).
    Http(HttpTableId),
    /// The first TCP server that has a rule (GW-71).
    Bytes(Arc<TcpRule>),
    /// TLS, by server name (GW-40).
    Tls(Box<TlsChains>),
}

/// TLS chains by server name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct TlsChains {
    pub(crate) exact: HashMap<Arc<str>, TlsChain>,
    pub(crate) wildcards: SuffixMap<TlsChain>,
    /// A server with host `*`: other names, and none at all (GW-41).
    pub(crate) any: Option<TlsChain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsChain {
    /// PASSTHROUGH (GW-10).
    Forward(Arc<TcpRule>),
    /// AUTO_PASSTHROUGH, for clients of the mesh only (GW-15).
    Mesh(Arc<TcpRule>),
    /// All other modes.
    Terminate(Arc<TlsServer>),
}

impl GatewayListener {
    pub(crate) fn choose<T: Trace>(
        &self,
        connection: &Connection<'_>,
        trace: &mut T,
    ) -> Chosen<'_> {
        match &self.serves {
            Serves::Http(table) => {
                trace.frontend(ChainStep::Http);
                Chosen::Http(*table)
            }
            Serves::Bytes(rule) => {
                trace.frontend(ChainStep::Open(rule));
                Chosen::Forward(rule)
            }
            Serves::Tls(chains) => match chains.choose(connection, trace) {
                Ok(chosen) => chosen,
                Err(reason) => {
                    trace.frontend(ChainStep::NoServer { reason });
                    Chosen::Closed(reason)
                }
            },
        }
    }

    /// The rules that take bytes, in no particular order. Not for the hot path.
    pub(crate) fn rules(&self) -> Vec<&Arc<TcpRule>> {
        match &self.serves {
            Serves::Http(_) => Vec::new(),
            Serves::Bytes(rule) => vec![rule],
            Serves::Tls(chains) => chains.all().filter_map(TlsChain::rule).collect(),
        }
    }

    /// HTTP is looked for only to tell HTTP/2 from HTTP/1: bytes that are neither are answered as
    /// a malformed request.
    pub(crate) fn inspection(&self) -> Inspection {
        Inspection {
            http: matches!(self.serves, Serves::Http(_)),
            tls: matches!(self.serves, Serves::Tls(_)),
            server_may_speak_first: false,
        }
    }
}

impl TlsChain {
    /// What takes its bytes, if nothing looks into them.
    fn rule(&self) -> Option<&Arc<TcpRule>> {
        match self {
            Self::Forward(rule) | Self::Mesh(rule) => Some(rule),
            Self::Terminate(server) => match &server.then {
                AfterTls::Forward(rule) => Some(rule),
                AfterTls::Http(_) => None,
            },
        }
    }
}

impl TlsChains {
    fn all(&self) -> impl Iterator<Item = &TlsChain> {
        let wildcards = self.wildcards.values().map(|(_, chain)| chain);
        self.exact.values().chain(wildcards).chain(&self.any)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty() && self.any.is_none()
    }

    /// Exact, then the longest wildcard, then `*`; the choice is final.
    fn choose<T: Trace>(
        &self,
        connection: &Connection<'_>,
        trace: &mut T,
    ) -> Result<Chosen<'_>, Reason> {
        if connection.class != Class::Tls {
            return Err(Reason::NotTls); // GW-42, PS-71
        }
        let named = connection.sni.and_then(|sni| self.find(sni));
        let chain = named.or(self.any.as_ref()).ok_or(match connection.sni {
            None => Reason::SniAbsent,
            Some(_) => Reason::SniDiffers,
        })?;
        Ok(match chain {
            TlsChain::Mesh(_) if !connection.mesh_alpn => return Err(Reason::AlpnDiffers),
            TlsChain::Forward(rule) | TlsChain::Mesh(rule) => {
                trace.frontend(ChainStep::Name(rule));
                Chosen::Forward(rule)
            }
            TlsChain::Terminate(server) => {
                trace.frontend(ChainStep::Server(server));
                Chosen::Terminate(server)
            }
        })
    }

    fn find(&self, sni: &str) -> Option<&TlsChain> {
        let mut folded = FixedText::<255>::default();
        folded.push_lower(sni)?;
        let name = folded.as_str()?;
        self.exact.get(name).or_else(|| self.wildcards.find(name))
    }
}
