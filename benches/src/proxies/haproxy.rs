//! HAProxy: one thread, `http-reuse always`. For bulk it splices with 1 MiB pipes: `splice-response`
//! rather than `splice-auto`, which on streams like these decides against it and then costs five
//! times as much.

use std::process::Command;

use super::{Fronts, Kind, Running, Site, in_path, version};
use crate::traffic::SNI_HOST;

pub(super) fn start(site: &Site<'_>) -> anyhow::Result<Running> {
    let binary = in_path("haproxy")?;
    let fronts = Fronts::allocate();
    let config = site.write("haproxy.cfg", &config(site, &fronts))?;
    let mut command = Command::new(&binary);
    command.args(["-db", "-f"]).arg(config);
    let (child, log) = site.spawn(command)?;
    let version = version(&binary, "-v");
    Ok(Running {
        kind: Kind::Haproxy,
        name: "haproxy".into(),
        version,
        fronts,
        child,
        log,
    })
}

fn config(site: &Site<'_>, fronts: &Fronts) -> String {
    let to = site.upstreams;
    format!(
        "global
  nbthread 1
  maxconn 4096
  tune.pipesize 1048576
defaults
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen web
  mode http
  bind {front_http}
  http-reuse always
  server one {http}
listen tcp
  mode tcp
  bind {front_tcp}
  server one {echo}
listen bulk
  mode tcp
  bind {front_bulk}
  option splice-response
  server one {source}
frontend sni
  mode tcp
  bind {front_sni}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  use_backend by_name if {{ req_ssl_sni -i {SNI_HOST} }}
backend by_name
  mode tcp
  server one {echo}
",
        http = to.http,
        echo = to.echo,
        source = to.source,
        front_http = fronts.http,
        front_tcp = fronts.tcp,
        front_bulk = fronts.bulk,
        front_sni = fronts.sni,
    )
}
