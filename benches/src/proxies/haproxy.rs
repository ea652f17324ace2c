//! HAProxy: one thread, `http-reuse always`. For bulk and for large bodies it splices with 1 MiB
//! pipes: `splice-response` and `splice-request` rather than `splice-auto`, which on streams like
//! these decides against it and then costs five times as much. `no strict-limits` lets it start where
//! twice its connections are more than the files it may open; few of them have an upstream's at a time.
//!
//! It takes part twice. As `haproxy` it is told no more than where to send everything, so it neither
//! looks at the `Host` nor adds a field. As `haproxy-same` its upstreams get what Pointsman's get, and
//! nobody else's requests come through: a host that is not known is answered with 404, each request
//! is given an id, and the upstream is told the client's scheme.

use std::net::SocketAddr;
use std::process::Command;

use super::{Fronts, Kind, Running, Site, entry, in_path, version};
use crate::traffic::{HTTP_HOST, RULE_LISTS, SNI_HOST, rule_prefix, rules_host};

/// What it is told to do with each request.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// Send it on.
    Least,
    /// What this project does with it.
    Same,
}

impl Work {
    fn kind(self) -> Kind {
        match self {
            Work::Least => Kind::Haproxy,
            Work::Same => Kind::HaproxySame,
        }
    }

    /// Lines of the section that takes requests to `host`.
    fn lines(self, host: &str) -> String {
        match self {
            Work::Least => String::new(),
            Work::Same => format!(
                "  http-request deny deny_status 404 unless {{ req.hdr(host) -i {host} }}
  http-request set-header x-forwarded-proto http
  http-request set-header x-request-id %[uuid()]
"
            ),
        }
    }
}

pub(super) fn start(site: &Site<'_>, work: Work) -> anyhow::Result<Running> {
    let binary = in_path("haproxy")?;
    let fronts = Fronts::allocate();
    let config = site.write("haproxy.cfg", &config(site, &fronts, work))?;
    let mut command = Command::new(&binary);
    command.args(["-db", "-f"]).arg(config);
    let (child, log) = site.spawn(command)?;
    let version = version(&binary, "-v");
    Ok(Running {
        kind: work.kind(),
        name: work.kind().name().into(),
        version,
        fronts,
        child,
        log,
    })
}

fn config(site: &Site<'_>, fronts: &Fronts, work: Work) -> String {
    let to = site.upstreams;
    let rules: String = RULE_LISTS
        .iter()
        .zip(fronts.rules)
        .map(|(rules, front)| rule_list(*rules, front, work))
        .collect();
    format!(
        "global
  nbthread 1
  maxconn 20000
  no strict-limits
  tune.pipesize 1048576
defaults
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen web
  mode http
  bind {front_http}
{same}  http-reuse always
  server one {http}
listen large
  mode http
  bind {front_large}
{same}  http-reuse always
  option splice-response
  option splice-request
  server one {http}
{rules}backend by_rule
  mode http
  http-reuse always
  server one {http}
listen h2_h1
  mode http
  bind {front_h2_h1} proto h2
{same}  http-reuse always
  server one {http}
listen h2_h2
  mode http
  bind {front_h2_h2} proto h2
{same}  http-reuse always
  server one {http2} proto h2
listen grpc
  mode http
  bind {front_grpc} proto h2
{same}  http-reuse always
  server one {grpc} proto h2
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
        same = work.lines(HTTP_HOST),
        http = to.http,
        http2 = to.http2,
        grpc = to.grpc,
        front_large = fronts.large,
        front_h2_h1 = entry(fronts.h2_h1),
        front_h2_h2 = entry(fronts.h2_h2),
        front_grpc = entry(fronts.grpc),
        echo = to.echo,
        source = to.source,
        front_http = fronts.http,
        front_tcp = fronts.tcp,
        front_bulk = fronts.bulk,
        front_sni = fronts.sni,
    )
}

/// Rules in order, as a VirtualService has them: a map would be quicker, but knows no order.
fn rule_list(rules: u32, front: SocketAddr, work: Work) -> String {
    let rule = |number| {
        format!(
            "  use_backend by_rule if {{ path_beg {} }}\n",
            rule_prefix(number)
        )
    };
    let list: String = (0..rules).map(rule).collect();
    let same = work.lines(&rules_host(rules));
    format!("frontend rules_{rules}\n  mode http\n  bind {front}\n{same}{list}")
}
