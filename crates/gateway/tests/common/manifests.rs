//! YAML as people write it, with the addresses of a test filled in.
use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

/// An endpoint and the value of its `version` label.
pub type Versioned<'a> = (SocketAddr, &'a str);

/// A Service with one port. `port_name` declares the protocol (`http`, `tcp`, ...); an empty one
/// leaves it to detection. Every endpoint has an EndpointSlice and a Pod of its own, since test
/// upstreams listen on ports of their own.
pub fn service(
    name: &str,
    vip: IpAddr,
    port: u16,
    port_name: &str,
    endpoints: &[Versioned<'_>],
) -> String {
    let declared = match port_name {
        "" => String::new(),
        port_name => format!("name: {port_name}, "),
    };
    let mut text = format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  clusterIP: {vip}
  selector: {{app: {name}}}
  ports: [{{{declared}port: {port}}}]
"
    );
    for (index, (endpoint, version)) in endpoints.iter().enumerate() {
        let (ip, port) = (endpoint.ip(), endpoint.port());
        let _ = write!(
            text,
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{index}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{{declared}port: {port}}}]
endpoints: [{{addresses: [{ip}], targetRef: {{kind: Pod, name: {name}-{index}}}}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}-{index}, labels: {{app: {name}, version: '{version}'}}}}
status: {{podIP: {ip}}}
"
        );
    }
    text
}

/// Endpoints without versions.
pub fn plain(endpoints: &[SocketAddr]) -> Vec<Versioned<'static>> {
    endpoints.iter().map(|it| (*it, "v0")).collect()
}

/// An HTTP service in front of one upstream.
pub fn http(name: &str, vip: IpAddr, port: u16, endpoint: SocketAddr) -> String {
    service(name, vip, port, "http", &[(endpoint, "v0")])
}

/// The same, where HTTP/2 is spoken to the upstream.
pub fn http2(name: &str, vip: IpAddr, port: u16, endpoint: SocketAddr) -> String {
    service(name, vip, port, "http2", &[(endpoint, "v0")])
}

/// A VirtualService for `host` whose `spec.http` is this YAML list, indented as it may be.
pub fn rules(host: &str, http: &str) -> String {
    section(host, "http", http)
}

/// A VirtualService for `host` whose `spec.tcp` is this YAML list.
pub fn tcp_rules(host: &str, tcp: &str) -> String {
    section(host, "tcp", tcp)
}

fn section(host: &str, kind: &str, list: &str) -> String {
    let mut text = format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: '{}-{kind}'}}
spec:
  hosts: ['{host}']
  {kind}:
",
        host.replace('*', "any")
    );
    for line in list.trim_end().lines() {
        let _ = writeln!(text, "    {line}");
    }
    text
}

/// A DestinationRule with a subset for each version, and `policy` as flow YAML under
/// `trafficPolicy`.
pub fn subsets(host: &str, versions: &[&str], policy: &str) -> String {
    let subsets: Vec<String> = versions
        .iter()
        .map(|it| format!("{{name: {it}, labels: {{version: {it}}}}}"))
        .collect();
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}}}
spec:
  host: {host}
  trafficPolicy: {policy}
  subsets: [{}]
",
        subsets.join(", ")
    )
}

/// A ServiceEntry without addresses: traffic is recognised by server name or Host alone.
pub fn entry(name: &str, hosts: &[&str], port: u16, protocol: &str, to: SocketAddr) -> String {
    let hosts: Vec<String> = hosts.iter().map(|it| format!("'{it}'")).collect();
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{name: main, number: {port}, protocol: {protocol}}}]
  endpoints: [{{address: {}, ports: {{main: {}}}}}]
",
        hosts.join(", "),
        to.ip(),
        to.port()
    )
}
