//! Pointsman: one shard, sockets bound to the services' own addresses, Kubernetes and Istio
//! manifests in a folder.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use pointsman_testkit::free_port;

use super::{Fronts, Kind, Running, Site, version};
use crate::traffic::{HTTP_HOST, SNI_HOST};

/// Cluster IP of the one service that all rows but `hosts-100k` use.
const VIP: Ipv4Addr = Ipv4Addr::new(127, 88, 0, 10);

pub(super) fn start(site: &Site<'_>) -> anyhow::Result<Running> {
    let mut fronts = Fronts::allocate();
    // A raw TCP port belongs to the service's address; HTTP and TLS are told apart by name.
    fronts.tcp.set_ip(IpAddr::V4(VIP));
    fronts.bulk.set_ip(IpAddr::V4(VIP));
    launch(site, "pointsman".into(), fronts, &manifests(site, &fronts))
}

/// Pointsman with `hosts` HTTP services on one port, all with the same single endpoint. Gives it
/// and the `Host` of each.
///
/// # Errors
/// When the binary is missing, or the manifests cannot be written.
pub fn with_hosts(site: &Site<'_>, hosts: u32) -> anyhow::Result<(Running, Vec<String>)> {
    fs::create_dir_all(&site.folder)?;
    let fronts = Fronts::allocate();
    let mut yaml = String::new();
    let mut names = Vec::new();
    for number in 0..hosts {
        // 127.100.0.0 and up: every service has its own address, as in a cluster.
        let vip = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 100, 0, 1)) + number);
        let name = format!("s{number}");
        let ports = [("http", fronts.http.port(), site.upstreams.http)];
        service(&mut yaml, &name, vip, &ports);
        names.push(format!("{name}.bench.svc.cluster.local"));
    }
    let running = launch(site, format!("pointsman, {hosts} hosts"), fronts, &yaml)?;
    Ok((running, names))
}

fn launch(
    site: &Site<'_>,
    name: String,
    fronts: Fronts,
    manifests: &str,
) -> anyhow::Result<Running> {
    let binary = site.pointsman;
    anyhow::ensure!(
        binary.is_file(),
        "{} is missing: build it with `cargo build --release`, or name it with --pointsman",
        binary.display()
    );
    let folder = site.folder.join("manifests");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("bench.yaml"), manifests)?;
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = Command::new(binary);
    command.args(["run", "-f"]).arg(folder);
    command
        .args(["--shards", "1", "--capture", "bind", "--admin"])
        .arg(admin.to_string());
    let (child, log) = site.spawn(command)?;
    let version = version(binary, "--version");
    Ok(Running {
        kind: Kind::Pointsman,
        name,
        version,
        fronts,
        child,
        log,
    })
}

fn manifests(site: &Site<'_>, fronts: &Fronts) -> String {
    let to = site.upstreams;
    let mut yaml = String::new();
    let name = HTTP_HOST.split('.').next().unwrap_or_default();
    let ports = [
        ("http", fronts.http.port(), to.http),
        ("tcp-echo", fronts.tcp.port(), to.echo),
        ("tcp-bulk", fronts.bulk.port(), to.source),
    ];
    service(&mut yaml, name, VIP, &ports);
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
