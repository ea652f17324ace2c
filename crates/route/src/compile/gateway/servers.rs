//! Which servers are served where, and who wins where several want one place (GW-1..9, GW-30..37).
use crate::gateway::listener::Considered;
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, Gateway, HostPattern, KubeService, ProtocolClass, ServicePort, World,
    context::{Role, ServedGateways},
    gateway::{Server, ServerBind, ServerHost},
    object::Labels,
    policy::selects,
};
use std::{net::IpAddr, sync::Arc};

/// A server of a Gateway that is served.
#[derive(Clone)]
pub(super) struct Served<'w> {
    pub(super) gateway: &'w Arc<Gateway>,
    /// `namespace/name`.
    pub(super) name: Arc<str>,
    pub(super) server: &'w Server,
    /// Labels of the proxy.
    pub(super) labels: &'w Labels,
    /// Position among all servers (GW-9).
    position: usize,
}

impl Served<'_> {
    fn family(&self) -> Family {
        match self.server.protocol.class() {
            ProtocolClass::Http => Family::Http,
            ProtocolClass::Tls => Family::Tls,
            _ => Family::Tcp,
        }
    }

    pub(super) fn is_https(&self) -> bool {
        self.server.protocol == pointsman_model::Protocol::Https
    }

    pub(super) fn terminates(&self) -> bool {
        let tls = self.server.tls.as_ref();
        self.family() == Family::Tls && tls.is_some_and(|tls| tls.mode.terminates())
    }

    /// With its position, to be put in order.
    pub(super) fn considered(&self, left_out: Option<&Arc<str>>) -> (usize, Considered) {
        let server = self.server;
        let mut what = server.protocol.to_string();
        if let Some(tls) = &server.tls {
            if tls.https_redirect {
                what.push_str(" httpsRedirect");
            } else if self.family() == Family::Tls {
                what.push(' ');
                what.push_str(tls.mode.as_str());
            }
        }
        let hosts: Vec<String> = server.hosts.iter().map(text).collect();
        let considered = Considered {
            origin: self.origin(),
            port: server.port,
            what: format!("{what} {}", hosts.join(", ")).into(),
            left_out: left_out.cloned(),
        };
        (self.position, considered)
    }
}

/// What a place is for; the first server says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Http,
    Tcp,
    Tls,
}

impl Family {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "plain HTTP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// A port and address, and its servers.
pub(super) struct Site<'w> {
    pub(super) bind: Option<IpAddr>,
    /// The port that is bound (GW-3).
    pub(super) port: u16,
    pub(super) family: Family,
    /// In order, at least one.
    pub(super) servers: Vec<Served<'w>>,
    /// With the reason.
    pub(super) left_out: Vec<(Served<'w>, Arc<str>)>,
    /// Hosts of servers with `tls`, and who has them (GW-36).
    taken: HashMap<String, usize>,
}

/// The Gateways that are served, oldest first (GW-1, GW-9).
pub(super) fn gateways<'w>(
    world: &'w World,
    context: &ClientContext,
) -> impl Iterator<Item = &'w Arc<Gateway>> {
    let mut served: Vec<&Arc<Gateway>> = world
        .gateways
        .values()
        .filter(|gateway| context.serves(gateway))
        .collect();
    served.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
    served.into_iter()
}

/// All places, in the order of their first servers.
pub(super) fn sites<'w>(world: &'w World, context: &'w ClientContext) -> Vec<Site<'w>> {
    let selecting = selecting(world, context);
    let mut sites: Vec<Site<'w>> = Vec::new();
    let mut by_place: HashMap<(u16, Option<IpAddr>), usize> = HashMap::default();
    let mut position = 0;
    for gateway in gateways(world, context) {
        let name: Arc<str> = gateway.full_name().into();
        for server in &gateway.servers {
            let bind = match &server.bind {
                None => None,
                Some(ServerBind::Ip(address)) if address.is_unspecified() => None,
                Some(ServerBind::Ip(address)) => Some(address.to_canonical()),
                Some(ServerBind::Unix(_)) => continue, // told where it was read
            };
            let served = Served {
                gateway,
                name: Arc::clone(&name),
                server,
                labels: match context.role {
                    Role::Gateway(ServedGateways::Every) => &gateway.selector,
                    _ => &context.labels,
                },
                position,
            };
            position += 1;
            let port = real_port(server.port, &selecting, world);
            let at = *by_place.entry((port, bind)).or_insert_with(|| {
                sites.push(Site {
                    bind,
                    port,
                    family: served.family(),
                    servers: Vec::new(),
                    left_out: Vec::new(),
                    taken: HashMap::default(),
                });
                sites.len() - 1
            });
            if let Some(site) = sites.get_mut(at) {
                site.add(served);
            }
        }
    }
    sites
}

impl<'w> Site<'w> {
    fn add(&mut self, served: Served<'w>) {
        let family = served.family();
        let mergeable = family == self.family && family != Family::Tcp;
        let why = match self.servers.first() {
            // Plain text beside TLS is refused too (GW-34): whoever speaks first by mistake in
            // plain text must not be answered in plain text.
            Some(first) if !mergeable => Some(format!(
                "it is for {} already, by {}",
                self.family.as_str(),
                first.label()
            )),
            _ => self.taken_host(&served),
        };
        if let Some(why) = why {
            self.left_out.push((served, why.into()));
            return;
        }
        if served.server.tls.is_some() {
            for host in &served.server.hosts {
                let key = key(host, family);
                self.taken.insert(key, self.servers.len());
            }
        }
        self.servers.push(served);
    }

    /// GW-36.
    fn taken_host(&self, served: &Served<'w>) -> Option<String> {
        served.server.tls.as_ref()?;
        let family = served.family();
        served.server.hosts.iter().find_map(|host| {
            let winner = self.servers.get(*self.taken.get(&key(host, family))?)?;
            Some(format!(
                "host {} belongs to {} already",
                text(host),
                winner.label()
            ))
        })
    }
}

/// Server names know no namespaces, so equal hosts of TLS servers collide whatever theirs is.
fn key(host: &ServerHost, family: Family) -> String {
    match family {
        Family::Tls => host.host.to_string(),
        _ => text(host),
    }
}

fn text(host: &ServerHost) -> String {
    match &host.namespace {
        None => host.host.to_string(),
        Some(namespace) => format!("{namespace}/{}", host.host),
    }
}

/// The Services that lead to the proxy, oldest first. Of a proxy that stands in for all of them
/// none is known.
fn selecting<'w>(world: &'w World, context: &ClientContext) -> Vec<&'w Arc<KubeService>> {
    if context.role != Role::Gateway(ServedGateways::Selected) {
        return Vec::new();
    }
    let mut found: Vec<&Arc<KubeService>> = world
        .services
        .values()
        .filter(|service| {
            service.meta.key.namespace == context.namespace
                && !service.selector.is_empty()
                && selects(&service.selector, &context.labels)
        })
        .collect();
    found.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
    found
}

/// The number of a server is a port of such a Service, if it has it, and its target is what the
/// proxy listens on (GW-3).
fn real_port(number: u16, selecting: &[&Arc<KubeService>], world: &World) -> u16 {
    selecting
        .iter()
        .find_map(|service| {
            let port = service.ports.iter().find(|port| port.number == number)?;
            Some(port.target.or_else(|| named_target(service, port, world)))
        })
        .flatten()
        .unwrap_or(number)
}

/// A target that is a name: the endpoints know its number.
fn named_target(service: &KubeService, port: &ServicePort, world: &World) -> Option<u16> {
    let own = |set: &&Arc<pointsman_model::EndpointSet>| {
        set.meta.key.namespace == service.meta.key.namespace && set.service == service.meta.key.name
    };
    let groups = world.endpoints.values().filter(own);
    let mut ports = groups.flat_map(|set| &set.groups).flat_map(|it| &it.ports);
    ports
        .find(|(name, _)| *name == port.name)
        .map(|(_, number)| *number)
}

/// The narrower of each pair of which one covers the other, in order, each once (GW-63, GW-64).
pub(super) fn intersection(
    own: &[ServerHost],
    asked: &[HostPattern],
    namespace: &str,
) -> Vec<HostPattern> {
    let mut found: Vec<HostPattern> = Vec::new();
    for host in own.iter().filter(|host| host.admits(namespace)) {
        for other in asked {
            let narrower = if other.covers(&host.host) {
                &host.host
            } else if host.host.covers(other) {
                other
            } else {
                continue;
            };
            if !found.contains(narrower) {
                found.push(narrower.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_model::Place;

    /// GW-63, GW-64.
    #[test]
    fn the_narrower_host_is_served() {
        let cases: [(&[&str], &[&str], &[&str]); 8] = [
            (&["*.example.com"], &["a.example.com"], &["a.example.com"]),
            (&["a.example.com"], &["*.example.com"], &["a.example.com"]),
            (&["*"], &["*"], &["*"]),
            (&["*"], &["a.com", "*.b.com"], &["a.com", "*.b.com"]),
            (&["a.com"], &["b.com"], &[]),
            (&["prod/a.com"], &["a.com"], &[]),
            (&["default/a.com", "prod/b.com"], &["*"], &["a.com"]),
            (&["a.com", "*.com"], &["a.com"], &["a.com"]),
        ];
        for (own, asked, expected) in cases {
            let own: Vec<ServerHost> = own
                .iter()
                .map(|text| {
                    let (namespace, host) = match text.split_once('/') {
                        Some((namespace, host)) => (Some(namespace.into()), host),
                        None => (None, *text),
                    };
                    ServerHost {
                        namespace,
                        host: HostPattern::new(host),
                        place: Place::nowhere(),
                    }
                })
                .collect();
            let asked: Vec<HostPattern> = asked.iter().map(|it| HostPattern::new(it)).collect();
            let found = intersection(&own, &asked, "default");
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{asked:?}");
        }
    }
}
