//! A network namespace of a test's own in which every address there is is this machine's.
//!
//! Services, endpoints and strangers keep the addresses their documents give them: a client dials
//! 203.0.113.10:5432, the rules of `pointsman iptables print` redirect it, the gateway connects to
//! 10.9.0.1:5432, and [`Everywhere`] answers there. Nothing is bound to service addresses.
//!
//! Needs `unshare`, `ip` and `iptables`, and root or unprivileged user namespaces. Without them a
//! test says so and passes, unless `REQUIRE_PRIVILEGED_TESTS` is set: then it fails.
#![allow(clippy::print_stderr, reason = "tells that a test is skipped")]
use super::alone::again;
use pointsman_dataplane::capture::Mode;
use pointsman_gateway::Settings;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::{Command, Stdio},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Set to the name of the test that runs inside.
const INSIDE: &str = "TEST_ENCLAVE";
/// The mark of the gateway's own packets, which the rules leave alone.
const MARK: u32 = 1337;

/// `ip route add local`: packets to any address are for this machine.
const ROUTES: &str = "ip link set lo up
ip route add local 0.0.0.0/0 dev lo
ip -6 route add local ::/0 dev lo";

/// Settings of a gateway that such a network is redirected to.
pub fn captured() -> Settings {
    let mut settings = super::settings();
    settings.capture.mode = Mode::Redirect;
    settings.capture.mark = Some(MARK);
    settings
}

/// Runs `body` in a network of its own: starts this very test again inside one.
///
/// # Panics
/// When `body` does, or when it must run and cannot.
pub fn enclosed<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if std::env::var(INSIDE).as_deref() == Ok(test) {
        run(&["sh", "-ec", ROUTES]);
        let rules = super::pointsman(&["iptables", "print", "--mark", &MARK.to_string()]);
        assert!(rules.status.success(), "{rules:?}");
        let rules = String::from_utf8(rules.stdout).expect("text");
        run(&["sh", "-ec", &rules]);
        return tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("an event loop")
            .block_on(body());
    }
    let Some(flags) = ["-n", "-Urn"].into_iter().find(|flags| able(flags)) else {
        let required = std::env::var_os("REQUIRE_PRIVILEGED_TESTS").is_some();
        assert!(!required, "this test must run here, but it cannot");
        eprintln!("skipped: needs network namespaces, ip and iptables");
        return;
    };
    let mut command = Command::new("unshare");
    command
        .arg(flags)
        .arg(std::env::current_exe().expect("this program"));
    again(command, INSIDE, test);
}

fn able(flags: &str) -> bool {
    let try_it = format!("{ROUTES}\niptables -t nat -S && ip6tables -t nat -S");
    let status = Command::new("unshare")
        .args([flags, "sh", "-ec", &try_it])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn run(command: &[&str]) {
    let (program, arguments) = command.split_first().expect("a program");
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Answers at every address, on these ports: HTTP to what looks like it, else bytes.
///
/// A request is answered with `x-at`, the address it arrived at, and the head it came with as the
/// body. Other bytes are answered with that address, a bar, and themselves.
#[derive(Debug, Default)]
pub struct Everywhere {
    ports: BTreeSet<u16>,
}

impl Everywhere {
    /// Answers on these ports too.
    pub fn listen(&mut self, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            if !self.ports.insert(port) {
                continue;
            }
            for any in [
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            ] {
                let socket = socket2::Socket::new(
                    socket2::Domain::for_address(any),
                    socket2::Type::STREAM,
                    None,
                )
                .expect("a socket");
                if any.is_ipv6() {
                    socket.set_only_v6(true).expect("set");
                }
                socket.set_reuse_address(true).expect("set");
                socket.set_nonblocking(true).expect("set");
                socket.bind(&any.into()).expect("a free port");
                socket.listen(1024).expect("listens");
                let listener = TcpListener::from_std(socket.into()).expect("listens");
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(answer(stream));
                    }
                });
            }
        }
    }
}

/// Errors end the connection, as a client's going does.
async fn answer(mut stream: TcpStream) -> Option<()> {
    let at = stream.local_addr().ok()?;
    let mut first = [0; 4];
    if stream.peek(&mut first).await.ok()? == first.len() && &first == b"PRI " {
        return answer_streams(stream, at).await;
    }
    let mut seen = Vec::new();
    while let Some(head) = head(&mut stream, &mut seen).await? {
        let fields = "content-type: text/plain\r\nx-seen: backend\r\n";
        let reply = format!(
            "HTTP/1.1 200 OK\r\nx-at: {at}\r\n{fields}content-length: {}\r\n\r\n",
            head.len()
        );
        stream.write_all(reply.as_bytes()).await.ok()?;
        stream.write_all(&head).await.ok()?;
    }
    stream.write_all(format!("{at}|").as_bytes()).await.ok()?;
    loop {
        stream.write_all(&seen).await.ok()?;
        seen.clear();
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
}

/// The same over HTTP/2; the head is shown as HTTP/1 writes it.
async fn answer_streams(stream: TcpStream, at: SocketAddr) -> Option<()> {
    let mut connection = h2::server::handshake(stream).await.ok()?;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (method, uri) = (request.method(), request.uri());
        let target = uri.path_and_query().map_or("/", |it| it.as_str());
        let host = uri.authority().map_or("", |it| it.as_str());
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        for (name, value) in request.headers() {
            head.extend_from_slice(
                &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat(),
            );
        }
        head.extend_from_slice(b"\r\n");
        let reply = http::Response::builder()
            .header("x-at", at.to_string())
            .header("content-type", "text/plain")
            .header("x-seen", "backend");
        let mut body = respond.send_response(reply.body(()).ok()?, false).ok()?;
        body.send_data(bytes::Bytes::from(head), true).ok()?;
    }
    None
}

/// The next request head; `Some(None)`: this is not HTTP. Bodies are not looked for.
async fn head(stream: &mut TcpStream, seen: &mut Vec<u8>) -> Option<Option<Vec<u8>>> {
    loop {
        if let Some(first) = seen.first() {
            if !first.is_ascii_alphabetic() {
                return Some(None);
            }
            if let Some(end) = seen.windows(4).position(|it| it == b"\r\n\r\n") {
                let rest = seen.split_off(end + 4);
                return Some(Some(std::mem::replace(seen, rest)));
            }
        }
        if stream.read_buf(seen).await.ok()? == 0 {
            return None;
        }
    }
}
