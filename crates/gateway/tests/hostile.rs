//! What must not get through: requests and responses that two parsers could read differently, heads
//! without end, peers without haste (RFC 9112).
mod common;

use common::*;
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply, eventually, free_port, fresh_ip,
    message::{Framing, MessageError},
    within,
};
use std::{net::SocketAddr, time::Duration};

async fn web(
    settings: pointsman_gateway::Settings,
    upstream: &HttpUpstream,
) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr());
    (
        Gateway::serve_with(settings, &text).await,
        (vip, port).into(),
    )
}

/// What a client may be told about a request that is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Status(u16),
    /// Not recognised as HTTP at all: nothing to speak about, and no route as bytes.
    Closed,
}
use Told::{Closed, Status};

/// Requests that must never reach a backend, and what their senders are told.
#[rustfmt::skip]
const REQUESTS: &[(&str, Told, &[u8])] = &[
    // Framing (RFC 9112 section 6.3): the ways to smuggle.
    ("length and chunked", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked and length", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("two lengths", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
    ("list of lengths", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4, 5\r\n\r\nabcd"),
    ("signed length", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: +4\r\n\r\nabcd"),
    ("negative length", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: -1\r\n\r\n"),
    ("hexadecimal length", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 0x4\r\n\r\nabcd"),
    ("empty length", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: \r\n\r\n"),
    ("length beyond 64 bits", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("length with words", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4 4\r\n\r\nabcd"),
    ("unknown coding", Status(501), b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("coding before chunked", Status(501), b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", Status(501), b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("chunked twice", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked with vertical tab", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("chunked in HTTP/1.0", Status(400), b"POST / HTTP/1.0\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("empty coding", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding:\r\n\r\n"),
    // Lines and fields (sections 2.2 and 5).
    ("blank before colon", Status(400), b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("folded line", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\nX-A: b\r\n c\r\n\r\n"),
    ("folded first field", Status(400), b"GET / HTTP/1.1\r\n Host: web\r\n\r\n"),
    ("bare line feeds", Status(400), b"GET / HTTP/1.1\nHost: web\n\n"),
    ("bare line feed within", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\nX-A: b\nX-C: d\r\n\r\n"),
    ("bare carriage return", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\nX-A: b\rX-C: d\r\n\r\n"),
    ("NUL in a value", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\nX-A: b\0c\r\n\r\n"),
    ("NUL in a name", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\nX\0A: b\r\n\r\n"),
    ("no colon", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\nnonsense\r\n\r\n"),
    ("no name", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\n: nonsense\r\n\r\n"),
    ("name with parentheses", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\nX(A): b\r\n\r\n"),
    // The request line (section 3).
    ("blank in target", Status(400), b"GET /a b HTTP/1.1\r\nHost: web\r\n\r\n"),
    ("HTTP/1.2", Status(505), b"GET / HTTP/1.2\r\nHost: web\r\n\r\n"),
    ("HTTP/3.0", Status(505), b"GET / HTTP/3.0\r\nHost: web\r\n\r\n"),
    ("lower-case version", Status(400), b"GET / http/1.1\r\nHost: web\r\n\r\n"),
    ("fragment", Status(400), b"GET /a#b HTTP/1.1\r\nHost: web\r\n\r\n"),
    ("encoded NUL", Status(400), b"GET /a%00b HTTP/1.1\r\nHost: web\r\n\r\n"),
    ("half an escape", Status(400), b"GET /a%2 HTTP/1.1\r\nHost: web\r\n\r\n"),
    // Host (section 3.2).
    ("no Host", Status(400), b"GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", Status(400), b"GET / HTTP/1.1\r\nHost: web\r\nHost: evil\r\n\r\n"),
    ("list of Hosts", Status(400), b"GET / HTTP/1.1\r\nHost: web, evil\r\n\r\n"),
    ("Host with user", Status(400), b"GET / HTTP/1.1\r\nHost: me@web\r\n\r\n"),
    ("Host with path", Status(400), b"GET / HTTP/1.1\r\nHost: web/evil\r\n\r\n"),
    ("Host with bad port", Status(400), b"GET / HTTP/1.1\r\nHost: web:99999\r\n\r\n"),
    ("CONNECT", Status(405), b"CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n"),
    // Not HTTP/1.
    ("empty lines without end", Closed, b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"),
    ("two blanks", Closed, b"GET  / HTTP/1.1\r\nHost: web\r\n\r\n"),
    ("relative target", Closed, b"GET a HTTP/1.1\r\nHost: web\r\n\r\n"),
    ("blank first", Closed, b" GET / HTTP/1.1\r\nHost: web\r\n\r\n"),
];

/// Said in one go with the hostile request: reaches a backend only if the two were read as
/// something else than they are.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n";

/// VS-H-135.
#[tokio::test]
async fn ambiguous_requests_are_refused_and_no_backend_sees_them() {
    let upstream = HttpUpstream::named("web").start().await;
    let (gateway, web) = web(settings(), &upstream).await;
    let mut wrong = Vec::new();
    for (name, told, bytes) in REQUESTS {
        for smuggle in [false, true] {
            let mut client = connect(web).await;
            // The gateway may close before it has read everything.
            let _ = client.send(bytes).await;
            if smuggle {
                let _ = client.send(SMUGGLED).await;
            }
            let got = client.read_response().await;
            let got_told = match &got {
                Ok(reply) => {
                    if reply.keeps_alive() && reply.status != 405 {
                        wrong.push(format!("{name}: connection kept after {}", reply.status));
                    }
                    Some(Status(reply.status))
                }
                Err(MessageError::Truncated { got, .. }) if got.is_empty() => Some(Closed),
                Err(MessageError::Io(_)) => Some(Closed),
                Err(_) => None,
            };
            if got_told != Some(*told) {
                wrong.push(format!(
                    "{name} (smuggling: {smuggle}): {got_told:?} {got:?}, not {told:?}"
                ));
            }
            if *told != Status(405) {
                let rest = client.read_to_end().await;
                if !rest.as_ref().is_ok_and(Vec::is_empty) && !is_reset(&rest) {
                    wrong.push(format!("{name} (smuggling: {smuggle}): then {rest:?}"));
                }
            }
        }
    }
    let seen: Vec<_> = upstream
        .seen()
        .into_iter()
        .map(|seen| (seen.method, seen.target))
        .collect();
    // After CONNECT, which is well formed, the connection goes on.
    let allowed = ("GET".to_owned(), "/smuggled".to_owned());
    assert!(
        seen.iter().filter(|it| **it == allowed).count() <= 1,
        "{seen:?}"
    );
    assert!(seen.iter().all(|it| *it == allowed), "{seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Operators see what was refused, by reason.
    let metrics = gateway
        .metrics_until(|it| {
            it.sum(
                "pointsman_refused_bytes_total",
                &[("reason", "duplicate_host")],
            ) >= 2.0
        })
        .await;
    for reason in [
        "cl_and_te",
        "bad_content_length",
        "obs_fold",
        "bare_lf",
        "missing_host",
        "space_before_colon",
    ] {
        assert!(
            metrics.sum("pointsman_refused_bytes_total", &[("reason", reason)]) >= 2.0,
            "{reason}\n{metrics}"
        );
    }
}

/// Chunked bodies whose framing is wrong; the head alone is fine.
const BODIES: &[(&str, &[u8])] = &[
    ("no size", b"\r\nabc\r\n0\r\n\r\n"),
    ("negative size", b"-1\r\nabc\r\n0\r\n\r\n"),
    ("0x size", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("blank size", b" 3\r\nabc\r\n0\r\n\r\n"),
    (
        "size beyond 64 bits",
        b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    ),
    ("size with bare line feed", b"3\nabc\r\n0\r\n\r\n"),
    ("data longer than said", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("data shorter than said", b"5\r\nabc\r\n0\r\n\r\n"),
    ("bare line feed after data", b"3\r\nabc\n0\r\n\r\n"),
    ("extension with line feed", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    (
        "trailer with blank before colon",
        b"3\r\nabc\r\n0\r\nX-A : b\r\n\r\n",
    ),
    ("trailer folded", b"3\r\nabc\r\n0\r\nX-A: b\r\n c\r\n\r\n"),
];

#[tokio::test]
async fn a_body_with_wrong_chunks_is_never_completed_at_the_backend() {
    let upstream = HttpUpstream::named("web").start().await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let head = b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (name, body) in BODIES {
        for split in [false, true] {
            let mut client = connect(web).await;
            client.send(head).await.expect("sent");
            if split {
                // The request is on its way before the body turns out to be wrong.
                let before = upstream.requests();
                pointsman_testkit::eventually(SOON, || async { upstream.requests() > before })
                    .await;
            }
            let _ = client.send([body, SMUGGLED].concat()).await;
            match client.read_response().await {
                Ok(reply) => {
                    assert_eq!(reply.status, 400, "{name}");
                    assert!(!reply.keeps_alive(), "{name}");
                }
                Err(error) => panic!("{name} (split: {split}): {error}"),
            }
            let rest = client.read_to_end().await;
            assert!(
                rest.as_ref().is_ok_and(Vec::is_empty) || is_reset(&rest),
                "{name}: {rest:?}"
            );
        }
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

/// Responses no client may see as whole and right. `true`: part of it may have left already, so
/// the connection is cut instead of 502.
#[rustfmt::skip]
const RESPONSES: &[(&str, bool, &[u8])] = &[
    ("not HTTP", false, b"SSH-2.0-OpenSSH_9.7\r\n\r\n\r\n"),
    ("bad status", false, b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n"),
    ("two-digit status", false, b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/2.0", false, b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("bare line feeds", false, b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("length and chunked", false, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", false, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("negative length", false, b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
    ("folded line", false, b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
    ("blank before colon", false, b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
    ("NUL in a value", false, b"HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n"),
    ("bare CR in a value", false, b"HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"),
    ("unasked upgrade", false, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("bad chunk size", true, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"),
    ("chunk longer than said", true, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"),
    ("bad trailer", true, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A : b\r\n\r\n"),
];

/// VS-H-134.
#[tokio::test]
async fn malformed_responses_are_502_or_a_visible_cut_and_their_connection_is_not_used_again() {
    for (name, begun, bytes) in RESPONSES {
        let upstream = HttpUpstream::named("web")
            .on("/bad", Reply::raw(bytes))
            .start()
            .await;
        let (_gateway, web) = web(settings(), &upstream).await;
        let mut client = connect(web).await;
        match client.get("web", "/bad").await {
            Ok(reply) => {
                assert_eq!(reply.status, 502, "{name}");
                // The client did nothing wrong: it keeps its connection.
                assert!(reply.keeps_alive(), "{name}");
            }
            Err(error) => {
                assert!(begun, "{name}: {error}");
                assert!(!matches!(error, MessageError::TimedOut), "{name}");
                client = connect(web).await;
            }
        }
        let next = client.get("web", "/next").await.expect("an answer");
        assert_eq!(
            next.json()["connection"],
            1,
            "{name}: a connection of its own"
        );
    }
}

#[tokio::test]
async fn bytes_behind_a_response_answer_nobody() {
    let upstream = HttpUpstream::named("web")
        .on(
            "/double",
            Reply::raw(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            ),
        )
        .on("/late", Reply::text(200, "ok").then(
            // Not with the first answer but soon after it, while the connection is idle.
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").after(Duration::from_millis(100)),
        ))
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let mut client = connect(web).await;
    for path in ["/double", "/late"] {
        assert_eq!(
            client.get("web", path).await.expect("an answer").text(),
            "ok"
        );
        tokio::time::sleep(Duration::from_millis(200)).await; // nothing to wait for: the poison is silent
        let next = client.get("web", "/next").await.expect("an answer");
        assert_eq!(next.json()["target"], "/next", "{path}");
    }
    assert_eq!(
        upstream.connections(),
        3,
        "one for each poisoned answer, one for what came after"
    );
}

/// VS-H-130, T-H-166.
#[tokio::test]
async fn answers_that_break_off_look_broken() {
    let upstream = HttpUpstream::named("web")
        .on("/length", Reply::cut(1000, 300))
        .on("/head-only", Reply::cut(1000, 0))
        .on("/chunked", Reply::cut_chunked())
        .on(
            "/in-head",
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Le").then(Reply::close()),
        )
        .on("/silent", Reply::close())
        .on("/reset", Reply::reset())
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    for path in ["/length", "/head-only", "/chunked"] {
        let reply = connect(web).await.get("web", path).await;
        assert!(reply.is_err(), "{path}: {reply:?}");
        assert!(!matches!(reply, Err(MessageError::TimedOut)), "{path}");
        // HTTP/1.0 has no framing that would show it: only a reset does.
        let mut old = connect(web).await;
        old.send(format!("GET {path} HTTP/1.0\r\nHost: web\r\n\r\n"))
            .await
            .expect("sent");
        let reply = old.read_response().await;
        assert!(reply.is_err(), "{path} in HTTP/1.0: {reply:?}");
    }
    let mut client = connect(web).await;
    for path in ["/in-head", "/silent", "/reset"] {
        let reply = client.get("web", path).await.expect("an answer");
        assert_eq!(reply.status, 503, "{path}");
        assert!(reply.keeps_alive(), "{path}");
    }
}

#[tokio::test]
async fn a_flood_of_interim_responses_ends() {
    let flood = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
    let upstream = HttpUpstream::named("web")
        .on(
            "/few",
            Reply::text(200, "ok").preceded_by(&flood[..flood.len() / 500]),
        )
        .on("/flood", Reply::text(200, "ok").preceded_by(&flood))
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let mut client = connect(web).await;
    let few = client.get("web", "/few").await.expect("an answer");
    assert_eq!((few.status, few.interim.len()), (200, 2));
    let reply = client.get("web", "/flood").await.expect("an answer");
    assert_eq!(reply.status, 502);
    assert!(reply.interim.len() < 100);
}

#[tokio::test]
async fn a_head_that_never_ends_is_timed_out_byte_by_byte_or_not_at_all() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.timeouts.request_head = written("400ms");
    settings.timeouts.client_hello = written("400ms");
    let (gateway, web) = web(settings, &upstream).await;
    for warm in [false, true] {
        let mut client = connect(web).await;
        if warm {
            assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
        }
        client
            .send("GET / HTTP/1.1\r\nHost: web\r\nX-Slow: ")
            .await
            .expect("sent");
        let (dripping, took) = timed(async {
            // Each byte is progress, and no excuse.
            loop {
                if client.send("x").await.is_err() {
                    break None;
                }
                let reading =
                    tokio::time::timeout(Duration::from_millis(30), client.read_response());
                if let Ok(reply) = reading.await {
                    break Some(reply);
                }
            }
        })
        .await;
        let reply = dripping.expect("told before it is cut").expect("an answer");
        assert_eq!(reply.status, 408, "warm: {warm}");
        assert!(!reply.keeps_alive());
        assert!(
            took >= Duration::from_millis(400) && took < Duration::from_secs(5),
            "{took:?}"
        );
    }
    assert_eq!(upstream.requests(), 1);
    gateway
        .metrics_until(|it| {
            it.sum(
                "pointsman_limits_hit_total",
                &[("limit", "timeouts.request_head")],
            ) >= 2.0
        })
        .await;
}

/// VS-H-137, VS-H-66.
#[tokio::test]
async fn a_body_that_stops_is_408_and_a_silent_client_is_let_go() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.timeouts.request_body = written("300ms");
    settings.timeouts.keep_alive = written("300ms");
    let (_gateway, web) = web(settings, &upstream).await;
    let mut client = connect(web).await;
    client
        .send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 100\r\n\r\nsome")
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.status, 408);
    let mut idle = connect(web).await;
    assert_eq!(idle.get("web", "/").await.expect("an answer").status, 200);
    let (end, took) = timed(idle.read_to_end()).await;
    assert_eq!(end.expect("closed in order"), b"");
    assert!(
        took >= Duration::from_millis(250) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

/// VS-H-137, VS-H-66.
#[tokio::test]
async fn an_upstream_that_stops_in_the_middle_is_504_or_a_cut() {
    let upstream = HttpUpstream::named("web")
        .on("/hang", Reply::hang())
        .on(
            "/stall",
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").then(Reply::hang()),
        )
        .start()
        .await;
    let mut settings = settings();
    settings.timeouts.response = written("300ms");
    let (_gateway, web) = web(settings, &upstream).await;
    let mut client = connect(web).await;
    assert_eq!(
        client.get("web", "/hang").await.expect("an answer").status,
        504
    );
    let cut = client.get("web", "/stall").await;
    assert!(
        is_reset(&cut) || matches!(cut, Err(MessageError::Truncated { .. })),
        "{cut:?}"
    );
}

/// VS-H-142, PS-49.
#[tokio::test]
async fn heads_over_the_limits_are_refused_while_they_still_arrive() {
    let upstream = HttpUpstream::named("web").start().await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let long = "x".repeat(70_000);
    let many = "A: b\r\n".repeat(101);
    let cases = [
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: web\r\nX-Long: {long}\r\n\r\n"),
        ),
        // Without its end: nobody waits for it.
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: web\r\nX-Long: {long}"),
        ),
        (431, format!("GET / HTTP/1.1\r\nHost: web\r\n{many}\r\n")),
        (
            414,
            format!("GET /{} HTTP/1.1\r\nHost: web\r\n\r\n", &long[..40_000]),
        ),
        (414, format!("GET /{}", &long[..40_000])),
    ];
    for (status, bytes) in cases {
        let mut client = connect(web).await;
        let _ = client.send(&bytes).await;
        let reply = within(SOON, client.read_response())
            .await
            .expect("an answer");
        assert_eq!(reply.status, status, "{}", &bytes[..60]);
        assert!(!reply.keeps_alive());
    }
    assert_eq!(upstream.requests(), 0);
    // At the limit it passes.
    let fits = format!(
        "GET / HTTP/1.1\r\nHost: web\r\nX-Long: {}\r\n\r\n",
        &long[..65_000]
    );
    let mut client = connect(web).await;
    client.send(fits).await.expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 200);
}

#[tokio::test]
async fn an_upstream_head_over_the_limit_is_502() {
    let head = format!(
        "HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 0\r\n\r\n",
        "x".repeat(70_000)
    );
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::raw(head.as_bytes()))
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let reply = connect(web).await.get("web", "/").await.expect("an answer");
    assert_eq!(reply.status, 502);
}

#[tokio::test]
async fn bytes_sent_before_an_upgrade_is_granted_are_not_passed_on() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::upgrade().after(Duration::from_millis(100)))
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let mut client = connect(web).await;
    let ask = "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client
        .send([ask.as_bytes(), SMUGGLED].concat())
        .await
        .expect("sent");
    let rest = client.read_to_end().await;
    let echoed = rest
        .as_ref()
        .is_ok_and(|it| it.windows(9).any(|it| it == b"/smuggled"));
    assert!(!echoed, "{rest:?}");
    // Other protocols than WebSocket are not asked for at all, so nobody switches.
    let mut client = connect(web).await;
    client
        .send(ask.replace("websocket", "h2c"))
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.status, 426);
    assert_eq!(
        upstream.last_seen().expect("a request").field("upgrade"),
        None
    );
}

/// PS-48b: recognised, and refused until HTTP/2 is spoken.
#[tokio::test]
async fn the_http2_preface_is_told_that_it_is_not_spoken() {
    let upstream = HttpUpstream::named("web").start().await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let mut client: RawHttp = connect(web).await;
    client
        .send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(
        (reply.status, reply.framing == Framing::UntilClose),
        (505, false)
    );
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_in_the_end() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::endless(&[b'x'; 64 * 1024], Duration::ZERO))
        .start()
        .await;
    let mut settings = settings();
    settings.timeouts.write = written("500ms");
    let (gateway, web) = web(settings, &upstream).await;
    let mut client = connect(web).await;
    client
        .send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { upstream.requests() == 1 }).await;
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 1.0)
        .await;
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 0.0)
        .await;
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_their_turn() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.process.shards = 1;
    settings.limits.connections = 2;
    let (gateway, web) = web(settings, &upstream).await;
    let mut first = connect(web).await;
    let mut second = connect(web).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    }
    let mut third = connect(web).await; // by the kernel
    third
        .send("GET /third HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    gateway
        .metrics_until(|it| {
            it.sum(
                "pointsman_limits_hit_total",
                &[("limit", "limits.connections")],
            ) > 0.0
        })
        .await;
    assert_eq!(upstream.requests(), 2);
    drop(first);
    assert_eq!(third.read_response().await.expect("an answer").status, 200);
    assert_eq!(second.get("web", "/").await.expect("an answer").status, 200);
}

/// A reused connection whose endpoint closes after an interim response must not be sent what the
/// interim response was translated to.
#[tokio::test]
async fn a_request_is_not_replayed_once_an_interim_response_came() {
    let upstream = HttpUpstream::named("web")
        .on("/ok", Reply::text(200, "ok"))
        .on(
            "/hint",
            Reply::raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n").then(Reply::close()),
        )
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let _gateway = Gateway::serve(&http("web", vip, port, upstream.addr())).await;
    let mut client = connect((vip, port).into()).await;
    client.get("web", "/ok").await.expect("an answer");
    let answer = client.get("web", "/hint").await.expect("an answer");
    assert_eq!(answer.status, 503);
    assert!(
        upstream.malformed().is_empty(),
        "{:?}",
        upstream.malformed()
    );
    assert_eq!(upstream.requests(), 2, "nothing was sent again");
}
