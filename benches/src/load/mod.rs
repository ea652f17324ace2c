//! The clients in front of a proxy, each an epoll loop in the calling thread until told to stop.
//! Whatever is not exactly what was expected is an error and never counts as a unit.

mod bulk;
mod connect;
mod http;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    },
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

/// Shared by the load thread and the one that measures.
#[derive(Debug, Default)]
pub struct Progress {
    units: AtomicU64,
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
    stop: AtomicBool,
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
    /// Drives `front` until [`Progress::stop`] or too many errors.
    pub fn run(&self, front: SocketAddr, progress: &Progress) {
        let result = match self {
            Load::Http {
                requests,
                body,
                connections,
            } => http::run(front, requests, *body, *connections, progress),
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
