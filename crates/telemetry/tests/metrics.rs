//! What a scrape says after traffic: label sets, counts and sums as people and dashboards see them.
use pointsman_telemetry::{
    ClusterLabels, ClusterStats, Flags, Recorder, RequestProtocol, SourceLabels,
    cluster::{MAX_HTTP_OUTCOMES, MAX_TCP_OUTCOMES},
    names,
    recorder::Settings,
};
use std::{sync::Arc, time::Duration};

fn reviews() -> ClusterLabels {
    ClusterLabels {
        service_host: "reviews.default.svc.cluster.local".into(),
        service_name: "reviews".into(),
        service_namespace: "default".into(),
    }
}

fn stats(labels: ClusterLabels) -> ClusterStats {
    ClusterStats::new(Arc::new(SourceLabels::default()), labels)
}

fn lines<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    text.lines()
        .filter(|line| line.starts_with(start))
        .collect()
}

/// The value of the one line that starts with `start` and contains every part.
fn value(text: &str, start: &str, parts: &[&str]) -> f64 {
    let found: Vec<_> = lines(text, start)
        .into_iter()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .collect();
    let [line] = found[..] else {
        panic!("{start} {parts:?}: {found:#?}\n{text}");
    };
    line.rsplit(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .expect("a number")
}

const SOURCE: &str = "reporter=\"source\",source_workload=\"unknown\",\
    source_canonical_service=\"unknown\",source_canonical_revision=\"latest\",\
    source_workload_namespace=\"unknown\",source_principal=\"unknown\",source_app=\"unknown\",\
    source_version=\"unknown\",source_cluster=\"unknown\",";

const REVIEWS: &str = "destination_workload=\"unknown\",\
    destination_workload_namespace=\"unknown\",destination_principal=\"unknown\",\
    destination_app=\"unknown\",destination_version=\"unknown\",\
    destination_service=\"reviews.default.svc.cluster.local\",\
    destination_canonical_service=\"unknown\",destination_canonical_revision=\"latest\",\
    destination_service_name=\"reviews\",destination_service_namespace=\"default\",\
    destination_cluster=\"unknown\",";

#[test]
fn http_series_carry_istios_labels_in_istios_order() {
    let (recorder, stats) = (Recorder::default(), stats(reviews()));
    stats.request(
        503,
        Flags::UF | Flags::URX,
        RequestProtocol::Http,
        1_000,
        0,
        95,
    );
    stats.request(
        200,
        Flags::EMPTY,
        RequestProtocol::Grpc(Some(14)),
        1_000,
        5,
        5,
    );
    stats.request(
        200,
        Flags::EMPTY,
        RequestProtocol::Grpc(Some(200)),
        1_000,
        5,
        5,
    );
    stats.flush(&recorder);
    let text = recorder.render();
    let mut got = lines(&text, "istio_requests_total{");
    got.sort_unstable();
    let series = |protocol, code, grpc, flags| {
        format!(
            "istio_requests_total{{{SOURCE}{REVIEWS}request_protocol=\"{protocol}\",\
             response_code=\"{code}\",grpc_response_status=\"{grpc}\",response_flags=\"{flags}\",\
             connection_security_policy=\"unknown\"}} 1"
        )
    };
    assert_eq!(
        got,
        [
            series("grpc", 200, "14", "-"),
            series("grpc", 200, "2", "-"),
            series("http", 503, "", "URX,UF"),
        ]
    );
    assert_eq!(
        lines(&text, "# TYPE istio_requests_total"),
        ["# TYPE istio_requests_total counter"]
    );
    assert_eq!(lines(&text, "# HELP istio_requests_total").len(), 1);
}

#[test]
fn tcp_series_carry_istios_labels_and_bytes_add_up() {
    let (recorder, stats) = (Recorder::default(), stats(ClusterLabels::PASSTHROUGH));
    stats.tcp_opened();
    stats.tcp_opened();
    stats.tcp_bytes(100, 10);
    stats.flush(&recorder);
    stats.tcp_bytes(11, 1);
    stats.tcp_closed(Flags::EMPTY, 1_000, 500);
    stats.tcp_closed(Flags::DC, 7, 0);
    stats.flush(&recorder);
    let text = recorder.render();
    assert_eq!(
        lines(&text, "istio_tcp_connections_opened_total{"),
        [format!(
            "istio_tcp_connections_opened_total{{{SOURCE}{}request_protocol=\"tcp\",\
             response_flags=\"-\",connection_security_policy=\"unknown\"}} 2",
            REVIEWS
                .replace("_name=\"reviews\"", "_name=\"PassthroughCluster\"")
                .replace("reviews.default.svc.cluster.local", "unknown")
                .replace("_namespace=\"default\"", "_namespace=\"unknown\"")
        )]
    );
    let none = ["response_flags=\"-\""];
    let gone = ["response_flags=\"DC\""];
    assert_eq!(
        value(&text, "istio_tcp_connections_closed_total{", &none),
        1.0
    );
    assert_eq!(
        value(&text, "istio_tcp_connections_closed_total{", &gone),
        1.0
    );
    assert_eq!(value(&text, "istio_tcp_sent_bytes_total{", &none), 1_111.0);
    assert_eq!(value(&text, "istio_tcp_sent_bytes_total{", &gone), 7.0);
    assert_eq!(
        value(&text, "istio_tcp_received_bytes_total{", &none),
        511.0
    );
    // A series begins with its first count.
    assert_eq!(lines(&text, "istio_tcp_received_bytes_total{").len(), 1);
}

#[test]
fn flushes_of_several_shards_add_up_exactly() {
    let recorder = Recorder::default();
    let shards = [stats(reviews()), stats(reviews())];
    for tick in 0..4_u64 {
        for shard in &shards {
            for us in [0, 500, 501, 1_000, 24_999, 25_000, 25_001, 7_200_000_000] {
                shard.request(200, Flags::EMPTY, RequestProtocol::Http, us, tick, 1_024);
            }
            shard.flush(&recorder);
            // Nothing new: adds nothing.
            shard.flush(&recorder);
        }
    }
    let text = recorder.render();
    assert_eq!(value(&text, "istio_requests_total{", &[]), 64.0);
    for (le, per_round) in [
        ("0.5", 2.0),
        ("1", 4.0),
        ("5", 4.0),
        ("25", 6.0),
        ("50", 7.0),
        ("3600000", 7.0),
        ("+Inf", 8.0),
    ] {
        let le = format!("le=\"{le}\"");
        let buckets = "istio_request_duration_milliseconds_bucket{";
        assert_eq!(value(&text, buckets, &[&le]), 8.0 * per_round, "{le}");
    }
    let sum = value(&text, "istio_request_duration_milliseconds_sum{", &[]);
    let want = 8.0 * (0.5 + 0.501 + 1.0 + 24.999 + 25.0 + 25.001 + 7_200_000.0);
    assert!((sum - want).abs() < 1e-6, "{sum} {want}");
    assert_eq!(
        value(&text, "istio_request_duration_milliseconds_count{", &[]),
        64.0
    );
    assert_eq!(
        value(&text, "istio_request_bytes_sum{", &[]),
        16.0 * (1.0 + 2.0 + 3.0)
    );
    assert_eq!(
        value(&text, "istio_request_bytes_bucket{", &["le=\"0.5\""]),
        16.0
    );
    assert_eq!(value(&text, "istio_response_bytes_sum{", &[]), 65_536.0);
    assert_eq!(
        lines(&text, "# TYPE istio_request_duration_milliseconds"),
        ["# TYPE istio_request_duration_milliseconds histogram"]
    );
}

#[test]
fn a_full_family_folds_into_other_and_says_so() {
    let recorder = Recorder::new(&Settings {
        max_label_sets: 3,
        ..Settings::default()
    });
    for actor in ["a", "b", "c", "d", "e", "a"] {
        recorder
            .counter(&names::ACTOR_RESTARTS, [actor])
            .increment(1);
        // The bound is each family's own.
        recorder
            .counter(&names::MAILBOX_REFUSED, ["one"])
            .increment(1);
    }
    let text = recorder.render();
    let mut got = lines(&text, "pointsman_actor_restarts_total{");
    got.sort_unstable();
    assert_eq!(
        got,
        [
            "pointsman_actor_restarts_total{actor=\"a\"} 2",
            "pointsman_actor_restarts_total{actor=\"b\"} 1",
            "pointsman_actor_restarts_total{actor=\"c\"} 1",
            "pointsman_actor_restarts_total{actor=\"other\"} 2",
        ]
    );
    assert_eq!(
        lines(&text, "pointsman_metrics_overflow_total"),
        ["pointsman_metrics_overflow_total{family=\"pointsman_actor_restarts_total\"} 2"]
    );
    assert_eq!(value(&text, "pointsman_mailbox_refused_total{", &[]), 6.0);
}

/// Documents come and go for weeks.
#[test]
fn backends_that_are_gone_make_room_in_a_full_family() {
    let recorder = Recorder::new(&Settings {
        max_label_sets: 3,
        unused: Duration::ZERO,
    });
    let served = |name: &'static str| {
        let stats = stats(ClusterLabels {
            service_name: name.into(),
            ..reviews()
        });
        stats.request(200, Flags::EMPTY, RequestProtocol::Http, 1, 1, 1);
        stats.tcp_opened();
        stats.flush(&recorder);
        stats
    };
    let [old, stays, also] = ["old", "stays", "also"].map(served);
    let told = |family: &str| {
        let text = recorder.render();
        let mut names: Vec<String> = lines(&text, family)
            .iter()
            .filter_map(|line| line.split("destination_service_name=\"").nth(1))
            .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
            .collect();
        names.sort_unstable();
        names
    };
    drop(old);
    // It is not gone for who looks, while there is room.
    assert_eq!(told("istio_requests_total{"), ["also", "old", "stays"]);
    let new = served("new");
    for family in [
        "istio_requests_total{",
        "istio_request_duration_milliseconds_count{",
        "istio_tcp_connections_opened_total{",
    ] {
        assert_eq!(told(family), ["also", "new", "stays"]);
    }
    // Whose users are there makes none.
    let more = served("more");
    assert_eq!(
        told("istio_requests_total{"),
        ["also", "new", "other", "stays"]
    );
    drop((stays, also, new, more));
}

#[test]
fn an_upstream_with_ever_new_codes_is_folded() {
    let (recorder, stats) = (Recorder::default(), stats(reviews()));
    for code in 100..600 {
        stats.request(code, Flags::EMPTY, RequestProtocol::Http, 1, 1, 1);
        stats.flush(&recorder);
    }
    for bits in 0..40 {
        let (flag, _) = Flags::ALL[bits % 20];
        let (more, _) = Flags::ALL[bits / 20];
        stats.tcp_closed(flag | more, 1, 0);
    }
    stats.flush(&recorder);
    let text = recorder.render();
    assert_eq!(
        lines(&text, "istio_requests_total{").len(),
        MAX_HTTP_OUTCOMES + 1
    );
    let other = ["response_code=\"other\"", "response_flags=\"other\""];
    let folded = (500 - MAX_HTTP_OUTCOMES) as f64;
    assert_eq!(value(&text, "istio_requests_total{", &other), folded);
    let closed = lines(&text, "istio_tcp_connections_closed_total{");
    assert_eq!(closed.len(), MAX_TCP_OUTCOMES + 1);
    let total: f64 = closed
        .iter()
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(total, 40.0);
    assert_eq!(
        value(
            &text,
            "pointsman_metrics_overflow_total{",
            &["istio_requests_total"]
        ),
        1.0
    );
}

#[test]
fn retired_gauges_end_and_living_ones_stay() {
    let recorder = Recorder::default();
    let old = recorder.gauge(&names::SNAPSHOT_CONNECTIONS, ["1", "0"]);
    let new = recorder.gauge(&names::SNAPSHOT_CONNECTIONS, ["2", "0"]);
    old.set(3.0);
    new.set(4.0);
    let series = |text: &str| lines(text, "pointsman_snapshot_connections{").len();
    for _ in 0..3 {
        // Not updated in between, and still there.
        assert_eq!(series(&recorder.render()), 2);
    }
    old.set(3.0);
    recorder.retire(&names::SNAPSHOT_CONNECTIONS, ["1", "0"]);
    for _ in 0..2 {
        // Its last value would be taken for what there is now.
        let text = recorder.render();
        let still = lines(&text, "pointsman_snapshot_connections{generation=\"1\"");
        assert!(still.iter().all(|line| line.ends_with(" 0")), "{still:?}");
    }
    let text = recorder.render();
    assert_eq!(
        lines(&text, "pointsman_snapshot_connections{"),
        ["pointsman_snapshot_connections{generation=\"2\",shard=\"0\"} 4"]
    );
    // The label set may come back.
    recorder
        .gauge(&names::SNAPSHOT_CONNECTIONS, ["1", "0"])
        .set(1.0);
    for _ in 0..3 {
        assert_eq!(series(&recorder.render()), 2);
    }
}

#[test]
fn every_family_can_be_scraped_with_its_help_and_type() {
    let recorder = Recorder::default();
    recorder.gauge(&names::CONFIG_GENERATION, []).set(7);
    recorder
        .histogram(&names::DETECTION_SECONDS, [])
        .record(0.002);
    recorder.counter(&names::SCRAPES, []).increment(1);
    let text = recorder.render();
    for line in [
        "# TYPE pointsman_config_generation gauge",
        "pointsman_config_generation 7",
        "# TYPE pointsman_detection_seconds histogram",
        "pointsman_detection_seconds_bucket{le=\"0.001\"} 0",
        "pointsman_detection_seconds_bucket{le=\"0.0025\"} 1",
        "pointsman_detection_seconds_sum 0.002",
        "# HELP pointsman_scrapes_total Scrapes of the metrics endpoint answered.",
        "pointsman_scrapes_total 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn two_recorders_know_nothing_of_each_other_and_macros_reach_theirs() {
    let (one, two) = (Recorder::default(), Recorder::default());
    metrics::with_local_recorder(&one, || metrics::counter!("shop_orders_total").increment(5));
    assert!(one.render().contains("shop_orders_total 5"));
    assert!(!two.render().contains("shop_orders_total"));
}
