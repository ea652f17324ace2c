//! Connections: every address, port and server name that either table has a listener or chain for,
//! and one of each that neither knows.
use super::{Class, Diff, Effect, Example, Limits, Outcome, Side, effect};
use crate::{
    gateway::listener::{Serves, TlsChain, TlsChains},
    listener::{Listener, NameChains},
    rule::Origin,
    snapshot::Via,
    table::{HttpTableId, Table},
    traffic::{Class as Traffic, Connection},
};
use foldhash::HashSet;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// An address at which at least one of the tables routes requests one by one.
pub(super) struct Door {
    pub(super) original: SocketAddr,
    /// The server of a gateway ends TLS there, if this is the server name.
    pub(super) tls: bool,
    pub(super) sni: Option<String>,
    pub(super) via: Via,
    pub(super) old: Option<HttpTableId>,
    pub(super) new: Option<HttpTableId>,
    /// One of the tables sends all requests to one place, as bytes.
    pub(super) bytes: bool,
    /// The address is a service's own; else every address of the port is the same door.
    pub(super) own: bool,
    /// One of the tables has the same rules for every Host here.
    pub(super) any_host: bool,
    /// One of them tells Hosts apart.
    pub(super) names: bool,
}

impl Door {
    /// The scheme of its requests.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// Addresses that documents use for nobody (RFC 5737), and one more for when all of them are taken.
const NOBODY: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 77)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77)),
    IpAddr::V4(Ipv4Addr::new(100, 127, 255, 77)),
];
/// RFC 3849.
const NOBODY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77));
/// A server name that no chain has (RFC 6761).
const NO_NAME: &str = "unknown.invalid";

/// What a connection carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bytes,
    Tls(Option<String>),
    /// TLS of a client of the mesh, where a gateway asks for one.
    MeshTls(String),
    /// Requests that both tables treat as bytes.
    Http,
}

impl Kind {
    /// In a list of those that fare alike.
    fn words(&self) -> String {
        match self {
            Self::Bytes => "TCP".to_owned(),
            Self::Http => "HTTP".to_owned(),
            Self::Tls(None) => "without a server name".to_owned(),
            Self::Tls(Some(name)) if name == NO_NAME => "any other server name".to_owned(),
            Self::Tls(Some(name)) | Self::MeshTls(name) => format!("sni={name}"),
        }
    }

    fn connection(&self, original: SocketAddr) -> Connection<'_> {
        let (class, sni) = match self {
            Self::Bytes => (Traffic::Tcp, None),
            Self::Tls(sni) => (Traffic::Tls, sni.as_deref()),
            Self::MeshTls(sni) => (Traffic::Tls, Some(sni.as_str())),
            Self::Http => (Traffic::Http, None),
        };
        Connection {
            original,
            source: None,
            class,
            sni,
            mesh_alpn: matches!(self, Self::MeshTls(_)),
        }
    }
}

/// By which door the traffic of a table comes.
fn via(table: &Table) -> Via {
    match table.context().role.is_gateway() {
        true => Via::Gateway,
        false => Via::Mesh,
    }
}

/// Compares connections; the doors are where requests must be compared.
pub(super) fn compare(old: &Table, new: &Table, limits: &Limits, diff: &mut Diff) -> Vec<Door> {
    let mut doors = Doors::default();
    let mut found: BTreeMap<(u16, Kind, Effect, Effect), Class> = BTreeMap::new();
    for (port, points) in points(old, new) {
        for address in points.all() {
            if diff.probes > limits.probes {
                diff.cut("not all addresses were looked at".to_owned());
                break;
            }
            let original = SocketAddr::new(address, port);
            let kinds = kinds(old, new, original);
            for kind in &kinds {
                doors.look(old, new, original, kind);
            }
            for (mut kinds, old_side, new_side) in at(old, new, original, kinds, diff) {
                // The names of one server of a gateway are one class.
                let mut names = Vec::new();
                if via(new) == Via::Gateway {
                    let rest = kinds.split_off(kinds.len().min(1));
                    names = rest.iter().map(|it| it.words()).collect();
                }
                for kind in kinds {
                    let place = points.place(address, port);
                    let key = (
                        port,
                        kind.clone(),
                        old_side.effect.clone(),
                        new_side.effect.clone(),
                    );
                    match found.entry(key) {
                        Entry::Occupied(mut class) => class.get_mut().also.push(place),
                        Entry::Vacant(room) => {
                            let mut made = class(&kind, original, &place, &old_side, &new_side);
                            made.via = via(new);
                            made.also.append(&mut names);
                            room.insert(made);
                        }
                    }
                }
            }
        }
    }
    for (_, mut class) in found {
        let what = class.what.clone();
        class.also.sort();
        class.also.dedup();
        class.also.retain(|it| !what.ends_with(it.as_str()));
        diff.classes.push(class);
    }
    doors.doors
}

fn class(kind: &Kind, original: SocketAddr, place: &str, old: &Side, new: &Side) -> Class {
    let what = match kind {
        Kind::Bytes => format!("TCP {place}"),
        Kind::Http => format!("HTTP {place}"),
        Kind::MeshTls(name) => format!("TLS of the mesh sni={name} {place}"),
        Kind::Tls(None) => format!("TLS without a server name {place}"),
        Kind::Tls(Some(name)) if name == NO_NAME => format!("TLS of any other server name {place}"),
        Kind::Tls(Some(name)) => format!("TLS sni={name} {place}"),
    };
    let example = match kind {
        Kind::Bytes => Example::Connection {
            original,
            tls: false,
            sni: None,
            mesh_alpn: false,
        },
        Kind::Tls(sni) => Example::Connection {
            original,
            tls: true,
            sni: sni.clone(),
            mesh_alpn: false,
        },
        Kind::MeshTls(sni) => Example::Connection {
            original,
            tls: true,
            sni: Some(sni.clone()),
            mesh_alpn: true,
        },
        Kind::Http => Example::Request {
            original,
            sni: None,
            own: true,
            request: super::ExampleRequest {
                method: "GET".to_owned(),
                scheme: "http".to_owned(),
                authority: original.to_string(),
                path: "/".to_owned(),
                ..super::ExampleRequest::default()
            },
        },
    };
    Class {
        what,
        via: Via::Mesh,
        example,
        old: old.clone(),
        new: new.clone(),
        also: Vec::new(),
    }
}

/// What can be told apart at one address.
fn kinds(old: &Table, new: &Table, original: SocketAddr) -> Vec<Kind> {
    let mut kinds = vec![
        Kind::Bytes,
        Kind::Tls(None),
        Kind::Tls(Some(NO_NAME.to_owned())),
    ];
    let names = server_names(&[old, new], original);
    kinds.extend(names.into_iter().map(|name| Kind::Tls(Some(name))));
    let names = gateway_names(&[old, new], original);
    for (name, of_the_mesh) in names {
        kinds.push(Kind::Tls(Some(name.clone())));
        kinds.extend(of_the_mesh.then_some(Kind::MeshTls(name)));
    }
    kinds.push(Kind::Http);
    kinds
}

/// What differs at one address: kinds of traffic of which the same is true.
fn at(
    old: &Table,
    new: &Table,
    original: SocketAddr,
    kinds: Vec<Kind>,
    diff: &mut Diff,
) -> Vec<(Vec<Kind>, Side, Side)> {
    // That requests are routed at all is told of gateways: nothing else listens on their ports.
    let silent = via(new) == Via::Mesh;
    let mut differing: BTreeMap<(Effect, Effect), (Vec<Kind>, Side, Side)> = BTreeMap::new();
    for kind in kinds {
        let connection = kind.connection(original);
        diff.probes += 1;
        let (before, by_old) = effect::of_connection(old, &connection);
        let (after, by_new) = effect::of_connection(new, &connection);
        let requests = before.outcome == Outcome::Http || after.outcome == Outcome::Http;
        if before == after || (requests && silent) {
            continue;
        }
        let side = |effect: &Effect, origin: Option<&Origin>| Side {
            effect: effect.clone(),
            origin: origin.cloned(),
        };
        let sides = || (Vec::new(), side(&before, by_old), side(&after, by_new));
        let key = (before.clone(), after.clone());
        differing.entry(key).or_insert_with(sides).0.push(kind);
    }
    let all = differing.into_values();
    all.map(|(kinds, old, new)| (most_general(kinds), old, new))
        .collect()
}

/// Bytes stand for everything that fares as they do; a connection without a known name for all
/// names that fare as it does.
fn most_general(kinds: Vec<Kind>) -> Vec<Kind> {
    let unnamed = Kind::Tls(Some(NO_NAME.to_owned()));
    for general in [Kind::Bytes, unnamed, Kind::Tls(None)] {
        if kinds.contains(&general) {
            let http = general != Kind::Bytes && kinds.contains(&Kind::Http);
            return match http {
                true => vec![general, Kind::Http],
                false => vec![general],
            };
        }
    }
    kinds
}

/// The names that chains of the address's listeners ask for, one for each wildcard.
fn server_names(tables: &[&Table], original: SocketAddr) -> BTreeSet<String> {
    let relevant: Vec<&NameChains> = tables
        .iter()
        .filter_map(|table| {
            let chains = table
                .listener_at(table.listener(original))?
                .chains
                .as_ref()?;
            let address = original.ip().to_canonical();
            let ranged = chains.subnets.find(address).map(|(_, names)| names);
            Some(ranged.unwrap_or(&chains.names))
        })
        .collect();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for chains in &relevant {
        names.extend(chains.exact.keys().map(|name| name.to_string()));
        for (suffix, _) in chains.wildcards.values() {
            names.insert(sample(suffix, |name| {
                relevant.iter().any(|it| it.exact.contains_key(name))
            }));
        }
    }
    names
}

/// The same of the servers of gateways, and whether only clients of the mesh are let in.
fn gateway_names(tables: &[&Table], original: SocketAddr) -> BTreeMap<String, bool> {
    let relevant: Vec<&TlsChains> = tables
        .iter()
        .filter_map(|table| {
            let listener = table.listener_at(table.listener(original))?;
            match &listener.gateway.as_ref()?.serves {
                Serves::Tls(chains) => Some(&**chains),
                Serves::Http(_) | Serves::Bytes(_) => None,
            }
        })
        .collect();
    let mut names: BTreeMap<String, bool> = BTreeMap::new();
    let mut add = |name: String, chain: &TlsChain| {
        *names.entry(name).or_default() |= matches!(chain, TlsChain::Mesh(_));
    };
    for chains in &relevant {
        for (name, chain) in &chains.exact {
            add(name.to_string(), chain);
        }
        for (suffix, chain) in chains.wildcards.values() {
            let taken = |name: &str| relevant.iter().any(|it| it.exact.contains_key(name));
            add(sample(suffix, taken), chain);
        }
        if let Some(chain) = &chains.any {
            add(NO_NAME.to_owned(), chain);
        }
    }
    names
}

/// A name under a wildcard that has no entry of its own.
pub(super) fn sample(suffix: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = format!("any{suffix}");
    while taken(&name) {
        name.insert(0, 'x');
    }
    name
}

/// Is it TLS, the tables of both sides, and what the side without one does instead.
type Pair = (
    bool,
    Option<HttpTableId>,
    Option<HttpTableId>,
    Option<Effect>,
);

/// Where requests are routed one by one, each pair of tables once.
#[derive(Default)]
struct Doors {
    doors: Vec<Door>,
    known: HashSet<Pair>,
}

impl Doors {
    fn look(&mut self, old: &Table, new: &Table, original: SocketAddr, kind: &Kind) {
        let (tls, sni) = match kind {
            Kind::Http => (false, None),
            // Only gateways end TLS.
            Kind::Tls(sni) if via(new) == Via::Gateway => (true, sni.clone()),
            Kind::Bytes | Kind::Tls(_) | Kind::MeshTls(_) => return,
        };
        let connection = kind.connection(original);
        // What the one that routes no requests does instead is part of what is compared.
        let (before, after, instead) = match (
            effect::routed(old, &connection),
            effect::routed(new, &connection),
        ) {
            (Err(_), Err(_)) => return,
            (Ok(old), Ok(new)) => (Some(old), Some(new), None),
            (Err((instead, _)), Ok(new)) => (None, Some(new), Some(instead)),
            (Ok(old), Err((instead, _))) => (Some(old), None, Some(instead)),
        };
        // Of a gateway every host is told, as its hosts are few.
        let bytes = via(new) == Via::Mesh
            && instead
                .as_ref()
                .is_some_and(|it| matches!(it.outcome, Outcome::Forward(_)));
        if self.known.insert((tls, before, after, instead)) {
            let own = |table: &Table| {
                let listener = table.listener_at(table.listener(original));
                listener.is_some_and(|it| it.address.is_some())
            };
            let any_host = |table: &Table, id: Option<HttpTableId>| {
                let hosts = id.and_then(|id| table.http_table(id));
                hosts.map(|it| it.takes_every_host())
            };
            self.doors.push(Door {
                original,
                tls,
                sni,
                via: via(new),
                old: before,
                new: after,
                bytes,
                own: own(old) || own(new),
                any_host: any_host(old, before) == Some(true) || any_host(new, after) == Some(true),
                names: any_host(old, before) == Some(false) || any_host(new, after) == Some(false),
            });
        }
    }
}

/// Addresses of one port that the tables tell apart.
#[derive(Default)]
struct Points {
    addresses: BTreeSet<IpAddr>,
    nets: BTreeSet<IpNet>,
}

fn points(old: &Table, new: &Table) -> BTreeMap<u16, Points> {
    let mut ports: BTreeMap<u16, Points> = BTreeMap::new();
    for listener in old.listeners().iter().chain(new.listeners()) {
        let points = ports.entry(listener.port).or_default();
        points.take(listener);
    }
    // Ports no service has: the virtual outbound listener.
    let other = (20_000..=u16::MAX).find(|port| !ports.contains_key(port));
    ports.entry(other.unwrap_or(0)).or_default();
    ports
}

impl Points {
    fn take(&mut self, listener: &Listener) {
        self.addresses.extend(listener.address);
        if let Some(chains) = &listener.chains {
            self.addresses.extend(chains.guarded.keys());
            self.nets
                .extend(chains.subnets.values().map(|(net, _)| *net));
        }
    }

    /// The addresses themselves, the ends of ranges and what is just outside of them, and addresses
    /// of nobody.
    fn all(&self) -> BTreeSet<IpAddr> {
        let mut all = self.addresses.clone();
        for net in &self.nets {
            let (first, last) = (net.network(), net.broadcast());
            all.extend([first, last]);
            all.extend(step(first, false));
            all.extend(step(last, true));
        }
        let free = |it: &&IpAddr| {
            !self.addresses.contains(it) && !self.nets.iter().any(|net| net.contains(*it))
        };
        all.insert(*NOBODY.iter().find(free).unwrap_or(&NOBODY[0]));
        if self.addresses.iter().any(IpAddr::is_ipv6)
            || self.nets.iter().any(|net| matches!(net, IpNet::V6(_)))
        {
            all.insert(NOBODY_V6);
        }
        all
    }

    fn place(&self, address: IpAddr, port: u16) -> String {
        if self.addresses.contains(&address) {
            return SocketAddr::new(address, port).to_string();
        }
        let range = self.nets.iter().filter(|net| net.contains(&address));
        match range.max_by_key(|net| net.prefix_len()) {
            Some(net) => format!("{net} port {port}"),
            None if self.addresses.is_empty() && self.nets.is_empty() => {
                format!("to port {port}")
            }
            None => format!("to port {port} of any other address"),
        }
    }
}

fn step(address: IpAddr, up: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(it) => {
            let bits = it.to_bits();
            let bits = if up {
                bits.checked_add(1)
            } else {
                bits.checked_sub(1)
            };
            bits.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }
        IpAddr::V6(it) => {
            let bits = it.to_bits();
            let bits = if up {
                bits.checked_add(1)
            } else {
                bits.checked_sub(1)
            };
            bits.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
    }
}
