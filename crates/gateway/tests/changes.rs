//! Documents change while connections are open, at the addresses of the golden fixture: what is
//! open goes on, what is new sees the new documents. `hot_swap.rs` does this under load.
mod common;
#[path = "../../route/tests/common/mod.rs"]
mod golden;

use common::{Everywhere, Fate, Feed, Gateway, Probe, SOON, captured, enclosed};
use golden::{add, fixture, objects_of};
use pointsman_model::{Kind, ObjectKey};
use pointsman_testkit::{HttpUpstream, RawHttp, Reply, client_hello, within};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Puts the fixture with these documents into force, without those of these names.
async fn apply(gateway: &Gateway, feed: &mut Feed, documents: &[&str], without: &[(Kind, &str)]) {
    let mut world = fixture();
    add(&mut world, documents);
    for (kind, name) in without {
        world.remove(&ObjectKey {
            kind: *kind,
            namespace: "default".into(),
            name: (*name).into(),
        });
    }
    let before = gateway.progress.borrow().active;
    feed.put(vec![("base", objects_of(&world))]);
    gateway.past(before).await;
}

/// A connection on which bytes are exchanged.
struct Tunnel {
    client: RawHttp,
    endpoint: &'static str,
}

impl Tunnel {
    /// Dials, says `first`, and hears it back from this endpoint.
    async fn open(to: &str, endpoint: &'static str, first: &[u8]) -> Self {
        let client = within(SOON, RawHttp::connect(at(to)))
            .await
            .expect("connects");
        let mut tunnel = Self { client, endpoint };
        tunnel.client.send(first).await.expect("sent");
        let name = format!("{}|", tunnel.endpoint);
        assert_eq!(
            tunnel
                .client
                .read_exact(name.len())
                .await
                .expect("answered"),
            name.as_bytes()
        );
        assert_eq!(
            tunnel.client.read_exact(first.len()).await.expect("echoed"),
            first
        );
        tunnel
    }

    async fn goes_on(&mut self) {
        self.client.send(b"\x00more").await.expect("sent");
        assert_eq!(
            self.client.read_exact(5).await.expect("echoed"),
            b"\x00more"
        );
    }
}

/// T-CH-2.
#[test]
fn a_port_that_becomes_http_keeps_its_connections_as_bytes() {
    enclosed(
        "a_port_that_becomes_http_keeps_its_connections_as_bytes",
        || async {
            let mut everywhere = Everywhere::default();
            everywhere.listen([6000]);
            let (gateway, mut feed) = Feed::serve_with(captured(), "").await;
            apply(&gateway, &mut feed, &[], &[]).await;
            let mut open = Tunnel::open("10.0.0.40:6000", "10.1.0.5:6000", b"\x00first").await;
            let http = [
                "svc raw ip=10.0.0.40 ports=http-x:6000/http",
                "eps raw ports=http-x:6000 pods=r1@10.1.0.5",
            ];
            apply(&gateway, &mut feed, &http, &[]).await;
            open.goes_on().await;
            let request = Probe::request("GET", "/", &[("host", "raw")]);
            match request.send(at("10.0.0.40:6000")).await {
                Fate::Backend(endpoint, ..) => assert_eq!(endpoint, at("10.1.0.5:6000")),
                other => panic!("{other:?}"),
            }
            // Bytes are not HTTP: they pass now.
            match Probe::bytes().send(at("10.0.0.40:6000")).await {
                Fate::Bytes(original) => assert_eq!(original, at("10.0.0.40:6000")),
                other => panic!("{other:?}"),
            }
        },
    );
}

/// T-CH-3.
#[test]
fn an_entry_that_goes_keeps_its_connections() {
    enclosed("an_entry_that_goes_keeps_its_connections", || async {
        let mut everywhere = Everywhere::default();
        everywhere.listen([443]);
        let (gateway, mut feed) = Feed::serve_with(captured(), "").await;
        apply(&gateway, &mut feed, &[], &[]).await;
        let hello = client_hello(Some("t1.example.com"), &[]);
        let mut open = Tunnel::open("1.2.3.4:443", "10.9.0.2:443", &hello).await;
        apply(&gateway, &mut feed, &[], &[(Kind::ServiceEntry, "extt")]).await;
        open.goes_on().await;
        Tunnel::open("1.2.3.4:443", "1.2.3.4:443", &hello).await;
        open.goes_on().await;
    });
}

/// T-CH-4.
#[test]
fn an_endpoint_that_comes_is_used() {
    enclosed("an_endpoint_that_comes_is_used", || async {
        let mut everywhere = Everywhere::default();
        everywhere.listen([8080]);
        let (gateway, mut feed) = Feed::serve_with(captured(), "").await;
        apply(&gateway, &mut feed, &[], &[]).await;
        let mut client = RawHttp::connect(at("10.0.0.10:80"))
            .await
            .expect("connects");
        assert_eq!(
            endpoints(&mut client).await,
            ["10.1.0.1:8080", "10.1.0.2:8080"]
        );
        let more = "eps web-2 of=web ports=http:8080 pods=w3@10.1.0.9";
        apply(&gateway, &mut feed, &[more], &[]).await;
        let all = ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.9:8080"];
        assert_eq!(endpoints(&mut client).await, all);
    });
}

/// Who answers sixty requests.
async fn endpoints(client: &mut RawHttp) -> Vec<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let reply = client.get("web", "/").await.expect("an answer");
        seen.extend(reply.field("x-at").map(str::to_owned));
    }
    seen.into_iter().collect()
}

/// T-BE-107, BE-126.
#[test]
fn an_endpoint_that_goes_ends_what_it_answers() {
    enclosed("an_endpoint_that_goes_ends_what_it_answers", || async {
        let slow = HttpUpstream::named("w1")
            .otherwise(Reply::ticking(
                &["one ", "two ", "three"],
                Duration::from_millis(500),
            ))
            .at(at("10.1.0.1:8080"))
            .start()
            .await;
        let quick = HttpUpstream::named("w2")
            .otherwise(Reply::text(200, "quick"))
            .at(at("10.1.0.2:8080"))
            .start()
            .await;
        let (gateway, mut feed) = Feed::serve_with(captured(), "").await;
        let only = |pod: &'static str| [pod];
        apply(
            &gateway,
            &mut feed,
            &only("eps web ports=http:8080 pods=w1@10.1.0.1"),
            &[],
        )
        .await;
        let mut client = RawHttp::connect(at("10.0.0.10:80"))
            .await
            .expect("connects");
        client
            .send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("sent");
        pointsman_testkit::eventually(SOON, || async { slow.requests() == 1 }).await;
        apply(
            &gateway,
            &mut feed,
            &only("eps web ports=http:8080 pods=w2@10.1.0.2"),
            &[],
        )
        .await;
        let mut other = RawHttp::connect(at("10.0.0.10:80"))
            .await
            .expect("connects");
        for _ in 0..10 {
            assert_eq!(
                other.get("web", "/").await.expect("an answer").text(),
                "quick"
            );
        }
        let reply = client.read_response().await.expect("a whole answer");
        assert_eq!(reply.text(), "one two three");
        assert_eq!(
            client.get("web", "/").await.expect("an answer").text(),
            "quick"
        );
        assert_eq!((slow.requests(), quick.requests()), (1, 11));
    });
}
