//! What sinks are told of requests and connections, and the access log on standard output.
mod common;

use common::*;
use pointsman_gateway::{Gateway as Facade, Settings};
use pointsman_sdk::{AccessRecord, Sink};
use pointsman_testkit::{
    Child, Http2Upstream, HttpUpstream, Reply, TcpUpstream, eventually,
    frames::{Block, Fate, Frame, FrameClient},
    free_port, fresh_ip,
    tcp::Behaviour,
    wait_for_port, within,
};
use std::{
    io::Read,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<AccessRecord>>>);

impl Sink for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn records(&mut self, batch: &[AccessRecord]) {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(batch);
    }
}

impl Notes {
    async fn gateway(&self, documents: &str) -> Gateway {
        self.gateway_with(settings(), documents).await
    }

    async fn gateway_with(&self, settings: Settings, documents: &str) -> Gateway {
        let notes = self.clone();
        let builder = Facade::builder()
            .settings(settings)
            .extend(move |host| host.sink("notes", move || notes.clone()));
        Gateway::start(Some(documents), builder).await
    }

    /// The next record; there is no other.
    async fn next(&self) -> AccessRecord {
        eventually(SOON, || async {
            !self.0.lock().expect("not poisoned").is_empty()
        })
        .await;
        let mut records = self.0.lock().expect("not poisoned");
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }

    /// All records, once there are so many.
    async fn all(&self, count: usize) -> Vec<AccessRecord> {
        eventually(SOON, || async {
            self.0.lock().expect("not poisoned").len() >= count
        })
        .await;
        self.0.lock().expect("not poisoned").clone()
    }
}

fn text(value: &Option<Box<[u8]>>) -> &str {
    let bytes = value.as_deref().unwrap_or(b"-");
    std::str::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn a_forwarded_request_is_recorded_with_all_that_is_known() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &rules("web", "- route: [{destination: {host: web}}]");
    let notes = Notes::default();
    let gateway = notes.gateway(&documents).await;
    let mut client = connect(web).await;
    let fields = [
        ("User-Agent", "test/1"),
        ("X-Request-Id", "abc-1"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    let reply = client
        .request("POST", "web", "/a?b=c", &fields, Some(b"12345"))
        .await
        .expect("an answer");
    let record = notes.next().await;
    assert_eq!(text(&record.method), "POST");
    assert_eq!(text(&record.path), "/a?b=c");
    assert_eq!(record.protocol, Some("HTTP/1.1"));
    assert_eq!(record.response_code, 200);
    assert!(record.flags.is_empty());
    assert_eq!(record.details, "via_upstream");
    assert_eq!(record.bytes_received, 5);
    assert_eq!(record.bytes_sent, reply.body.len() as u64);
    assert!(record.upstream_service_time_ms.is_some());
    assert_eq!(text(&record.authority), "web");
    assert_eq!(text(&record.user_agent), "test/1");
    assert_eq!(text(&record.request_id), "abc-1");
    assert_eq!(text(&record.x_forwarded_for), "192.0.2.1");
    assert_eq!(record.upstream_host, Some(upstream.addr()));
    let seen = upstream.last_seen().expect("a request");
    assert_eq!(record.upstream_local, Some(seen.peer));
    let cluster = record.upstream_cluster.expect("a backend");
    let expected = format!("outbound|{}||web.default.svc.cluster.local", web.port());
    assert_eq!(*cluster, *expected);
    assert_eq!(record.downstream_local, Some(web));
    assert_eq!(record.downstream_remote, Some(client.local_addr()));
    assert_eq!(record.route_name.as_deref(), Some("default/web-http#0"));
    let rule = record.rule.expect("a place");
    assert!(rule.contains("mesh.yaml:"), "{rule}");
    assert_eq!(record.revision, gateway.progress.borrow().active);
    assert_eq!(record.why, "rule");
    assert!(record.start_unix_ms > 1_600_000_000_000);
}

#[tokio::test]
async fn replies_of_our_own_say_why() {
    let web = SocketAddr::new(fresh_ip(), free_port());
    // Nothing listens there.
    let nowhere = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), nowhere)
        + &rules(
            "web",
            "- name: down
  match: [{uri: {prefix: /down}}]
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /gone}}]
  directResponse: {status: 410, body: {string: gone}}
- match: [{uri: {prefix: /v9}}]
  route: [{destination: {host: web, subset: v9}}]",
        );
    let notes = Notes::default();
    let _gateway = notes.gateway(&documents).await;
    let mut client = connect(web).await;
    for (path, status, flags, details, route) in [
        ("/other", 404, "NR", "route_not_found", None),
        (
            "/down",
            503,
            // After two more tries (VS-H-138).
            "URX,UF",
            "upstream_reset_before_response_started{remote_connection_failure|\
             delayed_connect_error:_Connection_refused}",
            Some("down"),
        ),
        (
            "/gone",
            410,
            "-",
            "direct_response",
            Some("default/web-http#1"),
        ),
        (
            "/v9",
            503,
            "NC",
            "cluster_not_found",
            Some("default/web-http#2"),
        ),
    ] {
        let reply = client.get("web", path).await.expect("an answer");
        assert_eq!(reply.status, status, "{path}");
        let record = notes.next().await;
        assert_eq!(record.response_code, status, "{path}");
        assert_eq!(record.flags.to_string(), flags, "{path}");
        assert_eq!(record.details, details, "{path}");
        assert_eq!(record.route_name.as_deref(), route, "{path}");
        assert_eq!(record.bytes_sent, reply.body.len() as u64, "{path}");
        let tried = (path == "/down").then_some(nowhere);
        assert_eq!(record.upstream_host, tried, "{path}");
    }
    client
        .send("GET / HTTP/1.1\r\nbad field\r\n\r\n")
        .await
        .expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 400);
    let record = notes.next().await;
    assert_eq!((record.response_code, text(&record.method)), (400, "-"));
    assert_eq!(record.flags.to_string(), "DPE");
    assert_eq!(record.downstream_local, Some(web));
}

/// The path is the client's, the authority what the endpoint gets: that is what Istio's format has.
#[tokio::test]
async fn a_rewritten_authority_is_recorded_and_a_rewritten_path_is_not() {
    let upstream = HttpUpstream::named("web").start().await;
    let streams = Http2Upstream::named("web").start().await;
    let rule = |host: &str| {
        rules(
            host,
            &format!(
                "- match: [{{uri: {{prefix: /old}}}}]
  rewrite: {{uri: /new, authority: other.example}}
  route: [{{destination: {{host: {host}}}}}]
- match: [{{uri: {{prefix: /set}}}}]
  route: [{{destination: {{host: {host}}}, headers: {{request: {{set: {{Host: other.example}}}}}}}}]
- match: [{{uri: {{prefix: /same}}}}]
  rewrite: {{authority: {host}}}
  route: [{{destination: {{host: {host}}}}}]
- route: [{{destination: {{host: {host}}}}}]"
            ),
        )
    };
    let [web, grpc] = [(); 2].map(|()| SocketAddr::new(fresh_ip(), free_port()));
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &rule("web")
        + &service(
            "grpc",
            grpc.ip(),
            grpc.port(),
            "grpc",
            &plain(&[streams.addr()]),
        )
        + &rule("grpc");
    let notes = Notes::default();
    let _gateway = notes.gateway(&documents).await;
    for (at, host) in [(web, "web"), (grpc, "grpc")] {
        let mut client = connect(at).await;
        let mut frames = FrameClient::begin(at).await.expect("connects");
        for (stream, path, authority) in [
            (1, "/old/x", "other.example"),
            (3, "/set/x", "other.example"),
            (5, "/same/x", host),
            (7, "/x", host),
        ] {
            let received = (authority != host).then_some(host);
            for version in ["HTTP/1.1", "HTTP/2"] {
                let status = match version {
                    "HTTP/2" => frames.ask(stream, Block::request("GET", host, path)).await,
                    _ => Fate::Status(client.get(host, path).await.expect("an answer").status),
                };
                assert_eq!(status, Fate::Status(200), "{version} {path}");
                let record = notes.next().await;
                assert_eq!(record.protocol, Some(version));
                assert_eq!(text(&record.path), path, "{version}");
                assert_eq!(text(&record.authority), authority, "{version} {path}");
                let was = text(&record.received_authority);
                assert_eq!(was, received.unwrap_or("-"), "{version} {path}");
            }
        }
    }
}

/// What a rule answers by itself has a body of the request in its record all the same.
#[tokio::test]
async fn a_body_that_no_endpoint_gets_is_counted() {
    let web = SocketAddr::new(fresh_ip(), free_port());
    let nowhere = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), nowhere)
        + &rules(
            "web",
            "- match: [{uri: {prefix: /gone}}]
  directResponse: {status: 410, body: {string: gone}}
- match: [{uri: {prefix: /moved}}]
  redirect: {uri: /new}
- match: [{uri: {prefix: /fault}}]
  fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /late}}]
  fault: {abort: {httpStatus: 418, percentage: {value: 100}}, delay: {fixedDelay: 1ms, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /v9}}]
  route: [{destination: {host: web, subset: v9}}]",
        );
    let notes = Notes::default();
    let _gateway = notes.gateway(&documents).await;
    let mut asked = 0;
    for (path, status) in [
        ("/gone", 410),
        ("/moved", 301),
        ("/fault", 418),
        ("/late", 418),
        ("/v9", 503),
        ("/other", 404),
    ] {
        let mut client = connect(web).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: web\r\n");
        let sized = format!("{head}content-length: 5\r\n\r\n");
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n");
        let last = format!("{head}connection: close\r\ncontent-length: 5\r\n\r\nhello");
        for (first, rest) in [
            (format!("{sized}hello"), ""),
            (sized.clone(), "hello"),
            (format!("{sized}hel"), "lo"),
            (chunked, "2\r\nlo\r\n0\r\nx: y\r\n\r\n"),
            (last, ""),
        ] {
            client.send(&first).await.expect("sent");
            let reply = client.read_response().await.expect("an answer");
            assert_eq!(reply.status, status, "{first}");
            client.send(rest).await.expect("sent");
            asked += 1;
        }
        let mut client = FrameClient::begin(web).await.expect("connects");
        let block = Block::request("POST", "web", path).bytes();
        client
            .send(&[
                Frame::headers(1, block),
                Frame::data(1, "hel"),
                Frame::data(1, "lo").end_stream(),
            ])
            .await;
        assert_eq!(client.fate(1).await, Fate::Status(status), "{path}");
        asked += 1;
    }
    let records = notes.all(asked).await;
    for record in &records {
        assert_eq!(record.bytes_received, 5, "{record:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_late_was_under_way_since_its_first_byte() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let mut settings = settings();
    settings.timeouts.request_head = written("400ms");
    let notes = Notes::default();
    let _gateway = notes.gateway_with(settings, &documents).await;
    for warm in [false, true] {
        let mut client = connect(web).await;
        if warm {
            assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
            assert_eq!(notes.next().await.response_code, 200);
        }
        let begun = Instant::now();
        client.send("GET / HT").await.expect("sent");
        assert_eq!(client.read_response().await.expect("an answer").status, 408);
        let took = begun.elapsed().as_millis();
        let record = notes.next().await;
        assert_eq!(record.details, "request_header_timeout");
        let duration = u128::from(record.duration_ms);
        assert!((400..=took).contains(&duration), "{warm}: {record:?}");
        assert_eq!(record.revision, 1, "{warm}");
    }
}

#[tokio::test]
async fn a_connection_is_recorded_at_its_end() {
    let upstream = TcpUpstream::echo().await;
    let raw = SocketAddr::new(fresh_ip(), free_port());
    let documents = service(
        "raw",
        raw.ip(),
        raw.port(),
        "tcp",
        &plain(&[upstream.addr()]),
    );
    let notes = Notes::default();
    let _gateway = notes.gateway(&documents).await;
    let mut client = TcpStream::connect(raw).await.expect("connects");
    client.write_all(b"hello").await.expect("sent");
    let mut heard = [0; 5];
    within(SOON, client.read_exact(&mut heard))
        .await
        .expect("an echo");
    assert!(notes.0.lock().expect("not poisoned").is_empty());
    let local = client.local_addr().expect("connected");
    drop(client);
    let record = notes.next().await;
    assert_eq!((record.response_code, text(&record.method)), (0, "-"));
    assert_eq!((record.bytes_received, record.bytes_sent), (5, 5));
    assert_eq!(record.upstream_host, Some(upstream.addr()));
    assert_eq!(record.downstream_remote, Some(local));
    assert_eq!(record.why, "default_route");
    let cluster = record.upstream_cluster.expect("a backend");
    assert!(
        cluster.ends_with("||raw.default.svc.cluster.local"),
        "{cluster}"
    );
}

#[tokio::test]
async fn standard_output_has_every_line_before_the_process_ends() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mesh.yaml");
    std::fs::write(&file, http("web", web.ip(), web.port(), upstream.addr())).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command
        .args(["run", "--shards", "1", "--admin", "127.0.0.1:0"])
        .args(["--access-log", "json", "-f"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut gateway = Child::spawn(&mut command).expect("it starts");
    wait_for_port(web, SOON).await.expect("it listens");
    let mut client = connect(web).await;
    for _ in 0..3 {
        assert_eq!(
            client.get("web", "/x").await.expect("an answer").status,
            200
        );
    }
    drop(client);
    // At once: the tick that would have carried the records has hardly passed.
    let told = Command::new("kill").arg(gateway.id().to_string()).status();
    assert!(told.expect("kill runs").success());
    assert!(gateway.wait(SOON).expect("it ends").success());
    let mut text = String::new();
    let mut stdout = gateway.inner().stdout.take().expect("a pipe");
    stdout.read_to_string(&mut text).expect("text");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3, "{text}");
    for line in lines {
        assert_eq!(line["path"], "/x");
        assert_eq!(line["response_code"], 200);
        assert_eq!(line["upstream_host"], upstream.addr().to_string());
        assert_eq!(line["why"], "default_route");
    }
}

/// Waits for its channel, or for the end of that, before it notes a batch.
struct Stuck(Arc<Mutex<std::sync::mpsc::Receiver<()>>>, Notes);

impl Sink for Stuck {
    fn name(&self) -> &str {
        "stuck"
    }

    fn records(&mut self, batch: &[AccessRecord]) {
        // An error is the end of the channel.
        let _ = self.0.lock().expect("not poisoned").recv();
        self.1.records(batch);
    }
}

#[tokio::test]
async fn a_sink_that_blocks_holds_up_neither_traffic_nor_changes() {
    let (one, two) = (
        HttpUpstream::named("one").start().await,
        HttpUpstream::named("two").start().await,
    );
    let web = SocketAddr::new(fresh_ip(), free_port());
    let to = |upstream: &HttpUpstream| http("web", web.ip(), web.port(), upstream.addr());
    let (release, stuck) = std::sync::mpsc::channel();
    let stuck = Arc::new(Mutex::new(stuck));
    let notes = Notes::default();
    let other = notes.clone();
    let builder = Facade::builder().settings(settings()).extend(move |host| {
        host.sink("stuck", move || Stuck(stuck.clone(), Notes::default()));
        host.sink("notes", move || other.clone());
    });
    let gateway = Gateway::start(Some(&to(&one)), builder).await;
    let mut client = connect(web).await;
    for (upstream, name) in [(&one, "one"), (&two, "two")] {
        if name == "two" {
            gateway.apply(&to(upstream)).await;
        }
        let reply = client.get("web", "/").await.expect("an answer");
        assert_eq!(reply.answered_by().as_deref(), Some(name));
        // The other sink is told while this one sits on its first batch.
        assert_eq!(notes.next().await.upstream_host, Some(upstream.addr()));
    }
    drop(release);
}

/// More of them than a sink has places for one of them, all at a time.
#[tokio::test]
async fn shards_do_not_take_each_other_s_places_at_a_sink() {
    const CLIENTS: usize = 100;
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let (release, stuck) = std::sync::mpsc::channel();
    let stuck = Arc::new(Mutex::new(stuck));
    let notes = Notes::default();
    let told = notes.clone();
    let mut settings = settings();
    settings.process.shards = 24;
    let builder = Facade::builder().settings(settings).extend(move |host| {
        host.sink("stuck", move || Stuck(stuck.clone(), notes.clone()));
    });
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let gateway = Gateway::start(Some(&documents), builder).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(connect(web).await);
    }
    for client in &mut clients {
        assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    }
    // All shards have offered what they had.
    let ticks = |it: &Scrape| it.sum("istio_requests_total", &[]) >= CLIENTS as f64;
    let scrape = gateway.metrics_until(ticks).await;
    assert_eq!(scrape.sum("pointsman_access_log_lost_total", &[]), 0.0);
    drop(release);
    assert_eq!(told.all(CLIENTS).await.len(), CLIENTS);
}

#[tokio::test]
async fn records_that_wait_for_a_sink_are_bounded_in_bytes() {
    const BYTES: usize = 64 * 1024;
    const LONG: usize = 900;
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let (release, stuck) = std::sync::mpsc::channel();
    let stuck = Arc::new(Mutex::new(stuck));
    let notes = Notes::default();
    let told = notes.clone();
    let mut settings = settings();
    settings.process.shards = 1;
    settings.limits.access_log_bytes = BYTES;
    let builder = Facade::builder().settings(settings).extend(move |host| {
        host.sink("stuck", move || Stuck(stuck.clone(), notes.clone()));
    });
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let gateway = Gateway::start(Some(&documents), builder).await;
    let mut client = connect(web).await;
    let long = "l".repeat(LONG);
    let (fields, path) = (
        ["user-agent", "x-request-id", "x-forwarded-for"].map(|name| (name, &*long)),
        format!("/{long}"),
    );
    let many = 100;
    for _ in 0..many {
        let reply = client.request("GET", "web", &path, &fields, None).await;
        assert_eq!(reply.expect("an answer").status, 200);
    }
    let lost = "pointsman_access_log_lost_total";
    gateway.metrics_until(|it| it.sum(lost, &[]) > 0.0).await;
    drop(release);
    let kept = || told.0.lock().expect("not poisoned").len();
    gateway
        .metrics_until(|it| it.sum(lost, &[]) + kept() as f64 == f64::from(many))
        .await;
    let before = kept();
    assert!(before > 0 && before * 4 * LONG <= BYTES, "{before}");
    // There is room again for what comes now.
    eventually(SOON, || async {
        let mut client = connect(web).await;
        assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
        kept() > before
    })
    .await;
}

/// The time of the endpoint is its own: neither the client's upload nor a fault's delay is in it.
#[tokio::test]
async fn the_service_time_is_that_of_the_endpoint() {
    let late = Duration::from_millis(300);
    let upstream = HttpUpstream::named("web")
        .on("/late", Reply::text(200, "late").after(late))
        .on("/early", Reply::text(413, "early").early())
        .otherwise(Reply::text(200, "at once"))
        .start()
        .await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &rules(
            "web",
            "- match: [{uri: {prefix: /delayed}}]
  fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
- route: [{destination: {host: web}}]",
        );
    let notes = Notes::default();
    let _gateway = notes.gateway(&documents).await;
    let mut client = connect(web).await;
    client.get("web", "/late").await.expect("an answer");
    let record = notes.next().await;
    let time = record.upstream_service_time_ms.expect("an answer");
    assert!(time >= 300, "{record:?}");
    client.get("web", "/delayed").await.expect("an answer");
    let record = notes.next().await;
    let time = record.upstream_service_time_ms.expect("an answer");
    assert!(time < 1000 && record.duration_ms >= 2000, "{record:?}");
    let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\n";
    client.send(post).await.expect("sent");
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.send("x").await.expect("sent");
    }
    client.read_response().await.expect("an answer");
    let record = notes.next().await;
    let time = record.upstream_service_time_ms.expect("an answer");
    assert!(time < 1000 && record.duration_ms >= 2000, "{record:?}");
    // The same of a stream.
    let mut stream = FrameClient::begin(web).await.expect("connects");
    let head = Frame::headers(1, Block::request("POST", "web", "/"));
    stream.send(&[head]).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.send(&[Frame::data(1, "x")]).await;
    }
    stream.send(&[Frame::data(1, "").end_stream()]).await;
    assert_eq!(stream.fate(1).await, Fate::Status(200));
    let record = notes.next().await;
    let time = record.upstream_service_time_ms.expect("an answer");
    assert!(time < 1000 && record.duration_ms >= 2000, "{record:?}");
    // There is none of an answer that did not wait for its request.
    client
        .send(post.replace("/ ", "/early "))
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.status, 413);
    let record = notes.next().await;
    assert_eq!(record.upstream_service_time_ms, None, "{record:?}");
}

/// A piece that the first endpoint did not take whole is in the second one's body, and is counted.
#[tokio::test]
async fn a_body_is_counted_whole_though_a_try_ended_in_the_middle_of_a_write() {
    const LENGTH: usize = 6_000_000;
    let port = free_port();
    let deaf = TcpUpstream::start_at((fresh_ip(), port).into(), Behaviour::Stall).await;
    let deaf = deaf.expect("a free port");
    let upstream = HttpUpstream::named("web")
        .at((fresh_ip(), port))
        .start()
        .await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let endpoints = plain(&[deaf.addr(), upstream.addr()]);
    let tries = "{attempts: 3, perTryTimeout: 1s, retryOn: 5xx, backoff: 1ms}";
    let documents = service("web", web.ip(), web.port(), "http", &endpoints)
        + &rules(
            "web",
            &format!("- route: [{{destination: {{host: web}}}}]\n  retries: {tries}"),
        );
    let mut settings = settings();
    settings.limits.retry_body_bytes = 2 * LENGTH;
    settings.limits.splice_after = 0;
    let notes = Notes::default();
    let _gateway = notes.gateway_with(settings, &documents).await;
    let body = vec![b'x'; LENGTH];
    while deaf.connections() == 0 {
        let mut client = connect(web).await;
        let reply = client.request("POST", "web", "/", &[], Some(&body)).await;
        let record = notes.next().await;
        assert_eq!(reply.expect("an answer").status, 200, "{record:?}");
        assert_eq!(record.bytes_received, LENGTH as u64, "{record:?}");
    }
}
