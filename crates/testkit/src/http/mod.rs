//! HTTP/1 upstreams that follow a script and remember what they saw.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use pointsman_testkit::{HttpUpstream, RawHttp, Reply};
//!
//! let upstream = HttpUpstream::named("reviews-v1")
//!     .on("/flaky", Reply::text(503, "not yet"))
//!     .on("/flaky", Reply::text(200, "now"))
//!     .start()
//!     .await;
//! let mut client = RawHttp::connect(upstream.addr()).await.unwrap();
//! assert_eq!(client.get("reviews", "/flaky").await.unwrap().status, 503);
//! assert_eq!(client.get("reviews", "/flaky").await.unwrap().text(), "now");
//! assert_eq!(client.get("reviews", "/").await.unwrap().json()["name"], "reviews-v1");
//! assert_eq!(upstream.requests(), 3);
//! assert_eq!(upstream.connections(), 1);
//! # });
//! ```

mod reply;
mod session;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use reply::Reply;

use crate::message::{self, Fields, Tape};
use crate::serve::Listening;

/// A request as the upstream received it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Number of the connection it came on, from 0.
    pub connection: usize,
    /// The other end of that connection.
    pub peer: SocketAddr,
    /// The method.
    pub method: String,
    /// The request target, unchanged.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The fields, in order.
    pub fields: Fields,
    /// The exact bytes of the head.
    pub raw_head: Vec<u8>,
    /// The body, unframed; empty when the script answered before reading it.
    pub body: Vec<u8>,
    /// Chunk sizes as framed; empty when the body was not chunked.
    pub chunks: Vec<usize>,
    /// Trailer fields.
    pub trailers: Fields,
}

impl Seen {
    /// The first value of a field (any letter case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        message::field(&self.fields, name)
    }

    /// The `Host` field, empty when there is none.
    #[must_use]
    pub fn host(&self) -> &str {
        self.field("host").unwrap_or_default()
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What all connections of one upstream share.
#[derive(Debug)]
struct Shared {
    name: String,
    replies: Mutex<HashMap<String, Vec<Reply>>>,
    fallback: Reply,
    seen: Mutex<Vec<Seen>>,
    heads: AtomicUsize,
    malformed: Mutex<Vec<String>>,
    tape: Option<Tape>,
}

/// A panic in one test task must not hide what the others saw.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The reply for a path: each scripted reply once, in order, the last one for good.
    fn reply_for(&self, path: &str) -> Reply {
        match locked(&self.replies).get_mut(path) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies.first().unwrap_or(&self.fallback).clone(),
            None => self.fallback.clone(),
        }
    }
}

/// Collects the script of an [`HttpUpstream`].
#[derive(Debug)]
pub struct HttpUpstreamBuilder {
    name: String,
    addr: SocketAddr,
    replies: HashMap<String, Vec<Reply>>,
    fallback: Reply,
    tape: Option<Tape>,
}

impl HttpUpstreamBuilder {
    /// Answers requests for exactly this path (query excluded) with `reply`. Several replies for
    /// one path are used one after the other, over all connections; the last one stays.
    #[must_use]
    pub fn on(mut self, path: &str, reply: Reply) -> Self {
        self.replies.entry(path.to_owned()).or_default().push(reply);
        self
    }

    /// Answers all other paths with this instead of [`Reply::identity`].
    #[must_use]
    pub fn otherwise(mut self, reply: Reply) -> Self {
        self.fallback = reply;
        self
    }

    /// Listens here instead of `127.0.0.1`, port 0.
    #[must_use]
    pub fn at(mut self, addr: impl Into<SocketAddr>) -> Self {
        self.addr = addr.into();
        self
    }

    /// Keeps every byte it receives: [`HttpUpstream::received`].
    #[must_use]
    pub fn recording(mut self) -> Self {
        self.tape = Some(Tape::default());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub async fn start(self) -> HttpUpstream {
        let addr = self.addr;
        match self.try_start().await {
            Ok(upstream) => upstream,
            Err(error) => panic!("cannot listen on {addr}: {error}"),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn try_start(self) -> io::Result<HttpUpstream> {
        let shared = Arc::new(Shared {
            name: self.name,
            replies: Mutex::new(self.replies),
            fallback: self.fallback,
            seen: Mutex::default(),
            heads: AtomicUsize::new(0),
            malformed: Mutex::default(),
            tape: self.tape,
        });
        let of_connections = Arc::clone(&shared);
        let listening = Listening::start(self.addr, move |stream, number| {
            session::serve(stream, number, Arc::clone(&of_connections))
        })
        .await?;
        Ok(HttpUpstream { listening, shared })
    }
}

/// An HTTP/1 server on loopback; stops, and closes its connections, when dropped.
#[derive(Debug)]
pub struct HttpUpstream {
    listening: Listening,
    shared: Arc<Shared>,
}

impl HttpUpstream {
    /// An upstream that says `name` in its answers.
    #[must_use]
    pub fn named(name: &str) -> HttpUpstreamBuilder {
        HttpUpstreamBuilder {
            name: name.to_owned(),
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            replies: HashMap::new(),
            fallback: Reply::identity(),
            tape: None,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listening.addr()
    }

    /// The name it answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listening.counts().accepted()
    }

    /// Connections open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.listening.counts().open()
    }

    /// Request heads received so far, those whose body never ended included.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.heads.load(Ordering::SeqCst)
    }

    /// The requests received whole, in order of arrival.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.shared.seen).clone()
    }

    /// The latest request received whole.
    #[must_use]
    pub fn last_seen(&self) -> Option<Seen> {
        locked(&self.shared.seen).last().cloned()
    }

    /// What was wrong with each malformed or truncated request; empty for a correct gateway.
    #[must_use]
    pub fn malformed(&self) -> Vec<String> {
        locked(&self.shared.malformed).clone()
    }

    /// Every byte received so far in order of arrival, over all connections, whatever became of it.
    /// Empty unless it was started [`recording`](HttpUpstreamBuilder::recording).
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.shared
            .tape
            .as_ref()
            .map(Tape::bytes)
            .unwrap_or_default()
    }

    /// Replaces the script for one path while running.
    pub fn set(&self, path: &str, reply: Reply) {
        locked(&self.shared.replies).insert(path.to_owned(), vec![reply]);
    }
}
