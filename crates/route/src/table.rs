//! The one immutable table that answers every question of the data path.
use crate::{
    cluster::{Cluster, ClusterId},
    clusters::Clusters,
    compile::{self, MadeOf},
    condition::Alternative,
    gateway::TlsServer,
    hosts::{HostTable, VirtualHost},
    listener::{Bind, Chosen, Inspection, Listener, ListenerId},
    rule::{Rule, TcpRule},
    shared::{Chunks, Shards},
    text::Pattern,
    trace::{Reason, Trace},
    traffic::{Connection, Fields, Request, canonical},
};
use foldhash::HashMap;
use pointsman_model::{ClientContext, ClusterName, Finding, OutboundPolicy, World};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Names an HTTP table inside one table; without meaning in any other. A connection that outlives
/// a snapshot asks [`Table::listener`] and [`Table::connection`] again before its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HttpTableId(pub(crate) u32);

/// Everything one client may be told about its traffic. A copy is cheap, and so is one that differs
/// from another in a few backends or hosts.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) context: ClientContext,
    pub(crate) listeners: Arc<[Listener]>,
    pub(crate) by_address: Arc<HashMap<(IpAddr, u16), ListenerId>>,
    pub(crate) by_port: Arc<HashMap<u16, ListenerId>>,
    pub(crate) http_tables: Chunks<Arc<HostTable>>,
    pub(crate) clusters: Clusters,
    pub(crate) binds: Arc<[Bind]>,
    pub(crate) unmatched: Option<Arc<Unmatched>>,
    /// Compiled patterns, kept for the next compilation.
    pub(crate) patterns: Shards<Arc<str>, Pattern>,
    /// For the table that follows.
    pub(crate) made_of: MadeOf,
}

/// Where traffic goes that nothing recognises, instead of to its original destination (LIS-67).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unmatched {
    /// Bytes.
    pub(crate) bytes: Arc<TcpRule>,
    /// Requests; its one rule takes all of them.
    pub(crate) host: Arc<VirtualHost>,
}

/// The outcome of a compilation.
#[derive(Debug)]
pub struct Compiled {
    /// The table.
    pub table: Table,
    /// What people should know, in a stable order.
    pub findings: Vec<Finding>,
    /// False: equal to the previous table in every respect; there is nothing to swap.
    pub changed: bool,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionDecision<'t> {
    /// Requests are routed one by one with this table.
    Http(HttpTableId),
    /// Bytes go to a target of this rule.
    Forward(&'t TcpRule),
    /// Bytes go to the original destination.
    Passthrough,
    /// The connection is closed without data (LIS-60).
    Blackhole,
    /// A gateway ends TLS with the certificates of this server, and then routes what is inside.
    Terminate(&'t Arc<TlsServer>),
    /// No server of a gateway takes the connection: it is closed, flag NR (GW-41, GW-42,
    /// VS-H-149).
    Closed(Reason),
}

/// What a request matched.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'t> {
    /// The rule.
    pub rule: &'t Arc<Rule>,
    /// How many bytes of the path a rewrite of the prefix replaces; at most the path's length.
    pub prefix_len: usize,
    /// The virtual host.
    pub host: &'t VirtualHost,
    /// The alternative that matched, if the rule has any.
    pub alternative: Option<&'t Alternative>,
}

impl Matched<'_> {
    /// The port that redirects and their like speak of (VS-H-45): the one the client dialled, but
    /// on a gateway that of the server, which a Service may have translated (GW-3).
    pub fn port(&self, original: SocketAddr) -> u16 {
        match self.host.gateway {
            Some(_) => self.host.port,
            None => original.port(),
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum RequestDecision<'t> {
    /// A rule takes it.
    Rule(Matched<'t>),
    /// The host is known, and none of its rules takes the request: 404 NR (VSB-15, VS-H-6).
    NotFound(&'t VirtualHost),
    /// The host is unknown: to the original destination, Host unchanged (LIS-62).
    Passthrough,
    /// The host is unknown, and unknown traffic is refused: 502, connection kept (LIS-62).
    Blackhole,
    /// The host is unknown to a gateway: 404 NR (GW-47).
    UnknownHost,
    /// A server of a gateway sends plain requests for this host to HTTPS: 301 (GW-50).
    ToHttps(&'t VirtualHost),
}

impl Table {
    /// A table that knows nothing: everything is unmatched traffic.
    pub fn empty(context: ClientContext) -> Self {
        compile::empty(context)
    }

    /// Compiles all documents as the client of `context` sees them. Parts that did not change are
    /// the very same `Arc`s as in `previous`: clusters, host tables, virtual hosts, rule lists. Where
    /// little has changed since `previous`, only that is looked at; the outcome is the same.
    pub fn compile(world: &World, context: &ClientContext, previous: Option<&Self>) -> Compiled {
        compile::compile(world, context, previous)
    }

    /// As [`Table::compile`], but everything is looked at whatever has changed.
    pub fn compile_whole(
        world: &World,
        context: &ClientContext,
        previous: Option<&Self>,
    ) -> Compiled {
        compile::whole(world, context, previous)
    }

    /// Equal in every respect a user of the table could notice?
    pub fn is_equal(&self, other: &Self) -> bool {
        compile::equal(self, other)
    }

    /// In whose eyes the table was made.
    pub fn context(&self) -> &ClientContext {
        &self.context
    }

    /// What bind capture must listen on, services in their order (LIS-2).
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// Must the same addresses be listened on? Cheap for tables of which one was made from the
    /// other.
    pub fn same_binds(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.binds, &other.binds) || self.binds == other.binds
    }

    /// True if a service has an IPv6 address: bind capture then needs `[::]` beside `0.0.0.0`.
    pub fn wants_ipv6_wildcard(&self) -> bool {
        self.binds.iter().any(|bind| bind.address.is_ipv6())
    }

    /// The listener of an original destination (LIS-40): its address and port, else its port, else
    /// [`ListenerId::VIRTUAL_OUTBOUND`]. At most two hash lookups.
    pub fn listener(&self, original: SocketAddr) -> ListenerId {
        let (address, port) = canonical(original);
        self.by_address
            .get(&(address, port))
            .or_else(|| self.by_port.get(&port))
            .copied()
            .unwrap_or(ListenerId::VIRTUAL_OUTBOUND)
    }

    /// The listener itself; `None` for the virtual outbound one.
    pub fn listener_at(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(id.0 as usize)
    }

    /// All listeners.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// What must be looked at before [`Table::connection`] can be asked.
    pub fn inspection(&self, id: ListenerId) -> Inspection {
        self.listener_at(id)
            .map_or(Inspection::NONE, |listener| listener.inspection)
    }

    /// Decides on a connection. No allocation.
    pub fn connection<T: Trace>(
        &self,
        id: ListenerId,
        connection: &Connection<'_>,
        trace: &mut T,
    ) -> ConnectionDecision<'_> {
        let chosen = match self.listener_at(id) {
            Some(listener) => listener.choose(connection, trace),
            None => Chosen::FallThrough,
        };
        match (chosen, self.context.outbound_policy) {
            (Chosen::Terminate(server), _) => ConnectionDecision::Terminate(server),
            (Chosen::Closed(reason), _) => ConnectionDecision::Closed(reason),
            (Chosen::FallThrough, _) if self.context.role.is_gateway() => {
                ConnectionDecision::Closed(Reason::NoListener)
            }
            (Chosen::Http(table), _) => ConnectionDecision::Http(table),
            (Chosen::Forward(rule), _) => ConnectionDecision::Forward(rule),
            (Chosen::FallThrough, OutboundPolicy::AllowAny) => match &self.unmatched {
                Some(unmatched) => ConnectionDecision::Forward(&unmatched.bytes),
                None => ConnectionDecision::Passthrough,
            },
            (Chosen::FallThrough, OutboundPolicy::RegistryOnly) => ConnectionDecision::Blackhole,
        }
    }

    /// Decides on a request. No allocation, unless a rule looks at a header that came several
    /// times.
    pub fn request<F: Fields + ?Sized, T: Trace>(
        &self,
        id: HttpTableId,
        request: &Request<'_, F>,
        trace: &mut T,
    ) -> RequestDecision<'_> {
        let found = self
            .http_table(id)
            .and_then(|table| table.find(request.authority));
        if T::ON {
            trace.host(found.map(|(form, host)| (form, &**host)));
        }
        let host = match (found, self.context.outbound_policy, &self.unmatched) {
            (Some((_, host)), ..) => host,
            (None, ..) if self.context.role.is_gateway() => return RequestDecision::UnknownHost,
            (None, OutboundPolicy::RegistryOnly, _) => return RequestDecision::Blackhole,
            (None, OutboundPolicy::AllowAny, None) => return RequestDecision::Passthrough,
            (None, OutboundPolicy::AllowAny, Some(unmatched)) => &unmatched.host,
        };
        if let Some(gateway) = &host.gateway
            && gateway.https_redirect.is_some()
            && request.scheme != "https"
        {
            return RequestDecision::ToHttps(host);
        }
        match host.rules.find(request, trace) {
            Some((rule, alternative)) => RequestDecision::Rule(Matched {
                rule,
                prefix_len: alternative.map_or(request.path.len().min(1), |alternative| {
                    alternative.prefix_len(request.path)
                }),
                host,
                alternative,
            }),
            None => RequestDecision::NotFound(host),
        }
    }

    /// An HTTP table; `None` for an id of another table.
    pub fn http_table(&self, id: HttpTableId) -> Option<&Arc<HostTable>> {
        self.http_tables.get(id.0 as usize)
    }

    /// All HTTP tables.
    pub fn http_tables(&self) -> impl Iterator<Item = &Arc<HostTable>> + Clone {
        self.http_tables.iter()
    }

    /// A cluster of this table. An id of another table may name another cluster, or one without
    /// endpoints; never a panic.
    pub fn cluster(&self, id: ClusterId) -> &Arc<Cluster> {
        self.clusters.get(id)
    }

    /// A cluster by name.
    pub fn cluster_by_name(&self, name: &ClusterName) -> Option<(ClusterId, &Arc<Cluster>)> {
        self.clusters.find(name)
    }

    /// All clusters, in the order of services, ports and subsets.
    pub fn clusters(&self) -> impl ExactSizeIterator<Item = &Arc<Cluster>> + Clone {
        self.clusters.iter()
    }

    /// Ids of this table are less than this.
    pub fn cluster_slots(&self) -> usize {
        self.clusters.slots()
    }
}
