//! What documents turn into, rule by rule: the cases that the golden files show only in passing.
use pointsman_manifest::{Input, codes, parse};
use pointsman_model::{
    Code, DestinationRule, HostPattern, HttpRoute, KubeService, Level, Object, Protocol,
    Resolution, ServiceEntry, VirtualService,
    action::Abort,
    matches::StringMatch,
    policy::{Algorithm, TrafficPolicy},
};
use std::{sync::Arc, time::Duration};

/// The one document of a text, or the codes of its errors.
fn read(text: &str) -> Result<Object, Vec<Code>> {
    let mut parsed = parse(&Input {
        file: "test.yaml".into(),
        text,
        default_namespace: "default",
        cluster_domain: "cluster.local",
    });
    let errors: Vec<Code> = parsed
        .findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .map(|finding| finding.code)
        .collect();
    let document = parsed.documents.pop().expect("one document");
    document.result.map_err(|_| errors)
}

/// Codes and levels of what is said about a text.
fn said(text: &str) -> Vec<(Code, Level)> {
    let parsed = parse(&Input {
        file: "test.yaml".into(),
        text,
        default_namespace: "default",
        cluster_domain: "cluster.local",
    });
    let findings = parsed.findings.iter();
    findings
        .map(|finding| (finding.code, finding.level))
        .collect()
}

fn istio(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: it}}\nspec: {spec}\n"
    )
}

fn entry(spec: &str) -> Result<Arc<ServiceEntry>, Vec<Code>> {
    match read(&istio("ServiceEntry", spec))? {
        Object::ServiceEntry(entry) => Ok(entry),
        other => panic!("{other:?}"),
    }
}

fn virtual_service(spec: &str) -> Result<Arc<VirtualService>, Vec<Code>> {
    match read(&istio("VirtualService", spec))? {
        Object::VirtualService(service) => Ok(service),
        other => panic!("{other:?}"),
    }
}

/// A rule of a VirtualService for `web`, with a route.
fn rule(fields: &str) -> Result<HttpRoute, Vec<Code>> {
    let route = "route: [{destination: {host: web}}]";
    let service = virtual_service(&format!("{{hosts: [web], http: [{{{fields}, {route}}}]}}"))?;
    Ok(service.http.first().expect("a rule").clone())
}

fn destination_rule(spec: &str) -> Result<Arc<DestinationRule>, Vec<Code>> {
    match read(&istio("DestinationRule", spec))? {
        Object::DestinationRule(rule) => Ok(rule),
        other => panic!("{other:?}"),
    }
}

fn policy(fields: &str) -> TrafficPolicy {
    let rule = destination_rule(&format!("{{host: web, trafficPolicy: {{{fields}}}}}"));
    rule.expect("good").policy.clone().expect("a policy")
}

fn service(spec: &str) -> Arc<KubeService> {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: it}}\nspec: {{clusterIP: 10.0.0.1, {spec}}}"
    );
    match read(&text).expect("good") {
        Object::Service(service) => service,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ports_of_entries_declare_by_one_whole_word() {
    let protocol = |port: &str| {
        let spec = format!("{{hosts: [a.example.com], resolution: DNS, ports: [{port}]}}");
        entry(&spec).map(|entry| entry.ports[0].protocol)
    };
    // PS-33
    for (word, expected) in [
        ("grpc-web", Protocol::GrpcWeb),
        ("hTTp", Protocol::Http),
        ("MySQL", Protocol::Mysql),
    ] {
        let port = format!("{{number: 80, name: x, protocol: {word}}}");
        assert_eq!(protocol(&port), Ok(expected));
    }
    // PS-33, PS-34: an unknown word is an error, the special values of Services are unknown.
    for word in ["http-foo", "kubernetes.io/h2c", "auto"] {
        let port = format!("{{number: 80, name: x, protocol: {word}}}");
        assert_eq!(protocol(&port), Err(vec![codes::PORTS]), "{word}");
    }
    // PS-34: none is auto, whatever the name says; PS-35: and whatever the number is.
    for port in [
        "{number: 80, name: http}",
        "{number: 80, name: tcp-db, protocol: ''}",
        "{number: 3306, name: mysql}",
        "{number: 25, name: x}",
    ] {
        assert_eq!(protocol(port), Ok(Protocol::Auto), "{port}");
    }
}

#[test]
fn who_may_see_a_document_is_written_in_two_ways() {
    // VIS-7
    let text = "apiVersion: v1\nkind: Service\n\
                metadata: {name: it, annotations: {networking.istio.io/exportTo: 'a, .'}}\n\
                spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}";
    let meta = |object: &Object| object.meta().export_to.clone();
    let listed: Vec<Arc<str>> = vec!["a".into(), ".".into()];
    assert_eq!(meta(&read(text).expect("good")), listed);
    for (kind, spec) in [
        ("ServiceEntry", "hosts: [a.example.com], resolution: DNS"),
        (
            "VirtualService",
            "hosts: [a], http: [{directResponse: {status: 200}}]",
        ),
        ("DestinationRule", "host: a"),
    ] {
        let text = istio(kind, &format!("{{{spec}, exportTo: [a, .]}}"));
        assert_eq!(meta(&read(&text).expect("good")), listed, "{kind}");
    }
}

#[test]
fn ranges_are_addresses_or_prefixes() {
    // VS-T-13
    let subnets = |list: &str| {
        let tcp = format!(
            "[{{match: [{{destinationSubnets: [{list}]}}], route: [{{destination: {{host: a}}}}]}}]"
        );
        let service = virtual_service(&format!("{{hosts: [a], tcp: {tcp}}}"))?;
        let nets = service.tcp[0].matches[0].destination_subnets.iter();
        Ok(nets.map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        subnets("10.0.0.0/8, 192.0.2.1, 'fd00::1'"),
        Ok(vec![
            "10.0.0.0/8".to_owned(),
            "192.0.2.1/32".to_owned(),
            "fd00::1/128".to_owned()
        ])
    );
    for bad in ["10.0.0.0/33", "web", "10.0.0"] {
        let errors: Vec<Code> = subnets(bad).expect_err(bad);
        assert_eq!(errors.len(), 1, "{bad}");
    }
}

#[test]
fn what_istio_does_not_implement_is_told_and_does_nothing() {
    // VS-T-8
    let text = istio(
        "VirtualService",
        "{hosts: [a], tcp: [{match: [{sourceSubnet: 10.0.0.0/8, port: 80}], \
         route: [{destination: {host: a}}]}]}",
    );
    assert_eq!(said(&text), [(codes::NOT_SUPPORTED, Level::Info)]);
    assert!(read(&text).is_ok());
    // VS-H-85: refused, as Istio does, rather than accepted without effect.
    let fault = rule(
        "fault: {delay: {exponentialDelay: 1s, percentage: {value: 100}}, \
         abort: {http2Error: REFUSED_STREAM, percentage: {value: 100}}}",
    );
    assert_eq!(fault.expect_err("both"), [codes::VALUE, codes::VALUE]);
    // VS-H-33: for gateways only; there no request has such a field yet, and it is said.
    let claim = "match: [{headers: {'@request.auth.claims.sub': {exact: me}}}]";
    let bound = |gateway: &str| {
        let rule = format!("{claim}, directResponse: {{status: 200}}");
        let spec = format!("{{hosts: [a.example.com], gateways: [{gateway}], http: [{{{rule}}}]}}");
        istio("VirtualService", &spec)
    };
    assert_eq!(said(&bound("edge")), [(codes::NOT_SUPPORTED, Level::Info)]);
    assert_eq!(said(&bound("mesh")), [(codes::COMBINATION, Level::Error)]);
    // VS-H-34, VS-H-35: names are carried, statistics are not.
    let named = "name: a, match: [{name: b, statPrefix: c, uri: {exact: /}}]";
    let one = rule(named).expect("good");
    assert_eq!(one.name.as_deref(), Some("a"));
    assert_eq!(one.matches[0].name.as_deref(), Some("b"));
}

#[test]
fn faults_and_mirrors_have_shares() {
    // VS-H-80: to a ten-thousandth of a percent; VS-H-81: none is none, and an old spelling.
    let delay = |fields: &str| {
        let fault = rule(&format!("fault: {{delay: {{fixedDelay: 1s{fields}}}}}"));
        fault.expect("good").fault.expect("one").delay.expect("one")
    };
    let second = Duration::from_secs(1);
    assert_eq!(delay(", percentage: {value: 0.0001}"), (second, 1));
    assert_eq!(delay(", percentage: {value: 100}"), (second, 1_000_000));
    assert_eq!(delay(""), (second, 0));
    assert_eq!(delay(", percent: 50"), (second, 500_000));
    let abort = rule("fault: {abort: {grpcStatus: UNAVAILABLE}}").expect("good");
    let abort = abort.fault.expect("one").abort;
    assert!(matches!(abort, Some((Abort::Grpc(14), 0))), "{abort:?}");
    // VS-H-86
    let shares = |fields: &str| {
        let rule = rule(fields).expect("good");
        rule.mirrors.iter().map(|it| it.share).collect::<Vec<_>>()
    };
    assert_eq!(shares("mirror: {host: b}"), [1_000_000]);
    assert_eq!(
        shares("mirror: {host: b}, mirrorPercentage: {value: 0}"),
        [0]
    );
    let two =
        "mirrors: [{destination: {host: b}}, {destination: {host: c}, percentage: {value: 5}}]";
    assert_eq!(shares(two), [1_000_000, 50_000]);
}

#[test]
fn cors_and_retries_are_read() {
    // VS-H-98, and VS-H-97: unset is not false.
    let cors = |fields: &str| {
        let rule = rule(&format!("corsPolicy: {{{fields}}}")).expect("good");
        rule.cors.expect("a policy")
    };
    let both = cors("allowOrigin: ['https://a'], allowOrigins: [{prefix: 'http://'}]");
    assert_eq!(
        both.allow_origins,
        [
            StringMatch::Exact("https://a".into()),
            StringMatch::Prefix("http://".into())
        ]
    );
    assert_eq!(both.allow_credentials, None);
    assert_eq!(
        cors("allowCredentials: false").allow_credentials,
        Some(false)
    );

    // VS-H-79c: every word is known; VS-H-74: and every status.
    let words = "5xx,gateway-error,reset,reset-before-request,connect-failure,refused-stream,\
                 retriable-4xx,retriable-status-codes,retriable-headers,envoy-ratelimited,\
                 http3-post-connect-failure,cancelled,deadline-exceeded,internal,\
                 resource-exhausted,unavailable,100,503,599";
    let retries = rule(&format!("retries: {{attempts: 3, retryOn: '{words}'}}"));
    let retries = retries.expect("good").retries.expect("retries");
    assert_eq!(
        (retries.attempts, retries.retry_on.as_deref()),
        (3, Some(words))
    );
    for unknown in ["6xx", "99", "600", "timeout"] {
        let read = rule(&format!("retries: {{attempts: 1, retryOn: '{unknown}'}}"));
        assert_eq!(read.expect_err(unknown), [codes::WORD]);
    }
}

#[test]
fn refused_conditions() {
    // VS-H-163, VS-H-17, VS-H-19.
    let long = "a".repeat(1025);
    for bad in ["(", "*", "", &long] {
        let read = rule(&format!("match: [{{uri: {{regex: '{bad}'}}}}]"));
        assert_eq!(read.expect_err(bad), [codes::CONDITION]);
    }
    let read = rule("match: [{method: {prefix: ''}}]");
    assert_eq!(read.expect_err("empty"), [codes::CONDITION]);
    assert!(rule("match: [{uri: {prefix: ''}}]").is_ok());
    assert!(rule(&format!("match: [{{uri: {{regex: '{}'}}}}]", &long[1..])).is_ok());
    // VS-H-169: a warning.
    let text = istio(
        "VirtualService",
        "{hosts: [a], http: [{match: [{gateways: [edge]}], directResponse: {status: 200}}]}",
    );
    assert_eq!(said(&text), [(codes::MATCH_GATEWAY, Level::Warning)]);
}

#[test]
fn policies_are_read_with_their_defaults() {
    let balancer = |word: &str| {
        let policy = policy(&format!("loadBalancer: {{simple: {word}}}"));
        policy.blocks.load_balancer.expect("one").algorithm
    };
    for (rule, word, expected) in [
        ("BE-30", "UNSPECIFIED", Algorithm::LeastRequest),
        ("BE-30", "LEAST_REQUEST", Algorithm::LeastRequest),
        ("BE-31", "LEAST_CONN", Algorithm::LeastRequest),
        ("BE-32", "ROUND_ROBIN", Algorithm::RoundRobin),
        ("BE-33", "RANDOM", Algorithm::Random),
        ("BE-34", "PASSTHROUGH", Algorithm::Passthrough),
    ] {
        assert_eq!(balancer(word), expected, "{rule}");
    }
    // BE-76: 0 is "not given".
    let pool = policy("connectionPool: {tcp: {maxConnections: 0}, http: {maxRetries: 7}}");
    let pool = pool.blocks.connection_pool.expect("one");
    assert_eq!((pool.max_connections, pool.max_retries), (None, Some(7)));
    // BE-75
    let budget = policy("retryBudget: {}").retry_budget.expect("one");
    assert_eq!((budget.percent, budget.min_concurrency), (20, 3));
    // BE-91
    assert_eq!(policy("proxyProtocol: {}").proxy_protocol, Some(1));
    // BE-21: all blocks are there, and none where none is written.
    let all = policy(
        "connectionPool: {tcp: {maxConnections: 1}}, loadBalancer: {simple: RANDOM}, \
         outlierDetection: {interval: 1s}, tls: {mode: DISABLE}, \
         portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]",
    );
    let blocks = &all.blocks;
    assert!(blocks.connection_pool.is_some() && blocks.load_balancer.is_some());
    assert!(blocks.outlier_detection.is_some() && blocks.tls.is_some());
    assert_eq!(all.ports.len(), 1);
    let none = destination_rule("{host: web}").expect("good");
    assert_eq!(none.policy, None);
    // BE-11
    assert_eq!(
        none.host,
        HostPattern::Exact("web.default.svc.cluster.local".into())
    );
}

#[test]
fn entries_and_their_endpoints() {
    let read = entry(
        "{hosts: [a.example.com], resolution: STATIC, location: MESH_INTERNAL, \
         ports: [{number: 80, name: http, protocol: HTTP}], \
         endpoints: [{address: 10.1.1.1}, {address: 10.1.1.2, weight: 0}, \
         {address: 10.1.1.3, weight: 5}]}",
    );
    let read = read.expect("good");
    // BE-109
    let weights: Vec<u32> = read.endpoints.iter().map(|it| it.weight).collect();
    assert_eq!(weights, [1, 1, 5]);
    // BE-104: known, and nothing else depends on it.
    assert!(read.mesh_internal);
    // BE-92: the default.
    let none = entry("{hosts: [a.example.com], ports: [{number: 80, name: a}]}").expect("good");
    assert_eq!(none.resolution, Resolution::None);
    // LIS-5: what cannot be read is left out, with a warning.
    let spec = "{hosts: [a.example.com], addresses: [10.1.1.1/32, nonsense, 10.2.0.0/16], \
                ports: [{number: 80, name: a}]}";
    let nets: Vec<String> = entry(spec)
        .expect("good")
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(nets, ["10.1.1.1/32", "10.2.0.0/16"]);
    let text = istio("ServiceEntry", spec);
    assert_eq!(said(&text), [(codes::VALUE, Level::Warning)]);
}

#[test]
fn fields_of_services_that_decide_nothing_are_accepted_in_silence() {
    // BE-36, BE-117, BE-122.
    let plain = service("ports: [{port: 80}]");
    let more = service(
        "ports: [{port: 80}], sessionAffinity: ClientIP, publishNotReadyAddresses: true, \
         externalTrafficPolicy: Local",
    );
    assert_eq!(
        (&plain.kind, &plain.selector, plain.internal_traffic_local),
        (&more.kind, &more.selector, more.internal_traffic_local)
    );
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: it}\n\
                spec: {clusterIP: 10.0.0.1, ports: [{port: 80}], sessionAffinity: ClientIP, \
                publishNotReadyAddresses: true, externalTrafficPolicy: Local}";
    assert_eq!(said(text), []);
    // BE-114: endpoints that are names are left out.
    let text = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                metadata: {name: it, labels: {kubernetes.io/service-name: web}}\n\
                addressType: FQDN\nports: [{port: 80}]\nendpoints: [{addresses: [a.example.com]}]";
    let Ok(Object::Endpoints(set)) = read(text) else {
        panic!("endpoints");
    };
    assert!(set.groups.iter().all(|group| group.endpoints.is_empty()));
}
