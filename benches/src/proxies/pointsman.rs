//! Pointsman: one shard, sockets bound to the services' own addresses, Kubernetes and Istio
//! manifests in a folder.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use pointsman_testkit::free_port;

use super::{Fronts, Kind, Running, Site, version};
use crate::loading::{Loading, await_ready};
use crate::traffic::{HTTP_HOST, RULE_LISTS, SNI_HOST, rule_prefix, rules_host};

/// Cluster IP of the one service that all rows but `hosts-100k` use.
const VIP: Ipv4Addr = Ipv4Addr::new(127, 88, 0, 10);
/// Size of a file of manifests after which another is begun. Pointsman takes files of up to 16 MiB
/// and a million YAML values; these documents reach the second limit at about 7 MB.
const FILE_BYTES: usize = 4_000_000;
/// How long loading may take: a machine under load and a million hosts included.
const LOAD_LIMIT: Duration = Duration::from_secs(600);

pub(super) fn start(site: &Site<'_>) -> anyhow::Result<Running> {
    let mut fronts = Fronts::allocate();
    // A raw TCP port belongs to the service's address; HTTP and TLS are told apart by name.
    fronts.tcp.set_ip(IpAddr::V4(VIP));
    fronts.bulk.set_ip(IpAddr::V4(VIP));
    // All of HTTP is one port: hosts and versions are told apart on it, large bodies by nothing.
    fronts.large = fronts.http;
    fronts.rules = [fronts.http; 3];
    fronts.h2_h1 = Some(fronts.http);
    let files = [manifests(site, &fronts)];
    Ok(launch(site, "pointsman".into(), fronts, &files)?.running)
}

/// Pointsman with many hosts, loaded.
#[derive(Debug)]
pub struct ManyHosts {
    /// The process.
    pub running: Running,
    /// The `Host` of each service.
    pub names: Vec<String>,
    /// What loading cost.
    pub loading: Loading,
}

/// Starts Pointsman with `hosts` HTTP services on one port, and waits until it is ready. Each has a
/// VirtualService that leads to the first, so that requests to hosts at random share its upstream
/// connections: what differs is the lookup.
///
/// # Errors
/// When the binary is missing, the manifests cannot be written, or it does not get ready.
pub fn with_hosts(site: &Site<'_>, hosts: u32) -> anyhow::Result<ManyHosts> {
    let fronts = Fronts::allocate();
    let (mut files, mut yaml) = (Vec::new(), String::new());
    let mut names = Vec::new();
    for number in 0..hosts {
        // 127.100.0.0 and up: every service has its own address, as in a cluster.
        let vip = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 100, 0, 1)) + number);
        let name = format!("s{number}");
        let ports = [("http", fronts.http.port(), site.upstreams.http)];
        service(&mut yaml, &name, vip, &ports);
        let host = format!("{name}.bench.svc.cluster.local");
        lead(&mut yaml, &name, &host);
        names.push(host);
        if yaml.len() > FILE_BYTES {
            files.push(std::mem::take(&mut yaml));
        }
    }
    files.push(yaml);
    let name = format!("pointsman, {hosts} hosts");
    let mut launched = launch(site, name, fronts, &files)?;
    let (admin, since) = (launched.admin, launched.since);
    let loading = await_ready(&mut launched.running, admin, since, LOAD_LIMIT)?;
    Ok(ManyHosts {
        running: launched.running,
        names,
        loading,
    })
}

/// Started a moment ago, and not yet ready.
struct Launched {
    running: Running,
    admin: SocketAddr,
    since: Instant,
}

/// Writes the manifests, one file each, and starts Pointsman.
fn launch(
    site: &Site<'_>,
    name: String,
    fronts: Fronts,
    manifests: &[String],
) -> anyhow::Result<Launched> {
    let binary = site.pointsman;
    anyhow::ensure!(
        binary.is_file(),
        "{} is missing: build it with `cargo build --release`, or name it with --pointsman",
        binary.display()
    );
    let folder = site.folder.join("manifests");
    fs::create_dir_all(&folder)?;
    for (number, text) in manifests.iter().enumerate() {
        fs::write(folder.join(format!("bench-{number}.yaml")), text)?;
    }
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = Command::new(binary);
    command.args(["run", "-f"]).arg(folder);
    command
        .args(["--shards", "1", "--capture", "bind", "--admin"])
        .arg(admin.to_string());
    let since = Instant::now();
    let (child, log) = site.spawn(command)?;
    let running = Running {
        kind: Kind::Pointsman,
        name,
        version: version(binary, "--version"),
        fronts,
        child,
        log,
    };
    Ok(Launched {
        running,
        admin,
        since,
    })
}

fn manifests(site: &Site<'_>, fronts: &Fronts) -> String {
    let to = site.upstreams;
    let mut yaml = String::new();
    let name = HTTP_HOST.split('.').next().unwrap_or_default();
    let ports = [
        ("http", fronts.http.port(), to.http),
        ("http2", port(fronts.h2_h2), to.http2),
        ("grpc", port(fronts.grpc), to.grpc),
        ("tcp-echo", fronts.tcp.port(), to.echo),
        ("tcp-bulk", fronts.bulk.port(), to.source),
    ];
    service(&mut yaml, name, VIP, &ports);
    for (number, rules) in (1..).zip(RULE_LISTS) {
        let vip = Ipv4Addr::from(u32::from(VIP) + number);
        let host = rules_host(rules);
        let name = host.split('.').next().unwrap_or_default();
        let ports = [("http", fronts.http.port(), to.http)];
        service(&mut yaml, name, vip, &ports);
        rule_list(&mut yaml, &host, rules);
    }
    let _ = write!(
        yaml,
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: sni, namespace: bench }}
spec:
  hosts: [{SNI_HOST}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - {{ number: {number}, name: tls, protocol: TLS, targetPort: {target} }}
  endpoints:
  - address: {address}
---
",
        number = fronts.sni.port(),
        target = to.echo.port(),
        address = to.echo.ip(),
    );
    yaml
}

/// A VirtualService that leads a host to the service `s0`.
fn lead(yaml: &mut String, name: &str, host: &str) {
    let _ = write!(
        yaml,
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: {name}, namespace: bench }}
spec:
  hosts: [{host}]
  http: [ {{ route: [ {{ destination: {{ host: s0.bench.svc.cluster.local }} }} ] }} ]
---
"
    );
}

fn port(front: Option<SocketAddr>) -> u16 {
    front.map_or(0, |front| front.port())
}

/// A VirtualService for `host`, whose rules all lead to it.
fn rule_list(yaml: &mut String, host: &str, rules: u32) {
    let _ = write!(
        yaml,
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: rules-{rules}, namespace: bench }}
spec:
  hosts: [{host}]
  http:
"
    );
    for number in 0..rules {
        let prefix = rule_prefix(number);
        let _ = writeln!(
            yaml,
            "  - match: [ {{ uri: {{ prefix: {prefix} }} }} ]
    route: [ {{ destination: {{ host: {host} }} }} ]"
        );
    }
    yaml.push_str("---\n");
}

/// A Service and its EndpointSlice: name, port and the one endpoint of each port.
fn service(yaml: &mut String, name: &str, vip: Ipv4Addr, ports: &[(&str, u16, SocketAddr)]) {
    let service_ports: String = ports
        .iter()
        .map(|(name, port, to)| {
            format!(
                "  - {{ name: {name}, port: {port}, targetPort: {} }}\n",
                to.port()
            )
        })
        .collect();
    let slice_ports: String = ports
        .iter()
        .map(|(name, _, to)| format!("- {{ name: {name}, port: {} }}\n", to.port()))
        .collect();
    // Writing into a String cannot fail.
    let _ = write!(
        yaml,
        "apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: bench }}
spec:
  clusterIP: {vip}
  ports:
{service_ports}---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  namespace: bench
  labels: {{ kubernetes.io/service-name: {name} }}
addressType: IPv4
endpoints:
- addresses: [127.0.0.1]
ports:
{slice_ports}---
"
    );
}
