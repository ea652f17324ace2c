//! Every metric Pointsman exports: its name, its labels in order, its help text, its buckets.
//!
//! The `istio_*` families carry Istio's names, labels and label order, so that dashboards, alerts
//! and Kiali work unchanged. Everything of our own starts with `pointsman_`. A family knows the
//! number of its labels at compile time: a series cannot be made with one too few.

/// A counter family with `N` labels.
#[derive(Debug)]
pub struct CounterFamily<const N: usize> {
    /// Name as exported.
    pub name: &'static str,
    /// Label names in order.
    pub labels: [&'static str; N],
    /// HELP text.
    pub help: &'static str,
}

/// A gauge family with `N` labels.
#[derive(Debug)]
pub struct GaugeFamily<const N: usize> {
    /// Name as exported.
    pub name: &'static str,
    /// Label names in order.
    pub labels: [&'static str; N],
    /// HELP text.
    pub help: &'static str,
}

/// A histogram family with `N` labels.
#[derive(Debug)]
pub struct HistogramFamily<const N: usize> {
    /// Name as exported.
    pub name: &'static str,
    /// Label names in order.
    pub labels: [&'static str; N],
    /// HELP text.
    pub help: &'static str,
    /// Upper bounds of the buckets in the unit of the name, ascending, without `+Inf`.
    pub buckets: &'static [f64],
}

/// What kind of family an [`Entry`] stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FamilyKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts samples by bucket; holds the upper bounds.
    Histogram(&'static [f64]),
}

/// One family without its label count in the type, for lists and for documentation.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name as exported.
    pub name: &'static str,
    /// Label names in order.
    pub labels: &'static [&'static str],
    /// HELP text.
    pub help: &'static str,
    /// Kind.
    pub kind: FamilyKind,
}

macro_rules! families {
    (@ty counter $n:expr) => { CounterFamily<{ $n }> };
    (@ty gauge $n:expr) => { GaugeFamily<{ $n }> };
    (@ty histogram $n:expr) => { HistogramFamily<{ $n }> };
    (@new counter $name:literal $labels:expr, $help:literal) => {
        CounterFamily { name: $name, labels: $labels, help: $help }
    };
    (@new gauge $name:literal $labels:expr, $help:literal) => {
        GaugeFamily { name: $name, labels: $labels, help: $help }
    };
    (@new histogram $name:literal $labels:expr, $help:literal, $buckets:expr) => {
        HistogramFamily { name: $name, labels: $labels, help: $help, buckets: $buckets }
    };
    (@kind counter) => { FamilyKind::Counter };
    (@kind gauge) => { FamilyKind::Gauge };
    (@kind histogram $buckets:expr) => { FamilyKind::Histogram($buckets) };
    ($($id:ident = $kind:ident $name:literal $labels:expr, $help:literal $(, $buckets:expr)?;)*) => {
        $(
            #[doc = $help]
            pub static $id: families!(@ty $kind $labels.len()) =
                families!(@new $kind $name $labels, $help $(, $buckets)?);
        )*

        /// Every family, in the order of this file.
        pub static ALL: &[Entry] = &[$(Entry {
            name: $name,
            labels: &$labels,
            help: $help,
            kind: families!(@kind $kind $($buckets)?),
        },)*];
    };
}

/// Labels of the HTTP families, in the order Istio writes them.
pub const HTTP_LABELS: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// Labels of the TCP families: those of HTTP without the two codes.
pub const TCP_LABELS: [&str; 23] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

const NONE: [&str; 0] = [];

/// Envoy's default bounds, in milliseconds for durations. Envoy uses the same numbers for sizes in
/// bytes, and so do we: a dashboard that adds both sources up needs equal buckets.
pub const ENVOY_BUCKETS: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Seconds, from a lookup in memory to a stalled handshake.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

families! {
    REQUESTS = counter "istio_requests_total" HTTP_LABELS,
        "Requests answered, by destination and response.";
    REQUEST_DURATION = histogram "istio_request_duration_milliseconds" HTTP_LABELS,
        "Time from the first byte of a request to the last byte of its response, in milliseconds.",
        ENVOY_BUCKETS;
    REQUEST_BYTES = histogram "istio_request_bytes" HTTP_LABELS,
        "Size of request bodies in bytes.", ENVOY_BUCKETS;
    RESPONSE_BYTES = histogram "istio_response_bytes" HTTP_LABELS,
        "Size of response bodies in bytes.", ENVOY_BUCKETS;
    TCP_OPENED = counter "istio_tcp_connections_opened_total" TCP_LABELS,
        "TCP connections opened.";
    TCP_CLOSED = counter "istio_tcp_connections_closed_total" TCP_LABELS,
        "TCP connections closed.";
    TCP_SENT = counter "istio_tcp_sent_bytes_total" TCP_LABELS,
        "Bytes sent to clients over TCP connections.";
    TCP_RECEIVED = counter "istio_tcp_received_bytes_total" TCP_LABELS,
        "Bytes received from clients over TCP connections.";

    CONFIG_GENERATION = gauge "pointsman_config_generation" NONE,
        "Number of the snapshot generation that is active on every shard.";
    CONFIG_SEEN = gauge "pointsman_config_seen_timestamp_seconds" NONE,
        "Unix time at which the newest change of the manifests was seen.";
    CONFIG_COMPILED = gauge "pointsman_config_compiled_timestamp_seconds" NONE,
        "Unix time at which the newest snapshot was compiled.";
    CONFIG_ACTIVE = gauge "pointsman_config_active_timestamp_seconds" NONE,
        "Unix time at which the newest snapshot was active on every shard.";
    CONFIG_COMPILE_SECONDS = histogram "pointsman_config_compile_seconds" NONE,
        "Time to compile a snapshot, in seconds.", SECONDS;
    CONFIG_FINDINGS = gauge "pointsman_config_findings" ["code", "level"],
        "Findings about the manifests that serve now.";
    SNAPSHOT_CONNECTIONS = gauge "pointsman_snapshot_connections" ["generation", "shard"],
        "Connections that still use a snapshot generation; the series ends when none is left.";

    CONNECTIONS_OPEN = gauge "pointsman_connections_open" ["shard"],
        "Client connections open now.";
    DETECTION_OUTCOMES = counter "pointsman_detection_outcomes_total" ["outcome"],
        "Connections on undeclared ports, by what they turned out to be.";
    DETECTION_SECONDS = histogram "pointsman_detection_seconds" NONE,
        "Time until the protocol of a connection was known, in seconds.", SECONDS;
    SELF_CONNECT_REFUSED = counter "pointsman_self_connect_refused_total" NONE,
        "Connections refused because their destination was this process.";
    BIND_FAILURES = counter "pointsman_bind_failures_total" ["listener"],
        "Listeners that could not be bound.";
    REFUSED = counter "pointsman_refused_bytes_total" ["reason"],
        "Malformed or ambiguous messages refused, by reason.";
    MIRRORS = counter "pointsman_mirrors_total" ["outcome"],
        "Copies of requests for mirrors, by what became of them.";
    RETRIES = counter "pointsman_retries_total" ["outcome"],
        "Tries that had a reason for another one, by what became of it.";
    LIMITS_HIT = counter "pointsman_limits_hit_total" ["limit"],
        "Times a configured limit refused or cut something, by limit.";

    ACTOR_RESTARTS = counter "pointsman_actor_restarts_total" ["actor"],
        "Actors restarted after they died.";
    MAILBOX_REFUSED = counter "pointsman_mailbox_refused_total" ["actor"],
        "Messages refused because the mailbox was full.";
    EVENT_LOOP_LAG = gauge "pointsman_event_loop_lag_seconds" ["shard"],
        "How late the shard's last tick was, in seconds.";

    METRICS_OVERFLOW = counter "pointsman_metrics_overflow_total" ["family"],
        "Times a series was folded into label values `other` because its family was full.";
    ACCESS_LOG_LOST = counter "pointsman_access_log_lost_total" ["sink"],
        "Access log records that did not reach their sink.";
    SCRAPES = counter "pointsman_scrapes_total" NONE,
        "Scrapes of the metrics endpoint answered.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        for family in ALL {
            assert!(seen.insert(family.name), "{} twice", family.name);
            assert!(
                family.name.starts_with("istio_") || family.name.starts_with("pointsman_"),
                "{}",
                family.name
            );
            let total = family.name.ends_with("_total");
            assert_eq!(total, family.kind == FamilyKind::Counter, "{}", family.name);
            assert!(family.help.ends_with('.'), "{}", family.name);
            let labels: HashSet<_> = family.labels.iter().collect();
            assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
            if let FamilyKind::Histogram(buckets) = family.kind {
                assert!(buckets.windows(2).all(|w| w[0] < w[1]), "{}", family.name);
            }
        }
    }

    #[test]
    fn tcp_labels_are_the_http_labels_without_the_codes() {
        let without: Vec<_> = HTTP_LABELS
            .into_iter()
            .filter(|l| !matches!(*l, "response_code" | "grpc_response_status"))
            .collect();
        assert_eq!(without, TCP_LABELS);
    }
}
