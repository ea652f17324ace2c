//! Raw TCP through the gateway: bytes both ways, ends and resets, and who speaks first.
mod common;

use common::*;
use pointsman_gateway::Settings;
use pointsman_testkit::{
    HttpUpstream, RawHttp, TcpUpstream, client_hello, eventually, free_port, fresh_ip,
    message::MessageError,
    tcp::{Behaviour, Deaf, GREETING},
    within,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A gateway with one TCP service; an empty `port_name` leaves the protocol to detection.
async fn tcp(settings: Settings, port_name: &str, upstream: SocketAddr) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("db", vip, port, port_name, &plain(&[upstream]));
    (
        Gateway::serve_with(settings, &text).await,
        (vip, port).into(),
    )
}

/// PS-8, PS-40: bytes that look like HTTP are bytes.
#[tokio::test]
async fn the_address_alone_decides_where_bytes_go() {
    let (one, two) = (
        TcpUpstream::start(Behaviour::ServerFirst(b"one".to_vec())).await,
        TcpUpstream::start(Behaviour::ServerFirst(b"two".to_vec())).await,
    );
    let port = free_port();
    let (first, second) = (fresh_ip(), fresh_ip());
    let text = service("one", first, port, "tcp", &plain(&[one.addr()]))
        + &service("two", second, port, "tcp-other", &plain(&[two.addr()]));
    let _gateway = Gateway::serve(&text).await;
    for (vip, said) in [(first, b"one"), (second, b"two"), (first, b"one")] {
        let mut client = connect((vip, port).into()).await;
        assert_eq!(client.read_exact(3).await.expect("greeted"), said);
        // Bytes that look like a protocol are bytes here.
        client.send("GET / HTTP/1.1\r\n\r\n").await.expect("sent");
        assert_eq!(
            client.read_exact(18).await.expect("echoed"),
            b"GET / HTTP/1.1\r\n\r\n"
        );
    }
    assert_eq!((one.connections(), two.connections()), (2, 1));
}

/// VS-T-3.
#[tokio::test]
async fn tcp_rules_send_an_address_elsewhere() {
    let (a, b) = (
        TcpUpstream::start(Behaviour::ServerFirst(b"a".to_vec())).await,
        TcpUpstream::start(Behaviour::ServerFirst(b"b".to_vec())).await,
    );
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("a", vip, port, "tcp", &plain(&[a.addr()]))
        + &service("b", fresh_ip(), port, "tcp", &plain(&[b.addr()]))
        + &tcp_rules("a", "- route: [{destination: {host: b}}]");
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    assert_eq!(client.read_exact(1).await.expect("greeted"), b"b");
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let upstream = TcpUpstream::start(Behaviour::AnswerAfterEnd).await;
    let (_gateway, db) = tcp(settings(), "tcp", upstream.addr()).await;
    let mut client = connect(db).await;
    client.send("12345").await.expect("sent");
    client.half_close().await.expect("half-closed");
    assert_eq!(
        client.read_to_end().await.expect("in order"),
        b"got 5 bytes"
    );

    let upstream = TcpUpstream::start(Behaviour::EndFirst(b"bye".to_vec())).await;
    let (_gateway, db) = tcp(settings(), "tcp", upstream.addr()).await;
    let mut client = connect(db).await;
    assert_eq!(client.read_to_end().await.expect("in order"), b"bye");
    // The upstream has nothing more to say, and still listens.
    client.send("more").await.expect("sent");
    eventually(SOON, || async { upstream.received() == 4 }).await;
    assert_eq!(upstream.open_connections(), 1);
    client.half_close().await.expect("half-closed");
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let upstream = TcpUpstream::start(Behaviour::ResetAfterRead).await;
    let (_gateway, db) = tcp(settings(), "tcp", upstream.addr()).await;
    let mut client = connect(db).await;
    client.send("x").await.expect("sent");
    let end = client.read_to_end().await;
    assert!(is_reset(&end), "{end:?}");

    // A reset that comes with the connection may count as a failure to connect, which is an end.
    let upstream = TcpUpstream::start(Behaviour::ResetAtOnce).await;
    let (_gateway, db) = tcp(settings(), "tcp", upstream.addr()).await;
    let end = connect(db).await.read_to_end().await;
    assert!(
        is_reset(&end) || end.as_ref().is_ok_and(Vec::is_empty),
        "{end:?}"
    );

    // The other way round: an upstream of the test's own, to see what it gets.
    let listener = within(SOON, tokio::net::TcpListener::bind((fresh_ip(), 0)))
        .await
        .expect("binds");
    let (_gateway, db) = tcp(settings(), "tcp", listener.local_addr().expect("bound")).await;
    let mut client = connect(db).await;
    client.send("x").await.expect("sent");
    let (mut accepted, _) = within(SOON, listener.accept()).await.expect("accepts");
    let mut buffer = [0; 8];
    assert_eq!(
        within(SOON, accepted.read(&mut buffer))
            .await
            .expect("read"),
        1
    );
    client.reset();
    let end = within(SOON, accepted.read(&mut buffer)).await;
    assert_eq!(
        end.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::ConnectionReset)
    );
}

/// An upstream that has said everything, and closes with something unread, resets its connection: that is for
/// what its client still sends, and takes nothing of what it has still to read.
#[tokio::test]
async fn a_reset_behind_the_end_of_a_direction_cuts_the_other_alone() {
    const BYTES: usize = 300_000;
    let listener = TcpListener::bind((fresh_ip(), 0)).await.expect("binds");
    let at = listener.local_addr().expect("bound");
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("db", vip, port, "tcp", &plain(&[at]));
    let notes = Notes::default();
    let gateway = notes.serve(settings(), &text).await;
    let (mut client, own) = small_client((vip, port).into()).await;
    client.write_all(b"ping").await.expect("sent");
    let (mut upstream, _) = within(SOON, listener.accept()).await.expect("accepts");
    upstream.write_all(&pattern(BYTES)).await.expect("sent");
    upstream.shutdown().await.expect("ended");
    let sum = |it: &Scrape, way| it.sum(&format!("istio_tcp_{way}_bytes_total"), &[]);
    gateway
        .metrics_until(|it| sum(it, "sent") == BYTES as f64 && sum(it, "received") == 4.0)
        .await;
    drop(upstream);
    let mut got = Vec::new();
    while got.len() < BYTES {
        client.write_all(b"ping").await.expect("sent");
        let mut piece = vec![0; 16 * 1024];
        let read = within(SOON, client.read(&mut piece)).await;
        let behind = got.len();
        assert!(matches!(read, Ok(1..)), "{read:?} behind {behind} bytes");
        got.extend_from_slice(&piece[..read.unwrap_or(0)]);
        // The pause is the test.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(digest(&got), digest(&pattern(BYTES)));
    assert_eq!(within(SOON, client.read(&mut [0])).await.ok(), Some(0));
    assert_eq!(notes.of(own, 1).await[0].flags, "-");
    // Whoever goes on sending does not do so for ever.
    let sending = async { while client.write_all(b"ping").await.is_ok() {} };
    within(SOON, sending).await;
}

/// The kernel tells a reset once, here to whoever writes: whoever reads must not take it for the end.
#[tokio::test]
async fn a_reset_in_the_middle_of_both_directions_is_no_end() {
    let listener = TcpListener::bind((fresh_ip(), 0)).await.expect("binds");
    let at = listener.local_addr().expect("bound");
    // Copied and spliced.
    for bytes in [10, 1_000_000] {
        let (_gateway, db) = tcp(settings(), "tcp", at).await;
        let (mut client, _) = dial(db).await;
        let (mut upstream, _) = {
            client.write_all(b"x").await.expect("sent");
            within(SOON, listener.accept()).await.expect("accepts")
        };
        let (said, mut got) = (vec![0; bytes], vec![0; bytes]);
        let (sent, read) = tokio::join!(
            upstream.write_all(&said),
            within(SOON, client.read_exact(&mut got))
        );
        sent.and(read.map(drop)).expect("carried");
        // Until nobody takes any more.
        let full = Duration::from_millis(300);
        let more = [0; 10_000];
        while tokio::time::timeout(full, client.write_all(&more))
            .await
            .is_ok()
        {}
        socket2::SockRef::from(&upstream)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket");
        drop(upstream);
        let end = within(SOON, client.read(&mut [0])).await;
        let end = end.map_err(|error| error.kind());
        assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset), "{bytes}");
    }
}

#[tokio::test]
async fn bulk_arrives_unchanged_both_ways_at_once() {
    let upstream = TcpUpstream::echo().await;
    for splice_after in [0, 256 * 1024] {
        let mut settings = settings();
        settings.limits.splice_after = splice_after;
        let (_gateway, db) = tcp(settings, "tcp", upstream.addr()).await;
        let sent = pattern((32 << 20) + 7);
        let (mut reader, mut writer) = within(SOON, TcpStream::connect(db))
            .await
            .expect("connects")
            .into_split();
        let copy = sent.clone();
        let sending = tokio::spawn(async move {
            // Pieces of every size, so that buffers end everywhere.
            let mut rest = &copy[..];
            for size in (1..).map(|round: usize| 1 + (round * 7919) % 300_000) {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                writer.write_all(piece).await?;
                rest = after;
                if rest.is_empty() {
                    return writer.shutdown().await;
                }
            }
            Ok(())
        });
        let mut got = Vec::with_capacity(sent.len());
        within(SOON, reader.read_to_end(&mut got))
            .await
            .expect("in order");
        sending.await.expect("no panic").expect("sent");
        assert_eq!(got.len(), sent.len(), "splice after {splice_after}");
        assert_eq!(digest(&got), digest(&sent), "splice after {splice_after}");
    }
}

/// Each socket is a source that is not listened to and a sink that is waited for, at the same time.
#[tokio::test]
async fn bulk_both_ways_with_stalls_on_both_sides_arrives() {
    const EACH: usize = (24 << 20) + 3;
    let listener = within(SOON, tokio::net::TcpListener::bind((fresh_ip(), 0)))
        .await
        .expect("binds");
    let (_gateway, db) = tcp(settings(), "tcp", listener.local_addr().expect("bound")).await;
    let (client, server) = tokio::join!(
        within(SOON, TcpStream::connect(db)),
        within(SOON, listener.accept())
    );
    let sent = pattern(EACH);
    let end = async |stream: TcpStream| {
        let (mut reader, mut writer) = stream.into_split();
        let bytes = sent.clone();
        let sending = tokio::spawn(async move {
            writer.write_all(&bytes).await?;
            writer.shutdown().await
        });
        let mut got = Vec::with_capacity(EACH);
        for round in 0.. {
            // Longer at first: everything is full by then.
            let pause = if round == 0 { 300 } else { 20 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let mut some = (&mut reader).take(5 << 20);
            if within(SOON, some.read_to_end(&mut got))
                .await
                .expect("it flows")
                == 0
            {
                break;
            }
        }
        sending.await.expect("no panic").expect("sent");
        assert_eq!(got.len(), EACH);
        assert_eq!(digest(&got), digest(&sent));
    };
    tokio::join!(
        end(client.expect("connects")),
        end(server.expect("accepts").0)
    );
}

#[tokio::test]
async fn a_slow_reader_stops_its_sender_and_costs_no_memory() {
    if !is_alone("a_slow_reader_stops_its_sender_and_costs_no_memory") {
        return;
    }
    const MUCH: u64 = 1 << 30;
    let upstream = TcpUpstream::start(Behaviour::Source(MUCH)).await;
    let sink = TcpUpstream::start(Behaviour::Stall).await;
    let (_one, source) = tcp(settings(), "tcp", upstream.addr()).await;
    let (_two, stall) = tcp(settings(), "tcp", sink.addr()).await;
    let before = resident();
    // Clients that never read, and one that writes to somebody who never reads.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect(source).await);
    }
    let mut writer = within(SOON, TcpStream::connect(stall))
        .await
        .expect("connects");
    let mut written = 0_usize;
    let piece = vec![0; 1 << 20];
    // Stuck is when nothing moves for a while: socket buffers and one buffer of the gateway are full.
    while let Ok(result) =
        tokio::time::timeout(Duration::from_millis(700), writer.write(&piece)).await
    {
        written += result.expect("open");
        assert!(written < 64 << 20, "{written} bytes are somewhere");
    }
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 48 << 20,
        "{grown} bytes more for nine stuck connections"
    );
    // And the rest comes as soon as somebody reads.
    let reader = silent.first_mut().expect("a client");
    let some = within(SOON, reader.read_exact(64 << 20))
        .await
        .expect("it flows");
    assert!(some.iter().all(|byte| *byte == 0));
}

/// PS-31, PS-32, PS-44: a server that greets needs no declaration.
#[tokio::test]
async fn whoever_speaks_first_decides_on_an_undeclared_port() {
    let upstream = TcpUpstream::server_first().await;
    let (gateway, db) = tcp(settings(), "", upstream.addr()).await;
    for _ in 0..3 {
        let ((mut client, greeting), took) = timed(async {
            let mut client = connect(db).await;
            let greeting = client.read_exact(GREETING.len()).await;
            (client, greeting)
        })
        .await;
        assert_eq!(greeting.expect("greeted without a word"), GREETING);
        // After the 50 ms of silence that detection waits; the upper bound is for a busy machine.
        assert!(took >= Duration::from_millis(45), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        client.send("login").await.expect("sent");
        assert_eq!(client.read_exact(5).await.expect("echoed"), b"login");
    }
    assert_eq!(
        upstream.connections(),
        3,
        "the early connection is the one that is used"
    );
    gateway
        .metrics_until(|it| {
            it.sum(
                "pointsman_detection_outcomes_total",
                &[("outcome", "server_first")],
            ) == 3.0
        })
        .await;
}

/// A server that ends connections on which nothing comes for a second, by a reset or not: it answers
/// requests, and sends back everything else. Tells how many it has ended.
async fn impatient(reset: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let (address, ended) = (listener.local_addr().expect("bound"), Arc::default());
    let count: Arc<AtomicUsize> = Arc::clone(&ended);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                let limit = Duration::from_secs(1);
                while let Ok(Ok(got @ 1..)) =
                    tokio::time::timeout(limit, stream.read(&mut bytes)).await
                {
                    let reply = match bytes.get(..got).expect("was read") {
                        request if request.starts_with(b"GET ") => {
                            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                        }
                        other => other,
                    };
                    stream.write_all(reply).await.expect("sent");
                }
                if reset {
                    let linger = Some(Duration::ZERO);
                    let _ = socket2::SockRef::from(&stream).set_linger(linger);
                }
                drop(stream);
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (address, ended)
}

/// PS-32: a server that is tired of waiting has not spoken.
#[tokio::test]
async fn a_client_that_speaks_later_than_the_server_waits_is_routed_by_what_it_says() {
    for reset in [false, true] {
        let (upstream, ended) = impatient(reset).await;
        let (vip, port) = (fresh_ip(), free_port());
        let text = service("db", vip, port, "", &plain(&[upstream]))
            + &rules(
                "db",
                "- match: [{uri: {prefix: /admin}}]
  directResponse: {status: 403}
- route: [{destination: {host: db}}]",
            );
        let gateway = Gateway::serve(&text).await;
        let mut request = connect((vip, port).into()).await;
        let mut bytes = connect((vip, port).into()).await;
        eventually(SOON, || async { ended.load(Ordering::SeqCst) == 2 }).await;
        // Neither is told: nothing it has asked for has failed.
        for client in [&mut request, &mut bytes] {
            let told = tokio::time::timeout(Duration::from_millis(300), client.read_exact(1)).await;
            assert!(told.is_err(), "{told:?}");
        }
        for (target, status) in [("/admin", 403), ("/", 200)] {
            let reply = request.get("db", target).await.expect("an answer");
            assert_eq!(reply.status, status, "{target}");
        }
        bytes.send("\x00bytes").await.expect("sent");
        assert_eq!(bytes.read_exact(6).await.expect("echoed"), b"\x00bytes");
        let outcome =
            |it: &Scrape, name| it.sum("pointsman_detection_outcomes_total", &[("outcome", name)]);
        gateway
            .metrics_until(|it| {
                outcome(it, "http1") == 1.0
                    && outcome(it, "tcp") == 1.0
                    && outcome(it, "server_first") == 0.0
            })
            .await;
    }
}

/// A server that says this to its first client, a piece at a time, and waits for it to go; of others it answers
/// requests. Tells how many have gone.
async fn unasked(pieces: &'static [&'static [u8]]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let (address, gone) = (listener.local_addr().expect("bound"), Arc::default());
    let count: Arc<AtomicUsize> = Arc::clone(&gone);
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((mut stream, _)) = listener.accept().await {
            let (count, pieces) = (count.clone(), if first { pieces } else { &[] });
            first = false;
            tokio::spawn(async move {
                stream.set_nodelay(true).expect("a socket");
                for piece in pieces {
                    stream.write_all(piece).await.expect("sent");
                    tokio::time::sleep(Duration::from_millis(20)).await; // what comes in pieces is the test
                }
                let mut bytes = vec![0; 4096];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(reply).await.expect("sent");
                }
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (address, gone)
}

/// PS-32: what servers of HTTP say unasked is no greeting. The client would be a tunnel to one of them, past
/// the rules.
#[tokio::test]
async fn servers_of_http_do_not_speak_first() {
    const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    let said: [&'static [&'static [u8]]; 5] = [
        &[SETTINGS],
        &[b"\0", b"\0\x06\x04\0\0", b"\0\0\0", b"\0\x03\0\0\0\x64"],
        &[b"\0\0\0\x04\0\0\0\0\0\0\0\x04\x08\0\0\0\0\0\0\x0f\0\x01"],
        &[b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"],
        &[b"HT", b"TP/1", b".0 408 Request Time-out\r\n\r\n"],
    ];
    for pieces in said {
        let (upstream, gone) = unasked(pieces).await;
        let (vip, port) = (fresh_ip(), free_port());
        let text = service("db", vip, port, "", &plain(&[upstream]))
            + &rules(
                "db",
                "- match: [{uri: {prefix: /admin}}]
  directResponse: {status: 403}
- route: [{destination: {host: db}}]",
            );
        let gateway = Gateway::serve(&text).await;
        let mut client = connect((vip, port).into()).await;
        // Its place is free at once.
        eventually(SOON, || async { gone.load(Ordering::SeqCst) == 1 }).await;
        let told = tokio::time::timeout(Duration::from_millis(100), client.read_exact(1)).await;
        assert!(told.is_err(), "{told:?}");
        for (target, status) in [("/admin", 403), ("/", 200)] {
            let reply = client.get("db", target).await.expect("an answer");
            assert_eq!(reply.status, status, "{target}");
        }
        let outcome =
            |it: &Scrape, name| it.sum("pointsman_detection_outcomes_total", &[("outcome", name)]);
        gateway
            .metrics_until(|it| outcome(it, "http1") == 1.0 && outcome(it, "server_first") == 0.0)
            .await;
    }
}

/// PS-32: what only begins as that is a greeting, though it is no longer.
#[tokio::test]
async fn what_only_begins_as_servers_of_http_do_is_a_greeting() {
    let said: [&[u8]; 5] = [
        b"\0",
        b"HTTP",
        b"HTTP/2 is not spoken here",
        b"\0\0\x06\x04\0\0\0\0\x01of a stream",
        b"\0\0\x05\x04\0",
    ];
    for greeting in said {
        let upstream = TcpUpstream::start(Behaviour::ServerFirst(greeting.to_vec())).await;
        let (gateway, db) = tcp(settings(), "", upstream.addr()).await;
        let mut client = connect(db).await;
        let got = client.read_exact(greeting.len()).await;
        assert_eq!(got.expect("greeted"), greeting);
        client.send("login").await.expect("sent");
        assert_eq!(client.read_exact(5).await.expect("echoed"), b"login");
        assert_eq!(upstream.connections(), 1);
        let labels = &[("outcome", "server_first")];
        gateway
            .metrics_until(|it| it.sum("pointsman_detection_outcomes_total", labels) == 1.0)
            .await;
    }
}

/// PS-32: a reset while nobody has spoken is one for the other side, as in any tunnel.
#[tokio::test]
async fn a_reset_of_a_silent_connection_is_a_reset_on_the_other_side() {
    let reset = |stream: TcpStream| {
        let linger = Some(Duration::ZERO);
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(linger).expect("a socket");
    };
    let listener = TcpListener::bind((fresh_ip(), 0)).await.expect("listens");
    let upstream = listener.local_addr().expect("bound");
    let notes = Notes::default();
    let (gateway, db) = pooled(&notes, settings(), "", upstream, "{}").await;
    let (client, own) = dial(db).await;
    let (mut accepted, _) = within(SOON, listener.accept()).await.expect("accepts");
    reset(client);
    let end = within(SOON, accepted.read(&mut [0])).await;
    let kind = end.map_err(|error| error.kind());
    assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset));
    let told = notes.of(own, 1).await;
    let told: Vec<_> = told.iter().map(|it| &*it.flags).collect();
    assert_eq!(told, ["DC"]);
    // On a busy machine the server may be late, and has waited for long enough then.
    let mut told = Vec::new();
    for _ in 0..10 {
        let (mut client, own) = dial(db).await;
        let (accepted, _) = within(SOON, listener.accept()).await.expect("accepts");
        tokio::time::sleep(Duration::from_millis(100)).await; // by then it is a connection to the gateway as well
        reset(accepted);
        let end = tokio::time::timeout(Duration::from_secs(3), client.read(&mut [0])).await;
        let Ok(end) = end else {
            continue;
        };
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset));
        told = notes.of(own, 1).await;
        break;
    }
    let told: Vec<_> = told.iter().map(|it| &*it.flags).collect();
    assert_eq!(told, ["UR"]);
    gateway
        .metrics_until(|it| {
            let outcome = |name| it.sum("pointsman_detection_outcomes_total", &[("outcome", name)]);
            outcome("undecided") >= 2.0 && outcome("server_first") == 0.0
        })
        .await;
}

/// PS-32: a server that does not want a client ends its connection at once.
#[tokio::test]
async fn a_client_on_an_undeclared_port_is_told_that_the_server_does_not_want_it() {
    let upstream = TcpUpstream::start(Behaviour::EndFirst(Vec::new())).await;
    let (_gateway, db) = tcp(settings(), "", upstream.addr()).await;
    let end = connect(db).await.read_to_end().await;
    assert!(end.as_ref().is_ok_and(Vec::is_empty), "{end:?}");
}

/// PS-32, VS-H-146, VS-H-147: nor does one that is not there, and its client is not left to wait for it.
#[tokio::test]
async fn a_silent_client_on_an_undeclared_port_is_told_that_its_server_is_not_there() {
    let nobody = SocketAddr::new(fresh_ip(), free_port());
    let deaf = Deaf::start();
    for (upstream, flags) in [
        (Some(nobody), "UF"),
        (Some(deaf.addr()), "UF"),
        (None, "UH"),
    ] {
        let notes = Notes::default();
        let mut settings = settings();
        settings.timeouts.connect = written("300ms");
        let (vip, port) = (fresh_ip(), free_port());
        let text = service("db", vip, port, "", &plain(upstream.as_slice()));
        let gateway = notes.serve(settings, &text).await;
        let (mut client, own) = dial((vip, port).into()).await;
        let end = within(SOON, client.read(&mut [0])).await;
        assert!(matches!(end, Ok(0)), "{upstream:?} {end:?}");
        let told = notes.of(own, 1).await;
        let told: Vec<_> = told.iter().map(|it| &*it.flags).collect();
        assert_eq!(told, [flags], "{upstream:?}");
        let labels = &[
            ("response_flags", flags),
            ("destination_service_name", "db"),
        ];
        gateway
            .metrics_until(|it| it.sum("istio_tcp_connections_closed_total", labels) == 1.0)
            .await;
    }
    // One that speaks meanwhile is routed by what it says.
    let deaf = Deaf::start();
    let notes = Notes::default();
    let pool = "{connectTimeout: 1s}";
    let (_gateway, db) = pooled(&notes, settings(), "", deaf.addr(), pool).await;
    let (mut client, own) = dial(db).await;
    tokio::time::sleep(Duration::from_millis(300)).await; // by then the endpoint is being connected to
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: db\r\n\r\n")
        .await
        .expect("sent");
    let mut status = [0; 12];
    within(SOON, client.read_exact(&mut status))
        .await
        .expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 503");
    drop(notes.of(own, 1).await);
}

/// PS-44: a connection that only its client can begin is nothing to wait for.
#[tokio::test]
async fn a_drain_does_not_wait_for_a_client_whose_server_is_not_connected_to() {
    let mut settings = settings();
    settings.detection.server_first_after = written("0s");
    settings.process.drain_time = written("1m");
    let nobody = SocketAddr::new(fresh_ip(), free_port());
    let (gateway, db) = tcp(settings, "", nobody).await;
    let mut client = connect(db).await;
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 1.0)
        .await;
    let ((), took) = timed(async { drop(gateway) }).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    let end = client.read_to_end().await;
    assert!(end.as_ref().is_ok_and(Vec::is_empty), "{end:?}");
}

/// PS-44: nor is one on which nobody has spoken.
#[tokio::test]
async fn a_drain_ends_a_connection_on_which_nobody_has_spoken() {
    let listener = TcpListener::bind((fresh_ip(), 0)).await.expect("listens");
    let upstream = listener.local_addr().expect("bound");
    let mut settings = settings();
    settings.process.drain_time = written("1m");
    let notes = Notes::default();
    let (gateway, db) = pooled(&notes, settings, "", upstream, "{}").await;
    let (mut client, own) = dial(db).await;
    let (mut accepted, _) = within(SOON, listener.accept()).await.expect("accepts");
    let ((), took) = timed(async { drop(gateway) }).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    for side in [&mut client, &mut accepted] {
        let end = within(SOON, side.read(&mut [0])).await;
        assert!(matches!(end, Ok(0)), "{end:?}");
    }
    let told = notes.now_of(own);
    let flags: Vec<_> = told.iter().map(|it| &*it.flags).collect();
    assert_eq!(flags, ["-"]);
}

/// PS-48h, PS-43.
#[tokio::test]
async fn a_slow_http_client_on_an_undeclared_port_is_still_http() {
    let upstream = HttpUpstream::named("web").start().await;
    let (gateway, web) = tcp(settings(), "", upstream.addr()).await;
    // At once, after the silence of detection, and in two halves around it.
    for (first, second) in [(0, 0), (150, 0), (0, 150), (150, 150)] {
        let mut client = connect(web).await;
        tokio::time::sleep(Duration::from_millis(first)).await; // the client's slowness is the test
        client.send("GE").await.expect("sent");
        tokio::time::sleep(Duration::from_millis(second)).await;
        client
            .send("T /x HTTP/1.1\r\nHost: db\r\n\r\n")
            .await
            .expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(
            (reply.status, reply.json()["target"].as_str()),
            (200, Some("/x"))
        );
        // Requests are routed one by one: a name nobody has is told from one that is known.
        assert_eq!(client.get("db", "/y").await.expect("an answer").status, 200);
    }
    gateway
        .metrics_until(|it| {
            it.sum(
                "pointsman_detection_outcomes_total",
                &[("outcome", "http1")],
            ) == 4.0
                && it.sum("istio_requests_total", &[("response_code", "200")]) == 8.0
        })
        .await;
}

/// PS-57, PS-50.
#[tokio::test]
async fn a_client_that_speaks_first_in_no_known_protocol_is_raw_tcp() {
    let upstream = TcpUpstream::echo().await;
    let (_gateway, db) = tcp(settings(), "", upstream.addr()).await;
    for first in [
        &b"\x00\x01\x02"[..],
        b"HELLO\r\n",
        b"x",
        b"GETTING somewhere\r\n",
    ] {
        let mut client = connect(db).await;
        client.send(first).await.expect("sent");
        if first == b"x" {
            // One letter may still become a method; what follows says that it does not.
            client.send("\n").await.expect("sent");
            assert_eq!(client.read_exact(2).await.expect("echoed"), b"x\n");
            continue;
        }
        assert_eq!(client.read_exact(first.len()).await.expect("echoed"), first);
    }
    // A client that says a little and ends is passed on too, and gets its answer.
    let mut client = connect(db).await;
    client.send("G").await.expect("sent");
    client.half_close().await.expect("half-closed");
    assert_eq!(client.read_to_end().await.expect("in order"), b"G");
}

/// PS-40, PS-31.
#[tokio::test]
async fn a_declared_tcp_port_waits_for_nobody() {
    let upstream = TcpUpstream::server_first().await;
    let mut settings = settings();
    // If anything were detected here, the greeting would come after a minute.
    settings.detection.server_first_after = written("1m");
    let (gateway, db) = tcp(settings, "tcp", upstream.addr()).await;
    let mut client = connect(db).await;
    let (greeting, took) = timed(client.read_exact(GREETING.len())).await;
    assert_eq!(greeting.expect("greeted"), GREETING);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let outcomes = gateway.metrics().await;
    assert_eq!(outcomes.sum("pointsman_detection_outcomes_total", &[]), 0.0);
}

/// VS-H-147, VS-H-151, VS-T-12, BE-61.
#[tokio::test]
async fn a_backend_that_refuses_or_does_not_answer_ends_the_connection() {
    let nobody = SocketAddr::new(fresh_ip(), free_port());
    let (gateway, db) = tcp(settings(), "tcp", nobody).await;
    let mut client = connect(db).await;
    let end = client.read_to_end().await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    let failed: &[(&str, &str)] = &[("response_flags", "UF"), ("destination_service_name", "db")];
    gateway
        .metrics_until(|it| it.sum("istio_tcp_connections_closed_total", failed) == 1.0)
        .await;

    let deaf = Deaf::start();
    let mut settings = settings();
    settings.timeouts.connect = written("300ms");
    let (_gateway, db) = tcp(settings, "tcp", deaf.addr()).await;
    let (end, took) = timed(async { connect(db).await.read_to_end().await }).await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    assert!(
        took >= Duration::from_millis(250) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

/// BE-64: the limit without a DestinationRule.
#[tokio::test]
async fn a_tunnel_is_cut_after_silence_and_not_before() {
    let upstream = TcpUpstream::echo().await;
    let mut settings = settings();
    settings.timeouts.tunnel_idle = written("1200ms");
    let (_gateway, db) = tcp(settings, "tcp", upstream.addr()).await;
    let mut client = connect(db).await;
    // Longer than the limit in all, never as long between two bytes.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(200)).await; // the pause is the test
        client.send("x").await.expect("sent");
        assert_eq!(client.read_exact(1).await.expect("echoed"), b"x");
    }
    let (end, took) = timed(client.read_to_end()).await;
    assert!(!matches!(end, Err(MessageError::TimedOut)), "never cut");
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(5),
        "{took:?}"
    );
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

#[tokio::test]
async fn what_a_tunnel_carries_is_counted_to_the_byte() {
    let upstream = TcpUpstream::start(Behaviour::AnswerAfterEnd).await;
    let (gateway, db) = tcp(settings(), "tcp", upstream.addr()).await;
    let mut client: RawHttp = connect(db).await;
    client.send(pattern(300_000)).await.expect("sent");
    let of_db: &[(&str, &str)] = &[
        ("destination_service_name", "db"),
        ("request_protocol", "tcp"),
    ];
    // While it is open already.
    gateway
        .metrics_until(|it| {
            it.sum("istio_tcp_received_bytes_total", of_db) == 300_000.0
                && it.sum("istio_tcp_connections_opened_total", of_db) == 1.0
                && it.sum("istio_tcp_connections_closed_total", of_db) == 0.0
        })
        .await;
    client.half_close().await.expect("half-closed");
    let answer = client.read_to_end().await.expect("in order");
    let length = answer.len() as f64;
    gateway
        .metrics_until(|it| {
            it.sum("istio_tcp_sent_bytes_total", of_db) == length
                && it.sum("istio_tcp_received_bytes_total", of_db) == 300_000.0
                && it.sum("istio_tcp_connections_closed_total", of_db) == 1.0
        })
        .await;
}

/// A client whose kernel takes little that it does not read.
async fn small_client(to: SocketAddr) -> (TcpStream, IpAddr) {
    let (stream, own) = dial(to).await;
    let socket = socket2::SockRef::from(&stream);
    socket.set_recv_buffer_size(64 * 1024).expect("a size");
    (stream, own)
}

/// BE-64: what the gateway has written, and its peer has still to read, is not idle.
#[tokio::test]
async fn what_a_slow_reader_has_still_to_get_keeps_its_tunnel() {
    const BYTES: usize = 3_000_000;
    let ends = TcpUpstream::start(Behaviour::EndFirst(pattern(BYTES))).await;
    let stays = TcpUpstream::start(Behaviour::ServerFirst(pattern(BYTES))).await;
    for upstream in [&ends, &stays] {
        let mut settings = settings();
        settings.timeouts.tunnel_idle = written("300ms");
        let (_gateway, db) = tcp(settings, "tcp", upstream.addr()).await;
        let (mut client, _) = small_client(db).await;
        let mut got = Vec::new();
        while got.len() < BYTES {
            let mut piece = vec![0; 16 * 1024];
            let read = within(SOON, client.read(&mut piece)).await;
            let behind = got.len();
            assert!(matches!(read, Ok(1..)), "{read:?} behind {behind} bytes");
            got.extend_from_slice(&piece[..read.unwrap_or(0)]);
            // The pause is the test: never as long as the limit.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(digest(&got), digest(&pattern(BYTES)));
        // Silence has its end all the same.
        let end = within(SOON, client.read(&mut [0])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        eventually(SOON, || async { upstream.open_connections() == 0 }).await;
    }
}

/// BE-64: nor is it kept by a peer that takes nothing.
#[tokio::test]
async fn a_client_that_never_reads_is_given_up_by_the_idle_limit() {
    let upstream = TcpUpstream::start(Behaviour::ServerFirst(pattern(300_000))).await;
    let mut settings = settings();
    settings.timeouts.tunnel_idle = written("300ms");
    let (_gateway, db) = tcp(settings, "tcp", upstream.addr()).await;
    let (client, _) = small_client(db).await;
    eventually(SOON, || async { upstream.connections() == 1 }).await;
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
    drop(client);
}

/// A gateway with one TCP service whose `connectionPool.tcp` is this.
async fn pooled(
    notes: &Notes,
    settings: Settings,
    port_name: &str,
    upstream: SocketAddr,
    pool: &str,
) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("db", vip, port, port_name, &plain(&[upstream]))
        + &subsets("db", &[], &format!("{{connectionPool: {{tcp: {pool}}}}}"));
    (notes.serve(settings, &text).await, (vip, port).into())
}

/// BE-60: a client that resets while its connection is opened gives its place back.
#[tokio::test]
async fn who_goes_while_the_endpoint_is_connected_to_is_not_waited_for() {
    let deaf = Deaf::start();
    let notes = Notes::default();
    let pool = "{maxConnections: 1, connectTimeout: 60s}";
    let (gateway, db) = pooled(&notes, settings(), "tcp", deaf.addr(), pool).await;
    let (client, own) = dial(db).await;
    let chosen = async |count| {
        gateway
            .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == count)
            .await
    };
    chosen(1.0).await;
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(client);
    chosen(0.0).await;
    let told = notes.of(own, 1).await;
    let flags: Vec<_> = told.iter().map(|it| &*it.flags).collect();
    assert_eq!(flags, ["DC"]);
    // One that has only ended its side may wait still.
    let (mut client, own) = dial(db).await;
    client.shutdown().await.expect("ended");
    let waits = tokio::time::timeout(Duration::from_secs(2), client.read(&mut [0])).await;
    assert!(waits.is_err(), "{waits:?} {:?}", notes.now_of(own));
}

/// PS-32, BE-60, BE-63, BE-64: two sides that both wait for the other have the time of a tunnel.
#[tokio::test]
async fn a_connection_on_which_nobody_speaks_is_limited_counted_and_recorded() {
    let upstream = TcpUpstream::start(Behaviour::Sink).await;
    for (pool, flags, limit) in [
        (
            "{maxConnections: 1, idleTimeout: 1s}",
            "-",
            "timeouts.tunnel_idle",
        ),
        (
            "{maxConnections: 1, maxConnectionDuration: 1s}",
            "DT",
            "maxConnectionDuration",
        ),
    ] {
        let notes = Notes::default();
        let (gateway, db) = pooled(&notes, settings(), "", upstream.addr(), pool).await;
        let count = |name| {
            let name = format!("istio_tcp_connections_{name}_total");
            move |it: &Scrape| it.sum(&name, &[("destination_service_name", "db")])
        };
        let (opened, closed) = (count("opened"), count("closed"));
        let (mut client, own) = dial(db).await;
        let (end, took) = timed(within(SOON, client.read(&mut [0]))).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        gateway
            .metrics_until(|it| {
                (opened(it), closed(it)) == (1.0, 1.0)
                    && it.sum("pointsman_limits_hit_total", &[("limit", limit)]) == 1.0
            })
            .await;
        let records = notes.records(own, 1).await;
        let [record] = &records[..] else {
            panic!("{records:?}");
        };
        assert_eq!(record.flags.to_string(), flags);
        assert_eq!(record.upstream_host, Some(upstream.addr()));
        assert!(record.duration_ms >= 900, "{}", record.duration_ms);
        // Its place is free.
        let (_client, own) = dial(db).await;
        eventually(SOON, || async { upstream.open_connections() == 1 }).await;
        assert_eq!(notes.now_of(own), []);
    }
}

/// PS-32: a client that speaks late counts as one that speaks at once.
#[tokio::test]
async fn what_is_no_tunnel_in_the_end_is_not_counted_as_one() {
    let notes = Notes::default();
    let web = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.process.shards = 1;
    let (gateway, at) = pooled(&notes, settings, "", web.addr(), "{}").await;
    let hello = client_hello(Some("any.example.com"), &[]);
    let request: &[u8] = b"GET / HTTP/1.1\r\nHost: db\r\n\r\n";
    // The last two are tunnels.
    for says in [request, &*hello, b"\x00\r\n\r\n"] {
        let seen = web.connections();
        let (mut client, own) = dial(at).await;
        eventually(SOON, || async { web.connections() == seen + 1 }).await;
        client.write_all(says).await.expect("sent");
        if says == request {
            let got = within(SOON, client.read(&mut [0; 1])).await;
            assert!(matches!(got, Ok(1)), "{got:?}");
        }
        drop(client);
        assert_eq!(notes.of(own, 1).await.len(), 1);
    }
    let scrape = gateway
        .metrics_until(|it| it.sum("istio_tcp_connections_closed_total", &[]) >= 2.0)
        .await;
    for name in ["opened", "closed"] {
        let name = format!("istio_tcp_connections_{name}_total");
        assert_eq!(scrape.sum(&name, &[]), 2.0, "{name}");
    }
}

/// What is cut with the drain is recorded, though no endpoint has answered.
#[tokio::test]
async fn the_end_of_a_drain_cuts_what_waits_for_an_endpoint() {
    let deaf = Deaf::start();
    for port_name in ["tcp", ""] {
        let notes = Notes::default();
        let pool = "{connectTimeout: 60s}";
        let (gateway, db) = pooled(&notes, settings(), port_name, deaf.addr(), pool).await;
        let (client, own) = dial(db).await;
        gateway
            .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 1.0)
            .await;
        if port_name.is_empty() {
            // By then the endpoint is being connected to.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        drop(gateway);
        let told = notes.now_of(own);
        let flags: Vec<_> = told.iter().map(|it| &*it.flags).collect();
        assert_eq!(flags, ["DC"], "{port_name}");
        drop(client);
    }
}
