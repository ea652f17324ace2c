//! The clients in front of a proxy, each an epoll loop in the calling thread until told to stop.
//! Whatever is not exactly what was expected is an error and never counts as a unit.

mod bulk;
mod connect;
pub(crate) mod h2load;
mod http;
mod paced;
mod transfer;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::upstream;

/// Errors after which a run ends early: something is broken, and figures would mean nothing.
const TOO_MANY: u64 = 100;

/// What to send where.
#[derive(Debug, Clone)]
pub enum Load {
    /// Keep-alive connections, each repeating its own request; a body of `body` bytes must come
    /// back. Connection `n` uses request `n` modulo their number.
    Http {
        /// One request per connection, cycled through.
        requests: Vec<Vec<u8>>,
        /// Bytes of every answer's body.
        body: usize,
        /// Connections, all busy all the time.
        connections: usize,
        /// Each request is any of them rather than the connection's own.
        at_random: bool,
    },
    /// Large bodies over HTTP/1.
    Transfer(Transfer),
    /// HTTP/2 by h2load.
    Http2(Http2),
    /// A fixed rate of requests.
    Paced(Paced),
    /// Connect, send this, await the same back, close; again.
    Connect {
        /// What is sent and must be echoed.
        payload: Vec<u8>,
        /// Connections in progress at any time.
        concurrency: usize,
    },
    /// Send one byte and receive for ever.
    Bulk {
        /// Connections.
        streams: usize,
    },
}

/// Bodies over keep-alive connections; bytes of the larger direction are the units.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Request line and fields.
    pub head: Vec<u8>,
    /// Bytes of the request's body.
    pub up: u64,
    /// Bytes of the answer's body.
    pub down: u64,
    /// Connections, all busy all the time.
    pub connections: usize,
}

/// Requests over HTTP/2 connections that are all busy all the time.
#[derive(Debug, Clone, Copy)]
pub struct Http2 {
    /// The path.
    pub path: &'static str,
    /// Fields beside those that every request has.
    pub fields: &'static [(&'static str, &'static str)],
    /// The request's body; one makes it a POST.
    pub body: &'static [u8],
    /// Bytes of the answer's body.
    pub answer: usize,
    /// Connections.
    pub connections: usize,
    /// Requests at a time on each.
    pub streams: usize,
}

/// Small requests at a fixed rate; what counts is how long they take.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    /// HTTP/2 rather than HTTP/1.
    pub http2: bool,
    /// Requests per second.
    pub rate: u32,
    /// Connections, in turns.
    pub connections: usize,
}

/// Shared by the load thread and the one that measures.
#[derive(Debug, Default)]
pub struct Progress {
    units: AtomicU64,
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
    stop: AtomicBool,
    /// Process of a load generator that is not this one; 0 for none.
    helper: AtomicU32,
    latencies: Mutex<Vec<(Instant, Duration)>>,
}

impl Progress {
    /// Requests, connections or bytes completed so far.
    pub fn units(&self) -> u64 {
        self.units.load(Ordering::Relaxed)
    }

    /// Failed ones, and what the first of them said.
    pub fn failure(&self) -> Option<String> {
        let errors = self.errors.load(Ordering::Relaxed);
        let first = self.first_error.lock().ok()?.clone()?;
        (errors > 0).then(|| format!("{errors} errors, first: {first}"))
    }

    /// Ends the load.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The process that makes the load, where this one does not.
    pub fn helper(&self) -> Option<u32> {
        Some(self.helper.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// When each paced request was due and how long it then took; complete once the load has ended.
    pub fn latencies(&self) -> Vec<(Instant, Duration)> {
        let mut latencies = self.latencies.lock();
        latencies
            .as_deref_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn helped_by(&self, pid: Option<u32>) {
        self.helper
            .store(pid.unwrap_or_default(), Ordering::Relaxed);
    }

    fn took(&self, all: Vec<(Instant, Duration)>) {
        if let Ok(mut latencies) = self.latencies.lock() {
            *latencies = all;
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.errors.load(Ordering::Relaxed) >= TOO_MANY
    }

    fn done(&self, units: u64) {
        self.units.fetch_add(units, Ordering::Relaxed);
    }

    fn error(&self, what: impl ToString) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut first) = self.first_error.lock() {
            first.get_or_insert_with(|| what.to_string());
        }
    }
}

impl Load {
    /// Units completed so far: by the generator's count, or the upstream's where it has none.
    #[must_use]
    pub fn units(&self, progress: &Progress) -> u64 {
        match self {
            Load::Http2(_) => upstream::answered(),
            _ => progress.units(),
        }
    }

    /// Drives `front` until [`Progress::stop`] or too many errors, for `length` if it cannot be
    /// stopped.
    pub fn run(&self, front: SocketAddr, length: Duration, progress: &Progress) {
        let result = match self {
            Load::Http {
                requests,
                body,
                connections,
                at_random,
            } => {
                let order = http::Order::new(requests, *at_random);
                http::run(front, order, *body, *connections, progress)
            }
            Load::Transfer(job) => transfer::run(front, job, progress),
            Load::Http2(job) => h2load::run(front, job, length, progress),
            Load::Paced(job) => paced::run(front, job, progress),
            Load::Connect {
                payload,
                concurrency,
            } => connect::run(front, payload, *concurrency, progress),
            Load::Bulk { streams } => bulk::run(front, *streams, progress),
        };
        if let Err(error) = result {
            progress.error(error);
        }
    }
}
