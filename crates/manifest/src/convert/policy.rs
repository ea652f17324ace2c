//! Traffic policies.
use super::{Context, balancer};
use crate::{
    codes, form,
    yaml::{Key, Map, Node},
};
use foldhash::{HashSet, HashSetExt as _};
use pointsman_model::policy::{
    ClientTls, ConnectionPool, Http2KeepAlive, OutlierDetection, PolicyBlocks, RetryBudget,
    TcpKeepalive, TlsMode, TrafficPolicy, Tunnel,
};

/// Limits in which 0 means "not set" (BE-76).
fn limit(map: &Map, name: &str) -> Option<u32> {
    Context::uint(map, name).filter(|&limit| limit > 0)
}

pub(super) fn traffic_policy(key: &Key, map: &Map, context: &mut Context<'_>) -> TrafficPolicy {
    let rest = [
        "portLevelSettings",
        "tunnel",
        "proxyProtocol",
        "retryBudget",
    ];
    not_empty(
        key,
        "`trafficPolicy`",
        map,
        &[&BLOCKS[..], &rest[..]].concat(),
        context,
    );
    tunnel_target(map, context);
    context.exclusive(map, "tunnel", "proxyProtocol", "BE-90");
    let blocks = blocks(map, context);
    let mut ports: Vec<(u16, PolicyBlocks)> = Vec::new();
    let mut seen = HashSet::new();
    for map in map
        .list("portLevelSettings")
        .iter()
        .filter_map(Node::as_map)
    {
        let Some((key, selector)) = map.entry("port") else {
            continue;
        };
        let number = selector
            .as_map()
            .and_then(|map| Context::port(map, "number"));
        not_empty(key, "the entry for this port", map, &BLOCKS, context);
        let blocks = self::blocks(map, context);
        match number {
            None => context.report.error(
                codes::REQUIRED,
                key.span,
                "a port entry needs `port.number` (BE-27)",
                "for which port?",
                "",
            ),
            Some(number) if !seen.insert(number) => {
                context.report.error(
                    codes::PORTS,
                    key.span,
                    format!("port {number} has two entries in `portLevelSettings`"),
                    "again",
                    "merge them",
                );
            }
            Some(number) => ports.push((number, blocks)),
        }
    }
    TrafficPolicy {
        blocks,
        ports,
        proxy_protocol: map
            .map("proxyProtocol")
            .map(|map| match map.text("version") {
                Some("V2") => 2,
                _ => 1,
            }),
        tunnel: map.map("tunnel").and_then(|map| {
            Some(Tunnel {
                protocol: map.filled("protocol").unwrap_or("CONNECT").into(),
                target_host: map.text("targetHost")?.into(),
                target_port: Context::port(map, "targetPort")?,
            })
        }),
        retry_budget: map.map("retryBudget").map(|map| RetryBudget {
            percent: map
                .get("percent")
                .and_then(|node| node.as_scalar()?.number())
                .map_or(20, |percent| percent.round() as u32),
            min_concurrency: Context::uint(map, "minRetryConcurrency").unwrap_or(3),
        }),
    }
}

/// Where the tunnel ends is a name or an address (BE-90).
fn tunnel_target(map: &Map, context: &mut Context<'_>) {
    if let Some(tunnel) = map.map("tunnel")
        && let Some(node) = tunnel.get("targetHost")
        && let Err(fault) = form::host(node.as_text().unwrap_or_default(), false)
    {
        context.report.error(
            codes::VALUE,
            node.span,
            "`targetHost` is not a host (BE-90)",
            fault.label(),
            "",
        );
    }
}

pub(super) fn blocks(map: &Map, context: &mut Context<'_>) -> PolicyBlocks {
    let read = |name: &str| {
        let (key, node) = map.entry(name)?;
        Some((key, node.as_map()?))
    };
    let balancer = read("loadBalancer");
    let pool = read("connectionPool");
    let outlier = read("outlierDetection");
    let tls = read("tls");
    PolicyBlocks {
        load_balancer: balancer
            .map(|(_, map)| balancer::load_balancer(map, outlier.is_some(), context)),
        connection_pool: pool.map(|(key, map)| connection_pool(key, map, context)),
        outlier_detection: outlier.map(|(_, map)| outlier_detection(map, context)),
        tls: tls.map(|(key, map)| client_tls(key, map, context)),
    }
}

/// BE-60..BE-76.
fn connection_pool(key: &Key, map: &Map, context: &mut Context<'_>) -> ConnectionPool {
    not_empty(key, "`connectionPool`", map, &["tcp", "http"], context);
    let empty = Map::default();
    let tcp = map.map("tcp").unwrap_or(&empty);
    let http = map.map("http").unwrap_or(&empty);
    let upgrade = match http.text("h2UpgradePolicy") {
        Some("UPGRADE") => Some(true),
        Some("DO_NOT_UPGRADE") => Some(false),
        _ => None,
    };
    let use_client_protocol = http.bool("useClientProtocol").unwrap_or_default();
    if use_client_protocol && upgrade == Some(true) {
        context.exclusive(http, "useClientProtocol", "h2UpgradePolicy", "BE-73");
    }
    ConnectionPool {
        max_connections: limit(tcp, "maxConnections"),
        connect_timeout: Context::duration(tcp, "connectTimeout"),
        tcp_keepalive: tcp_keepalive(tcp),
        tcp_idle_timeout: Context::duration(tcp, "idleTimeout"),
        max_connection_duration: Context::duration(tcp, "maxConnectionDuration"),
        max_pending_requests: limit(http, "http1MaxPendingRequests"),
        max_requests: limit(http, "http2MaxRequests"),
        max_requests_per_connection: limit(http, "maxRequestsPerConnection"),
        max_retries: limit(http, "maxRetries"),
        http_idle_timeout: Context::duration(http, "idleTimeout"),
        max_concurrent_streams: limit(http, "maxConcurrentStreams"),
        http2_keep_alive: http.map("http2KeepAlive").and_then(|map| {
            Some(Http2KeepAlive {
                interval: Context::duration(map, "interval")?,
                timeout: Context::duration(map, "timeout")?,
            })
        }),
        h2_upgrade: upgrade,
        use_client_protocol,
    }
}

/// BE-62, of a pool or of the mesh.
pub(super) fn tcp_keepalive(map: &Map) -> Option<TcpKeepalive> {
    map.map("tcpKeepalive").map(|map| TcpKeepalive {
        probes: limit(map, "probes"),
        time: Context::duration(map, "time"),
        interval: Context::duration(map, "interval"),
    })
}

/// BE-80. Zero is a value here: it switches a detector off.
fn outlier_detection(map: &Map, context: &mut Context<'_>) -> OutlierDetection {
    context.deprecated(map, "consecutiveErrors", "consecutive5xxErrors");
    for field in ["maxEjectionPercent", "minHealthPercent"] {
        if let Some(node) = map.get(field)
            && node.as_int().is_some_and(|percent| percent > 100)
        {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("`{field}` is a percentage"),
                "from 0 to 100",
                "",
            );
        }
    }
    for node in map.list("outlierDetectionHttpErrorCodes") {
        if !node
            .as_int()
            .is_some_and(|code| (100..=599).contains(&code))
        {
            context.report.error(
                codes::VALUE,
                node.span,
                "an error code is a status from 100 to 599 (BE-81)",
                "no status",
                "",
            );
        }
    }
    if let Some((key, _)) = map.entry("consecutiveLocalOriginFailures")
        && map.int("consecutiveLocalOriginFailures") != Some(0)
        && map.bool("splitExternalLocalOriginErrors") != Some(true)
    {
        context.report.error(
            codes::COMBINATION,
            key.span,
            "`consecutiveLocalOriginFailures` counts nothing without `splitExternalLocalOriginErrors` (BE-80d)",
            "local failures are not counted apart",
            "add `splitExternalLocalOriginErrors: true`",
        );
    }
    OutlierDetection {
        consecutive_5xx: Context::uint(map, "consecutive5xxErrors"),
        consecutive_gateway: Context::uint(map, "consecutiveGatewayErrors"),
        interval: Context::duration(map, "interval"),
        base_ejection: Context::duration(map, "baseEjectionTime"),
        max_ejection_percent: Context::uint(map, "maxEjectionPercent"),
        min_health_percent: Context::uint(map, "minHealthPercent"),
    }
}

/// A secret brings certificates, key and revocations itself (BE-85c).
fn credentials(mode: TlsMode, map: &Map, context: &mut Context<'_>) {
    if matches!(mode, TlsMode::Simple | TlsMode::Mutual) && map.filled("credentialName").is_some() {
        for field in ["clientCertificate", "privateKey", "caCertificates", "caCrl"] {
            context.exclusive(map, "credentialName", field, "BE-85c");
        }
    }
}

/// A block without any of its fields sets nothing, which Istio refuses as a slip.
fn not_empty(key: &Key, what: &str, map: &Map, fields: &[&str], context: &mut Context<'_>) {
    if !fields.iter().any(|field| map.has(field)) {
        context.report.error(
            codes::REQUIRED,
            key.span,
            format!("{what} sets nothing"),
            "empty",
            format!("set one of {}, or remove it", fields.join(", ")),
        );
    }
}

/// The four blocks of every policy (BE-22).
const BLOCKS: [&str; 4] = ["connectionPool", "loadBalancer", "outlierDetection", "tls"];

/// BE-85..BE-87.
fn client_tls(key: &Key, map: &Map, context: &mut Context<'_>) -> ClientTls {
    let mode = match map.text("mode") {
        Some("SIMPLE") => TlsMode::Simple,
        Some("MUTUAL") => TlsMode::Mutual,
        Some("ISTIO_MUTUAL") => TlsMode::IstioMutual,
        _ => TlsMode::Disable,
    };
    credentials(mode, map, context);
    let certificate = Context::text(map, "clientCertificate").zip(Context::text(map, "privateKey"));
    let credential_name = Context::text(map, "credentialName");
    if mode == TlsMode::Mutual && certificate.is_none() && credential_name.is_none() {
        context.report.error(
            codes::COMBINATION,
            key.span,
            "`mode: MUTUAL` needs a client certificate (BE-85c)",
            "none is named",
            "set `clientCertificate` and `privateKey`, or `credentialName`",
        );
    }
    if mode == TlsMode::IstioMutual
        && let Some((field, _)) = map.entries.iter().find(|(field, node)| {
            !node.is_null() && !matches!(&*field.text, "mode" | "sni" | "subjectAltNames")
        })
    {
        context.report.error(
            codes::COMBINATION,
            field.span,
            format!(
                "`{}` does not go with `mode: ISTIO_MUTUAL` (BE-85d)",
                field.text
            ),
            "the mesh brings its own",
            "remove it, or write `mode: MUTUAL`",
        );
    }
    let insecure_skip_verify = map.bool("insecureSkipVerify").unwrap_or_default();
    if insecure_skip_verify && matches!(mode, TlsMode::Simple | TlsMode::Mutual) {
        context.exclusive(map, "insecureSkipVerify", "caCertificates", "BE-87b");
        context.exclusive(map, "insecureSkipVerify", "subjectAltNames", "BE-87b");
        if mode == TlsMode::Simple {
            context.exclusive(map, "insecureSkipVerify", "credentialName", "BE-87b");
        }
    }
    ClientTls {
        mode,
        sni: Context::text(map, "sni"),
        subject_alt_names: Context::texts(map, "subjectAltNames"),
        ca_certificates: Context::text(map, "caCertificates"),
        client_certificate: certificate,
        credential_name,
        insecure_skip_verify,
    }
}
