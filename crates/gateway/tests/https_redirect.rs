//! `httpsRedirect` and whose word counts (GW-50..52), and redirects of requests that name no host, over
//! real sockets.
mod common;

use common::*;
use pointsman_testkit::{free_port, fresh_ip};
use std::net::SocketAddr;

fn documents(at: SocketAddr) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  servers:
  - port: {{number: {}, name: http, protocol: HTTP}}
    bind: {}
    hosts: ['*.example.com']
    tls: {{httpsRedirect: true}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a, namespace: istio-system}}
spec:
  hosts: [a.example.com]
  gateways: [edge]
  http:
  - match: [{{scheme: {{exact: https}}}}]
    directResponse: {{status: 299}}
",
        at.port(),
        at.ip()
    )
}

async fn ask(at: SocketAddr, fields: &str) -> (u16, String) {
    let mut client = connect(at).await;
    let request = format!("GET /x?y HTTP/1.1\r\nHost: a.example.com\r\n{fields}\r\n");
    client.send(request.as_bytes()).await.expect("sent");
    let response = client.read_response().await.expect("an answer");
    let location = response.field("location").unwrap_or_default().to_owned();
    (response.status, location)
}

/// T-GW-17, T-GW-19.
#[tokio::test]
async fn only_a_trusted_proxy_says_that_a_request_came_by_https() {
    let at = SocketAddr::new(fresh_ip(), free_port());
    let away = (301, "https://a.example.com/x?y".to_owned());
    let said = "X-Forwarded-Proto: https\r\n";

    let gateway = Gateway::serve(&documents(at)).await;
    assert_eq!(ask(at, "").await, away);
    assert_eq!(ask(at, said).await, away);
    drop(gateway);

    let at = SocketAddr::new(fresh_ip(), free_port());
    let mut settings = settings();
    settings.trust.proxies = vec!["127.0.0.0/8".parse().expect("a range")];
    let _gateway = Gateway::serve_with(settings, &documents(at)).await;
    assert_eq!(ask(at, "").await, away);
    assert_eq!(ask(at, said).await.0, 299);
    assert_eq!(ask(at, "X-Forwarded-Proto: http\r\n").await, away);
    assert_eq!(ask(at, &said.repeat(2)).await, away);
}

/// VS-H-42, GW-50: who names no host stays where it is; by https or another port there is nowhere to go.
#[tokio::test]
async fn without_a_host_a_redirect_is_relative() {
    let [plain, away] = [(); 2].map(|()| SocketAddr::new(fresh_ip(), free_port()));
    let server = |at: SocketAddr, name: &str, more: &str| {
        format!(
            "  - port: {{number: {}, name: {name}, protocol: HTTP}}
    bind: {}
    hosts: ['*']
{more}",
            at.port(),
            at.ip()
        )
    };
    let documents = format!(
        "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  servers:
{}{}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a, namespace: istio-system}}
spec:
  hosts: ['*']
  gateways: [edge]
  http:
  - match: [{{uri: {{prefix: /far}}}}]
    redirect: {{authority: far.example.com}}
  - match: [{{uri: {{prefix: /near}}}}]
    redirect: {{uri: /z}}
  - match: [{{uri: {{prefix: //}}}}]
    redirect: {{redirectCode: 302, derivePort: FROM_PROTOCOL_DEFAULT}}
  - redirect: {{uri: /z, scheme: https, port: 8443}}
",
        server(plain, "http", ""),
        server(away, "http-away", "    tls: {httpsRedirect: true}\n"),
    );
    let _gateway = Gateway::serve(&documents).await;
    let within = |host: &str| (301, format!("{host}/z?y"));
    for (at, target, head, expected) in [
        (plain, "/near", "HTTP/1.0\r\n", within("")),
        (plain, "/near", "HTTP/1.1\r\nHost:\r\n", within("")),
        (plain, "/x", "HTTP/1.0\r\n", (400, String::new())),
        (plain, "/x", "HTTP/1.1\r\nHost:\r\n", (400, String::new())),
        // That would be a host (RFC 3986 section 4.2).
        (
            plain,
            "//evil.example/x",
            "HTTP/1.0\r\n",
            (302, "/.//evil.example/x?y".to_owned()),
        ),
        (
            plain,
            "/x",
            "HTTP/1.1\r\nHost: a\r\n",
            within("https://a:8443"),
        ),
        (
            plain,
            "/far",
            "HTTP/1.0\r\n",
            (301, "http://far.example.com/far?y".to_owned()),
        ),
        (away, "/x", "HTTP/1.0\r\n", (400, String::new())),
        (away, "/x", "HTTP/1.1\r\nHost:\r\n", (400, String::new())),
        (
            away,
            "/x",
            "HTTP/1.0\r\nHost: a\r\n",
            (301, "https://a/x?y".to_owned()),
        ),
    ] {
        let mut client = connect(at).await;
        let request = format!("GET {target}?y {head}\r\n");
        client.send(request.as_bytes()).await.expect("sent");
        let response = client.read_response().await.expect("an answer");
        let location = response.field("location").unwrap_or_default().to_owned();
        assert_eq!((response.status, location), expected, "{at} {head:?}");
    }
}
