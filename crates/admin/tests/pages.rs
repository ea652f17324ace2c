//! The admin server over real sockets.
use pointsman_admin::{
    Admin, BindError, Door, Health, Method, Reply, State, StatusCode, admin::Settings, bind, serve,
};
use pointsman_telemetry::{Recorder, names};
use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(10);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// More than the kernel takes.
const LARGE: usize = 32 * 1024 * 1024;

struct Server {
    address: SocketAddr,
    health: Arc<Health>,
    recorder: Recorder,
}

/// Runs `test` against a server with a few pages more than the built-in ones.
fn with_server<F: Future<Output = ()>>(
    settings: Settings,
    door: Door,
    test: impl FnOnce(Server) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (health, recorder) = (Arc::new(Health::new()), Recorder::default());
        let mut admin = Admin::new(settings, health.clone(), recorder.clone());
        admin.route(
            Method::POST,
            "/echo",
            "gives the body back",
            |request| async move {
                let query = request.query.unwrap_or_default();
                let body = String::from_utf8_lossy(&request.body).into_owned();
                Reply::text(StatusCode::OK, format!("{query} {body}"))
            },
        );
        admin.route(Method::GET, "/panic", "ends its connection", |_| async {
            panic!("a page that panics")
        });
        admin.route(Method::GET, "/large", "is long", |_| async {
            Reply::text(StatusCode::OK, vec![b'x'; LARGE])
        });
        let listener = bind(LOOPBACK, door, false).await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        tokio::task::spawn_local(serve(listener, Arc::new(admin), door));
        let server = Server {
            address,
            health,
            recorder,
        };
        timeout(6 * DEADLINE, test(server)).await.expect("in time");
    });
}

async fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(bytes.as_bytes()).await.expect("write");
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A reset ends an answer as well.
    let _ = timeout(DEADLINE, read).await.expect("in time");
    String::from_utf8(answer).expect("text")
}

async fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let answer = exchange(
        address,
        &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    )
    .await;
    split(&answer)
}

fn split(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.expect("a status"), head.to_owned(), body.to_owned())
}

#[test]
fn metrics_are_rendered_and_scrapes_counted() {
    with_server(Settings::default(), Door::Full, |server| async move {
        server.recorder.gauge(&names::CONFIG_GENERATION, []).set(41);
        let (status, head, body) = request(server.address, "GET", "/stats/prometheus").await;
        assert_eq!(status, 200);
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(
            body.contains("\npointsman_config_generation 41\n"),
            "{body}"
        );
        let (_, _, body) = request(server.address, "GET", "/metrics?usedonly").await;
        assert!(body.contains("pointsman_scrapes_total 2\n"), "{body}");
    });
}

#[test]
fn readiness_does_not_wait_for_metrics() {
    with_server(Settings::default(), Door::Full, |server| async move {
        for backend in 0..8_000 {
            let backend = backend.to_string();
            let values = names::REQUEST_DURATION.labels.map(|_| &*backend);
            let duration = server.recorder.histogram(&names::REQUEST_DURATION, values);
            duration.record(1.0);
        }
        let mut scrape = TcpStream::connect(server.address).await.expect("connect");
        let get = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        scrape.write_all(get).await.expect("write");
        assert_eq!(request(server.address, "GET", "/ready").await.0, 503);
        let mut first = [0; 1];
        let early = scrape.try_read(&mut first);
        assert!(early.is_err(), "the metrics were first");
        let text = read_to_end(&mut scrape).await;
        assert_eq!(split(&text).0, 200);
    });
}

#[test]
fn readiness_follows_the_process() {
    with_server(Settings::default(), Door::Full, |server| async move {
        for (state, status, word) in [
            (State::Starting, 503, "PRE_INITIALIZING\n"),
            (State::Initializing, 503, "INITIALIZING\n"),
            (State::Live, 200, "LIVE\n"),
            (State::Draining, 503, "DRAINING\n"),
        ] {
            server.health.advance(state);
            for path in ["/ready", "/healthz/ready"] {
                let (got, _, body) = request(server.address, "GET", path).await;
                assert_eq!((got, &*body), (status, word), "{path}");
            }
            let (got, _, _) = request(server.address, "GET", "/healthz/live").await;
            assert_eq!(got, 200);
            let (_, _, info) = request(server.address, "GET", "/server_info").await;
            let state = format!("\"state\":\"{}\"", word.trim_end());
            assert!(info.contains(&state), "{info}");
        }
    });
}

#[test]
fn help_lists_every_page() {
    with_server(Settings::default(), Door::Full, |server| async move {
        let (status, _, body) = request(server.address, "GET", "/help").await;
        assert_eq!(status, 200);
        assert!(body.starts_with("admin commands are:\n  /: "), "{body}");
        for line in [
            "  /echo (POST): gives the body back",
            "  /help: ",
            "  /ready: ",
        ] {
            assert!(body.contains(line), "{line}: {body}");
        }
        let (_, _, home) = request(server.address, "GET", "/").await;
        assert!(home.contains("/help"), "{home}");
    });
}

#[test]
fn unknown_pages_and_methods_get_a_sentence() {
    with_server(Settings::default(), Door::Full, |server| async move {
        let (status, _, body) = request(server.address, "GET", "/nothing").await;
        assert_eq!(status, 404);
        assert!(body.contains("/help"), "{body}");
        let (status, head, body) = request(server.address, "POST", "/ready").await;
        assert_eq!(status, 405);
        assert!(head.contains("allow: GET, HEAD"), "{head}");
        assert!(body.contains("GET, HEAD only"), "{body}");
        let (status, head, _) = request(server.address, "GET", "/echo").await;
        assert_eq!(status, 405);
        assert!(head.contains("allow: POST"), "{head}");
        let (status, head, body) = request(server.address, "HEAD", "/help").await;
        assert_eq!((status, &*body), (200, ""));
        assert!(head.contains("content-length: "), "{head}");
    });
}

#[test]
fn other_names_and_other_sites_are_refused() {
    with_server(Settings::default(), Door::Full, |server| async move {
        let get = |host: &str| format!("GET /help HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        for (host, status) in [
            ("Host: evil.example\r\n", 403),
            ("Host: 127.0.0.1:15000\r\n", 200),
            ("", 400),
            ("Host: localhost\r\nHost: localhost\r\n", 400),
        ] {
            let answer = exchange(server.address, &get(host)).await;
            assert_eq!(split(&answer).0, status, "{host:?}");
        }
        // A simple probe.
        let answer = exchange(server.address, "GET /help HTTP/1.0\r\n\r\n").await;
        assert_eq!(split(&answer).0, 200);
        let forged = "POST /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(split(&exchange(server.address, forged).await).0, 403);
    });
}

#[test]
fn bodies_are_read_within_their_limit() {
    let settings = Settings {
        max_body: 10,
        ..Settings::default()
    };
    with_server(settings, Door::Full, |server| async move {
        let post = |body: &str| {
            format!(
                "POST /echo?q=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            )
        };
        let (status, _, body) = split(&exchange(server.address, &post("0123456789")).await);
        assert_eq!((status, &*body), (200, "q=1 0123456789"));
        let (status, _, _) = split(&exchange(server.address, &post("0123456789a")).await);
        assert_eq!(status, 413);
    });
}

#[test]
fn public_addresses_show_metrics_and_health_only() {
    with_server(Settings::default(), Door::Public, |server| async move {
        for (path, want) in [
            ("/metrics", 200),
            ("/healthz/live", 200),
            ("/ready", 503),
            ("/server_info", 403),
            ("/panic", 403),
            ("/nothing", 404),
        ] {
            assert_eq!(request(server.address, "GET", path).await.0, want, "{path}");
        }
        let (_, _, help) = request(server.address, "GET", "/help").await;
        assert!(!help.contains("/server_info"), "{help}");
    });
}

#[test]
fn a_page_that_panics_ends_its_own_connection_only() {
    let settings = Settings {
        max_connections: 1,
        ..Settings::default()
    };
    with_server(settings, Door::Full, |server| async move {
        let get = "GET /panic HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(exchange(server.address, get).await, "");
        // Its place is free again.
        assert_eq!(request(server.address, "GET", "/help").await.0, 200);
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let settings = Settings {
        max_connections: 2,
        ..Settings::default()
    };
    with_server(settings, Door::Full, |server| async move {
        // Whose body is read is being answered.
        let keep = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
                    Expect: 100-continue\r\n\r\n";
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(server.address).await.expect("connect");
            stream.write_all(keep.as_bytes()).await.expect("write");
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.expect("an answer");
            assert_eq!(&first, b"HTTP/1.1 100");
            held.push(stream);
        }
        assert_eq!(exchange(server.address, keep).await, "");
        let text = server.recorder.render();
        let line = "pointsman_limits_hit_total{limit=\"admin_connections\"} 1\n";
        assert!(text.contains(line), "{text}");
        drop(held);
        let retry = async {
            while exchange(server.address, "GET /help HTTP/1.0\r\n\r\n")
                .await
                .is_empty()
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, retry)
            .await
            .expect("a place becomes free");
    });
}

#[test]
fn who_sends_no_request_makes_room() {
    let settings = Settings {
        max_connections: 3,
        ..Settings::default()
    };
    with_server(settings, Door::Full, |server| async move {
        let mut streams = Vec::new();
        let (half, whole) = ("GET /help HTTP/1.1\r\n", "Host: localhost\r\n\r\n");
        for bytes in [format!("{half}{whole}"), half.into(), half.into()] {
            let mut stream = TcpStream::connect(server.address).await.expect("connect");
            stream.write_all(bytes.as_bytes()).await.expect("write");
            if bytes.ends_with(whole) {
                stream.readable().await.expect("an answer");
            }
            streams.push(stream);
        }
        // The first one has been idle for longest, then it is the second one's turn.
        for line in ["HTTP/1.1 200 OK\r\n", ""] {
            let probe = TcpStream::connect(server.address).await;
            let mut probe = probe.expect("connect");
            let get = format!("{half}{whole}");
            probe.write_all(get.as_bytes()).await.expect("write");
            let mut first = [0; 12];
            probe.read_exact(&mut first).await.expect("an answer");
            assert_eq!(&first, b"HTTP/1.1 200");
            let ended = read_to_end(&mut streams.remove(0)).await;
            assert!(ended.starts_with(line) && ended.is_empty() == line.is_empty());
            streams.push(probe);
        }
        let mut last = streams.remove(0);
        last.write_all(whole.as_bytes()).await.expect("write");
        let mut first = [0; 12];
        last.read_exact(&mut first).await.expect("it has its place");
        assert_eq!(&first, b"HTTP/1.1 200");
        let text = server.recorder.render();
        let line = "pointsman_limits_hit_total{limit=\"admin_connections\"} 2\n";
        assert!(text.contains(line), "{text}");
    });
}

#[test]
fn slow_heads_slow_bodies_and_old_connections_end() {
    let settings = Settings {
        head_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        max_age: Duration::from_millis(600),
        close_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    with_server(settings, Door::Full, |server| async move {
        let head = exchange(server.address, "GET /help HTTP/1.1\r\nHost: loc").await;
        assert!(
            head.is_empty() || head.starts_with("HTTP/1.1 408"),
            "{head}"
        );
        let body = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab";
        let (status, _, _) = split(&exchange(server.address, body).await);
        assert_eq!(status, 408);
        // A client that keeps asking is ended by age, and always after a whole answer.
        let mut stream = TcpStream::connect(server.address).await.expect("connect");
        let busy = async {
            let mut answers = 0;
            let mut buffer = [0; 4096];
            loop {
                let ask = b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
                if stream.write_all(ask).await.is_err() {
                    return answers;
                }
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return answers,
                    Ok(read) => {
                        assert!(buffer[..read].ends_with(b"LIVE\n"));
                        answers += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let answers = timeout(DEADLINE, busy).await.expect("ended by age");
        assert!(answers > 1, "{answers}");
    });
}

#[test]
fn who_does_not_read_is_not_waited_for() {
    let settings = Settings {
        max_connections: 1,
        write_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    with_server(settings, Door::Full, |server| async move {
        let mut stream = TcpStream::connect(server.address).await.expect("connect");
        let get = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(get).await.expect("write");
        stream.readable().await.expect("an answer");
        let probe = async {
            let get = "GET /help HTTP/1.0\r\n\r\n";
            while exchange(server.address, get).await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, probe).await.expect("its place is free");
        assert!(read_to_end(&mut stream).await.len() < LARGE);
    });
}

#[test]
fn addresses_of_other_machines_need_a_word() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let refused = bind(any, Door::Full, false).await;
        assert!(matches!(refused, Err(BindError::NotLoopback(a)) if a == any));
        assert!(bind(any, Door::Full, true).await.is_ok());
        assert!(bind(any, Door::Public, false).await.is_ok());
        let taken = bind(LOOPBACK, Door::Full, false).await.expect("a socket");
        let address = taken.local_addr().expect("an address");
        let twice = bind(address, Door::Full, false).await;
        assert!(matches!(twice, Err(BindError::Io { address: a, .. }) if a == address));
    });
}
