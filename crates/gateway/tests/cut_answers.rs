//! Answers that break off, and those that come before their request is whole: a client gets what there was of
//! them, what was answered before, and sees that the rest is missing.
mod common;

use common::*;
use pointsman_testkit::{
    Http2Client, Http2Reply, Http2Request, Http2Upstream, RawHttp, free_port, fresh_ip,
    message::MessageError, within,
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
};

/// A listener of an endpoint whose kernel takes little that it does not read.
fn small_endpoint() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2304).expect("a size");
    let any = SocketAddr::from((fresh_ip(), 0));
    socket.bind(any).expect("a free port");
    let endpoint = socket.listen(8).expect("listens");
    let at = endpoint.local_addr().expect("an address");
    (endpoint, at)
}

/// A gateway before this endpoint, where it takes requests, and what it notes of them.
async fn before(endpoint: SocketAddr) -> (Gateway, SocketAddr, Notes) {
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let notes = Notes::default();
    let documents = http("web", web.ip(), web.port(), endpoint);
    let gateway = notes.serve(settings(), &documents).await;
    (gateway, web, notes)
}

/// Dials from an address of its own, with a kernel that takes little that is not read.
async fn dial_small(to: SocketAddr) -> (TcpStream, IpAddr) {
    let own = fresh_ip();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((own, 0).into()).expect("a free port");
    socket.set_recv_buffer_size(16 * 1024).expect("a size");
    // Or a window would be less than what loopback sends at once, which waits for more of it.
    socket2::SockRef::from(&socket)
        .set_tcp_mss(1400)
        .expect("a size");
    let client = within(SOON, socket.connect(to)).await.expect("connects");
    (client, own)
}

async fn accepted(endpoint: &TcpListener) -> TcpStream {
    let accepted = within(SOON, endpoint.accept()).await;
    accepted.expect("a connection").0
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut got = Vec::new();
    while !got.windows(end.len()).any(|it| it == end) {
        let read = within(SOON, stream.read_buf(&mut got)).await;
        assert!(matches!(read, Ok(1..)), "{read:?}");
    }
}

fn reset(stream: &TcpStream) {
    let now = Some(Duration::ZERO);
    socket2::SockRef::from(stream)
        .set_linger(now)
        .expect("a socket");
}

/// Repeats `send` until it waits.
async fn until_full(mut send: impl AsyncFnMut()) {
    while tokio::time::timeout(Duration::from_millis(300), send())
        .await
        .is_ok()
    {}
}

/// Without a length, the end of an answer is that of its connection. That is one only if the endpoint has ended
/// it in order: if not, the kernel may tell that to the upload, which is under way, and then to nobody else.
#[tokio::test]
async fn an_answer_whose_endpoint_resets_it_in_the_middle_of_an_upload_never_looks_whole() {
    const PIECE: &[u8] = &[b'y'; 10_000];
    let (endpoint, at) = small_endpoint();
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let notes = Notes::default();
    let gateway = http("web", web.ip(), web.port(), at);
    let _gateway = notes.serve(settings(), &gateway).await;
    for (version, framing, piece) in [
        ("1.1", "Content-Length: 90000000", PIECE.to_vec()),
        ("1.0", "Content-Length: 90000000", PIECE.to_vec()),
        (
            "1.1",
            "Transfer-Encoding: chunked",
            [b"2710\r\n", PIECE, b"\r\n"].concat(),
        ),
        ("2", "", PIECE.to_vec()),
    ] {
        let (full, is_full) = oneshot::channel();
        let answering = async {
            let mut stream = accepted(&endpoint).await;
            read_until(&mut stream, b"\r\n\r\n").await;
            let begun = b"HTTP/1.1 200 OK\r\n\r\nline 1 of 1000\n";
            stream.write_all(begun).await.expect("sent");
            within(SOON, is_full).await.expect("it gets there");
            reset(&stream);
        };
        let asking = async {
            let (client, own) = dial(web).await;
            if version == "2" {
                let client = Http2Client::over(client, |_| {}).await;
                let mut client = client.expect("connects");
                let request = Http2Request::post("web", "/");
                let mut stream = client.begin(&request, false).await.expect("begins");
                until_full(async || stream.send(&piece, false).await.expect("sent")).await;
                full.send(()).expect("somebody waits");
                let end = within(SOON, stream.rest()).await;
                assert!(end.is_err(), "{end:?}");
                return own;
            }
            let mut client = RawHttp::over(client);
            let head = format!("POST / HTTP/{version}\r\nHost: web\r\n{framing}\r\n\r\n");
            client.send(&head).await.expect("sent");
            until_full(async || client.send(&piece).await.expect("sent")).await;
            full.send(()).expect("somebody waits");
            let end = client.read_response().await;
            assert!(
                matches!(
                    end,
                    Err(MessageError::Io(_) | MessageError::Truncated { .. })
                ),
                "{version}, {framing}: {end:?}"
            );
            own
        };
        let ((), own) = tokio::join!(answering, asking);
        let told = notes.of(own, 1).await;
        assert_eq!(
            (told[0].status, &*told[0].flags),
            (200, "UC"),
            "{version}, {framing}"
        );
    }
}

/// Reads all there is; how it ends.
async fn all(client: &mut TcpStream) -> (Vec<u8>, Result<usize, std::io::ErrorKind>) {
    let mut got = Vec::new();
    let end = within(SOON, client.read_to_end(&mut got)).await;
    (got, end.map(|_| 0).map_err(|error| error.kind()))
}

/// What a client has been sent, and has not taken yet, is not thrown away with what follows it.
#[tokio::test]
async fn what_was_answered_before_a_cut_answer_arrives() {
    const LENGTH: usize = 200_000;
    let endpoint = TcpListener::bind((fresh_ip(), 0)).await.expect("binds");
    let at = endpoint.local_addr().expect("an address");
    let (_gateway, web, notes) = before(at).await;
    let post = "POST /pay HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi";
    for cut in [
        "Content-Length: 100\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n64\r\nabc",
        "\r\nabc",
    ] {
        for version in ["1.1", "1.0"] {
            let answering = async {
                let mut stream = accepted(&endpoint).await;
                // What is written is sent, so that a reset comes behind it.
                stream.set_nodelay(true).expect("a socket");
                read_until(&mut stream, b"\r\n\r\nhi").await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
                let whole = [head.as_bytes(), &[b'x'; LENGTH]].concat();
                stream.write_all(&whole).await.expect("sent");
                read_until(&mut stream, b"\r\n\r\n").await;
                let cut = format!("HTTP/1.1 200 OK\r\n{cut}");
                stream.write_all(cut.as_bytes()).await.expect("sent");
                reset(&stream);
            };
            let (mut client, own) = dial_small(web).await;
            let get = format!("GET /cut HTTP/{version}\r\nHost: web\r\n\r\n");
            let both = [post, &get].concat();
            client.write_all(both.as_bytes()).await.expect("sent");
            answering.await;
            let told = notes.of(own, 2).await;
            assert_eq!((told[1].status, &*told[1].flags), (200, "UC"), "{cut}");
            let (got, end) = all(&mut client).await;
            let xs = got.iter().filter(|it| **it == b'x').count();
            assert_eq!(xs, LENGTH, "{version}, {cut}: {end:?}");
            assert!(got.ends_with(b"abc") || got.ends_with(b"abc\r\n"), "{cut}");
            // Where nothing else shows it, a reset does.
            let bare = version == "1.0" && !cut.contains("Length");
            let expected = match bare {
                true => Err(std::io::ErrorKind::ConnectionReset),
                false => Ok(0),
            };
            assert_eq!(end, expected, "{version}, {cut}");
        }
    }
}

/// The same of a stream of events, of which a client gets all that its endpoint has sent.
#[tokio::test]
async fn a_stream_of_events_arrives_as_far_as_its_endpoint_came() {
    const EVENTS: usize = 700;
    let endpoint = TcpListener::bind((fresh_ip(), 0)).await.expect("binds");
    let at = endpoint.local_addr().expect("an address");
    let (_gateway, web, notes) = before(at).await;
    for version in ["1.1", "1.0"] {
        let answering = async {
            let mut stream = accepted(&endpoint).await;
            read_until(&mut stream, b"\r\n\r\n").await;
            let mut events = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for number in 0..EVENTS {
                let event = format!("data: event {number:06} {}\n\n", ".".repeat(180));
                events.extend(format!("{:x}\r\n{event}\r\n", event.len()).bytes());
            }
            stream.write_all(&events).await.expect("sent");
        };
        let (mut client, own) = dial_small(web).await;
        let get = format!("GET / HTTP/{version}\r\nHost: web\r\n\r\n");
        client.write_all(get.as_bytes()).await.expect("sent");
        // It has ended its side, and may go on reading.
        client.shutdown().await.expect("a socket");
        answering.await;
        assert_eq!(notes.of(own, 1).await[0].flags, "UC");
        let (got, end) = all(&mut client).await;
        let events = String::from_utf8_lossy(&got).matches("data: event").count();
        assert_eq!(events, EVENTS, "{version}");
        assert_eq!(end.is_err(), version == "1.0", "{end:?}");
        assert!(!got.ends_with(b"0\r\n\r\n"));
    }
}

/// RFC 9112 section 9.5: a client that is answered in the middle of its upload, and told that the connection
/// closes, ends its side and reads on.
#[tokio::test]
async fn an_early_answer_goes_on_though_its_client_ends_its_side() {
    const LENGTH: usize = 3_000_000;
    let (endpoint, at) = small_endpoint();
    let (_gateway, web, notes) = before(at).await;
    for (framing, begun) in [
        ("Content-Length: 50000000", "abc"),
        ("Content-Length: 50", "abc"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
    ] {
        for chunked in [false, true] {
            let (ended, has_ended) = oneshot::channel();
            let answering = async {
                let mut stream = accepted(&endpoint).await;
                read_until(&mut stream, b"\r\n\r\n").await;
                let (framing, body, end) = match chunked {
                    true => ("Transfer-Encoding: chunked", "5\r\nbegun\r\n", "0\r\n\r\n"),
                    false => ("Content-Length: 3000005", "begun", ""),
                };
                let begun = format!("HTTP/1.1 413 Too Large\r\n{framing}\r\n\r\n{body}");
                stream.write_all(begun.as_bytes()).await.expect("sent");
                within(SOON, has_ended).await.expect("it gets there");
                let mut rest = vec![b'x'; LENGTH];
                if chunked {
                    rest = [format!("{LENGTH:x}\r\n").as_bytes(), &rest, b"\r\n"].concat();
                }
                rest.extend(end.bytes());
                within(SOON, stream.write_all(&rest)).await.expect("sent");
                stream
            };
            let asking = async {
                let (client, own) = dial(web).await;
                let mut client = RawHttp::over(client);
                let head = format!("POST / HTTP/1.1\r\nHost: web\r\n{framing}\r\n\r\n{begun}");
                client.send(&head).await.expect("sent");
                let head = client.read_head().await.expect("a head");
                let raw = String::from_utf8_lossy(&head.raw).to_ascii_lowercase();
                assert!(raw.contains("connection: close"), "{raw}");
                client.half_close().await.expect("a socket");
                ended.send(()).expect("somebody waits");
                let got = client.read_to_end().await.expect("an end in order");
                let xs = got.iter().filter(|it| **it == b'x').count();
                assert_eq!(xs, LENGTH, "{framing}");
                assert_eq!(got.ends_with(b"\r\n0\r\n\r\n"), chunked);
                own
            };
            let (mut stream, own) = tokio::join!(answering, asking);
            let told = notes.of(own, 1).await;
            assert_eq!((told[0].status, &*told[0].flags), (413, "-"), "{framing}");
            // Nobody gets that connection with half of a request on it.
            let mut rest = Vec::new();
            let _ = within(SOON, stream.read_to_end(&mut rest)).await;
        }
    }
}

/// The same of an endpoint that speaks HTTP/2.
#[tokio::test]
async fn an_early_answer_over_http2_goes_on_though_its_client_ends_its_side() {
    let early = Http2Reply::head(413).early().data(b"begun");
    let early = early.pause(Duration::from_millis(300)).data(b"rest");
    let upstream = Http2Upstream::named("web").otherwise(early).start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let documents = service(
        "web",
        web.ip(),
        web.port(),
        "http2",
        &plain(&[upstream.addr()]),
    );
    let _gateway = Gateway::serve(&documents).await;
    for body in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut client = connect(web).await;
        let request = format!("POST / HTTP/1.1\r\nHost: web\r\n{body}");
        client.send(&request).await.expect("sent");
        client.read_head().await.expect("a head");
        let begun = client.read_chunk().await.expect("a chunk");
        assert_eq!(begun.as_deref(), Some(&b"begun"[..]));
        client.half_close().await.expect("a socket");
        let rest = client.read_to_end().await.expect("an end in order");
        assert_eq!(String::from_utf8_lossy(&rest), "4\r\nrest\r\n0\r\n\r\n");
    }
}
