//! Peers without haste or end: heads and bodies that stop, floods, clients that do not read, and what
//! is left of a connection after them.
use crate::common::*;
use pointsman_testkit::{
    HttpUpstream, Reply, eventually, free_port, fresh_ip, message::MessageError, within,
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
    let (end, took) = timed(async {
        let mut idle = connect(web).await;
        assert_eq!(idle.get("web", "/").await.expect("an answer").status, 200);
        idle.read_to_end().await
    })
    .await;
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
        .send(
            [
                ask.as_bytes(),
                b"GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n",
            ]
            .concat(),
        )
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
