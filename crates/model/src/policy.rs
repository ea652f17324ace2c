//! Traffic policies of DestinationRules (BE-21..91), selected now and applied piece by piece.
use crate::object::Labels;
use std::{sync::Arc, time::Duration};

/// `trafficPolicy` of a rule or of a subset.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TrafficPolicy {
    /// The four blocks that port entries replace as a whole (BE-22).
    pub blocks: PolicyBlocks,
    /// `portLevelSettings` by service port number (BE-27).
    pub ports: Vec<(u16, PolicyBlocks)>,
    /// `proxyProtocol`: version 1 or 2 (BE-91).
    pub proxy_protocol: Option<u8>,
    /// `tunnel` (BE-90).
    pub tunnel: Option<Tunnel>,
    /// `retryBudget` (BE-75).
    pub retry_budget: Option<RetryBudget>,
}

/// The blocks; none is merged inside (BE-24).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PolicyBlocks {
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancer>,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
    /// `outlierDetection`.
    pub outlier_detection: Option<OutlierDetection>,
    /// `tls`.
    pub tls: Option<ClientTls>,
}

/// `loadBalancer.simple`, or a consistent hash (BE-30..49).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// Two random choices, the one with fewer active requests (BE-30). The default.
    #[default]
    LeastRequest,
    /// BE-32.
    RoundRobin,
    /// BE-33.
    Random,
    /// Forward to the original destination (BE-34).
    Passthrough,
    /// Consistent hash on a key (BE-40..46).
    ConsistentHash(HashKey),
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// `httpHeaderName`.
    Header(Arc<str>),
    /// `httpCookie`.
    Cookie {
        /// Name.
        name: Arc<str>,
        /// Path of a cookie we set.
        path: Option<Arc<str>>,
        /// Lifetime of a cookie we set; absent: none is set.
        ttl: Option<Duration>,
    },
    /// `useSourceIp`.
    SourceIp,
    /// `httpQueryParameterName`.
    Query(Arc<str>),
}

/// `loadBalancer`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LoadBalancer {
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// `warmup.duration` (BE-39).
    pub warmup: Option<Duration>,
}

/// `connectionPool` (BE-60..76). Absent: unlimited, or the stated default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConnectionPool {
    /// `tcp.maxConnections`.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `tcp.tcpKeepalive`, over the mesh's own (BE-62); absent: no probes.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `tcp.idleTimeout`; zero disables.
    pub tcp_idle_timeout: Option<Duration>,
    /// `tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `http.http1MaxPendingRequests`.
    pub max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests`.
    pub max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`.
    pub http_idle_timeout: Option<Duration>,
    /// `http.maxConcurrentStreams`.
    pub max_concurrent_streams: Option<u32>,
    /// `http.http2KeepAlive`; absent: no pings.
    pub http2_keep_alive: Option<Http2KeepAlive>,
    /// `http.h2UpgradePolicy: UPGRADE` (true) or `DO_NOT_UPGRADE` (false).
    pub h2_upgrade: Option<bool>,
    /// `http.useClientProtocol`.
    pub use_client_protocol: bool,
}

/// `tcpKeepalive` (BE-62): probes on connections to endpoints. What is absent is as the operating
/// system has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TcpKeepalive {
    /// Probes without an answer after which the connection is dead.
    pub probes: Option<u32>,
    /// Silence before the first probe.
    pub time: Option<Duration>,
    /// Between two of them.
    pub interval: Option<Duration>,
}

impl TcpKeepalive {
    /// What is said here, and else `base`.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            probes: self.probes.or(base.probes),
            time: self.time.or(base.time),
            interval: self.interval.or(base.interval),
        }
    }
}

/// `http2KeepAlive` (BE-74): pings on HTTP/2 connections to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2KeepAlive {
    /// Between the answer to one ping and the next ping.
    pub interval: Duration,
    /// Without an answer the connection ends after this.
    pub timeout: Duration,
}

/// `outlierDetection` (BE-80..83).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors`; absent: 5.
    pub consecutive_5xx: Option<u32>,
    /// `consecutiveGatewayErrors`; absent: off.
    pub consecutive_gateway: Option<u32>,
    /// `interval`; absent: 10 s.
    pub interval: Option<Duration>,
    /// `baseEjectionTime`; absent: 30 s.
    pub base_ejection: Option<Duration>,
    /// `maxEjectionPercent`; absent: 10.
    pub max_ejection_percent: Option<u32>,
    /// `minHealthPercent`; absent: 0.
    pub min_health_percent: Option<u32>,
}

/// `tls.mode` (BE-85).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain text.
    #[default]
    Disable,
    /// TLS, server verified.
    Simple,
    /// TLS with a client certificate.
    Mutual,
    /// Mesh certificates.
    IstioMutual,
}

/// `tls` towards the backend.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// Mode.
    pub mode: TlsMode,
    /// `sni`.
    pub sni: Option<Arc<str>>,
    /// `subjectAltNames`.
    pub subject_alt_names: Vec<Arc<str>>,
    /// `caCertificates`.
    pub ca_certificates: Option<Arc<str>>,
    /// `clientCertificate` and `privateKey`.
    pub client_certificate: Option<(Arc<str>, Arc<str>)>,
    /// `credentialName`.
    pub credential_name: Option<Arc<str>>,
    /// `insecureSkipVerify`.
    pub insecure_skip_verify: bool,
}

/// `tunnel` (BE-90).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// `CONNECT` or `POST`.
    pub protocol: Arc<str>,
    /// `targetHost`.
    pub target_host: Arc<str>,
    /// `targetPort`.
    pub target_port: u16,
}

/// `retryBudget` (BE-75).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Share of active requests, in percent.
    pub percent: u32,
    /// Retries always allowed.
    pub min_concurrency: u32,
}

/// A label selector: all must be equal.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
