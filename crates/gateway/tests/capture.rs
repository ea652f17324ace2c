//! Bind capture: which sockets the gateway opens, and what becomes of traffic nothing recognises.
mod common;

use common::*;
use pointsman_gateway::Settings;
use pointsman_model::OutboundPolicy;
use pointsman_testkit::{
    HttpUpstream, TcpUpstream, eventually, free_port, fresh_ip, tcp::Behaviour,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::TcpStream;

async fn refuses(address: SocketAddr) -> bool {
    let error = TcpStream::connect(address).await;
    error.is_err_and(|it| it.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Findings of one code about one object.
async fn found(gateway: &Gateway, code: &str, name: &str) -> Vec<serde_json::Value> {
    let mut findings = gateway.findings().await;
    findings.retain(|it| it["code"] == code && it["name"] == name);
    findings
}

#[tokio::test]
async fn a_tcp_service_listens_on_its_address_and_an_http_service_on_its_port() {
    let (web, echo) = (
        HttpUpstream::named("web").start().await,
        TcpUpstream::echo().await,
    );
    let (vip, http_port, tcp_port) = (fresh_ip(), free_port(), free_port());
    let text = http("web", vip, http_port, web.addr())
        + &service("db", vip, tcp_port, "tcp", &plain(&[echo.addr()]));
    let _gateway = Gateway::serve(&text).await;
    let elsewhere = fresh_ip();
    let mut client = connect((vip, tcp_port).into()).await;
    client.send("x").await.expect("sent");
    assert_eq!(client.read_exact(1).await.expect("echoed"), b"x");
    assert!(
        refuses((elsewhere, tcp_port).into()).await,
        "raw bytes belong to an address"
    );
    for ip in [vip, elsewhere] {
        assert_eq!(
            get((ip, http_port).into(), "web", "/").await.0,
            200,
            "requests name their Host"
        );
    }
}

#[tokio::test]
async fn a_headless_service_listens_at_its_endpoints_and_reaches_the_one_that_was_dialled() {
    let (one, two) = (fresh_ip(), fresh_ip());
    let (port, target) = (free_port(), free_port());
    let mut upstreams = Vec::new();
    for (ip, name) in [(one, "1"), (two, "2")] {
        let greeting = Behaviour::ServerFirst(name.as_bytes().to_vec());
        upstreams.push(
            TcpUpstream::start_at((ip, target).into(), greeting)
                .await
                .expect("binds"),
        );
    }
    let endpoints = plain(&[(one, target).into(), (two, target).into()]);
    let text = service("db", fresh_ip(), port, "tcp", &endpoints);
    let headless = {
        let line = text
            .lines()
            .find(|it| it.contains("clusterIP"))
            .expect("a line")
            .to_owned();
        text.replace(&line, "  clusterIP: None")
    };
    let _gateway = Gateway::serve(&headless).await;
    for (ip, name) in [(one, b"1"), (two, b"2"), (one, b"1"), (two, b"2")] {
        let mut client = connect((ip, port).into()).await;
        assert_eq!(client.read_exact(1).await.expect("greeted"), name);
    }
}

#[tokio::test]
async fn listeners_come_and_go_with_documents() {
    let echo = TcpUpstream::echo().await;
    let (first, second): (SocketAddr, SocketAddr) = (
        (fresh_ip(), free_port()).into(),
        (fresh_ip(), free_port()).into(),
    );
    let db = |at: SocketAddr| service("db", at.ip(), at.port(), "tcp", &plain(&[echo.addr()]));
    let gateway = Gateway::serve(&db(first)).await;
    assert!(TcpStream::connect(first).await.is_ok());
    assert!(refuses(second).await);
    gateway.apply(&db(second)).await;
    eventually(SOON, || async { TcpStream::connect(second).await.is_ok() }).await;
    eventually(SOON, || refuses(first)).await;
    gateway
        .apply(
            &(db(first)
                + &service(
                    "other",
                    second.ip(),
                    second.port(),
                    "tcp",
                    &plain(&[echo.addr()]),
                )),
        )
        .await;
    eventually(SOON, || async { TcpStream::connect(first).await.is_ok() }).await;
    assert!(
        TcpStream::connect(second).await.is_ok(),
        "kept, under another name"
    );
}

#[tokio::test]
async fn an_address_that_is_not_ours_is_a_finding_and_the_rest_serves() {
    let echo = TcpUpstream::echo().await;
    let (vip, port) = (fresh_ip(), free_port());
    // TEST-NET-3 (RFC 5737) is on nobody's interface.
    let foreign: IpAddr = Ipv4Addr::new(203, 0, 113, 7).into();
    let text = service("foreign", foreign, port, "tcp", &plain(&[echo.addr()]))
        + &service("db", vip, port, "tcp", &plain(&[echo.addr()]));
    let gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    client.send("x").await.expect("sent");
    assert_eq!(client.read_exact(1).await.expect("echoed"), b"x");
    eventually(SOON, || async {
        !found(&gateway, "PM0320", "foreign").await.is_empty()
    })
    .await;
    let findings = found(&gateway, "PM0320", "foreign").await;
    // Both shards met the obstacle; a person is told once.
    assert_eq!(findings.len(), 1, "{findings:?}");
    let finding = &findings[0];
    let message = finding["message"].as_str().expect("text");
    assert!(
        message.contains(&format!("203.0.113.7:{port}")),
        "{message}"
    );
    assert!(
        finding["file"]
            .as_str()
            .is_some_and(|it| it.ends_with("mesh.yaml")),
        "{finding}"
    );
    assert!(finding["line"].as_u64() > Some(1), "{finding}");
    assert!(found(&gateway, "PM0320", "db").await.is_empty());
    assert_eq!(gateway.page("/ready").await.0, 200);
    // The finding ends with its cause.
    gateway
        .apply(&service("db", vip, port, "tcp", &plain(&[echo.addr()])))
        .await;
    eventually(SOON, || async {
        found(&gateway, "PM0320", "foreign").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_address_somebody_else_holds_is_taken_as_soon_as_it_is_free() {
    let echo = TcpUpstream::echo().await;
    let (vip, port) = (fresh_ip(), free_port());
    let holder = std::net::TcpListener::bind((vip, port)).expect("free");
    let gateway = Gateway::serve(&service("db", vip, port, "tcp", &plain(&[echo.addr()]))).await;
    eventually(SOON, || async {
        !found(&gateway, "PM0320", "db").await.is_empty()
    })
    .await;
    drop(holder);
    let talks = || async {
        let Ok(mut client) = pointsman_testkit::RawHttp::connect((vip, port).into()).await else {
            return false;
        };
        client.send("x").await.is_ok() && client.read_exact(1).await.is_ok_and(|it| it == b"x")
    };
    eventually(SOON, talks).await;
    eventually(SOON, || async {
        found(&gateway, "PM0320", "db").await.is_empty()
    })
    .await;
}

fn registry_only() -> Settings {
    let mut settings = settings();
    settings.client.outbound_policy = Some(OutboundPolicy::RegistryOnly);
    settings
}

/// LIS-64.
#[tokio::test]
async fn what_nothing_recognises_is_answered_and_counted_not_sent_in_a_circle() {
    let web = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let gateway = Gateway::serve(&http("web", vip, port, web.addr())).await;
    let at = SocketAddr::from((vip, port));
    let mut client = connect(at).await;
    for _ in 0..2 {
        let reply = client
            .get("nobody.example.com", "/")
            .await
            .expect("an answer");
        assert_eq!(reply.status, 404);
        assert!(reply.text().contains("gateway itself"), "{}", reply.text());
        assert!(reply.keeps_alive());
    }
    assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    let mut bytes = connect(at).await;
    bytes.send(b"\x00\x01\x02\x03").await.expect("sent");
    let end = bytes.read_to_end().await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    let unmatched: &[(&str, &str)] = &[
        ("destination_service_name", "PassthroughCluster"),
        ("response_flags", "NR"),
    ];
    let with_code = [unmatched, &[("response_code", "404")]].concat();
    gateway
        .metrics_until(|it| {
            it.sum("pointsman_self_connect_refused_total", &[]) == 3.0
                && it.sum("istio_requests_total", &with_code) == 2.0
                && it.sum("istio_tcp_connections_closed_total", unmatched) == 1.0
        })
        .await;
}

/// LIS-62, LIS-61, VS-H-140, VS-H-150.
#[tokio::test]
async fn in_registry_only_mode_unknown_traffic_is_refused() {
    let web = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, web.addr());
    let gateway = Gateway::serve_with(registry_only(), &text).await;
    let at = SocketAddr::from((vip, port));
    let mut client = connect(at).await;
    let reply = client
        .get("nobody.example.com", "/")
        .await
        .expect("an answer");
    assert_eq!((reply.status, reply.body.len()), (502, 0));
    assert!(reply.keeps_alive());
    assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    let mut bytes = connect(at).await;
    bytes.send(b"\x00\x01\x02\x03").await.expect("sent");
    let end = bytes.read_to_end().await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    let hole: &[(&str, &str)] = &[("destination_service_name", "BlackHoleCluster")];
    gateway
        .metrics_until(|it| {
            it.sum("istio_requests_total", hole) == 1.0
                && it.sum("istio_tcp_connections_closed_total", hole) == 1.0
        })
        .await;
}

/// Otherwise one request goes round until the process has no descriptor left.
#[tokio::test]
async fn an_endpoint_that_is_the_gateway_itself_is_not_connected_to() {
    let (vip, endpoint, port) = (fresh_ip(), fresh_ip(), free_port());
    // The usual slip: the pod is expected at the port of the service, where the gateway listens.
    let text = http("web", vip, port, (endpoint, port).into())
        + &service("db", vip, free_port(), "tcp", &plain(&[(vip, port).into()]));
    let gateway = Gateway::serve(&text).await;
    let (status, body) = get((vip, port).into(), "web", "/").await;
    assert_eq!(status, 503);
    assert!(body.contains("this gateway itself"), "{body}");
    gateway
        .metrics_until(|it| it.sum("pointsman_self_connect_refused_total", &[]) >= 1.0)
        .await;
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 0.0)
        .await;
}
