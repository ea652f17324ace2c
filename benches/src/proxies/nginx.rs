//! nginx: one worker, upstream keepalive 128, 256 KiB stream buffers for bulk. It speaks HTTP/2 to
//! upstreams as gRPC only; `grpc_pass` carries any other request too.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Fronts, Kind, Running, Site, entry, in_path, version};
use crate::traffic::{RULE_LISTS, SNI_HOST, rule_prefix};

/// Where distributions put the stream module when it is not built in.
const STREAM_MODULES: [&str; 3] = [
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "/usr/lib64/nginx/modules/ngx_stream_module.so",
    "/usr/share/nginx/modules/ngx_stream_module.so",
];

pub(super) fn start(site: &Site<'_>) -> anyhow::Result<Running> {
    let binary = in_path("nginx")?;
    let fronts = Fronts::allocate();
    let config = site.write("nginx.conf", &config(site, &fronts))?;
    let mut command = Command::new(&binary);
    command
        .arg("-p")
        .arg(&site.folder)
        .arg("-c")
        .arg(config)
        .args(["-e", "stderr"]);
    let (child, log) = site.spawn(command)?;
    let version = version(&binary, "-v");
    Ok(Running {
        kind: Kind::Nginx,
        name: "nginx".into(),
        version,
        fronts,
        child,
        log,
    })
}

fn config(site: &Site<'_>, fronts: &Fronts) -> String {
    let module = STREAM_MODULES
        .iter()
        .find(|path| Path::new(path).is_file())
        .map(|path| format!("load_module {path};"))
        .unwrap_or_default();
    // A worker started by root changes to `nobody`, which may not enter this folder.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let to = site.upstreams;
    let folder = site.folder.display();
    let rules: String = RULE_LISTS
        .iter()
        .zip(fronts.rules)
        .map(|(rules, front)| rule_list(*rules, front))
        .collect();
    format!(
        "{module} {user}
daemon off; worker_processes 1; error_log stderr error; pid {folder}/pid;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  keepalive_timeout 3600s; keepalive_requests 1000000000;
  upstream web {{
    server {http}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 3600s;
  }}
  upstream http2 {{
    server {http2}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 3600s;
  }}
  upstream grpc {{
    server {grpc}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 3600s;
  }}
  proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;
  server {{ listen {front_http}; location / {{ proxy_pass http://web; }} }}
  server {{
    listen {front_large}; client_max_body_size 0;
    proxy_buffering off; proxy_request_buffering off; proxy_buffer_size 256k; proxy_buffers 8 256k;
    location / {{ proxy_pass http://web; }}
  }}
{rules}
  server {{
    listen {front_h2_h1} http2; proxy_set_header Host $host;
    proxy_set_header Connection \"\";
    location / {{ proxy_pass http://web; }}
  }}
  server {{ listen {front_h2_h2} http2; location / {{ grpc_pass grpc://http2; }} }}
  server {{ listen {front_grpc} http2; location / {{ grpc_pass grpc://grpc; }} }}
}}
stream {{
  access_log off;
  map $ssl_preread_server_name $by_name {{ {SNI_HOST} {echo}; }}
  server {{ listen {front_tcp}; proxy_pass {echo}; }}
  server {{ listen {front_bulk}; proxy_pass {source}; proxy_buffer_size 256k; }}
  server {{ listen {front_sni}; ssl_preread on; proxy_pass $by_name; }}
}}
",
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

fn rule_list(rules: u32, front: SocketAddr) -> String {
    let rule = |number| {
        let prefix = rule_prefix(number);
        format!("    location {prefix} {{ proxy_pass http://web; }}\n")
    };
    let list: String = (0..rules).map(rule).collect();
    format!("  server {{\n    listen {front};\n{list}  }}\n")
}
