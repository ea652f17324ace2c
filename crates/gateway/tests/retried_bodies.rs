//! Requests that fail in the middle of their bodies: the next try sends what there was, and goes on behind it
//! (VS-H-79).
mod common;

use common::*;
use pointsman_testkit::{
    Http2Client, Http2Reply, Http2Request, Http2Upstream, HttpUpstream, eventually, free_port,
    fresh_ip,
    message::{Body, Framing, MessageReader},
    within,
};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const RULE: &str = "retries: {attempts: 3, retryOn: 5xx, backoff: 1ms}";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ngot";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlast";
const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
const HEAD: &str = "POST / HTTP/1.1\r\nHost: web\r\n";

fn fresh() -> SocketAddr {
    SocketAddr::new(fresh_ip(), free_port())
}

/// How an endpoint fails.
#[derive(Clone, Copy, Debug)]
enum Failing {
    /// It answers 503 before it has the body.
    Answers,
    Closes,
    Resets,
}

/// An endpoint that is done by hand.
struct Endpoint {
    at: SocketAddr,
    listener: Arc<TcpListener>,
    /// Connections that it has had.
    had: Arc<AtomicUsize>,
}

impl Endpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind((fresh_ip(), 0)).await.expect("binds");
        Self {
            at: listener.local_addr().expect("bound"),
            listener: Arc::new(listener),
            had: Arc::default(),
        }
    }

    fn had(&self) -> usize {
        self.had.load(SeqCst)
    }

    /// Fails on one connection after the other, on each when it has that many bytes of a body. The next one answers its
    /// request, whose body this gives, and a second one behind it.
    fn fails(&self, times: Vec<(usize, Failing)>) -> JoinHandle<Body> {
        let (listener, had) = (self.listener.clone(), self.had.clone());
        tokio::spawn(async move {
            let next = async || {
                let (stream, _) = listener.accept().await.expect("accepts");
                had.fetch_add(1, SeqCst);
                MessageReader::new(stream)
            };
            for (bytes, failing) in times {
                fail(next().await, bytes, failing).await;
            }
            let mut reader = next().await;
            let first = request(&mut reader).await.expect("a request");
            reader.stream().write_all(ANSWER).await.expect("sent");
            if request(&mut reader).await.is_some() {
                reader.stream().write_all(LAST).await.expect("sent");
            }
            first
        })
    }
}

async fn request(reader: &mut MessageReader<TcpStream>) -> Option<Body> {
    let head = reader.head().await.ok()??;
    let framing = head.declared_framing().expect("plain");
    let body = reader.body(framing.unwrap_or(Framing::None)).await;
    Some(body.expect("whole"))
}

async fn fail(mut reader: MessageReader<TcpStream>, bytes: usize, failing: Failing) {
    let head = reader.head().await.expect("a head").expect("a head");
    if head.declared_framing().expect("plain") == Some(Framing::Chunked) {
        let mut got = 0;
        while got < bytes {
            got += reader
                .chunk()
                .await
                .expect("a chunk")
                .map_or(0, |it| it.len());
        }
    } else {
        reader.exact(bytes).await.expect("the body");
    }
    match failing {
        Failing::Answers => {
            reader.stream().write_all(BUSY).await.expect("sent");
            // Whatever comes until the gateway is gone.
            let _ = reader.until_close().await;
        }
        Failing::Closes => {}
        Failing::Resets => {
            let socket = socket2::SockRef::from(&*reader.stream());
            socket.set_linger(Some(Duration::ZERO)).expect("is set");
        }
    }
}

/// Requests to `web`, which is `at`, go there by this rule.
fn documents(at: SocketAddr, endpoint: SocketAddr, rule: &str) -> String {
    let rule = format!("- route: [{{destination: {{host: web}}}}]\n  {rule}");
    let web = http("web", at.ip(), at.port(), endpoint);
    [web, rules("web", &rule)].concat()
}

/// Where `web` is served: 20,000 bytes of each body are kept.
async fn served(endpoint: &Endpoint, rule: &str, more: &str) -> (Gateway, SocketAddr) {
    let at = fresh();
    let mut settings = settings();
    settings.limits.retry_body_bytes = 20_000;
    let text = documents(at, endpoint.at, rule) + more;
    (Gateway::serve_with(settings, &text).await, at)
}

/// The request with this body in chunks of 5,000 bytes, and with a trailer.
fn chunked(body: &[u8]) -> Vec<u8> {
    let sizes: Vec<_> = body.chunks(5_000).map(<[u8]>::len).collect();
    in_chunks(body, &sizes, 1)
}

/// The request with this body in chunks of these sizes, and with so many trailers.
fn in_chunks(mut body: &[u8], sizes: &[usize], trailers: usize) -> Vec<u8> {
    let mut bytes = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for size in sizes {
        let chunk = body.split_off(..*size).expect("there is as much");
        bytes.extend(format!("{size:x};of=it\r\n").bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n");
    for number in 0..trailers {
        bytes.extend(format!("X-{number}: 7\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    bytes
}

fn sized(body: &[u8]) -> Vec<u8> {
    let head = format!("{HEAD}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    let found = bytes.windows(what.len()).position(|it| it == what);
    found.expect("is there")
}

/// Two tries fail, the rest of the body comes afterwards, and the next request with it.
#[tokio::test]
async fn a_body_is_taken_up_in_the_middle() {
    let body = pattern(12_000);
    let chunks = chunked(&body);
    let first = find(&chunks, b"\r\n\r\n") + 4;
    // Behind the first chunk: at the end of its data, in the end of its line, in the size of the next one and in what
    // belongs to that, in the data of that.
    let second = first + b"1388;of=it\r\n".len() + 5_000;
    let mut cases: Vec<_> = [0, 1, 2, 4, 8, 13, 14, 500]
        .map(|at| (&chunks, second + at))
        .into();
    // In the last chunk, and in the trailer.
    let last = find(&chunks, b"0\r\nX-0");
    cases.extend([0, 1, 2, 5, 9, 10].map(|at| (&chunks, last + at)));
    cases.push((&chunks, chunks.len() - 1));
    let sized = sized(&body);
    cases.extend([6_000, 11_000].map(|at| (&sized, at)));
    let endpoint = Endpoint::start().await;
    let (_gateway, web) = served(&endpoint, RULE, "").await;
    for (request, at) in cases {
        for failing in [Failing::Answers, Failing::Closes, Failing::Resets] {
            let what = format!("{at} of {} bytes, {failing:?}", request.len());
            let before = endpoint.had();
            let got = endpoint.fails(vec![(1, failing), (4_000, failing)]);
            let mut client = connect(web).await;
            client.send(&request[..at]).await.expect("sent");
            eventually(SOON, || async { endpoint.had() == before + 3 }).await;
            let next = b"GET /next HTTP/1.1\r\nHost: web\r\n\r\n";
            let rest = [&request[at..], next].concat();
            client.send(rest).await.expect("sent");
            for expected in ["got", "last"] {
                let reply = client.read_response().await.expect("an answer");
                assert_eq!(
                    (reply.status, reply.text().as_str()),
                    (200, expected),
                    "{what}"
                );
            }
            let got = got.await.expect("no panic");
            assert_eq!(digest(&got.bytes), digest(&body), "{what}");
            let trailers = usize::from(request == &chunks);
            assert_eq!(got.trailers.len(), trailers, "{what}");
        }
    }
}

/// What is not there any more is not sent again, and the client is told.
#[tokio::test]
async fn a_body_beyond_the_limit_is_not_taken_up() {
    // VS-H-79
    let body = pattern(100_000);
    let endpoint = Endpoint::start().await;
    let (gateway, web) = served(&endpoint, RULE, "").await;
    let mut lost = 0.0;
    for request in [chunked(&body), sized(&body)] {
        for failing in [Failing::Answers, Failing::Closes, Failing::Resets] {
            let next = endpoint.fails(vec![(60_000, failing)]);
            let before = endpoint.had();
            let mut client = connect(web).await;
            client.send(&request[..90_000]).await.expect("sent");
            let reply = client.read_response().await.expect("an answer");
            assert_eq!(reply.status, 503, "{failing:?}");
            lost += 1.0;
            let outcome = [("outcome", "body_not_kept")];
            gateway
                .metrics_until(|it| it.sum("pointsman_retries_total", &outcome) == lost)
                .await;
            assert_eq!(endpoint.had(), before + 1, "{failing:?}");
            next.abort();
            let _ = next.await;
        }
    }
}

/// A copy is made of what the client sends, not of what the endpoints get.
#[tokio::test]
async fn a_body_that_is_taken_up_is_copied_once() {
    // VS-H-39
    let mirror = HttpUpstream::named("mirror").start().await;
    let copies = fresh();
    let port = copies.port();
    let rule = format!("{RULE}\n  mirror: {{host: mirror, port: {{number: {port}}}}}");
    let more = http("mirror", copies.ip(), port, mirror.addr());
    let endpoint = Endpoint::start().await;
    let (_gateway, web) = served(&endpoint, &rule, &more).await;
    let body = pattern(12_000);
    for (request, trailers) in [(chunked(&body), 1), (sized(&body), 0)] {
        // In the middle, and when nothing is to come any more.
        for times in [vec![1, 7_000], vec![12_000], vec![1, 12_000]] {
            let failing = Failing::Answers;
            let before = (mirror.requests(), endpoint.had());
            let last = before.1 + 1 + times.iter().filter(|it| **it < 12_000).count();
            let got = endpoint.fails(times.iter().map(|it| (*it, failing)).collect());
            let mut client = connect(web).await;
            client.send(&request[..9_000]).await.expect("sent");
            eventually(SOON, || async { endpoint.had() == last }).await;
            client.send(&request[9_000..]).await.expect("sent");
            let reply = client.read_response().await.expect("an answer");
            assert_eq!(reply.status, 200, "{times:?}");
            drop(client);
            eventually(SOON, || async { mirror.requests() > before.0 }).await;
            let copied = mirror.last_seen().expect("one");
            assert_eq!(digest(&copied.body), digest(&body), "{times:?}");
            assert_eq!(copied.trailers.len(), trailers, "{times:?}");
            assert_eq!(mirror.requests(), before.0 + 1, "{times:?}");
            got.abort();
            let _ = got.await;
        }
    }
    assert_eq!(mirror.malformed(), Vec::<String>::new());
}

/// A body that is there whole by its length is sent again whole, though its stream has not ended.
#[tokio::test]
async fn a_whole_body_is_sent_again_before_its_stream_ends() {
    let endpoint = Endpoint::start().await;
    let (_gateway, web) = served(&endpoint, RULE, "").await;
    let mut client = Http2Client::connect(web).await.expect("connects");
    let got = endpoint.fails(vec![(9, Failing::Answers), (9, Failing::Closes)]);
    // The second one on the connection that has answered the first.
    for answer in ["got", "last"] {
        let request = Http2Request::post("web", "/").field("content-length", "9");
        let mut stream = client.begin(&request, false).await.expect("begun");
        stream.send(b"1234", false).await.expect("sent");
        stream.send(b"56789", false).await.expect("sent");
        let reply = within(SOON, stream.rest()).await.expect("answered");
        assert_eq!((reply.status, reply.text()), (200, answer));
    }
    assert_eq!(got.await.expect("no panic").bytes, b"123456789");
    assert_eq!(endpoint.had(), 3);
}

/// However a body comes, and wherever tries fail in it, whoever answers has got all of it; the client's connection
/// knows where the next request begins.
#[test]
fn any_body_is_taken_up_anywhere() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (endpoint, _gateway, web) = runtime.block_on(async {
        let endpoint = Endpoint::start().await;
        let (gateway, web) = served(&endpoint, RULE, "").await;
        (endpoint, gateway, web)
    });
    let failing = prop_oneof![
        Just(Failing::Answers),
        Just(Failing::Closes),
        Just(Failing::Resets)
    ];
    let cases = (
        vec(1..3_000_usize, 0..6),
        option::weighted(0.8, 0..3_usize),
        vec(any::<Index>(), 0..6),
        vec((any::<Index>(), failing), 0..=3),
    );
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(100)
    };
    let outcome = TestRunner::new(config).run(&cases, |(chunks, trailers, cuts, failing)| {
        let body = pattern(chunks.iter().sum());
        let request = match trailers {
            Some(trailers) => in_chunks(&body, &chunks, trailers),
            None => sized(&body),
        };
        let next = b"GET /next HTTP/1.1\r\nHost: web\r\n\r\n";
        let bytes = [request.as_slice(), next].concat();
        let mut cuts: Vec<_> = cuts.iter().map(|it| it.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let times = failing
            .iter()
            .map(|(at, failing)| (at.index(body.len() + 1), *failing));
        let got = runtime.block_on(async {
            let got = endpoint.fails(times.collect());
            let mut client = connect(web).await;
            for segment in cuts.windows(2) {
                client
                    .send(&bytes[segment[0]..segment[1]])
                    .await
                    .expect("sent");
                // Long enough for it to be read by itself, mostly.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for expected in ["got", "last"] {
                let reply = client.read_response().await.expect("an answer");
                assert_eq!((reply.status, reply.text().as_str()), (200, expected));
            }
            got.await.expect("no panic")
        });
        prop_assert_eq!(digest(&got.bytes), digest(&body));
        let names: Vec<_> = got.trailers.into_iter().map(|(name, _)| name).collect();
        let sent: Vec<_> = (0..trailers.unwrap_or(0))
            .map(|it| format!("X-{it}"))
            .collect();
        prop_assert_eq!(names, sent);
        Ok(())
    });
    outcome.expect("all of them");
}

/// The same of bodies that go to HTTP/2 endpoints, in pieces.
#[tokio::test]
async fn a_body_on_its_way_to_http2_is_taken_up_in_the_middle() {
    let early = || Http2Reply::text(503, "").early();
    let calls = Http2Upstream::named("calls")
        .on("/sized", early())
        .on("/sized", early())
        .on("/sized", Http2Reply::echo_body())
        .on("/chunked", early())
        .on("/chunked", early())
        .on("/chunked", Http2Reply::echo_body())
        .otherwise(Http2Reply::text(200, "next"))
        .start()
        .await;
    let at = fresh();
    let rule = "- route: [{destination: {host: calls}}]\n  retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}";
    let text = [
        http2("calls", at.ip(), at.port(), calls.addr()),
        rules("calls", rule),
    ]
    .concat();
    let mut settings = settings();
    settings.limits.retry_body_bytes = 20_000;
    let _gateway = Gateway::serve_with(settings, &text).await;
    let body = pattern(12_000);
    let mut chunked =
        b"POST /chunked HTTP/1.1\r\nHost: calls\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(5_000) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunked.extend(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let head = format!(
        "POST /sized HTTP/1.1\r\nHost: calls\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let sized = [head.as_bytes(), &body].concat();
    for request in [sized, chunked] {
        let before = calls.requests();
        let mut client = connect(at).await;
        let (first, rest) = request.split_at(7_000);
        client.send(first).await.expect("sent");
        eventually(SOON, || async { calls.requests() == before + 3 }).await;
        client.send(rest).await.expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.status, 200);
        assert_eq!(digest(&reply.body), digest(&body));
        let reply = client.get("calls", "/next").await.expect("an answer");
        assert_eq!(reply.text(), "next");
    }
    assert!(calls.errors().is_empty(), "{:?}", calls.errors());
}
