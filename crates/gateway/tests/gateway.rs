//! Gateways: ports that clients dial, instead of traffic that is captured.
mod common;

use common::*;
use pointsman_testkit::{
    HttpUpstream, TcpUpstream, TlsUpstream, free_port, fresh_ip,
    tcp::Behaviour,
    tls::{client_hello, tls_connect},
    within,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A Gateway `edge` with these servers, as YAML lines of a list.
fn gateway(servers: &str) -> String {
    let mut text = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
"
    .to_owned();
    for line in servers.lines() {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A server on one address, without TLS.
fn server(bind: IpAddr, port: u16, protocol: &str, hosts: &str) -> String {
    format!(
        "- {{bind: '{bind}', port: {{number: {port}, name: p{port}, protocol: {protocol}}}, hosts: [{hosts}]}}"
    )
}

/// A VirtualService bound to `edge`; `section` is its `http`, `tls` or `tcp` as flow YAML.
fn bound(name: &str, host: &str, section: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: ['{host}']
  gateways: [edge]
  {section}
"
    )
}

fn route(to: &str, port: u16) -> String {
    format!("route: [{{destination: {{host: {to}, port: {{number: {port}}}}}}}]")
}

/// The connection is refused, or closed before any answer: there is nothing behind it.
async fn is_dead(to: SocketAddr, first: &[u8]) -> bool {
    let Ok(mut client) = within(SOON, TcpStream::connect(to)).await else {
        return true;
    };
    let _ = client.write_all(first).await;
    let mut answer = [0];
    matches!(within(SOON, client.read(&mut answer)).await, Ok(0) | Err(_))
}

/// GW-45, GW-47, GW-63, PS-72: hosts of the server's own, by the rules that are bound to it.
#[tokio::test]
async fn requests_are_routed_by_the_hosts_of_the_server() {
    let upstream = HttpUpstream::named("web").start().await;
    let (bind, port, vip, web) = (fresh_ip(), free_port(), fresh_ip(), free_port());
    let edge: SocketAddr = (bind, port).into();
    let text = [
        http("web", vip, web, upstream.addr()),
        gateway(&server(bind, port, "HTTP", "'*.example.com'")),
    ]
    .concat();
    let rules = bound(
        "a",
        "a.example.com",
        &format!("http: [{{{}}}]", route("web", web)),
    );
    let gateway = Gateway::serve(&(text.clone() + &rules)).await;
    for host in ["a.example.com", "A.Example.com", "a.example.com:8080"] {
        let (status, body) = get(edge, host, "/x?y=1").await;
        assert_eq!(status, 200, "{host}");
        assert!(body.contains("/x?y=1"), "{body}");
    }
    for host in [
        "b.example.com",
        "example.com",
        "a.example.org",
        "web",
        "web.default",
    ] {
        assert_eq!(get(edge, host, "/").await.0, 404, "{host}");
    }
    // A connection that is open sees the rules of its next request; its port may even go.
    let mut open = connect(edge).await;
    assert_eq!(
        open.get("b.example.com", "/")
            .await
            .expect("an answer")
            .status,
        404
    );
    let other = bound(
        "b",
        "b.example.com",
        "http: [{directResponse: {status: 201}}]",
    );
    gateway.apply(&(text.clone() + &rules + &other)).await;
    assert_eq!(
        open.get("b.example.com", "/")
            .await
            .expect("an answer")
            .status,
        201
    );
    assert_eq!(
        open.get("a.example.com", "/")
            .await
            .expect("an answer")
            .status,
        200
    );
    gateway.apply(&http("web", vip, web, upstream.addr())).await;
    assert!(is_dead(edge, b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n").await);
    assert_eq!(
        open.get("a.example.com", "/")
            .await
            .expect("an answer")
            .status,
        404
    );
    gateway.apply(&(text + &rules)).await;
    assert_eq!(get(edge, "a.example.com", "/").await.0, 200);
    assert_eq!(
        open.get("a.example.com", "/")
            .await
            .expect("an answer")
            .status,
        200
    );
}

/// GW-30: a server without `bind` is on every address, IPv6 ones too.
#[tokio::test]
async fn a_server_without_an_address_is_on_all_of_them() {
    let port = free_port();
    let servers =
        format!("- {{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['*']}}");
    let text = gateway(&servers) + &bound("a", "*", "http: [{directResponse: {status: 201}}]");
    let _gateway = Gateway::serve(&text).await;
    assert_eq!(get((fresh_ip(), port).into(), "x", "/").await.0, 201);
    // Where the machine has no IPv6 there is nothing to dial.
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert_eq!(
            get((Ipv6Addr::LOCALHOST, port).into(), "x", "/").await.0,
            201
        );
    }
}

/// GW-50, GW-51: the redirect comes before all rules, and needs none.
#[tokio::test]
async fn plain_requests_are_sent_to_https() {
    let (bind, port) = (fresh_ip(), free_port());
    let servers = format!(
        "- {{bind: '{bind}', port: {{number: {port}, name: http, protocol: HTTP}}, \
         hosts: ['*.example.com'], tls: {{httpsRedirect: true}}}}"
    );
    let text = gateway(&servers)
        + &bound(
            "a",
            "a.example.com",
            "http: [{directResponse: {status: 201}}]",
        );
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((bind, port).into()).await;
    for (host, location) in [
        ("a.example.com", "https://a.example.com/x?q=1"),
        ("b.example.com:8080", "https://b.example.com:8080/x?q=1"),
    ] {
        let reply = client.get(host, "/x?q=1").await.expect("an answer");
        assert_eq!(reply.status, 301);
        assert_eq!(reply.field("location"), Some(location));
    }
    let unknown = client.get("a.example.org", "/").await.expect("an answer");
    assert_eq!(unknown.status, 404);
    // GW-52: whoever is not trusted cannot say that it came by HTTPS.
    let forged = "GET / HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-Proto: https\r\n\r\n";
    client.send(forged).await.expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 301);
}

/// GW-70, GW-71: the first `tcp` rule takes everything that comes to the port.
#[tokio::test]
async fn bytes_of_a_tcp_server_go_where_its_rule_says() {
    let upstream = TcpUpstream::start(Behaviour::ServerFirst(b"hello".to_vec())).await;
    let (bind, port, vip, inner) = (fresh_ip(), free_port(), fresh_ip(), free_port());
    let text = [
        service("db", vip, inner, "tcp", &plain(&[upstream.addr()])),
        gateway(&server(bind, port, "TCP", "'*'")),
        bound("db", "*", &format!("tcp: [{{{}}}]", route("db", inner))),
    ]
    .concat();
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((bind, port).into()).await;
    assert_eq!(client.read_exact(5).await.expect("greeted"), b"hello");
    client.send("back and forth").await.expect("sent");
    assert_eq!(
        client.read_exact(14).await.expect("echoed"),
        b"back and forth"
    );
}

/// GW-10, GW-41, GW-42, GW-72: by server name, byte for byte; everything else is closed.
#[tokio::test]
async fn tls_passes_through_to_whom_its_name_belongs() {
    let upstream = TlsUpstream::start("sec", &["p.example.com"]).await;
    let (bind, port, vip, inner) = (fresh_ip(), free_port(), fresh_ip(), free_port());
    let edge: SocketAddr = (bind, port).into();
    let servers = format!(
        "- {{bind: '{bind}', port: {{number: {port}, name: tls, protocol: TLS}}, \
         hosts: ['*.example.com'], tls: {{mode: PASSTHROUGH}}}}"
    );
    let section = format!(
        "tls: [{{match: [{{sniHosts: [p.example.com]}}], {}}}]",
        route("sec", inner)
    );
    let text = [
        service("sec", vip, inner, "tls", &plain(&[upstream.addr()])),
        gateway(&servers),
        bound("p", "p.example.com", &section),
    ]
    .concat();
    let _gateway = Gateway::serve(&text).await;
    let handshake = tls_connect(edge, "p.example.com", upstream.client_config());
    within(SOON, handshake)
        .await
        .expect("the certificate of the upstream");
    assert!(is_dead(edge, &client_hello(Some("q.example.com"), &[])).await);
    assert!(is_dead(edge, &client_hello(None, &[])).await);
    assert!(is_dead(edge, b"GET / HTTP/1.1\r\nHost: p.example.com\r\n\r\n").await);
    assert_eq!(upstream.connections(), 1);
}

/// GW-15: the server name says which backend, and only to those who speak the mesh's protocols.
#[tokio::test]
async fn auto_passthrough_follows_the_server_name_of_the_mesh() {
    let upstream = TlsUpstream::start("web", &["web"]).await;
    let (bind, port, vip, inner) = (fresh_ip(), free_port(), fresh_ip(), free_port());
    let edge: SocketAddr = (bind, port).into();
    let servers = format!(
        "- {{bind: '{bind}', port: {{number: {port}, name: tls, protocol: TLS}}, \
         hosts: ['*.local'], tls: {{mode: AUTO_PASSTHROUGH}}}}"
    );
    let text = [
        service("web", vip, inner, "tcp", &plain(&[upstream.addr()])),
        gateway(&servers),
    ]
    .concat();
    let _gateway = Gateway::serve(&text).await;
    let name = format!("outbound_.{inner}_._.web.default.svc.cluster.local");
    assert!(is_dead(edge, &client_hello(Some(&name), &["h2"])).await);
    assert_eq!(upstream.connections(), 0);
    let mut client = within(SOON, TcpStream::connect(edge))
        .await
        .expect("connects");
    client
        .write_all(&client_hello(
            Some(&name),
            &["istio-peer-exchange", "istio"],
        ))
        .await
        .expect("sent");
    let mut answer = [0];
    within(SOON, client.read(&mut answer))
        .await
        .expect("the upstream answers");
    assert_eq!(upstream.connections(), 1);
    let unknown = name.replace("web", "nobody");
    assert!(is_dead(edge, &client_hello(Some(&unknown), &["istio"])).await);
}

/// GW-11: a server that ends TLS is chosen, and nothing is ever served in the clear for it.
#[tokio::test]
async fn a_server_that_ends_tls_serves_nothing_in_the_clear() {
    let (bind, port) = (fresh_ip(), free_port());
    let edge: SocketAddr = (bind, port).into();
    let servers = format!(
        "- {{bind: '{bind}', port: {{number: {port}, name: https, protocol: HTTPS}}, \
         hosts: [a.example.com], tls: {{mode: SIMPLE, credentialName: a}}}}"
    );
    let text = gateway(&servers)
        + &bound(
            "a",
            "a.example.com",
            "http: [{directResponse: {status: 201}}]",
        );
    let gateway = Gateway::serve(&text).await;
    assert!(is_dead(edge, b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n").await);
    assert!(is_dead(edge, &client_hello(Some("a.example.com"), &["h2"])).await);
    assert!(is_dead(edge, &client_hello(Some("b.example.com"), &["h2"])).await);
    drop(gateway);
}
