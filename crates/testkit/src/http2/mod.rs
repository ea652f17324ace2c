//! HTTP/2 upstreams that follow a script and remember what they saw, and a client.
//!
//! Both are h2 underneath. For frames that no library would send, see [`crate::frames`].
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use pointsman_testkit::{Http2Client, Http2Reply, Http2Request, Http2Upstream};
//!
//! let upstream = Http2Upstream::named("reviews-v2")
//!     .on("/echo", Http2Reply::echo_body())
//!     .start()
//!     .await;
//! let mut client = Http2Client::connect(upstream.addr()).await.unwrap();
//! let request = Http2Request::post("reviews", "/echo").piece(b"hel").piece(b"lo");
//! let response = client.exchange(request.trailers(&[("x-sum", "5")])).await.unwrap();
//! assert_eq!((response.status, response.text()), (200, "hello"));
//! assert_eq!(response.trailer("x-sum"), Some("5"));
//! assert_eq!(client.get("reviews", "/").await.unwrap().json()["name"], "reviews-v2");
//! assert_eq!((upstream.requests(), upstream.connections()), (2, 1));
//! # });
//! ```

mod client;
pub mod grpc;
mod reply;
mod session;

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;

pub use client::{Http2Client, Http2Error, Http2Request, Http2Response, Http2Stream};
pub use reply::Http2Reply;

use crate::message::{self, Fields};
use crate::serve::Listening;

/// A request as the upstream received it.
#[derive(Debug, Clone)]
pub struct Http2Seen {
    /// Name of the upstream.
    pub upstream: String,
    /// Number of the connection it came on, from 0.
    pub connection: usize,
    /// Number of its stream.
    pub stream: u32,
    /// `:method`.
    pub method: String,
    /// `:scheme`.
    pub scheme: Option<String>,
    /// `:authority`.
    pub authority: Option<String>,
    /// `:path`, with the query; empty when there is none.
    pub path: String,
    /// `:protocol` of an extended CONNECT.
    pub protocol: Option<String>,
    /// The other fields, in order; values of one name are together.
    pub fields: Fields,
    /// The body; empty when the script answered before reading it.
    pub body: Vec<u8>,
    /// Sizes of the pieces it came in.
    pub pieces: Vec<usize>,
    /// Trailer fields; `None`: the body ended without.
    pub trailers: Option<Fields>,
}

impl Http2Seen {
    /// The first value of a field (any letter case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        message::field(&self.fields, name)
    }

    /// The path without its query.
    #[must_use]
    pub fn target(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

type Tune = Arc<dyn Fn(&mut h2::server::Builder) + Send + Sync>;

/// What all connections of one upstream share.
struct Shared {
    name: String,
    replies: Mutex<HashMap<String, Vec<Http2Reply>>>,
    fallback: Http2Reply,
    tune: Tune,
    seen: Mutex<Vec<Http2Seen>>,
    resets: Mutex<Vec<(String, Option<u32>)>>,
    errors: Mutex<Vec<String>>,
    heads: AtomicUsize,
    most: AtomicUsize,
    away: watch::Sender<()>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish()
    }
}

/// A panic in one test task must not hide what the others saw.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The reply for a path: each scripted reply once, in order, the last one for good.
    fn reply_for(&self, path: &str) -> Http2Reply {
        match locked(&self.replies).get_mut(path) {
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies.first().unwrap_or(&self.fallback).clone(),
            None => self.fallback.clone(),
        }
    }

    fn complain(&self, error: &h2::Error) {
        locked(&self.errors).push(error.to_string());
    }
}

/// Collects the script of an [`Http2Upstream`].
#[must_use]
pub struct Http2UpstreamBuilder {
    name: String,
    addr: SocketAddr,
    replies: HashMap<String, Vec<Http2Reply>>,
    fallback: Http2Reply,
    tune: Tune,
}

impl Http2UpstreamBuilder {
    /// Answers requests for exactly this path (query excluded) with `reply`. Several replies for
    /// one path are used one after the other, over all connections; the last one stays.
    pub fn on(mut self, path: &str, reply: Http2Reply) -> Self {
        self.replies.entry(path.to_owned()).or_default().push(reply);
        self
    }

    /// Answers all other paths with this instead of [`Http2Reply::identity`].
    pub fn otherwise(mut self, reply: Http2Reply) -> Self {
        self.fallback = reply;
        self
    }

    /// Listens here instead of `127.0.0.1`, port 0.
    pub fn at(mut self, addr: impl Into<SocketAddr>) -> Self {
        self.addr = addr.into();
        self
    }

    /// Settings of every connection: concurrent streams, windows, extended CONNECT.
    pub fn tuned(
        mut self,
        tune: impl Fn(&mut h2::server::Builder) + Send + Sync + 'static,
    ) -> Self {
        self.tune = Arc::new(tune);
        self
    }

    /// Allows this many streams at a time on each connection.
    pub fn streams(self, most: u32) -> Self {
        self.tuned(move |builder| {
            builder.max_concurrent_streams(most);
        })
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub async fn start(self) -> Http2Upstream {
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
    pub async fn try_start(self) -> io::Result<Http2Upstream> {
        let shared = Arc::new(Shared {
            name: self.name,
            replies: Mutex::new(self.replies),
            fallback: self.fallback,
            tune: self.tune,
            seen: Mutex::default(),
            resets: Mutex::default(),
            errors: Mutex::default(),
            heads: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            away: watch::Sender::new(()),
        });
        let of_connections = Arc::clone(&shared);
        let listening = Listening::start(self.addr, move |stream, number| {
            session::serve(stream, number, Arc::clone(&of_connections))
        })
        .await?;
        Ok(Http2Upstream { listening, shared })
    }
}

/// An HTTP/2 server on loopback, by prior knowledge; stops, and closes its connections, when
/// dropped.
#[derive(Debug)]
pub struct Http2Upstream {
    listening: Listening,
    shared: Arc<Shared>,
}

impl Http2Upstream {
    /// An upstream that says `name` in its answers.
    pub fn named(name: &str) -> Http2UpstreamBuilder {
        Http2UpstreamBuilder {
            name: name.to_owned(),
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            replies: HashMap::new(),
            fallback: Http2Reply::identity(),
            tune: Arc::new(|_| {}),
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

    /// Streams begun so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.heads.load(Ordering::SeqCst)
    }

    /// The most streams that were at a time on one connection.
    #[must_use]
    pub fn most_streams(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// The requests received whole, in the order of their ends.
    #[must_use]
    pub fn seen(&self) -> Vec<Http2Seen> {
        locked(&self.shared.seen).clone()
    }

    /// The latest request received whole.
    #[must_use]
    pub fn last_seen(&self) -> Option<Http2Seen> {
        locked(&self.shared.seen).last().cloned()
    }

    /// Streams that the peer cut while the script went on: the path, and the code of its
    /// RST_STREAM; `None`: the connection ended.
    #[must_use]
    pub fn resets(&self) -> Vec<(String, Option<u32>)> {
        locked(&self.shared.resets).clone()
    }

    /// What was wrong with connections that ended in an error; empty for a correct gateway.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        locked(&self.shared.errors).clone()
    }

    /// Replaces the script for one path while running.
    pub fn set(&self, path: &str, reply: Http2Reply) {
        locked(&self.shared.replies).insert(path.to_owned(), vec![reply]);
    }

    /// Sends GOAWAY on every connection; the streams of now finish.
    pub fn go_away(&self) {
        self.shared.away.send_replace(());
    }
}

fn owned(fields: &[(&str, &str)]) -> Fields {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(own).collect()
}

/// Values that are no text are shown with replacement characters.
fn fields_of(map: &HeaderMap) -> Fields {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), value.into_owned())
    };
    map.iter().map(field).collect()
}

fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let (Ok(field), Ok(text)) = (
            name.to_ascii_lowercase().parse::<HeaderName>(),
            value.parse::<HeaderValue>(),
        ) else {
            panic!("{name}: {value} is no field");
        };
        map.append(field, text);
    }
    map
}

/// Sends all of it, as the peer's windows let it.
async fn send_all(
    out: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        out.reserve_capacity(bytes.len());
        let room = match poll_fn(|cx| out.poll_capacity(cx)).await {
            Some(room) => room?.min(bytes.len()),
            None => return Err(h2::Reason::STREAM_CLOSED.into()),
        };
        let piece = bytes.split_to(room);
        out.send_data(piece, end && bytes.is_empty())?;
        if end && bytes.is_empty() {
            return Ok(());
        }
    }
    if end {
        out.send_data(Bytes::new(), true)?;
    }
    Ok(())
}
