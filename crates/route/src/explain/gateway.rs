//! What is only told of gateways: the servers of a port, and rules of several VirtualServices.
use super::{
    Candidate, Note, Recorder, RulesStep, Verdict,
    frontend::candidate,
    rules::{closest, considered_by},
};
use crate::{
    gateway::names::GatewayHost,
    hosts::VirtualHost,
    listener::Listener,
    table::Table,
    trace::Reason,
    traffic::{Connection, Fields, Request},
};
use pointsman_model::HttpRoute;
use std::{net::SocketAddr, sync::Arc};

/// The servers of the port, in their order, or the ports there are.
pub(super) fn servers(
    table: &Table,
    listener: Option<&Listener>,
    connection: &Connection<'_>,
    recorder: &Recorder,
) -> Vec<Candidate> {
    let Some(listener) = listener else {
        return ports(table, connection.original);
    };
    let chosen = recorder.notes.iter().find_map(|note| match note {
        Note::Server(label, _) => Some(Ok(label)),
        Note::NoServer(reason) => Some(Err(*reason)),
        _ => None,
    });
    let mut made: Vec<Candidate> = listener
        .servers()
        .iter()
        .map(|server| {
            let (verdict, detail) = match (&server.left_out, &chosen) {
                (Some(why), _) => (Verdict::No(Reason::SetAside), &**why),
                (None, Some(Ok(label))) if **label == server.origin.label => {
                    (Verdict::Match, "ends TLS for this server name")
                }
                (None, Some(Ok(_))) => (Verdict::No(Reason::SniDiffers), ""),
                (None, Some(Err(reason))) => (Verdict::No(*reason), ""),
                (None, None) => (Verdict::Match, "listens there"),
            };
            let what = format!("{}  {}", server.origin.label, server.what);
            Candidate {
                place: Some(server.origin.place.clone()),
                ..candidate(what, verdict, detail)
            }
        })
        .collect();
    let rule = recorder.notes.iter().find_map(|note| match note {
        Note::Name(label, place) => Some(("server name", label, place)),
        Note::Open(label, place) => Some(("everything", label, place)),
        _ => None,
    });
    made.extend(rule.map(|(what, label, place)| Candidate {
        place: Some(place.clone()),
        ..candidate(format!("{what} -> {label}"), Verdict::Match, "")
    }));
    made
}

fn ports(table: &Table, original: SocketAddr) -> Vec<Candidate> {
    let mut made = vec![candidate(
        format!("servers on {original}"),
        Verdict::No(Reason::NoListener),
        "no server of a Gateway listens there",
    )];
    made.extend(table.binds().iter().take(10).map(|bind| Candidate {
        place: Some(bind.place.clone()),
        ..candidate(
            format!("{}  {}", bind.address, bind.object),
            Verdict::No(Reason::PortDiffers),
            "",
        )
    }));
    made
}

/// The rules of a host, as they were concatenated (VS-H-121), then those that cannot apply there.
pub(super) fn of_request<F: Fields + ?Sized>(
    host: &VirtualHost,
    own: &GatewayHost,
    request: &Request<'_, F>,
    recorder: &Recorder,
) -> RulesStep {
    let compiled = host.rules.rules();
    let several = own.virtual_services.len() > 1;
    let mut candidates: Vec<Candidate> = compiled
        .iter()
        .enumerate()
        .map(|(position, rule)| {
            let number = rule.model().map(HttpRoute::number).unwrap_or_default();
            let name = if several {
                rule.origin.label.to_string()
            } else {
                number
            };
            considered_by(&name, rule, position, request, recorder)
        })
        .collect();
    for service in &own.virtual_services {
        for (at, written) in service.http.iter().enumerate() {
            let used = compiled.iter().any(|rule| {
                matches!(&rule.source, Some((own, index)) if *index == at && Arc::ptr_eq(own, service))
            });
            if !used {
                let key = &service.meta.key;
                let name = format!("{}/{}{}", key.namespace, key.name, written.number());
                candidates.push(left_out(name, host.port, written));
            }
        }
    }
    let titles: Vec<String> = own
        .virtual_services
        .iter()
        .map(|service| service.meta.key.to_string())
        .collect();
    RulesStep {
        title: titles.join(", "),
        place: Some(host.place.clone()),
        candidates,
        closest: match recorder.matched {
            Some(_) => None,
            None => closest(compiled, request, recorder),
        },
    }
}

/// A rule of another port or Gateway, or one behind a rule that takes everything.
fn left_out(name: String, port: u16, written: &HttpRoute) -> Candidate {
    let other_port = |own: Option<u16>| own.is_some_and(|own| own != port);
    let mut matches = written.matches.iter();
    let (reason, detail) = if written.matches.is_empty() {
        (Reason::ShadowedBy, "an earlier rule takes everything")
    } else if matches.all(|one| other_port(one.client.port)) {
        (Reason::PortDiffers, "speaks of another port")
    } else {
        (
            Reason::SourceDiffers,
            "speaks of another gateway, or stands behind a rule that takes everything",
        )
    };
    Candidate {
        place: Some(written.place.clone()),
        ..candidate(name, Verdict::No(reason), detail)
    }
}
