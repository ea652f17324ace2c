//! Which listener, chain and host were considered.
use super::{Candidate, Note, Recorder, Verdict, gateway};
use crate::{
    hosts::{HostForm, HostTable, Hosts},
    table::{HttpTableId, Table},
    trace::Reason,
    traffic::{Connection, canonical},
};
use pointsman_model::HostPattern;
use std::net::SocketAddr;

/// Near misses listed when a host is unknown.
const NEAR: usize = 5;

/// The listener and its chains.
pub(super) fn chains(
    table: &Table,
    connection: &Connection<'_>,
    recorder: &Recorder,
) -> Vec<Candidate> {
    let original = connection.original;
    let id = table.listener(original);
    if table.context.role.is_gateway() {
        return gateway::servers(table, table.listener_at(id), connection, recorder);
    }
    let mut made = Vec::new();
    let Some(listener) = table.listener_at(id) else {
        made.push(candidate(
            match original.ip().is_unspecified() {
                true => format!("listeners for port {}", original.port()),
                false => format!("listeners for {original} or port {}", original.port()),
            },
            Verdict::No(Reason::PortDiffers),
            "no service is there",
        ));
        return made;
    };
    let (address, port) = canonical(original);
    match listener.address {
        Some(_) => made.push(candidate(
            format!("{} -> own listener", SocketAddr::new(address, port)),
            Verdict::Match,
            "the address decides",
        )),
        None => made.push(candidate(
            format!("port {port} on all addresses"),
            Verdict::Match,
            "no service has the address to itself on this port",
        )),
    }
    if let Some(bind) = table.binds.get(id.0 as usize)
        && let Some(last) = made.last_mut()
    {
        last.place = Some(bind.place.clone());
    }
    made.extend(recorder.notes.iter().map(note));
    made
}

fn note(note: &Note) -> Candidate {
    let (what, verdict, detail) = match note {
        Note::NoSubnet => (
            "address ranges".to_owned(),
            Verdict::No(Reason::CidrMisses),
            "the destination is in none of them",
        ),
        Note::Subnet(net) => (
            format!("range {net}"),
            Verdict::Match,
            "the longest range counts, other criteria do not go back",
        ),
        Note::Name(label, _) => (
            format!("server name -> {label}"),
            Verdict::Match,
            "the most specific name counts",
        ),
        Note::NoName(reason) => (
            "server names".to_owned(),
            Verdict::No(*reason),
            "no chain has this server name",
        ),
        Note::Http => (
            "HTTP".to_owned(),
            Verdict::Match,
            "requests are routed one by one",
        ),
        Note::KnownAddress(label, _) => (
            format!("entry without addresses -> {label}"),
            Verdict::Match,
            "its host or an endpoint has this address",
        ),
        Note::UnknownAddress => (
            "entries without addresses".to_owned(),
            Verdict::No(Reason::CidrMisses),
            "none of their hosts is known to have this address",
        ),
        Note::Open(label, _) => (
            format!("everything else -> {label}"),
            Verdict::Match,
            "a chain without criteria",
        ),
        Note::Server(label, _) => (format!("server {label}"), Verdict::Match, "ends TLS"),
        Note::NoServer(reason) => ("servers".to_owned(), Verdict::No(*reason), "none takes it"),
        Note::FallThrough => (
            "no chain".to_owned(),
            Verdict::NotUsed,
            "nothing of this listener takes it",
        ),
    };
    let mut made = candidate(what, verdict, detail);
    if let Note::Name(_, place) | Note::KnownAddress(_, place) | Note::Open(_, place) = note {
        made.place = Some(place.clone());
    }
    made
}

/// The host of a request.
pub(super) fn hosts(
    table: &Table,
    id: HttpTableId,
    original: SocketAddr,
    authority: &str,
    recorder: &Recorder,
    made: &mut Vec<Candidate>,
) {
    let Some(names) = table.http_table(id) else {
        return;
    };
    let found = names.find(authority);
    if let Hosts::Shared(shared) = &names.hosts
        && let Some(owner) = shared.addresses.get(&original.ip().to_canonical())
    {
        let mut line = candidate(
            format!("{original} -> {}", owner.host),
            Verdict::NotUsed,
            "HTTP is matched by Host; the destination address is ignored",
        );
        line.place = Some(owner.place.clone());
        made.push(line);
    }
    let Some((_, host)) = found else {
        let nobody = match &names.hosts {
            Hosts::Servers(_) => {
                "no server has it together with a VirtualService bound to it".to_owned()
            }
            _ => format!("no service or VirtualService has it on port {}", names.port),
        };
        made.push(candidate(
            format!("host {authority}"),
            Verdict::No(Reason::HostDiffers),
            &nobody,
        ));
        near_misses(table, names, authority, made);
        return;
    };
    let form = recorder.host.flatten().unwrap_or(HostForm::Any);
    let detail = match form {
        HostForm::Literal if host.gateway.is_some() => "host of a server".to_owned(),
        HostForm::Any if host.gateway.is_some() => "every host".to_owned(),
        HostForm::Short => format!(
            "short name, namespace {} (caller's)",
            table.context.namespace
        ),
        other => other.as_str().to_owned(),
    };
    let mut line = candidate(
        format!("host {authority} -> {}", host.host),
        Verdict::Match,
        &detail,
    );
    line.place = Some(host.place.clone());
    made.push(line);
}

/// The host on another port, and hosts that begin with the same label. Walks whole tables: only a
/// person waits for it.
fn near_misses(table: &Table, own: &HostTable, authority: &str, made: &mut Vec<Candidate>) {
    let limit = made.len() + NEAR;
    for other in table.http_tables() {
        if other.port != own.port
            && matches!(other.hosts, Hosts::Shared(_))
            && let Some((_, host)) = other.find(authority)
            && made.len() < limit
        {
            let mut line = candidate(
                format!("host {authority} on port {} -> {}", other.port, host.host),
                Verdict::No(Reason::PortDiffers),
                "known on another port only",
            );
            line.place = Some(host.place.clone());
            made.push(line);
        }
    }
    let folded = authority.to_ascii_lowercase();
    let label = folded.split(['.', ':']).next().unwrap_or_default();
    let mut near: Vec<_> = own
        .virtual_hosts()
        .into_iter()
        .filter(|(pattern, _)| match pattern {
            HostPattern::Exact(name) => name.split('.').next() == Some(label),
            _ => false,
        })
        .collect();
    near.sort_by(|a, b| a.0.cmp(&b.0));
    for (pattern, host) in near {
        if made.len() < limit {
            let mut line = candidate(
                format!("host {pattern}"),
                Verdict::No(Reason::HostDiffers),
                "another service of that name",
            );
            line.place = Some(host.place.clone());
            made.push(line);
        }
    }
}

pub(super) fn candidate(what: String, verdict: Verdict, detail: &str) -> Candidate {
    Candidate {
        what,
        verdict,
        detail: detail.to_owned(),
        place: None,
    }
}
