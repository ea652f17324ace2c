//! What the first bytes of a connection are taken for, over real sockets at the addresses of the
//! golden fixture: cases that a table of decisions cannot show.
mod common;
#[path = "../../route/tests/common/mod.rs"]
mod golden;

use common::{Everywhere, Fate, Feed, Gateway, Probe, SOON, captured, enclosed, timed, written};
use golden::{fixture_and, objects_of};
use pointsman_gateway::Settings;
use pointsman_testkit::{HttpUpstream, RawHttp, Reply, TcpUpstream, tcp, within};
use std::{net::SocketAddr, time::Duration};

/// The undeclared port 9000 of `auto`, its endpoint, and the HTTP port of `web`.
const AUTO: &str = "10.0.0.30:9000";
const U1: &str = "10.1.0.4:9000";
const WEB: &str = "10.0.0.10:80";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A gateway for the fixture and these documents.
async fn serve(settings: Settings, documents: &[&str]) -> Gateway {
    let (gateway, mut feed) = Feed::serve_with(settings, "").await;
    let before = gateway.progress.borrow().active;
    feed.put(vec![("base", objects_of(&fixture_and(documents)))]);
    gateway.past(before).await;
    gateway
}

async fn dial(to: &str) -> RawHttp {
    within(SOON, RawHttp::connect(at(to)))
        .await
        .expect("connects")
}

/// Where a probe came as bytes.
async fn bytes(probe: &Probe, to: &str) -> SocketAddr {
    match probe.send(at(to)).await {
        Fate::Bytes(at) => at,
        other => panic!("{other:?}"),
    }
}

/// The target and the answering address of a request that was routed.
async fn routed(probe: &Probe, to: &str) -> (String, SocketAddr) {
    match probe.send(at(to)).await {
        Fate::Backend(at, head, _) => (head.split(' ').nth(1).unwrap_or_default().to_owned(), at),
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_bytes_decide() {
    enclosed("first_bytes_decide", || async {
        let mut everywhere = Everywhere::default();
        everywhere.listen([80, 9000, 8080, 8443]);
        let _gateway = serve(captured(), &[]).await;
        let get = |target: &str| Probe::request("GET", target, &[("host", "any.example.com")]);

        // T-PS-40, T-PS-63: each request of the connection is routed.
        let mut client = dial(AUTO).await;
        for _ in 0..2 {
            let reply = client.get("any.example.com", "/").await.expect("an answer");
            assert_eq!((reply.status, reply.field("x-at")), (200, Some(U1)));
            assert!(
                reply.text().starts_with("GET / HTTP/1.1\r\n"),
                "{}",
                reply.text()
            );
        }

        // T-PS-43: HTTP/1.0 is HTTP here. Istio takes it for bytes.
        let old = get("/").version("1.0");
        assert_eq!(routed(&old, AUTO).await, ("/".to_owned(), at(U1)));
        // T-PS-57: so it is routed on an HTTP port, by its Host where it has one.
        let named = Probe::request("GET", "/", &[("host", "web")]).version("1.0");
        let (_, web) = routed(&named, WEB).await;
        assert!(
            ["10.1.0.1:8080", "10.1.0.2:8080"].contains(&&*web.to_string()),
            "{web}"
        );
        let nameless = Probe::request("GET", "/", &[]).version("1.0");
        assert_eq!(
            routed(&nameless, WEB).await.1,
            at(WEB),
            "to where it was going"
        );

        // T-PS-44: no request begins with a line end.
        let late = Probe::Bytes(b"\r\nGET / HTTP/1.1\r\nhost: any\r\n\r\n".to_vec());
        assert_eq!(bytes(&late, AUTO).await, at(U1));

        // T-PS-45.
        let purge = Probe::request("PURGE", "/", &[("host", "any.example.com")]);
        assert_eq!(routed(&purge, AUTO).await.1, at(U1));

        // T-PS-46, T-PS-47: the bytes as they were sent, from the first one on.
        assert_eq!(bytes(&Probe::bytes(), AUTO).await, at(U1));
        let hello = Probe::hello(Some("any.example.com"), &["h2"]);
        assert_eq!(bytes(&hello, AUTO).await, at(U1));

        // T-PS-52: the line may be long.
        let long = format!("/{}", "x".repeat(20_000));
        assert_eq!(routed(&get(&long), AUTO).await, (long, at(U1)));

        // T-HST-17: Istio's 400 too.
        for to in [WEB, AUTO] {
            match Probe::request("GET", "/", &[]).send(at(to)).await {
                Fate::Answer(reply) => assert_eq!(reply.status, 400, "{to}"),
                other => panic!("{other:?}"),
            }
        }

        // T-HST-26: the authority of the target counts, the path is what follows it.
        let absolute = Probe::request("GET", "http://web/x?y", &[("host", "other.example.com")]);
        match absolute.send(at(WEB)).await {
            Fate::Backend(_, head, _) => {
                assert!(
                    head.starts_with("GET /x?y HTTP/1.1\r\nHost: web\r\n"),
                    "{head}"
                );
            }
            other => panic!("{other:?}"),
        }

        // T-H-34: `.` and `..` are settled before anybody decides, and `//` stays (T-H-35).
        let named = |target: &str| Probe::request("GET", target, &[("host", "web")]);
        assert_eq!(routed(&named("/./a/../b//c"), WEB).await.0, "/b//c");
    });
}

/// T-PS-51: there is an end to waiting for a line's end. Istio closes; we say why first.
#[test]
fn a_line_without_end_is_refused() {
    enclosed("a_line_without_end_is_refused", || async {
        let mut everywhere = Everywhere::default();
        everywhere.listen([9000]);
        let _gateway = serve(captured(), &[]).await;
        let mut client = dial(AUTO).await;
        let _ = client.send(format!("GET /{}", "x".repeat(70_000))).await;
        let reply = within(SOON, client.read_response())
            .await
            .expect("an answer");
        assert_eq!(reply.status, 414);
        assert!(!reply.keeps_alive());
    });
}

/// T-PS-48: whoever says nothing is not cut off for it, and is understood later.
#[test]
fn silence_is_no_fault() {
    enclosed("silence_is_no_fault", || async {
        let mut everywhere = Everywhere::default();
        everywhere.listen([9000, 8080]);
        let _gateway = serve(captured(), &[]).await;
        let (mut request, mut raw, mut web) = (dial(AUTO).await, dial(AUTO).await, dial(WEB).await);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let reply = request
            .get("any.example.com", "/")
            .await
            .expect("an answer");
        assert_eq!(reply.field("x-at"), Some(U1));
        let reply = web.get("web", "/").await.expect("an answer");
        assert_eq!(reply.status, 200);
        raw.send(b"\x00\x01").await.expect("sent");
        let answer = raw.read_exact(U1.len() + 3).await.expect("an answer");
        assert_eq!(answer, [U1.as_bytes(), b"|\x00\x01"].concat());
    });
}

/// T-PS-49: in Istio this hangs. T-PS-53: a declared TCP port waits for nothing.
#[test]
fn a_server_may_speak_first() {
    enclosed("a_server_may_speak_first", || async {
        let first = tcp::Behaviour::ServerFirst(tcp::GREETING.to_vec());
        let _auto = TcpUpstream::start_at(at(U1), first.clone())
            .await
            .expect("listens");
        let _raw = TcpUpstream::start_at(at("10.1.0.5:6000"), first)
            .await
            .expect("listens");
        let _gateway = serve(captured(), &[]).await;
        let greeting = |to: &'static str| async move {
            let mut client = dial(to).await;
            client
                .read_exact(tcp::GREETING.len())
                .await
                .expect("a greeting")
        };
        let (said, took) = timed(greeting(AUTO)).await;
        assert_eq!(said, tcp::GREETING);
        assert!(took < Duration::from_secs(5), "{took:?}");
        let (said, took) = timed(greeting("10.0.0.40:6000")).await;
        assert_eq!(said, tcp::GREETING);
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

/// T-PS-50: how long the client has the first word is a setting.
#[test]
fn the_wait_for_the_client_is_a_setting() {
    enclosed("the_wait_for_the_client_is_a_setting", || async {
        let first = tcp::Behaviour::ServerFirst(tcp::GREETING.to_vec());
        let _auto = TcpUpstream::start_at(at(U1), first).await.expect("listens");
        let mut settings = captured();
        settings.detection.server_first_after = written("1s");
        let _gateway = serve(settings, &[]).await;
        let (said, took) = timed(async {
            let mut client = dial(AUTO).await;
            client
                .read_exact(tcp::GREETING.len())
                .await
                .expect("a greeting")
        })
        .await;
        assert_eq!(said, tcp::GREETING);
        assert!(took >= Duration::from_millis(950), "{took:?}");
    });
}

/// T-LIS-67, T-LIS-68: each request of one connection goes its own way, and nobody hurries what
/// passes through. T-H-95: nor what no rule gives a timeout.
#[test]
fn what_passes_through_has_no_timeout() {
    enclosed("what_passes_through_has_no_timeout", || async {
        let mut everywhere = Everywhere::default();
        everywhere.listen([8080]);
        let slow = || Reply::identity().after(Duration::from_secs(3));
        let _stranger = HttpUpstream::named("stranger")
            .otherwise(slow())
            .at(at("9.9.9.9:80"))
            .start()
            .await;
        let _known = HttpUpstream::named("known")
            .otherwise(slow())
            .at(at("10.9.0.3:80"))
            .start()
            .await;
        let _gateway = serve(captured(), &[]).await;
        let mut client = dial("9.9.9.9:80").await;
        let reply = client.get("web", "/").await.expect("an answer");
        assert!(
            reply
                .field("x-at")
                .is_some_and(|it| it.starts_with("10.1.0."))
        );
        let (reply, took) = timed(client.get("unknown.example.com", "/")).await;
        assert_eq!(
            reply.expect("an answer").answered_by().as_deref(),
            Some("stranger")
        );
        assert!(took >= Duration::from_secs(3), "{took:?}");
        let reply = client.get("h.example.com", "/").await.expect("an answer");
        assert_eq!(reply.answered_by().as_deref(), Some("known"));
        let reply = client.get("api.prod", "/").await.expect("an answer");
        assert_eq!(reply.field("x-at"), Some("10.1.0.3:8080"));
    });
}
