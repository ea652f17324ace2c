//! Traffic policies.
use super::Context;
use crate::{
    codes,
    yaml::{Key, Map, Node},
};
use foldhash::{HashSet, HashSetExt as _};
use pointsman_model::policy::{
    Algorithm, ClientTls, ConnectionPool, HashKey, LoadBalancer, OutlierDetection, PolicyBlocks,
    RetryBudget, TlsMode, TrafficPolicy, Tunnel,
};

/// Limits in which 0 means "not set" (BE-76).
fn limit(map: &Map, name: &str) -> Option<u32> {
    Context::uint(map, name).filter(|&limit| limit > 0)
}

pub(super) fn traffic_policy(map: &Map, context: &mut Context<'_>) -> TrafficPolicy {
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
        load_balancer: balancer.map(|(_, map)| load_balancer(map, context)),
        connection_pool: pool.map(|(_, map)| connection_pool(map, context)),
        outlier_detection: outlier.map(|(_, map)| outlier_detection(map)),
        tls: tls.map(|(key, map)| client_tls(key, map, context)),
    }
}

/// BE-30..BE-46.
fn load_balancer(map: &Map, context: &mut Context<'_>) -> LoadBalancer {
    context.exclusive(map, "simple", "consistentHash", "BE-40");
    context.exclusive(map, "localityLbSetting", "zoneAwareLbSetting", "BE-59a");
    let algorithm = match map.entry("consistentHash") {
        Some((key, node)) => node
            .as_map()
            .and_then(|map| hash_key(key, map, context))
            .map_or(Algorithm::default(), Algorithm::ConsistentHash),
        None => match map.text("simple") {
            Some("ROUND_ROBIN") => Algorithm::RoundRobin,
            Some("RANDOM") => Algorithm::Random,
            Some("PASSTHROUGH") => Algorithm::Passthrough,
            _ => Algorithm::LeastRequest,
        },
    };
    LoadBalancer {
        algorithm,
        warmup: map
            .map("warmup")
            .and_then(|map| Context::duration(map, "duration"))
            .or_else(|| Context::duration(map, "warmupDurationSecs")),
    }
}

fn hash_key(key: &Key, map: &Map, context: &mut Context<'_>) -> Option<HashKey> {
    context.exclusive(map, "ringHash", "maglev", "BE-44");
    let mut keys = Vec::new();
    if let Some(name) = Context::text(map, "httpHeaderName") {
        keys.push(HashKey::Header(name));
    }
    if let Some(cookie) = map.map("httpCookie") {
        keys.push(HashKey::Cookie {
            name: cookie.text("name").unwrap_or_default().into(),
            path: Context::text(cookie, "path"),
            ttl: Context::duration(cookie, "ttl"),
        });
    }
    if map.bool("useSourceIp") == Some(true) {
        keys.push(HashKey::SourceIp);
    }
    if let Some(name) = Context::text(map, "httpQueryParameterName") {
        keys.push(HashKey::Query(name));
    }
    if keys.len() != 1 {
        context.report.error(
            codes::COMBINATION,
            key.span,
            format!(
                "a consistent hash has one key, and this one has {}",
                keys.len()
            ),
            "what is hashed?",
            "one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName",
        );
    }
    keys.into_iter().next()
}

/// BE-60..BE-76.
fn connection_pool(map: &Map, context: &mut Context<'_>) -> ConnectionPool {
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
        tcp_idle_timeout: Context::duration(tcp, "idleTimeout"),
        max_connection_duration: Context::duration(tcp, "maxConnectionDuration"),
        max_pending_requests: limit(http, "http1MaxPendingRequests"),
        max_requests: limit(http, "http2MaxRequests"),
        max_requests_per_connection: limit(http, "maxRequestsPerConnection"),
        max_retries: limit(http, "maxRetries"),
        http_idle_timeout: Context::duration(http, "idleTimeout"),
        h2_upgrade: upgrade,
        use_client_protocol,
    }
}

/// BE-80. Zero is a value here: it switches a detector off.
fn outlier_detection(map: &Map) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Context::uint(map, "consecutive5xxErrors"),
        consecutive_gateway: Context::uint(map, "consecutiveGatewayErrors"),
        interval: Context::duration(map, "interval"),
        base_ejection: Context::duration(map, "baseEjectionTime"),
        max_ejection_percent: Context::uint(map, "maxEjectionPercent"),
        min_health_percent: Context::uint(map, "minHealthPercent"),
    }
}

/// BE-85..BE-87.
fn client_tls(key: &Key, map: &Map, context: &mut Context<'_>) -> ClientTls {
    let mode = match map.text("mode") {
        Some("SIMPLE") => TlsMode::Simple,
        Some("MUTUAL") => TlsMode::Mutual,
        Some("ISTIO_MUTUAL") => TlsMode::IstioMutual,
        _ => TlsMode::Disable,
    };
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
    if insecure_skip_verify {
        context.exclusive(map, "insecureSkipVerify", "caCertificates", "BE-87b");
        context.exclusive(map, "insecureSkipVerify", "subjectAltNames", "BE-87b");
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
