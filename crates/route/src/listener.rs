//! Listeners and their chains: what takes a connection (LIS-40..45).
use crate::{
    gateway::listener::{Considered, GatewayListener, TlsServer},
    hosts::{FixedText, SuffixMap},
    rule::TcpRule,
    table::HttpTableId,
    trace::{ChainStep, Reason, Trace},
    traffic::{Class, Connection},
};
use foldhash::HashMap;
use ipnet::IpNet;
use pointsman_model::{ObjectKey, Place};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Names a listener inside one table; without meaning in any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) u32);

impl ListenerId {
    /// No service is on that address and port, nor on the port (LIS-60).
    pub const VIRTUAL_OUTBOUND: Self = Self(u32::MAX);
}

/// What the first bytes must be looked at for (PS-40..43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Inspection {
    /// HTTP must be told from the rest.
    pub http: bool,
    /// The server name is wanted.
    pub tls: bool,
    /// The port carries undeclared or mixed traffic, so the server may be the one to speak first:
    /// silence of the client is not a reason to wait for ever.
    pub server_may_speak_first: bool,
}

impl Inspection {
    /// Bytes flow at once.
    pub const NONE: Self = Self {
        http: false,
        tls: false,
        server_may_speak_first: false,
    };

    /// Is there anything to look at?
    pub const fn is_none(self) -> bool {
        !self.http && !self.tls
    }
}

/// One listener: an address and port, or a port on all addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address; `None`: every address.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// What must be looked at.
    pub inspection: Inspection,
    /// The HTTP chain.
    pub(crate) http: Option<HttpTableId>,
    /// The chain without criteria, which is the default chain too (LIS-42).
    pub(crate) open: Option<Arc<TcpRule>>,
    /// Chains with criteria. Most listeners have none, and stay small.
    pub(crate) chains: Option<Box<Chains>>,
    /// The servers of a gateway; then there is nothing of the above.
    pub(crate) gateway: Option<Box<GatewayListener>>,
}

/// Chains by their criteria, in the order the criteria are looked at: address range, server name,
/// then HTTP or not.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Chains {
    pub(crate) subnets: SubnetMap<NameChains>,
    pub(crate) names: NameChains,
    /// Swallow guard: chains without criteria that take known addresses only. Looked at last,
    /// because the guard narrows a chain and must not make it more specific than others.
    pub(crate) guarded: HashMap<IpAddr, Arc<TcpRule>>,
    /// True if there are guarded chains, even if no address is known yet.
    pub(crate) is_guarded: bool,
}

/// Chains by server name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct NameChains {
    pub(crate) exact: HashMap<Arc<str>, Arc<TcpRule>>,
    pub(crate) wildcards: SuffixMap<Arc<TcpRule>>,
    /// Without server name criterion. Unused at the top level, where it is `Listener::open`.
    pub(crate) any: Option<Arc<TcpRule>>,
}

impl NameChains {
    pub(crate) fn asks_for_names(&self) -> bool {
        !self.exact.is_empty() || !self.wildcards.is_empty()
    }

    fn find(&self, sni: &str) -> Option<&Arc<TcpRule>> {
        if !self.asks_for_names() {
            return None;
        }
        let mut folded = FixedText::<255>::default();
        folded.push_lower(sni)?;
        let name = folded.as_str()?;
        self.exact.get(name).or_else(|| self.wildcards.find(name))
    }
}

/// Values under address ranges, the longest prefix first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubnetMap<V> {
    by_net: HashMap<IpNet, V>,
    /// Distinct prefix lengths of each family, descending: one lookup each.
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl<V> Default for SubnetMap<V> {
    fn default() -> Self {
        Self {
            by_net: HashMap::default(),
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }
}

impl<V> SubnetMap<V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_net.is_empty()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&IpNet, &V)> {
        self.by_net.iter()
    }

    /// The value of a range, made if new.
    pub(crate) fn entry(&mut self, net: IpNet) -> &mut V
    where
        V: Default,
    {
        let net = net.trunc();
        let lengths = match net {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        if let Err(at) = lengths.binary_search_by(|own| net.prefix_len().cmp(own)) {
            lengths.insert(at, net.prefix_len());
        }
        self.by_net.entry(net).or_default()
    }

    /// The longest range that contains the address.
    pub(crate) fn find(&self, address: IpAddr) -> Option<(IpNet, &V)> {
        let lengths = if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        lengths.iter().find_map(|&length| {
            let net = IpNet::new(address, length).ok()?.trunc();
            self.by_net.get(&net).map(|value| (net, value))
        })
    }
}

/// The chain that takes a connection.
pub(crate) enum Chosen<'t> {
    Http(HttpTableId),
    Forward(&'t TcpRule),
    /// A gateway ends TLS here.
    Terminate(&'t Arc<TlsServer>),
    /// A gateway has no server for it (GW-41).
    Closed(Reason),
    FallThrough,
}

impl Listener {
    /// Chooses without going back: once a criterion has picked the most specific chains, only
    /// those stay in the race (LIS-41, LIS-43); if none survives, the default chain (LIS-42).
    pub(crate) fn choose<T: Trace>(
        &self,
        connection: &Connection<'_>,
        trace: &mut T,
    ) -> Chosen<'_> {
        if let Some(gateway) = &self.gateway {
            return gateway.choose(connection, trace);
        }
        let address = connection.original.ip().to_canonical();
        if let Some(chains) = &self.chains {
            if let Some((net, names)) = chains.subnets.find(address) {
                if T::ON {
                    trace.frontend(ChainStep::Subnet(net));
                }
                return match by_name(names, connection, trace) {
                    Some(rule) => Chosen::Forward(rule),
                    None => match names.any.as_deref() {
                        Some(rule) => {
                            trace.frontend(ChainStep::Open(rule));
                            Chosen::Forward(rule)
                        }
                        None => self.default_chain(address, trace),
                    },
                };
            }
            if T::ON && !chains.subnets.is_empty() {
                trace.frontend(ChainStep::NoSubnet);
            }
            if let Some(rule) = by_name(&chains.names, connection, trace) {
                return Chosen::Forward(rule);
            }
        }
        if connection.class == Class::Http
            && let Some(table) = self.http
        {
            trace.frontend(ChainStep::Http);
            return Chosen::Http(table);
        }
        self.default_chain(address, trace)
    }

    fn default_chain<T: Trace>(&self, address: IpAddr, trace: &mut T) -> Chosen<'_> {
        if let Some(chains) = &self.chains
            && chains.is_guarded
        {
            if let Some(rule) = chains.guarded.get(&address) {
                trace.frontend(ChainStep::KnownAddress(rule));
                return Chosen::Forward(rule);
            }
            trace.frontend(ChainStep::UnknownAddress);
        }
        match self.open.as_deref() {
            Some(rule) => {
                trace.frontend(ChainStep::Open(rule));
                Chosen::Forward(rule)
            }
            None => {
                trace.frontend(ChainStep::FallThrough);
                Chosen::FallThrough
            }
        }
    }

    /// The rules of all chains that take bytes, in no particular order. Not for the hot path.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Arc<TcpRule>> {
        let chains = self.chains.as_deref();
        let named = chains.into_iter().flat_map(|chains| {
            let ranges = chains.subnets.values().map(|(_, names)| names);
            ranges.chain([&chains.names]).flat_map(|names| {
                let wild = names.wildcards.values().map(|(_, rule)| rule);
                names.exact.values().chain(wild).chain(&names.any)
            })
        });
        let guarded = chains
            .into_iter()
            .flat_map(|chains| chains.guarded.values());
        self.open.iter().chain(named).chain(guarded)
    }

    /// The servers of a gateway that asked for this place, in their order.
    pub fn servers(&self) -> &[Considered] {
        self.gateway.as_ref().map_or(&[], |own| &own.servers)
    }

    /// What must be looked at, from what was put in (PS-40..43).
    pub(crate) fn derive_inspection(&mut self) {
        if let Some(gateway) = &self.gateway {
            self.inspection = gateway.inspection();
            return;
        }
        let tls = self.chains.as_ref().is_some_and(|chains| {
            chains.names.asks_for_names()
                || chains
                    .subnets
                    .values()
                    .any(|(_, names)| names.asks_for_names())
        });
        let raw = self.open.is_some()
            || self.chains.as_ref().is_some_and(|chains| {
                chains.is_guarded
                    || chains
                        .subnets
                        .values()
                        .any(|(_, names)| names.any.is_some())
            });
        let http = self.http.is_some();
        self.inspection = Inspection {
            http,
            tls,
            server_may_speak_first: raw && (http || tls),
        };
    }
}

fn by_name<'t, T: Trace>(
    names: &'t NameChains,
    connection: &Connection<'_>,
    trace: &mut T,
) -> Option<&'t TcpRule> {
    let found = connection.sni.and_then(|sni| names.find(sni));
    match found {
        Some(rule) => trace.frontend(ChainStep::Name(rule)),
        None if T::ON && names.asks_for_names() => {
            let reason = if connection.sni.is_some() {
                Reason::SniDiffers
            } else {
                Reason::SniAbsent
            };
            trace.frontend(ChainStep::NoName { reason });
        }
        None => {}
    }
    found.map(|rule| &**rule)
}

/// Why an address is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// An address of a service (LIS-20, LIS-25).
    Address,
    /// An endpoint of a headless service (LIS-21).
    Endpoint,
    /// All addresses of a port: Host, server name or range tell the traffic apart.
    Wildcard,
    /// A server of a Gateway. To be bound whatever the capture mode is: clients dial it.
    Gateway,
}

/// An address that bind capture listens on. Redirect capture needs none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Address and port; `0.0.0.0` for [`Purpose::Wildcard`], and for [`Purpose::Gateway`] without
    /// `bind`: such a server wants every address, IPv6 ones too.
    pub address: SocketAddr,
    /// Where the port (of the first service or server that wants it) is declared.
    pub place: Place,
    /// The first service, or Gateway, that wants it.
    pub object: ObjectKey,
    /// Why.
    pub purpose: Purpose,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_range_wins() {
        let mut map = SubnetMap::default();
        for net in ["10.0.0.0/8", "10.9.9.0/24", "10.9.9.128/25", "fd00::/8"] {
            *map.entry(net.parse().expect("net")) = net;
        }
        let find = |address: &str| map.find(address.parse().expect("ip")).map(|found| *found.1);
        assert_eq!(find("10.9.9.200"), Some("10.9.9.128/25"));
        assert_eq!(find("10.9.9.1"), Some("10.9.9.0/24"));
        assert_eq!(find("10.1.1.1"), Some("10.0.0.0/8"));
        assert_eq!(find("11.1.1.1"), None);
        assert_eq!(find("fd00::1"), Some("fd00::/8"));
    }
}
