//! Cases that are settled by reading a document: which protocol a port has, and what is refused.
use pointsman_manifest::{Input, Parsed, parse};
use pointsman_model::{Level, Object, Protocol};

fn read(kind: &str, spec: &str) -> Parsed {
    let api = match kind {
        "Service" => "v1",
        _ => "networking.istio.io/v1",
    };
    let text = format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: it}}\nspec: {spec}\n");
    parse(&Input {
        file: "case.yaml".into(),
        text: &text,
        default_namespace: "default",
        cluster_domain: "cluster.local",
    })
}

/// Kind, one port of it, and the protocol that gives. Kubernetes refuses capital letters in a port's
/// name, as we do, so T-PS-3 can only come up as an `appProtocol`.
const PORTS: &[(&str, &str, &str, Protocol)] = &[
    ("T-PS-1", "Service", "name: http, port: 80", Protocol::Http),
    (
        "T-PS-2",
        "Service",
        "name: http2-x, port: 80",
        Protocol::Http2,
    ),
    (
        "T-PS-3",
        "Service",
        "port: 80, appProtocol: HTTP-web",
        Protocol::Http,
    ),
    (
        "T-PS-4",
        "Service",
        "name: httpweb, port: 80",
        Protocol::Auto,
    ),
    (
        "T-PS-5",
        "Service",
        "name: web-http, port: 80",
        Protocol::Auto,
    ),
    ("T-PS-6", "Service", "port: 80", Protocol::Auto),
    (
        "T-PS-7",
        "Service",
        "name: grpc-web, port: 80",
        Protocol::GrpcWeb,
    ),
    (
        "T-PS-8",
        "Service",
        "name: grpc-web-admin, port: 80",
        Protocol::GrpcWeb,
    ),
    (
        "T-PS-9",
        "Service",
        "name: grpc-admin, port: 80",
        Protocol::Grpc,
    ),
    (
        "T-PS-10",
        "Service",
        "name: https-x, port: 443",
        Protocol::Https,
    ),
    ("T-PS-11", "Service", "name: tls, port: 443", Protocol::Tls),
    (
        "T-PS-12",
        "Service",
        "name: mongo, port: 1234",
        Protocol::Mongo,
    ),
    (
        "T-PS-13",
        "Service",
        "name: redis-master, port: 6379",
        Protocol::Redis,
    ),
    (
        "T-PS-14",
        "Service",
        "name: mysql, port: 3307",
        Protocol::Mysql,
    ),
    (
        "T-PS-15",
        "Service",
        "name: http, port: 80, protocol: UDP",
        Protocol::Udp,
    ),
    (
        "T-PS-16",
        "Service",
        "name: udp-x, port: 80, protocol: TCP",
        Protocol::Udp,
    ),
    (
        "T-PS-17",
        "Service",
        "name: tcp-x, port: 80, appProtocol: http",
        Protocol::Http,
    ),
    (
        "T-PS-18",
        "Service",
        "name: http, port: 80, appProtocol: example.com/foo",
        Protocol::Auto,
    ),
    (
        "T-PS-19",
        "Service",
        "name: x, port: 80, appProtocol: kubernetes.io/h2c",
        Protocol::Http2,
    ),
    (
        "T-PS-20",
        "Service",
        "port: 80, appProtocol: kubernetes.io/ws",
        Protocol::Http,
    ),
    (
        "T-PS-21",
        "Service",
        "port: 80, appProtocol: kubernetes.io/wss",
        Protocol::Https,
    ),
    (
        "T-PS-22",
        "Service",
        "port: 80, appProtocol: Kubernetes.io/H2C",
        Protocol::Auto,
    ),
    (
        "T-PS-23",
        "Service",
        "port: 80, appProtocol: http-foo",
        Protocol::Http,
    ),
    ("T-PS-24", "Service", "name: db, port: 3306", Protocol::Tcp),
    (
        "T-PS-25",
        "Service",
        "name: http-db, port: 3306",
        Protocol::Http,
    ),
    ("T-PS-26", "Service", "port: 25", Protocol::Tcp),
    ("T-PS-26", "Service", "port: 53", Protocol::Tcp),
    ("T-PS-26", "Service", "port: 27017", Protocol::Tcp),
    (
        "T-PS-27",
        "Service",
        "port: 3306, appProtocol: example.com/foo",
        Protocol::Tcp,
    ),
    (
        "T-PS-28",
        "ServiceEntry",
        "name: db, number: 3306",
        Protocol::Auto,
    ),
    (
        "T-PS-30",
        "ServiceEntry",
        "name: x, number: 80, protocol: Grpc-Web",
        Protocol::GrpcWeb,
    ),
    (
        "T-PS-31",
        "ServiceEntry",
        "name: http, number: 80, protocol: TCP",
        Protocol::Tcp,
    ),
];

#[test]
fn ports_declare_their_protocol() {
    for (case, kind, port, expected) in PORTS {
        let parsed = match *kind {
            "Service" => read(
                kind,
                &format!("{{clusterIP: 10.0.0.1, ports: [{{{port}}}]}}"),
            ),
            _ => read(
                kind,
                &format!("{{hosts: [a.example.com], ports: [{{{port}}}]}}"),
            ),
        };
        let ports = match &parsed.documents[0].result {
            Ok(Object::Service(service)) => &service.ports,
            Ok(Object::ServiceEntry(entry)) => &entry.ports,
            other => panic!("{case}: {other:?} {:?}", parsed.findings),
        };
        assert_eq!(ports[0].protocol, *expected, "{case}: {port}");
    }
}

/// What validation refuses, with the code of the finding.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "T-PS-29",
        "ServiceEntry",
        "{hosts: [a.example.com], ports: [{name: x, number: 80, protocol: http-foo}]}",
        "PM0019",
    ),
    (
        "T-PS-32",
        "Gateway",
        "{selector: {a: b}, servers: [{port: {name: x, number: 80}, hosts: ['*']}]}",
        "PM0010",
    ),
    (
        "T-VSB-22",
        "VirtualService",
        "{hosts: ['*'], http: [{directResponse: {status: 201}}]}",
        "PM0014",
    ),
    (
        "T-VSB-23",
        "VirtualService",
        "{hosts: ['*.example.com', a.example.com], http: [{directResponse: {status: 201}}]}",
        "PM0014",
    ),
    (
        "T-VSS-11",
        "VirtualService",
        "{hosts: [a.example.com], tls: [{match: [{sniHosts: [b.example.com]}], route: [{destination: {host: a}}]}]}",
        "PM0018",
    ),
    (
        "T-H-53",
        "VirtualService",
        "{hosts: [a], http: [{redirect: {}}]}",
        "PM0013",
    ),
    (
        "T-H-56",
        "VirtualService",
        "{hosts: [a], http: [{directResponse: {status: 100}}]}",
        "PM0011",
    ),
    (
        "T-H-57",
        "VirtualService",
        "{hosts: [a], http: [{redirect: {uri: /}, fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}}}]}",
        "PM0013",
    ),
    (
        "T-H-94",
        "VirtualService",
        "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}]}",
        "PM0016",
    ),
    (
        "T-H-98",
        "VirtualService",
        "{hosts: [a], http: [{timeout: 0s, route: [{destination: {host: a}}]}]}",
        "PM0011",
    ),
    (
        "T-H-106",
        "VirtualService",
        "{hosts: [a], http: [{retries: {attempts: 0, perTryTimeout: 1s}, route: [{destination: {host: a}}]}]}",
        "PM0013",
    ),
    (
        "T-H-109",
        "VirtualService",
        "{hosts: [a], http: [{retries: {attempts: 1, retryOn: banana}, route: [{destination: {host: a}}]}]}",
        "PM0021",
    ),
    (
        "T-H-133",
        "VirtualService",
        "{hosts: [a], http: [{mirror: {host: b}, mirrors: [{destination: {host: c}}], route: [{destination: {host: a}}]}]}",
        "PM0013",
    ),
    (
        "T-H-156",
        "VirtualService",
        "{hosts: [a], http: [{delegate: {name: d}, route: [{destination: {host: a}}]}]}",
        "PM0012",
    ),
    (
        "T-BE-69",
        "DestinationRule",
        "{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}",
        "PM0013",
    ),
    (
        "T-BE-86",
        "ServiceEntry",
        "{hosts: ['*.example.com'], resolution: DNS, ports: [{name: x, number: 80, protocol: HTTP}]}",
        "PM0020",
    ),
    (
        "T-BE-87",
        "ServiceEntry",
        "{hosts: [a.example.com], addresses: [192.0.2.0/24], resolution: DNS, ports: [{name: x, number: 80, protocol: HTTP}]}",
        "PM0020",
    ),
    (
        "T-BE-88",
        "ServiceEntry",
        "{hosts: [a.example.com, b.example.com], resolution: STATIC, endpoints: [{address: 10.0.0.1}], ports: [{name: x, number: 80, protocol: TCP}]}",
        "PM0020",
    ),
    (
        "T-BE-95",
        "ServiceEntry",
        "{hosts: ['*'], ports: [{name: x, number: 80, protocol: HTTP}]}",
        "PM0014",
    ),
    (
        "T-GW-46",
        "Gateway",
        "{selector: {a: b}, servers: [{port: {name: x, number: 443, protocol: HTTPS}, hosts: ['*']}]}",
        "PM0024",
    ),
    (
        "T-GW-47",
        "Gateway",
        "{selector: {a: b}, servers: [{port: {name: x, number: 80, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}]}",
        "PM0024",
    ),
];

#[test]
fn what_istio_refuses_is_refused() {
    let mut wrong = Vec::new();
    for (case, kind, spec, code) in REFUSED {
        let parsed = read(kind, spec);
        let codes: Vec<String> = parsed
            .findings
            .iter()
            .filter(|it| it.level == Level::Error)
            .map(|it| it.code.to_string())
            .collect();
        if parsed.documents[0].result.is_ok() || !codes.iter().any(|it| it == code) {
            wrong.push(format!("{case}: {codes:?} instead of {code} for {spec}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What looks like one of those and is none.
#[test]
fn what_istio_takes_is_taken() {
    for (case, kind, spec) in [
        (
            "T-BE-89",
            "ServiceEntry",
            "{hosts: [a.example.com, b.example.com], resolution: NONE, ports: [{name: x, number: 80, protocol: TCP}]}",
        ),
        (
            "T-H-93",
            "VirtualService",
            "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 0}]}]}",
        ),
    ] {
        let parsed = read(kind, spec);
        assert!(
            parsed.documents[0].result.is_ok(),
            "{case}: {:?}",
            parsed.findings
        );
    }
}
