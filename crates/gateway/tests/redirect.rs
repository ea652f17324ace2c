//! Capture by iptables REDIRECT, in network namespaces of the test's own.
//!
//! ```text
//! client 10.201.0.2 ── 10.201.0.1 gateway 10.202.0.1 ── 10.202.0.2 server
//! ```
//!
//! The gateway's namespace does not forward packets, so whatever the server says to the client has
//! gone through the process. No service address is bound anywhere. The rules are those that
//! `pointsman iptables print` prints, run as they are.
//!
//! Needs root, `ip`, `iptables`, `ip6tables` and `setpriv`. Without them the tests say so and pass,
//! unless `REQUIRE_PRIVILEGED_TESTS` is set: then they fail.
#![allow(
    clippy::print_stderr,
    reason = "tells that it is skipped, and what went on"
)]
use pointsman_testkit::{Child, Http2Client, Http2Upstream, client_hello};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(20);
const PEER: &str = "TEST_PEER_TASK";
const OUT: &str = "TEST_PEER_FILE";

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 9080, targetPort: 8001}, {name: http-too, port: 9081, targetPort: 8001}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-a, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 8001}]
endpoints: [{addresses: [10.202.0.2]}]
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  clusterIP: 10.96.0.30
  ports: [{name: tcp-db, port: 3306, targetPort: 8002}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-a, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: tcp-db, port: 8002}]
endpoints: [{addresses: [10.202.0.2]}]
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec:
  clusterIP: "fd00:96::30"
  ipFamilies: [IPv6]
  ports: [{name: tcp-db, port: 3306, targetPort: 8004}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six-a, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
ports: [{name: tcp-db, port: 8004}]
endpoints: [{addresses: ["fd00:202::2"]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vault}
spec:
  hosts: [vault.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{name: tls, number: 8443, protocol: TLS}]
  endpoints: [{address: 10.202.0.2, ports: {tls: 8005}}]
"#;

/// Name and address of each server.
const SERVERS: &str = "reviews=10.202.0.2:8001 db=10.202.0.2:8002 stranger=10.202.0.2:8003 \
                       six=[fd00:202::2]:8004 vault=10.202.0.2:8005 elsewhere=10.202.0.2:9080 \
                       http2=10.202.0.2:9081";

#[test]
fn forwarded_traffic_is_routed_and_the_rest_passes_unchanged() {
    let Some(site) = Site::new("fwd") else { return };
    site.run(&site.gateway, &script(&["print", "--forwarded"]));
    assert!(site.check(&site.gateway, &["--forwarded"]), "rules are in");
    assert!(!site.check(&site.client, &["--forwarded"]), "none here");
    let site = site.serve(&[], &[]);
    routes(&site, &site.client.name);
    let other = |to: &str| site.ask(&site.client.name, to, b"x");
    // The capture port itself: there is nowhere to go but back to the gateway (LIS-64, T-LIS-69).
    assert_eq!(other("10.201.0.1:15001"), b"", "closed without a byte");
    assert_eq!(other("[fd00:201::1]:15001"), b"", "closed without a byte");
}

#[test]
fn traffic_of_the_same_machine_is_routed_and_the_gateways_own_is_known_by_its_group() {
    // Another group, the same user: it may read the binary wherever the test lies.
    let prefix = ["setpriv", "--regid", "1337", "--clear-groups"];
    on_one_machine("gid", ["--gid", "1337"], &prefix, &[]);
}

#[test]
fn traffic_of_the_same_machine_is_routed_and_the_gateways_own_is_known_by_its_mark() {
    on_one_machine("mark", ["--mark", "1337"], &[], &["--capture-mark", "1337"]);
}

fn on_one_machine(label: &str, own: [&str; 2], prefix: &[&str], options: &[&str]) {
    let Some(site) = Site::new(label) else { return };
    let [by, name] = own;
    site.run(&site.gateway, &script(&["print", by, name]));
    assert!(site.check(&site.gateway, &own), "rules are in");
    assert!(!site.check(&site.gateway, &[by, "1338"]), "not these");
    let site = site.serve(prefix, options);
    routes(&site, &site.gateway.name);
    let itself = site.ask(&site.gateway.name, "127.0.0.1:15001", b"x");
    assert_eq!(itself, b"", "closed without a byte");
}

/// What must hold for a client in namespace `from`, however its traffic was captured.
fn routes(site: &Site, from: &str) {
    let get = |host: &str, to: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8(site.ask(from, to, request.as_bytes())).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host} {to}: {answer}");
        let name = answer.lines().last().unwrap_or_default().to_owned();
        (name, answer)
    };
    // By Host, whatever was dialled (LIS-30): the service's address, and one nobody has.
    assert_eq!(get("reviews:9080", "10.96.0.10:9080").0, "reviews");
    assert_eq!(get("reviews", "10.99.99.99:9080").0, "reviews");
    // A Host nobody knows: to where the client dialled (LIS-62, PS-62).
    assert_eq!(get("unknown.test", "10.202.0.2:9080").0, "elsewhere");
    // In the version that the client speaks; by a name that is known, in that of the backend (PS-60).
    let twice = |host: &str, to: &str| {
        let answer = site.told(from, &format!("http2 {to} {host}"), b"");
        String::from_utf8(answer.unwrap_or_else(|output| panic!("{host} {to}: {output:?}")))
    };
    let passed = twice("unknown.test", "10.202.0.2:9081").expect("text");
    let seen: serde_json::Value = serde_json::from_str(&passed).expect("what HTTP/2 was asked");
    assert_eq!(seen["name"], "http2", "{passed}");
    assert_eq!(seen["authority"], "unknown.test", "{passed}");
    assert_eq!(
        twice("reviews:9080", "10.96.0.10:9080").as_deref(),
        Ok("reviews")
    );

    // Every byte there is, so that nothing can be changed unnoticed (LIS-60, LIS-66).
    let bytes: Vec<u8> = (0..=255).rev().collect();
    let echo = |name: &str, sent: &[u8]| [name.as_bytes(), b"|", sent].concat();
    let ask = |to: &str, sent: &[u8]| site.ask(from, to, sent);
    assert_eq!(ask("10.96.0.30:3306", &bytes), echo("db", &bytes));
    assert_eq!(ask("[fd00:96::30]:3306", &bytes), echo("six", &bytes));
    assert_eq!(ask("10.202.0.2:8003", &bytes), echo("stranger", &bytes));
    // By server name, at an address nobody has.
    let hello = client_hello(Some("vault.example.com"), &[]);
    assert_eq!(ask("10.99.99.99:8443", &hello), echo("vault", &hello));
}

/// Three namespaces and what runs in them; all gone when dropped.
struct Site {
    children: Vec<Child>,
    client: Namespace,
    gateway: Namespace,
    server: Namespace,
    folder: tempfile::TempDir,
}

impl Site {
    /// `None`, with a word on standard error, where the test cannot run.
    fn new(label: &str) -> Option<Self> {
        if let Err(why) = able(label) {
            let required = std::env::var_os("REQUIRE_PRIVILEGED_TESTS").is_some();
            assert!(!required, "this test must run here, but it {why}");
            eprintln!("skipped: {why}");
            return None;
        }
        let namespace = |role: &str| Namespace::new(label, role);
        let site = Self {
            children: Vec::new(),
            client: namespace("c"),
            gateway: namespace("g"),
            server: namespace("s"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        site.link(&site.client, "201", "to-client");
        site.link(&site.server, "202", "to-server");
        let default =
            "ip route add default via 10.201.0.1; ip -6 route add default via fd00:201::1";
        site.run(&site.client, default);
        // The gateway's own machine can dial anything too: a packet must have a route before
        // OUTPUT can redirect it. The server forwards nothing.
        let default =
            "ip route add default via 10.202.0.2; ip -6 route add default via fd00:202::2";
        site.run(&site.gateway, default);
        site.run(
            &site.gateway,
            "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
        );
        Some(site)
    }

    /// A cable between the gateway (.1) and `other` (.2).
    fn link(&self, other: &Namespace, net: &str, cable: &str) {
        let (there, here) = (&other.name, &self.gateway.name);
        run(Command::new("ip")
            .args(["link", "add", "near", "netns", there, "type", "veth"])
            .args(["peer", "name", cable, "netns", here]));
        for (namespace, device, last) in [(other, "near", 2), (&self.gateway, cable, 1)] {
            self.run(
                namespace,
                &format!(
                    "ip addr add 10.{net}.0.{last}/24 dev {device}\n\
                     ip addr add fd00:{net}::{last}/64 dev {device} nodad\n\
                     ip link set {device} up\n\
                     ip link set lo up"
                ),
            );
        }
    }

    /// Runs lines of `sh` in a namespace.
    fn run(&self, namespace: &Namespace, lines: &str) {
        run(inside(&namespace.name).args(["sh", "-ec", lines]));
    }

    fn check(&self, namespace: &Namespace, options: &[&str]) -> bool {
        let output = inside(&namespace.name)
            .arg(env!("CARGO_BIN_EXE_pointsman"))
            .args(["iptables", "check"])
            .args(options)
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("unknown"), "{text}");
        let complete = text.lines().last() == Some("all rules are in place");
        assert_eq!(complete, output.status.success(), "{text}");
        complete
    }

    /// Starts the servers and the gateway, and waits until both serve.
    fn serve(mut self, prefix: &[&str], options: &[&str]) -> Self {
        let ready = self.folder.path().join("servers");
        let mut servers = peer(&self.server.name, &format!("serve {SERVERS}"), &ready);
        self.start(&mut servers, "servers.log");
        let manifests = self.folder.path().join("mesh.yaml");
        fs::write(&manifests, MANIFESTS).expect("written");
        let mut gateway = inside(&self.gateway.name);
        gateway.args(prefix).arg(env!("CARGO_BIN_EXE_pointsman"));
        gateway.args(["run", "--capture", "redirect", "--shards", "2"]);
        gateway.args(options).arg("-f");
        self.start(gateway.arg(&manifests), "gateway.log");
        self.until("the servers listen", || ready.exists());
        self.until("the gateway is ready", || {
            let request = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            self.try_ask(&self.gateway.name, "127.0.0.1:15000", request)
                .is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
        });
        self
    }

    fn start(&mut self, command: &mut Command, log: &str) {
        let log = fs::File::create(self.folder.path().join(log)).expect("a log");
        command.stdin(Stdio::null());
        command
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        self.children.push(Child::spawn(command).expect("starts"));
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What is answered to `bytes` sent from a namespace to an address, up to the end.
    fn ask(&self, from: &str, to: &str, bytes: &[u8]) -> Vec<u8> {
        self.try_ask(from, to, bytes)
            .unwrap_or_else(|output| panic!("{to} from {from}: {output:?}"))
    }

    fn try_ask(&self, from: &str, to: &str, bytes: &[u8]) -> Result<Vec<u8>, Output> {
        self.told(from, &format!("ask {to}"), bytes)
    }

    /// What a client in a namespace is told.
    fn told(&self, from: &str, task: &str, bytes: &[u8]) -> Result<Vec<u8>, Output> {
        let out = self.folder.path().join("answer");
        fs::write(&out, bytes).expect("written");
        let output = peer(from, task, &out).output().expect("runs");
        match output.status.success() {
            true => Ok(fs::read(&out).expect("an answer")),
            false => Err(output),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.children.clear();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("gateway.log"));
            eprintln!("the gateway said:\n{}", log.unwrap_or_default());
        }
    }
}

struct Namespace {
    name: String,
}

impl Namespace {
    fn new(label: &str, role: &str) -> Self {
        let name = format!("pm-{}-{label}-{role}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]));
        Self { name }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Can namespaces and rules be made here?
fn able(label: &str) -> Result<(), String> {
    let id = Command::new("id").arg("-u").output();
    if !id.is_ok_and(|id| id.stdout.trim_ascii() == b"0") {
        return Err("needs root".into());
    }
    for tool in ["ip", "iptables", "ip6tables", "setpriv"] {
        if Command::new(tool).arg("-V").output().is_err() {
            return Err(format!("needs `{tool}`"));
        }
    }
    let name = format!("pm-{}-{label}-x", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &name]).output();
    let made = made.is_ok_and(|output| output.status.success());
    let _ = Command::new("ip").args(["netns", "del", &name]).output();
    match made {
        true => Ok(()),
        false => Err("needs the right to make network namespaces".into()),
    }
}

fn inside(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]);
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn script(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .arg("iptables")
        .args(arguments)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// This test program again, inside a namespace, as [`the_other_side`].
fn peer(namespace: &str, task: &str, file: &Path) -> Command {
    let mut command = inside(namespace);
    command.arg(std::env::current_exe().expect("this program"));
    command.args(["--ignored", "--exact", "the_other_side"]);
    command.env(PEER, task).env(OUT, file);
    command
}

#[test]
#[ignore = "not a test: the servers and clients of the others, run by them in a namespace"]
fn the_other_side() {
    let Ok(task) = std::env::var(PEER) else {
        return;
    };
    let file = PathBuf::from(std::env::var_os(OUT).expect("a file"));
    match task.split_once(' ').expect("a verb") {
        ("ask", to) => ask(to.parse().expect("an address"), &file),
        ("http2", what) => ask_http2(what, &file),
        ("serve", servers) => serve(servers, &file),
        _ => panic!("{task}"),
    }
}

/// Sends what the file holds; leaves there what is answered.
fn ask(to: SocketAddr, file: &Path) {
    let bytes = fs::read(file).expect("bytes to send");
    let mut stream = TcpStream::connect_timeout(&to, DEADLINE).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    stream.write_all(&bytes).expect("sent");
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // Closing with our bytes unread is a reset, and a close all the same.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    fs::write(file, answer).expect("written");
}

/// GET by HTTP/2; leaves the body there. `what` is an address and a Host.
fn ask_http2(what: &str, file: &Path) {
    let (to, host) = what.split_once(' ').expect("an address and a Host");
    let to = to.parse().expect("an address");
    let body = on_its_own(async {
        let mut client = Http2Client::connect(to).await.expect("connects");
        let answer = client.get(host, "/").await.expect("an answer");
        assert_eq!(answer.status, 200);
        answer.body
    });
    fs::write(file, body).expect("written");
}

fn on_its_own<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(DEADLINE, future).await })
        .expect("in time")
}

/// Answers every connection with the server's name: HTTP to a request, else followed by an echo. The one
/// that is called `http2` speaks that alone.
fn serve(servers: &str, ready: &Path) {
    for server in servers.split_whitespace() {
        let (name, address) = server.split_once('=').expect("name=address");
        if name == "http2" {
            let address: SocketAddr = address.parse().expect("an address");
            let (said, bound) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.expect("a runtime").block_on(async {
                    let _server = Http2Upstream::named("http2").at(address).start().await;
                    said.send(()).expect("waited for");
                    std::future::pending::<()>().await;
                });
            });
            bound.recv().expect("bound");
            continue;
        }
        let (name, listener) = (name.to_owned(), TcpListener::bind(address).expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(&name, stream);
            }
        });
    }
    fs::write(ready, "").expect("written");
    loop {
        std::thread::park();
    }
}

fn answer(name: &str, mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let Ok(read @ 1..) = stream.read(&mut bytes) else {
        return;
    };
    let said = bytes.get(..read).unwrap_or_default();
    let reply = if said.starts_with(b"GET ") {
        let length = name.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}")
            .into_bytes()
    } else {
        [name.as_bytes(), b"|", said].concat()
    };
    let _ = stream.write_all(&reply);
}
