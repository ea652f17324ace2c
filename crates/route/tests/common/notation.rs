//! Documents on one line each; rules of a VirtualService on the lines after it.
use ipnet::IpNet;
use pointsman_model::{
    Destination, DestinationRule, EndpointSet, Gateway, HostPattern, HttpAction, HttpRoute, Kind,
    KubeService, MeshSettings, Meta, Object, ObjectKey, OutboundPolicy, PathNormalization, Place,
    Pod, Protocol, Resolution, ServiceEntry, ServiceKind, ServicePort, Sidecar, SliceEndpoint,
    Subset, VirtualService, WeightedDestination, WorkloadEntry,
    action::{DirectResponse, Retries},
    context::ExportDefaults,
    endpoint::{EndpointGroup, Readiness},
    gateway::{Server, ServerBind, ServerHost, ServerTls, ServerTlsMode},
    host::complete,
    matches::{ClientMatch, HttpMatch, StringMatch, TcpMatch, TlsMatch},
    object::Labels,
    policy::{Algorithm, LoadBalancer, PolicyBlocks, TrafficPolicy},
    service_entry::{EntryAddress, EntryEndpoint},
    sidecar::{Egress, EgressHost, EgressNamespace, Outbound},
    virtual_service::{TcpRoute, TlsRoute},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

const DOMAIN: &str = "cluster.local";

/// `key=value` words after the name.
struct Words<'l> {
    name: &'l str,
    flags: Vec<&'l str>,
    values: HashMap<&'l str, &'l str>,
}

impl<'l> Words<'l> {
    fn parse(line: &'l str) -> (&'l str, Self) {
        let mut words = line.split_whitespace();
        let kind = words.next().expect("kind");
        let name = words.next().expect("name");
        let mut made = Self {
            name,
            flags: Vec::new(),
            values: HashMap::new(),
        };
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => drop(made.values.insert(key, value)),
                None => made.flags.push(word),
            }
        }
        (kind, made)
    }

    fn get(&self, key: &str) -> Option<&'l str> {
        self.values.get(key).copied()
    }

    fn list(&self, key: &str) -> Vec<&'l str> {
        self.get(key)
            .map_or(Vec::new(), |text| text.split(',').collect())
    }

    fn namespace(&self) -> &'l str {
        self.get("ns").unwrap_or("default")
    }

    fn meta(&self, kind: Kind, line: usize) -> Meta {
        Meta {
            key: ObjectKey {
                kind,
                namespace: self.namespace().into(),
                name: self.name.into(),
            },
            created: self
                .get("created")
                .map(|text| text.parse().expect("created")),
            labels: labels(self.get("labels").unwrap_or_default()),
            export_to: self.list("export").into_iter().map(Arc::from).collect(),
            place: place(line),
        }
    }
}

fn place(line: usize) -> Place {
    Place::new("case.yaml", line as u32 + 1, 1)
}

pub fn labels(text: &str) -> Labels {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// Reads lines without their leading `+ `.
pub fn objects<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<Object> {
    let mut made: Vec<Object> = Vec::new();
    for (number, line) in lines.enumerate() {
        let (kind, words) = match line.split_whitespace().next() {
            Some("server") => {
                add_server(
                    made.last_mut().expect("a gw before its servers"),
                    line,
                    number,
                );
                continue;
            }
            Some("http" | "tls" | "tcp") => {
                add_rule(
                    made.last_mut().expect("a vs before its rules"),
                    line,
                    number,
                );
                continue;
            }
            _ => Words::parse(line),
        };
        made.push(match kind {
            "svc" => Object::Service(Arc::new(service(&words, number))),
            "eps" => Object::Endpoints(Arc::new(endpoints(&words, number))),
            "pod" => Object::Pod(Arc::new(Pod {
                meta: words.meta(Kind::Pod, number),
                addresses: words
                    .list("ip")
                    .iter()
                    .map(|ip| ip.parse().expect("ip"))
                    .collect(),
                node: words.get("node").map(Arc::from),
                service_account: None,
                readiness: words.get("state").map_or(Readiness::Ready, readiness),
                host_network: false,
            })),
            "se" => Object::ServiceEntry(Arc::new(entry(&words, number))),
            "vs" => Object::VirtualService(Arc::new(virtual_service(&words, number))),
            "wle" => Object::WorkloadEntry(Arc::new(workload(&words, number))),
            "sidecar" => Object::Sidecar(Arc::new(sidecar(&words, number))),
            "mesh" => Object::MeshSettings(Arc::new(mesh(&words, number))),
            "gw" => Object::Gateway(Arc::new(Gateway {
                meta: words.meta(Kind::Gateway, number),
                selector: labels(words.get("selector").unwrap_or_default()),
                servers: Vec::new(),
            })),
            "dr" => Object::DestinationRule(Arc::new(destination_rule(&words, number))),
            other => panic!("kind {other}"),
        });
    }
    made
}

fn ports(words: &Words<'_>, line: usize) -> Vec<ServicePort> {
    let one = |text: &str| {
        let (name, rest) = text.split_once(':').expect("name:number/protocol");
        let (port, protocol) = rest.split_once('/').expect("number/protocol");
        let (protocol, target) = protocol.split_once('>').unwrap_or((protocol, ""));
        let number = target.parse().ok();
        let target_name = (!target.is_empty() && number.is_none()).then(|| target.into());
        ServicePort {
            name: name.into(),
            number: port.parse().expect("number"),
            protocol: match protocol {
                "auto" => Protocol::Auto,
                word => Protocol::from_word(word).expect("protocol"),
            },
            target: number,
            target_name,
            node_port: words
                .get("nodeport")
                .map(|text| text.parse().expect("node port")),
            place: place(line),
        }
    };
    words.list("ports").into_iter().map(one).collect()
}

fn service(words: &Words<'_>, line: usize) -> KubeService {
    let kind = match (words.get("external"), words.flags.contains(&"headless")) {
        (Some(target), _) => ServiceKind::ExternalName {
            target: target.into(),
        },
        (None, true) => ServiceKind::Headless,
        (None, false) => ServiceKind::ClusterIp {
            addresses: words
                .list("ip")
                .iter()
                .map(|ip| ip.parse().expect("ip"))
                .collect(),
        },
    };
    KubeService {
        meta: words.meta(Kind::Service, line),
        kind,
        ports: ports(words, line),
        selector: labels(words.get("selector").unwrap_or_default()),
        internal_traffic_local: words.flags.contains(&"local"),
        external_addresses: words
            .list("outside")
            .iter()
            .map(|ip| ip.parse().expect("ip"))
            .collect(),
    }
}

fn endpoints(words: &Words<'_>, line: usize) -> EndpointSet {
    let ports = words.list("ports").into_iter().map(|text| {
        let (name, number) = text.split_once(':').expect("name:number");
        (name.into(), number.parse().expect("number"))
    });
    let pods = words.list("pods").into_iter().map(|text| {
        let (name, rest) = text.split_once('@').expect("pod@address");
        let (address, state) = rest.split_once('!').unwrap_or((rest, ""));
        let (state, node) = state.split_once('%').unwrap_or((state, ""));
        SliceEndpoint {
            address: address.parse().expect("address"),
            readiness: readiness(state),
            pod: Some(name.into()),
            node: (!node.is_empty()).then(|| node.into()),
            zone: None,
        }
    });
    EndpointSet {
        meta: words.meta(Kind::EndpointSlice, line),
        service: words.get("of").unwrap_or(words.name).into(),
        groups: vec![EndpointGroup {
            ports: ports.collect(),
            endpoints: pods.collect(),
        }],
    }
}

fn entry_address(text: &str) -> EntryAddress {
    match (text.strip_prefix("unix:"), text.parse()) {
        (Some(path), _) => EntryAddress::Unix(path.into()),
        (None, Ok(ip)) => EntryAddress::Ip(ip),
        (None, Err(_)) => EntryAddress::Name(text.into()),
    }
}

fn entry(words: &Words<'_>, line: usize) -> ServiceEntry {
    let addresses = words.list("addr").into_iter().filter_map(|text| {
        // LIS-5: what cannot be read is as if it were not there.
        let net: Option<IpNet> = text.parse().ok();
        net.or_else(|| Some(text.parse::<std::net::IpAddr>().ok()?.into()))
    });
    let endpoint = |text: &str| {
        let (address, port) = text.split_once('#').unwrap_or((text, ""));
        EntryEndpoint {
            address: entry_address(address),
            ports: port
                .split_once(':')
                .map(|(name, number)| (name.into(), number.parse().expect("number")))
                .into_iter()
                .collect(),
            labels: Labels::new(),
            weight: 1,
            locality: None,
            place: place(line),
        }
    };
    ServiceEntry {
        meta: words.meta(Kind::ServiceEntry, line),
        hosts: words
            .list("hosts")
            .into_iter()
            .map(HostPattern::new)
            .collect(),
        addresses: addresses.collect(),
        ports: ports(words, line),
        resolution: match words.get("res").unwrap_or("static") {
            "none" => Resolution::None,
            "static" => Resolution::Static,
            "dns" => Resolution::Dns,
            "dns-rr" => Resolution::DnsRoundRobin,
            other => panic!("resolution {other}"),
        },
        endpoints: words.list("ep").into_iter().map(endpoint).collect(),
        workload_selector: words.get("selector").map(labels),
        mesh_internal: false,
        subject_alt_names: Vec::new(),
    }
}

/// `ports=name:number,...`, as a document outside any entry has them.
fn workload(words: &Words<'_>, line: usize) -> WorkloadEntry {
    let meta = words.meta(Kind::WorkloadEntry, line);
    let address = words.get("addr").expect("addr");
    let ports = words.list("ports").into_iter().map(|text| {
        let (name, number) = text.split_once(':').expect("name:number");
        (name.into(), number.parse().expect("number"))
    });
    WorkloadEntry {
        endpoint: EntryEndpoint {
            address: entry_address(address),
            ports: ports.collect(),
            labels: meta.labels.clone(),
            weight: 1,
            locality: None,
            place: place(line),
        },
        meta,
    }
}

/// `egress=ns/host,ns/host#port`: items in order, those of one port together; `mode=`, `proxy=`.
fn sidecar(words: &Words<'_>, line: usize) -> Sidecar {
    let mut egress: Vec<Egress> = Vec::new();
    for text in words.list("egress") {
        let (text, port) = match text.split_once('#') {
            Some((text, port)) => (text, Some(port.parse().expect("port"))),
            None => (text, None),
        };
        let (namespace, host) = text.split_once('/').expect("namespace/host");
        let host = EgressHost {
            namespace: match namespace {
                "*" => EgressNamespace::Any,
                "." => EgressNamespace::Own,
                "~" => EgressNamespace::Nowhere,
                name => EgressNamespace::Named(name.into()),
            },
            host: HostPattern::new(host),
        };
        match egress.iter_mut().find(|item| item.port == port) {
            Some(item) => item.hosts.push(host),
            None => egress.push(Egress {
                port,
                hosts: vec![host],
                place: place(line),
            }),
        }
    }
    let proxy = words.get("proxy");
    Sidecar {
        meta: words.meta(Kind::Sidecar, line),
        workload_selector: words.get("workload").map(labels),
        egress,
        outbound: words.get("mode").or(proxy).map(|mode| Outbound {
            policy: match mode {
                "registry" => OutboundPolicy::RegistryOnly,
                _ => OutboundPolicy::AllowAny,
            },
            egress_proxy: proxy
                .and_then(|text| destinations(text, words.namespace(), line).pop())
                .map(|it| it.destination),
        }),
    }
}

/// `mode=`, `paths=` (as Istio writes it), `root=`, `services=`, `vs=`, `dr=` (lists), `retries=`,
/// `connect=` (seconds).
fn mesh(words: &Words<'_>, line: usize) -> MeshSettings {
    let exports = |key| words.list(key).into_iter().map(Arc::from).collect();
    MeshSettings {
        meta: words.meta(Kind::ConfigMap, line),
        outbound_policy: words.get("mode").map(|mode| match mode {
            "registry" => OutboundPolicy::RegistryOnly,
            _ => OutboundPolicy::AllowAny,
        }),
        path_normalization: words.get("paths").map(|word| match word {
            "NONE" => PathNormalization::None,
            "MERGE_SLASHES" => PathNormalization::MergeSlashes,
            "DECODE_AND_MERGE_SLASHES" => PathNormalization::DecodeAndMergeSlashes,
            _ => PathNormalization::Base,
        }),
        trusted_hops: None,
        root_namespace: words.get("root").map(Arc::from),
        export_defaults: ExportDefaults {
            services: exports("services"),
            virtual_services: exports("vs"),
            destination_rules: exports("dr"),
        },
        retries: words.get("retries").map(|text| Retries {
            attempts: text.parse().expect("attempts"),
            ..Retries::default()
        }),
        connect_timeout: words
            .get("connect")
            .map(|text| Duration::from_secs(text.parse().expect("seconds"))),
        h2_upgrade: false,
        tcp_keepalive: None,
        default_policy: PolicyBlocks::default(),
    }
}

fn virtual_service(words: &Words<'_>, line: usize) -> VirtualService {
    let namespace = words.namespace();
    VirtualService {
        meta: words.meta(Kind::VirtualService, line),
        hosts: words
            .list("hosts")
            .into_iter()
            .map(|host| HostPattern::new(&complete(host, namespace, DOMAIN)))
            .collect(),
        gateways: words.list("gateways").into_iter().map(Arc::from).collect(),
        http: Vec::new(),
        tls: Vec::new(),
        tcp: Vec::new(),
    }
}

fn destination_rule(words: &Words<'_>, line: usize) -> DestinationRule {
    let subset = |text: &str| {
        let (name, rest) = text.split_once(':').expect("subset:key=value");
        Subset {
            name: name.into(),
            labels: labels(rest),
            policy: None,
            place: place(line),
        }
    };
    DestinationRule {
        meta: words.meta(Kind::DestinationRule, line),
        host: HostPattern::new(&complete(
            words.get("host").expect("host"),
            words.namespace(),
            DOMAIN,
        )),
        policy: words.get("lb").map(|word| {
            let mut policy = TrafficPolicy::default();
            policy.blocks.load_balancer = Some(LoadBalancer {
                algorithm: match word {
                    "passthrough" => Algorithm::Passthrough,
                    "random" => Algorithm::Random,
                    "round_robin" => Algorithm::RoundRobin,
                    other => panic!("lb {other}"),
                },
                warmup: None,
            });
            policy
        }),
        subsets: words.list("subsets").into_iter().map(subset).collect(),
        workload_selector: words.get("workload").map(labels),
    }
}

/// `server 443/HTTPS hosts=a.example.com,prod/b.example.com tls=SIMPLE bind=10.0.0.1`, `redirect`.
fn add_server(object: &mut Object, line: &str, number: usize) {
    let Object::Gateway(gateway) = object else {
        panic!("servers belong to a gw: {line}");
    };
    let gateway = Arc::get_mut(gateway).expect("unshared");
    let (_, words) = Words::parse(line);
    let (port, protocol) = words.name.split_once('/').expect("number/protocol");
    let host = |text: &&str| {
        let (namespace, host) = match text.split_once('/') {
            None | Some(("*", _)) => (None, text.rsplit('/').next().expect("host")),
            Some((".", host)) => (Some(Arc::clone(&gateway.meta.key.namespace)), host),
            Some((namespace, host)) => (Some(namespace.into()), host),
        };
        ServerHost {
            namespace,
            host: HostPattern::new(host),
            place: place(number),
        }
    };
    let https_redirect = words.flags.contains(&"redirect");
    let mode = words.get("tls").map(|word| match word {
        "PASSTHROUGH" => ServerTlsMode::Passthrough,
        "AUTO_PASSTHROUGH" => ServerTlsMode::AutoPassthrough,
        "SIMPLE" => ServerTlsMode::Simple,
        other => panic!("tls {other}"),
    });
    let server = Server {
        index: gateway.servers.len() as u32,
        name: None,
        port: port.parse().expect("port"),
        port_name: port.into(),
        protocol: Protocol::from_word(protocol).expect("protocol"),
        bind: words
            .get("bind")
            .map(|ip| ServerBind::Ip(ip.parse().expect("ip"))),
        hosts: words.list("hosts").iter().map(host).collect(),
        tls: (https_redirect || mode.is_some()).then(|| ServerTls {
            mode: mode.unwrap_or_default(),
            https_redirect,
            ..ServerTls::default()
        }),
        place: place(number),
    };
    gateway.servers.push(server);
}

fn add_rule(object: &mut Object, line: &str, number: usize) {
    let Object::VirtualService(service) = object else {
        panic!("rules belong to a vs: {line}");
    };
    let service = Arc::get_mut(service).expect("unshared");
    let namespace = service.meta.key.namespace.to_string();
    let (section, rest) = line.trim().split_once(' ').expect("section");
    let (matches, action) = rest.split_once("->").expect("->");
    let (matches, action) = (matches.trim(), action.trim());
    match section {
        "http" => service.http.push(HttpRoute {
            name: None,
            index: service.http.len() as u32,
            delegated: None,
            matches: if matches == "none" {
                Vec::new()
            } else {
                matches
                    .split(" | ")
                    .map(|text| http_match(text, number))
                    .collect()
            },
            action: match action.parse() {
                _ if action.starts_with("delegate ") => delegate(action, &namespace),
                Ok(status) => HttpAction::Respond(DirectResponse {
                    status,
                    body: Arc::default(),
                    body_is_text: true,
                }),
                Err(_) => HttpAction::Route(destinations(action, &namespace, number)),
            },
            rewrite: None,
            headers: Default::default(),
            timeout: None,
            retries: None,
            fault: None,
            mirrors: Vec::new(),
            cors: None,
            place: place(number),
        }),
        "tls" => service.tls.push(TlsRoute {
            index: service.tls.len() as u32,
            matches: matches
                .split(" | ")
                .map(|text| {
                    let (client, subnets, sni) = raw_match(text);
                    TlsMatch {
                        sni_hosts: sni,
                        destination_subnets: subnets,
                        client,
                        place: place(number),
                    }
                })
                .collect(),
            route: destinations(action, &namespace, number),
            place: place(number),
        }),
        _ => service.tcp.push(TcpRoute {
            index: service.tcp.len() as u32,
            matches: if matches == "none" {
                Vec::new()
            } else {
                matches
                    .split(" | ")
                    .map(|text| {
                        let (client, destination_subnets, _) = raw_match(text);
                        TcpMatch {
                            destination_subnets,
                            client,
                            place: place(number),
                        }
                    })
                    .collect()
            },
            route: destinations(action, &namespace, number),
            place: place(number),
        }),
    }
}

/// `delegate name` or `delegate namespace/name`.
fn delegate(action: &str, namespace: &str) -> HttpAction {
    let target = action.trim_start_matches("delegate ");
    let (namespace, name) = target.split_once('/').unwrap_or((namespace, target));
    HttpAction::Delegate {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn client(one: &mut ClientMatch, key: &str, value: &str) -> bool {
    match key {
        "port" => one.port = Some(value.parse().expect("port")),
        "labels" => one.source_labels = labels(value),
        "ns" => one.source_namespace = Some(value.into()),
        "gateways" => one.gateways = value.split(',').map(Arc::from).collect(),
        _ => return false,
    }
    true
}

fn raw_match(text: &str) -> (ClientMatch, Vec<IpNet>, Vec<HostPattern>) {
    let (mut one, mut subnets, mut sni) = (ClientMatch::default(), Vec::new(), Vec::new());
    for part in text.split(" & ") {
        let (key, value) = part.trim().split_once(' ').expect("key value");
        match key {
            "subnets" => {
                subnets = value
                    .split(',')
                    .map(|net| net.parse().expect("net"))
                    .collect()
            }
            "sni" => sni = value.split(',').map(HostPattern::new).collect(),
            _ => assert!(client(&mut one, key, value), "{part}"),
        }
    }
    (one, subnets, sni)
}

/// `prefix /a & header x exact a`.
pub fn http_match(text: &str, line: usize) -> HttpMatch {
    let mut one = HttpMatch {
        name: None,
        uri: None,
        ignore_uri_case: false,
        scheme: None,
        method: None,
        authority: None,
        headers: Vec::new(),
        without_headers: Vec::new(),
        query: Vec::new(),
        client: ClientMatch::default(),
        place: place(line),
    };
    for part in text.split(" & ") {
        let words: Vec<&str> = part.split_whitespace().collect();
        match words.as_slice() {
            ["icase"] => one.ignore_uri_case = true,
            ["method", form, value] => one.method = Some(string_match(form, value)),
            ["scheme", form, value] => one.scheme = Some(string_match(form, value)),
            ["authority", form, value] => one.authority = Some(string_match(form, value)),
            ["header", name, rest @ ..] => one.headers.push(keyed(name, rest)),
            ["without", name, rest @ ..] => one.without_headers.push(keyed(name, rest)),
            ["query", name, rest @ ..] => one.query.push(keyed(name, rest)),
            [key, value] if client(&mut one.client, key, value) => {}
            [form, value] => one.uri = Some(string_match(form, value)),
            _ => panic!("condition {part}"),
        }
    }
    one
}

fn keyed(name: &str, rest: &[&str]) -> (Arc<str>, StringMatch) {
    let text = match rest {
        ["present"] => StringMatch::Present,
        [form, value] => string_match(form, value),
        _ => panic!("condition on {name}"),
    };
    (name.into(), text)
}

fn string_match(form: &str, value: &str) -> StringMatch {
    let value = value.trim_matches('"');
    match form {
        "exact" => StringMatch::Exact(value.into()),
        "prefix" => StringMatch::Prefix(value.into()),
        "regex" => StringMatch::Regex(value.into()),
        other => panic!("form {other}"),
    }
}

/// `host[:port][/subset][*weight]`, separated by spaces; names as a document writes them.
fn destinations(text: &str, namespace: &str, line: usize) -> Vec<WeightedDestination> {
    let one = |text: &str| {
        let (text, weight) = text.split_once('*').unwrap_or((text, "1"));
        let (text, subset) = match text.split_once('/') {
            Some((text, subset)) => (text, Some(subset.into())),
            None => (text, None),
        };
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().expect("port"))),
            None => (text, None),
        };
        WeightedDestination {
            destination: Destination {
                host: complete(host, namespace, DOMAIN),
                subset,
                port,
                place: place(line),
            },
            weight: weight.parse().expect("weight"),
            headers: Default::default(),
        }
    };
    text.split_whitespace().map(one).collect()
}

fn readiness(state: &str) -> Readiness {
    match state {
        "" => Readiness::Ready,
        "unready" => Readiness::NotReady,
        "terminating" => Readiness::Terminating,
        other => panic!("readiness {other}"),
    }
}
