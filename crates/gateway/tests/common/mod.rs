//! A gateway of one's own for a test: in this process, on threads of its own, with an admin address,
//! service addresses and ports nobody else uses.
//!
//! [`Gateway::serve`] starts one from YAML text and returns once the text serves;
//! [`Gateway::apply`] replaces the text as an editor would and waits until every shard serves it.
//! [`service`], [`rules`] and the like write the YAML.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every test file is a program of its own and uses a part of this"
)]

mod alone;
mod enclave;
mod feed;
mod manifests;
mod metrics;
mod notes;
pub mod pairs;
pub mod pools;
mod probe;
mod process;

pub use alone::is_alone;
pub use enclave::{Everywhere, captured, enclosed};
pub use feed::{Feed, parsed};
pub use manifests::*;
pub use metrics::Scrape;
pub use notes::{Notes, Told, dial};
pub use probe::{Fate, Probe};
pub use process::{Process, pointsman};

use pointsman_control::{Catalogue, Progress};
use pointsman_dataplane::settings::Duration as Written;
use pointsman_gateway::{Builder, Gateway as Facade, Settings};
use pointsman_runtime::Link;
use pointsman_testkit::{RawHttp, message::MessageError, within};
use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    thread::JoinHandle,
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

/// Long enough for anything that is to happen at all, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);

/// A setting as people write it.
pub fn written(text: &str) -> Written {
    Written::parse(text).expect("a duration")
}

/// Settings of a test: two shards, an admin port of its own, no waiting at the end.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.process.shards = 2;
    settings.process.admin = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    settings.process.drain_time = written("1ms");
    settings.sources.debounce = written("10ms");
    settings
}

/// A running gateway; ends, threads and all, when dropped.
pub struct Gateway {
    /// Metrics and health.
    pub admin: SocketAddr,
    /// The catalogue.
    pub catalogue: Link<Catalogue>,
    /// How far it has come.
    pub progress: watch::Receiver<Progress>,
    dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Serves these documents.
    pub async fn serve(text: &str) -> Gateway {
        Gateway::serve_with(settings(), text).await
    }

    /// Serves these documents with these settings.
    pub async fn serve_with(settings: Settings, text: &str) -> Gateway {
        Gateway::start(Some(text), Facade::builder().settings(settings)).await
    }

    /// Starts what `builder` describes, with documents of its own unless `text` is `None`.
    pub async fn start(text: Option<&str>, builder: Builder) -> Gateway {
        let dir = tempfile::tempdir().expect("a folder");
        let builder = match text {
            None => builder,
            Some(text) => {
                std::fs::write(dir.path().join("mesh.yaml"), text).expect("a file");
                builder.manifests(dir.path())
            }
        };
        let (stop, stopped) = oneshot::channel();
        let (say, started) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("gateway".into())
            .spawn(move || {
                pointsman_runtime::run(async move {
                    let mut running = builder.start().await.expect("the gateway starts");
                    running.ready().await;
                    let parts = (
                        running.admin,
                        running.catalogue().clone(),
                        running.progress(),
                    );
                    let _ = say.send(parts);
                    let _ = stopped.await;
                    running.drain().await;
                })
                .expect("an event loop");
            })
            .expect("a thread");
        let (admin, catalogue, progress) = within(SOON, started).await.expect("it runs");
        Gateway {
            admin,
            catalogue,
            progress,
            dir,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The folder of documents.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Replaces the documents, and waits until every shard serves the new ones. They must differ.
    pub async fn apply(&self, text: &str) {
        let before = self.progress.borrow().active;
        self.write(text);
        self.past(before).await;
    }

    /// Replaces the documents at once, by a rename as editors and `kubectl` mounts do.
    pub fn write(&self, text: &str) {
        let fresh = self.dir.path().join(".mesh.fresh");
        std::fs::write(&fresh, text).expect("a file");
        std::fs::rename(fresh, self.dir.path().join("mesh.yaml")).expect("renamed");
    }

    /// Waits until every shard serves a generation after `before`.
    pub async fn past(&self, before: u64) {
        let mut progress = self.progress.clone();
        within(SOON, progress.wait_for(|it| it.active > before))
            .await
            .expect("the catalogue lives");
    }

    /// An admin page: status and text.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let mut client = RawHttp::connect(self.admin).await.expect("admin listens");
        let reply = client
            .get(&self.admin.to_string(), path)
            .await
            .expect("admin answers");
        (reply.status, reply.text())
    }

    /// The findings, one JSON object each.
    pub async fn findings(&self) -> Vec<serde_json::Value> {
        let (status, text) = self.page("/api/v1/findings").await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The metrics now.
    pub async fn metrics(&self) -> Scrape {
        let (status, text) = self.page("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Scrape::parse(&text)
    }

    /// Waits until the metrics satisfy `condition`; they lag behind traffic by a tick.
    ///
    /// # Panics
    /// With the last scrape when that does not happen soon.
    pub async fn metrics_until(&self, condition: impl Fn(&Scrape) -> bool) -> Scrape {
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let scrape = self.metrics().await;
            if condition(&scrape) {
                return scrape;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "the metrics never got there:\n{scrape}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended
            && !std::thread::panicking()
        {
            panic!("the gateway's thread panicked");
        }
    }
}

/// A client connection.
pub async fn connect(address: SocketAddr) -> RawHttp {
    within(SOON, RawHttp::connect(address))
        .await
        .expect("connects")
}

/// The answer to one request on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, target: &str) -> (u16, String) {
    let mut client = connect(address).await;
    let reply = client.get(host, target).await.expect("an answer");
    (reply.status, reply.text())
}

/// A body of `length` bytes in which every position differs from its neighbours in a way that
/// shows loss, repetition and exchange of blocks.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// FNV-1a, to say of two bodies that they are equal without printing them.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Did the read end because the peer reset the connection?
pub fn is_reset<T>(read: &Result<T, MessageError>) -> bool {
    matches!(read, Err(MessageError::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

/// Did the peer close without a word?
pub fn is_silent_close<T>(read: &Result<T, MessageError>) -> bool {
    matches!(read, Err(MessageError::Truncated { got, .. }) if got.is_empty())
}

/// Runs `future` and says how long it took.
pub async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let started = std::time::Instant::now();
    let output = future.await;
    (output, started.elapsed())
}

/// Resident memory of this process, gateway and test, in bytes. For tests that are alone in it
/// ([`is_alone`]).
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|it| it.parse::<u64>().ok());
    kib.expect("VmRSS") * 1024
}
