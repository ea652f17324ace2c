//! Clients that are known by the address of their Pod.
mod common;

use common::*;
use pointsman_testkit::{HttpUpstream, RawHttp, free_port, fresh_ip, within};
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpSocket;

/// A connection from an address of the client's own.
async fn connect_from(client: IpAddr, to: SocketAddr) -> RawHttp {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(client, 0)).expect("bound");
    RawHttp::over(within(SOON, socket.connect(to)).await.expect("connects"))
}

fn pod(name: &str, namespace: &str, role: &str, address: IpAddr) -> String {
    format!(
        "---
{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, labels: {{role: {role}}}}}, \
         status: {{podIP: {address}}}}}
"
    )
}

/// VS-H-11, VS-H-12, VSB-30: whose labels and namespace count is told by the address.
#[tokio::test]
async fn each_client_is_routed_by_the_labels_of_its_own_pod() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let [canary, other, stranger] = [fresh_ip(), fresh_ip(), fresh_ip()];
    let web = SocketAddr::new(vip, port);
    let rules = rules(
        "web",
        "- match: [{sourceLabels: {role: canary}}]
  directResponse: {status: 201}
- match: [{sourceNamespace: prod}]
  directResponse: {status: 202}
- route: [{destination: {host: web}}]",
    );
    let documents = |moved: IpAddr| {
        [
            http("web", vip, port, upstream.addr()),
            rules.clone(),
            pod("canary", "default", "canary", moved),
            pod("other", "prod", "plain", other),
        ]
        .concat()
    };
    let gateway = Gateway::serve(&documents(canary)).await;
    let mut open = connect_from(canary, web).await;
    for (client, status) in [(canary, 201), (other, 202), (stranger, 200)] {
        let mut connection = connect_from(client, web).await;
        let reply = connection.get("web.default", "/").await.expect("an answer");
        assert_eq!(reply.status, status, "{client}");
    }
    assert_eq!(open.get("web", "/").await.expect("an answer").status, 201);
    // Its Pod is gone, and another has come at another address: the open connection goes on.
    gateway.apply(&documents(stranger)).await;
    assert_eq!(open.get("web", "/").await.expect("an answer").status, 200);
    let mut moved = connect_from(stranger, web).await;
    assert_eq!(moved.get("web", "/").await.expect("an answer").status, 201);
}

/// HST-5: `web` is another service for a client of another namespace.
#[tokio::test]
async fn a_short_name_belongs_to_the_namespace_of_the_client() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port, client) = (fresh_ip(), free_port(), fresh_ip());
    let documents = [
        http("web", vip, port, upstream.addr()),
        pod("other", "prod", "plain", client),
    ]
    .concat();
    let _gateway = Gateway::serve(&documents).await;
    let mut connection = connect_from(client, SocketAddr::new(vip, port)).await;
    let reply = connection.get("web", "/").await.expect("an answer");
    assert_eq!(reply.status, 404, "no service of prod has that name");
    let mut connection = connect_from(client, SocketAddr::new(vip, port)).await;
    let reply = connection.get("web.default", "/").await.expect("an answer");
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn clients_are_not_told_apart_where_that_is_switched_off() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port, client) = (fresh_ip(), free_port(), fresh_ip());
    let documents = [
        http("web", vip, port, upstream.addr()),
        pod("other", "prod", "plain", client),
    ]
    .concat();
    let mut settings = settings();
    settings.client.known_clients = 0;
    let _gateway = Gateway::serve_with(settings, &documents).await;
    let mut connection = connect_from(client, SocketAddr::new(vip, port)).await;
    let reply = connection.get("web", "/").await.expect("an answer");
    assert_eq!(reply.status, 200);
}
