//! Backends: where recognised traffic goes.
use pointsman_model::{
    ClusterName, Kind, ObjectKey, Place, Protocol, ProtocolClass,
    object::Labels,
    policy::{Algorithm, ClientTls, ConnectionPool, OutlierDetection, RetryBudget, Tunnel},
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Names a cluster inside one table. A later table keeps the number as long as the cluster lives,
/// but may give it to another one afterwards: state that outlives a table is kept by
/// [`ClusterName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub(crate) u32);

impl ClusterId {
    /// Position, for arrays beside the table: less than `Table::cluster_slots`.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a cluster finds the address it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterKind {
    /// One of the endpoints, by the policy's algorithm.
    Endpoints,
    /// The address the client dialled (BE-92, BE-34, BE-123).
    ///
    /// Endpoints may be listed all the same (a headless Service): if one of them has the dialled
    /// IP address it is the one, at its own port; otherwise the dialled address is taken as it is
    /// (BE-124). [`Cluster::original_destination`] does both.
    OriginalDestination {
        /// Replaces the dialled port (`targetPort` of a ServiceEntry, BE-92).
        port: Option<u16>,
    },
    /// The endpoints are names (or addresses), resolved beside the table.
    Dns {
        /// Only the first address of the latest answer (BE-95), instead of all (BE-94).
        first_only: bool,
    },
    /// The request's own Host or SNI is resolved (BE-96).
    DynamicDns,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// An address and port.
    Socket(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// A name to be resolved, and the port.
    Name {
        /// Host name.
        host: Arc<str>,
        /// Port.
        port: u16,
    },
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What the sources say about an endpoint (BE-113). Terminating ones are not listed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Used.
    Ready,
    /// Never used, except in panic mode (BE-84).
    NotReady,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Relative weight, at least 1 (BE-109).
    pub weight: u32,
    /// Labels of the Pod or of the ServiceEntry's endpoint; subsets choose by them.
    pub labels: Arc<Labels>,
    /// Readiness.
    pub health: Health,
    /// Node it runs on.
    pub node: Option<Arc<str>>,
    /// `region/zone/subzone`, or the zone alone.
    pub locality: Option<Arc<str>>,
    /// Pod name, for people.
    pub workload: Option<Arc<str>>,
}

/// Label of a DestinationRule that names a balancer of an extension. It holds for all its subsets
/// and ports: labels have no finer place.
pub const BALANCER_LABEL: &str = "pointsman.dev/balancer";

/// The policy in force for one cluster, after BE-21..25.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// A balancer of an extension that replaces `algorithm` where it is registered: the
    /// DestinationRule's label [`BALANCER_LABEL`].
    pub custom: Option<Arc<str>>,
    /// `warmup.duration` (BE-39).
    pub warmup: Option<Duration>,
    /// Limits and timeouts; absent ones have the defaults of BE-60..76.
    pub pool: ConnectionPool,
    /// The mesh has HTTP/2 spoken where `pool` says neither, to ports that are declared HTTP (BE-72).
    pub mesh_h2_upgrade: bool,
    /// Ejection; absent: none (BE-80).
    pub outlier: Option<OutlierDetection>,
    /// TLS towards the endpoint; absent: plain text (BE-85).
    pub tls: Option<ClientTls>,
    /// PROXY protocol version (BE-91).
    pub proxy_protocol: Option<u8>,
    /// BE-90.
    pub tunnel: Option<Tunnel>,
    /// BE-75.
    pub retry_budget: Option<RetryBudget>,
    /// The DestinationRule it comes from (of several merged ones the oldest), and its place.
    pub origin: Option<(ObjectKey, Place)>,
}

/// The subset a cluster stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetOrigin {
    /// Labels its endpoints carry.
    pub labels: Labels,
    /// Where it is defined.
    pub place: Place,
}

/// One backend: a port of a service, or a subset of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Identity across tables.
    pub name: ClusterName,
    /// The name as text, made once: `outbound|80|v1|host`.
    pub label: Arc<str>,
    /// Endpoints, unready ones included.
    pub endpoints: Arc<[Endpoint]>,
    /// How the address is found.
    pub kind: ClusterKind,
    /// Protocol of the service port: decides the version spoken (BE-9, PS-60).
    pub protocol: Protocol,
    /// Policy in force.
    pub policy: Arc<Policy>,
    /// The Service or ServiceEntry behind it.
    pub service: ObjectKey,
    /// Where the port is declared.
    pub place: Place,
    /// For subsets: what chooses the endpoints.
    pub subset: Option<Box<SubsetOrigin>>,
    /// `subjectAltNames` of the ServiceEntry, where the policy gives none (BE-87).
    pub subject_alt_names: Arc<[Arc<str>]>,
}

impl Cluster {
    /// `metadata.name` of a Service, the host of a ServiceEntry: a metrics label.
    pub fn service_name(&self) -> &Arc<str> {
        match self.service.kind {
            Kind::ServiceEntry => &self.name.host,
            _ => &self.service.name,
        }
    }

    /// Is HTTP/2 spoken to its endpoints (PS-60)? `client_http2` says what the client speaks, which
    /// counts where the policy says so (BE-73), and on ports of the mesh that declare nothing.
    pub fn speaks_http2(&self, via: crate::Via, client_http2: bool) -> bool {
        let pool = &self.policy.pool;
        if pool.use_client_protocol {
            return client_http2;
        }
        let as_client = self.protocol == Protocol::Auto && via == crate::Via::Mesh;
        let upgraded = pool.h2_upgrade.unwrap_or_else(|| {
            self.policy.mesh_h2_upgrade && self.protocol.class() == ProtocolClass::Http
        });
        upgraded || self.protocol.wants_http2() || (as_client && client_http2)
    }

    /// Do calls of gRPC-Web become calls of gRPC on their way to it (PS-4)? Only HTTP/2 carries those.
    pub fn translates_grpc_web(&self, client_http2: bool) -> bool {
        // By which door they come counts only for ports that declare nothing.
        self.protocol == Protocol::GrpcWeb && self.speaks_http2(crate::Via::Mesh, client_http2)
    }

    /// Ready endpoints.
    pub fn ready(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.health == Health::Ready)
    }

    /// Do clients find its endpoints by DNS, and dial one of them (BE-123)?
    pub fn is_headless(&self) -> bool {
        matches!(self.kind, ClusterKind::OriginalDestination { .. })
            && self.policy.algorithm != Algorithm::Passthrough
            && self.service.kind == Kind::Service
    }

    /// The address to connect to when the kind is [`ClusterKind::OriginalDestination`], `None` for
    /// all other kinds.
    ///
    /// Linear in the endpoints of one headless Service, with early exit; a Service with thousands
    /// of headless endpoints pays some microseconds per new connection.
    pub fn original_destination(&self, original: SocketAddr) -> Option<SocketAddr> {
        let ClusterKind::OriginalDestination { port } = self.kind else {
            return None;
        };
        let ip: IpAddr = original.ip().to_canonical();
        let own = self
            .endpoints
            .iter()
            .find_map(|endpoint| match &endpoint.address {
                EndpointAddress::Socket(address) if address.ip() == ip => Some(*address),
                _ => None,
            });
        Some(own.unwrap_or_else(|| SocketAddr::new(ip, port.unwrap_or(original.port()))))
    }
}
