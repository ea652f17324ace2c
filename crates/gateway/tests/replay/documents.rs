//! Random documents over a small vocabulary, so that they meet: few names, few ports, few paths.
use fastrand::Rng;
use pointsman_manifest::{Input, parse};
use serde_json::{Map, Value, json};

/// Ports of services.
const PORTS: [u16; 6] = [80, 443, 6000, 8080, 9000, 50051];
/// Ports of pods that differ from their service's.
const TARGETS: [u16; 2] = [8088, 9099];
/// A port that no service has.
pub(crate) const UNUSED: u16 = 81;
const NAMES: [&str; 5] = ["web", "api", "auto", "raw", "sec"];
const NAMESPACES: [&str; 3] = ["default", "default", "prod"];
/// Names outside the cluster.
pub(crate) const OUTSIDE: [&str; 6] = [
    "t1.example.com",
    "*.wild.example.com",
    "a.wild.example.com",
    "h.example.com",
    "api.prod",
    "web.default.svc.cluster.local",
];
pub(crate) const PATHS: [&str; 8] = ["/", "/a", "/a/b", "/ab", "/A", "/b", "/b/c", "/v1/x"];

/// Ports that somebody must answer on.
pub(crate) fn answered() -> impl Iterator<Item = u16> {
    PORTS.into_iter().chain(TARGETS).chain([UNUSED])
}

/// Documents, and the addresses in them.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) text: String,
    /// Of services, endpoints and entries.
    pub(crate) addresses: Vec<String>,
    /// Host and port of each port of a service.
    pub(crate) named: Vec<(String, u16)>,
    /// Address and port of those that are told by address.
    pub(crate) addressed: Vec<(String, u16)>,
}

/// One of them.
pub(crate) fn one<'a, T: ?Sized>(rng: &mut Rng, of: &[&'a T]) -> &'a T {
    of[rng.usize(..of.len())]
}

/// Yes, in so many of a hundred cases.
pub(crate) fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

impl Mesh {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut made = Maker {
            rng,
            documents: Vec::new(),
            addresses: Vec::new(),
            named: Vec::new(),
            addressed: Vec::new(),
        };
        for name in NAMES {
            for namespace in ["default", "prod"] {
                if chance(made.rng, 65) {
                    made.service(name, namespace);
                }
            }
        }
        for index in 0..made.rng.usize(1..5) {
            made.entry(index);
        }
        for index in 0..made.rng.usize(3..10) {
            made.virtual_service(index);
        }
        for index in 0..made.rng.usize(0..4) {
            made.destination_rule(index);
        }
        made.turn();
        let text = made.documents.iter().map(|it| format!("---\n{it}\n"));
        // What validation refuses is set aside by everybody, and of no interest here.
        let text = text.filter(|text| serves(text));
        Self {
            text: text.collect(),
            addresses: made.addresses,
            named: made.named,
            addressed: made.addressed,
        }
    }
}

fn serves(text: &str) -> bool {
    let parsed = parse(&Input {
        file: "mesh.yaml".into(),
        text,
        default_namespace: "default",
        cluster_domain: "cluster.local",
    });
    parsed.documents.iter().all(|it| it.result.is_ok())
}

struct Maker<'r> {
    rng: &'r mut Rng,
    documents: Vec<Value>,
    addresses: Vec<String>,
    named: Vec<(String, u16)>,
    addressed: Vec<(String, u16)>,
}

impl Maker<'_> {
    fn put(&mut self, api: &str, kind: &str, metadata: Value, spec: Value) {
        let mut metadata = metadata;
        // Age decides who is first; equal ages are decided by name.
        if chance(self.rng, 70) {
            let age = self.rng.u32(10..20);
            metadata["creationTimestamp"] = format!("2026-01-{age}T00:00:00Z").into();
        }
        let mut document = json!({"apiVersion": api, "kind": kind, "metadata": metadata});
        match kind {
            "EndpointSlice" => {
                let parts = spec.as_object().expect("an object").clone();
                document.as_object_mut().expect("one").extend(parts);
            }
            "Pod" => document["status"] = spec,
            _ => document["spec"] = spec,
        }
        self.documents.push(document);
    }

    fn istio(&mut self, kind: &str, name: String, namespace: &str, mut spec: Value) {
        if chance(self.rng, 15) {
            spec["exportTo"] =
                one(self.rng, &[&json!(["."]), &json!(["*"]), &json!(["prod"])]).clone();
        }
        let metadata = json!({"name": name, "namespace": namespace});
        self.put("networking.istio.io/v1", kind, metadata, spec);
    }

    /// Differs from one mesh to the next, so that there is always something to wait for.
    fn turn(&mut self) {
        let address = format!("10.255.{}.{}", self.rng.u8(..), self.rng.u8(1..255));
        let spec = json!({"clusterIP": address, "ports": [{"name": "tcp", "port": 9}]});
        self.put(
            "v1",
            "Service",
            json!({"name": "turn", "namespace": "turn"}),
            spec,
        );
    }

    fn service(&mut self, name: &str, namespace: &str) {
        let metadata = json!({"name": name, "namespace": namespace});
        if chance(self.rng, 8) {
            let target = one(
                self.rng,
                &[
                    "web.default.svc.cluster.local",
                    "api.prod.svc.cluster.local",
                    "t1.example.com",
                    "nobody.example.com",
                ],
            );
            let spec = json!({"type": "ExternalName", "externalName": target});
            return self.put("v1", "Service", metadata, spec);
        }
        let mut ports = Vec::new();
        let mut slice = Vec::new();
        for number in PORTS {
            if !chance(self.rng, 30) {
                continue;
            }
            let word = one(
                self.rng,
                &["http", "http", "tcp", "", "https", "tls", "grpc"],
            );
            let name = match word {
                "" => format!("p{number}"),
                word => format!("{word}-{number}"),
            };
            ports.push(json!({"name": name, "port": number}));
            let target = match chance(self.rng, 50) {
                true => TARGETS[self.rng.usize(..TARGETS.len())],
                false => number,
            };
            slice.push(json!({"name": name, "port": target}));
        }
        if ports.is_empty() {
            return;
        }
        let vip = match chance(self.rng, 15) {
            true => "None".to_owned(),
            false => format!("10.0.0.{}", self.rng.u8(1..9)),
        };
        let numbers = ports.iter().filter_map(|it| it["port"].as_u64());
        let numbers: Vec<u16> = numbers.map(|it| it as u16).collect();
        let host = format!("{name}.{namespace}.svc.cluster.local");
        let named = numbers.iter().map(|&port| (host.clone(), port));
        self.named.extend(named);
        if vip != "None" {
            self.addresses.push(vip.clone());
            let addressed = numbers.iter().map(|&port| (vip.clone(), port));
            self.addressed.extend(addressed);
        }
        let spec = json!({"clusterIP": vip, "selector": {"app": name}, "ports": ports});
        self.put("v1", "Service", metadata, spec);
        let mut endpoints = Vec::new();
        for index in 0..self.rng.usize(0..4) {
            let address = format!("10.1.{}.{}", self.rng.u8(..4), self.rng.u8(1..200));
            let pod = format!("{name}-{index}");
            endpoints.push(json!({
                "addresses": [address],
                "conditions": {"ready": !chance(self.rng, 15)},
                "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace},
            }));
            let version = one(self.rng, &["v1", "v2"]);
            let metadata = json!({
                "name": pod, "namespace": namespace, "labels": {"app": name, "version": version},
            });
            self.addresses.push(address.clone());
            if vip == "None" {
                let addressed = numbers.iter().map(|&port| (address.clone(), port));
                self.addressed.extend(addressed);
            }
            self.put("v1", "Pod", metadata, json!({"podIP": address}));
        }
        let metadata = json!({
            "name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name},
        });
        let spec = json!({"addressType": "IPv4", "ports": slice, "endpoints": endpoints});
        self.put("discovery.k8s.io/v1", "EndpointSlice", metadata, spec);
    }

    fn entry(&mut self, index: usize) {
        let hosts = [one(self.rng, &OUTSIDE)];
        let host = hosts[0].replace('*', "x");
        let protocol = one(self.rng, &["HTTP", "TCP", "TLS", "HTTPS", ""]);
        let number = PORTS[self.rng.usize(..PORTS.len())];
        self.named.push((host, number));
        let mut port = json!({"name": "main", "number": number});
        if !protocol.is_empty() {
            port["protocol"] = protocol.into();
        }
        if chance(self.rng, 20) {
            port["targetPort"] = TARGETS[0].into();
        }
        let mut spec = json!({"hosts": hosts, "ports": [port], "resolution": "NONE"});
        match self.rng.u8(..4) {
            0 => {
                let address = format!("203.0.113.{}", self.rng.u8(1..4));
                self.addresses.push(address.clone());
                self.addressed.push((address.clone(), number));
                spec["addresses"] = json!([address]);
            }
            1 => {
                self.addresses.push("198.51.100.7".to_owned());
                self.addressed.push(("198.51.100.7".to_owned(), number));
                spec["addresses"] = json!(["198.51.100.0/24"]);
            }
            _ => {}
        }
        if chance(self.rng, 80) {
            spec["resolution"] = "STATIC".into();
            let address = format!("10.9.0.{}", self.rng.u8(1..4));
            self.addresses.push(address.clone());
            let mut endpoint = json!({"address": address});
            if chance(self.rng, 30) {
                endpoint["ports"] = json!({"main": TARGETS[1]});
            }
            spec["endpoints"] = json!([endpoint]);
        }
        let namespace = one(self.rng, &NAMESPACES);
        self.istio("ServiceEntry", format!("entry-{index}"), namespace, spec);
    }

    /// A host as a VirtualService or a destination names it.
    fn host(&mut self, wild: bool) -> String {
        let name = one(self.rng, &NAMES);
        match self.rng.u8(..8) {
            0..4 => name.to_owned(),
            4 => format!("{name}.default.svc.cluster.local"),
            5 => format!("{name}.prod.svc.cluster.local"),
            6 if wild => one(
                self.rng,
                &[
                    "*.example.com",
                    "*.default.svc.cluster.local",
                    "lit.example.org",
                    "*.local",
                ],
            )
            .to_owned(),
            _ => match one(self.rng, &OUTSIDE) {
                host if wild => host.to_owned(),
                host => host.trim_start_matches("*.").to_owned(),
            },
        }
    }

    fn destinations(&mut self) -> Value {
        let count = if chance(self.rng, 70) { 1 } else { 2 };
        let one_of = |maker: &mut Self| {
            let mut destination = json!({"host": maker.host(false)});
            if chance(maker.rng, 25) {
                destination["subset"] = one(maker.rng, &["v1", "v2"]).into();
            }
            if chance(maker.rng, 40) {
                let number = PORTS[maker.rng.usize(..PORTS.len())];
                destination["port"] = json!({"number": number});
            }
            let mut made = json!({"destination": destination});
            if count > 1 {
                made["weight"] = maker.rng.u32(1..100).into();
            }
            made
        };
        (0..count).map(|_| one_of(self)).collect()
    }

    fn virtual_service(&mut self, index: usize) {
        let namespace = one(self.rng, &NAMESPACES);
        let host = self.host(true);
        let mut spec = json!({"hosts": [host]});
        if chance(self.rng, 10) {
            spec["gateways"] = json!(["mesh", "edge/gw"]);
        }
        if chance(self.rng, 80) {
            let rules: Vec<Value> = (0..self.rng.usize(1..5))
                .map(|_| self.http_rule())
                .collect();
            spec["http"] = rules.into();
        }
        if chance(self.rng, 25) || spec.get("http").is_none() {
            let mut rule = json!({"route": self.destinations()});
            if chance(self.rng, 50) {
                let port = PORTS[self.rng.usize(..PORTS.len())];
                rule["match"] = match chance(self.rng, 50) {
                    true => json!([{"port": port}]),
                    false => json!([{"destinationSubnets": ["10.0.0.0/29", "203.0.113.2"]}]),
                };
            }
            spec["tcp"] = json!([rule]);
        }
        if chance(self.rng, 25) {
            let mut condition = json!({"sniHosts": [host]});
            if chance(self.rng, 30) {
                condition["port"] = 443.into();
            }
            spec["tls"] = json!([{"match": [condition], "route": self.destinations()}]);
        }
        self.istio("VirtualService", format!("rules-{index}"), namespace, spec);
    }

    fn text_match(&mut self, texts: &[&str], patterns: &[&str]) -> Value {
        match self.rng.u8(..3) {
            0 => json!({"exact": one(self.rng, texts)}),
            1 => json!({"prefix": one(self.rng, texts)}),
            _ => json!({"regex": one(self.rng, patterns)}),
        }
    }

    fn condition(&mut self) -> Value {
        let mut made = Map::new();
        if chance(self.rng, 60) {
            let uri = self.text_match(&PATHS, &["/[a-z]+", "/a.*", "(?i)/a/B", ".*"]);
            made.insert("uri".into(), uri);
            if chance(self.rng, 15) {
                made.insert("ignoreUriCase".into(), true.into());
            }
        }
        if chance(self.rng, 25) {
            let value = self.text_match(&["1", "22", "x"], &["[0-9]+", "*"]);
            let key = one(self.rng, &["headers", "withoutHeaders"]);
            made.insert(key.into(), json!({"user": value}));
        }
        if chance(self.rng, 15) {
            let value = self.text_match(&["1", "22"], &["[0-9]+"]);
            made.insert("queryParams".into(), json!({"k": value}));
        }
        if chance(self.rng, 15) {
            made.insert(
                "method".into(),
                self.text_match(&["GET", "POST"], &["GET|PUT"]),
            );
        }
        if chance(self.rng, 10) {
            made.insert(
                "authority".into(),
                self.text_match(&["web", "api"], &["[a-z.]+"]),
            );
        }
        if chance(self.rng, 10) {
            made.insert("port".into(), PORTS[self.rng.usize(..PORTS.len())].into());
        }
        if made.is_empty() || chance(self.rng, 5) {
            let labels = json!({"app": one(self.rng, &["client", "other"])});
            made.insert("sourceLabels".into(), labels);
        }
        made.into()
    }

    fn http_rule(&mut self) -> Value {
        let mut rule = json!({});
        if chance(self.rng, 85) {
            let count = self.rng.usize(1..3);
            rule["match"] = (0..count).map(|_| self.condition()).collect();
        }
        match self.rng.u8(..10) {
            0..2 => {
                let mut redirect = json!({"uri": one(self.rng, &["/new", "/n?q=1"])});
                if chance(self.rng, 50) {
                    redirect["scheme"] = "https".into();
                }
                if chance(self.rng, 30) {
                    redirect["authority"] = "new.example.com".into();
                }
                if chance(self.rng, 30) {
                    redirect["redirectCode"] = 308.into();
                }
                rule["redirect"] = redirect;
            }
            2..4 => {
                let status = [200, 404, 418, 503][self.rng.usize(..4)];
                rule["directResponse"] = json!({"status": status, "body": {"string": "short"}});
            }
            _ => {
                rule["route"] = self.destinations();
                if chance(self.rng, 25) {
                    let mut rewrite = json!({"uri": one(self.rng, &["/v1", "/", "/v2/"])});
                    if chance(self.rng, 30) {
                        rewrite["authority"] = "inside.example.com".into();
                    }
                    rule["rewrite"] = rewrite;
                }
            }
        }
        if chance(self.rng, 25) {
            rule["headers"] = json!({
                "request": {"set": {"x-set": "one"}, "add": {"x-add": "two"}, "remove": ["x-gone"]},
                "response": {"set": {"x-by": "rule"}, "remove": ["x-seen"]},
            });
        }
        rule
    }

    fn destination_rule(&mut self, index: usize) {
        let namespace = one(self.rng, &NAMESPACES);
        let mut spec = json!({"host": self.host(false), "subsets": [
            {"name": "v1", "labels": {"version": "v1"}},
        ]});
        if chance(self.rng, 60) {
            let second = json!({"name": "v2", "labels": {"version": "v2"}});
            spec["subsets"].as_array_mut().expect("a list").push(second);
        }
        if chance(self.rng, 25) {
            spec["trafficPolicy"] = json!({"loadBalancer": {"simple": "PASSTHROUGH"}});
        }
        self.istio(
            "DestinationRule",
            format!("policy-{index}"),
            namespace,
            spec,
        );
    }
}
