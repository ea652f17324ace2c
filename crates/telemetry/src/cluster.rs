//! What one shard counts for one backend between two ticks.
use crate::{
    flags::Flags,
    labels::{ClusterLabels, OTHER, SourceLabels},
    local_histogram::{LocalHistogram, Scale},
    names,
    recorder::Recorder,
};
use metrics::{Counter, Histogram};
use std::{cell::RefCell, sync::Arc};

/// Combinations of code, flags and protocol one backend counts apart on one shard. An upstream
/// that answers with ever new codes is folded beyond it into one with label values `other`.
pub const MAX_HTTP_OUTCOMES: usize = 64;

/// Combinations of flags one backend counts apart for TCP on one shard.
pub const MAX_TCP_OUTCOMES: usize = 16;

/// Label `request_protocol`, and `grpc_response_status` where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestProtocol {
    /// HTTP of any version.
    Http,
    /// gRPC with the status of its answer, if there was one. Codes above 16 are not assigned and
    /// count as 2, UNKNOWN.
    Grpc(Option<u8>),
}

impl RequestProtocol {
    fn bounded(self) -> Self {
        match self {
            Self::Grpc(Some(17..)) => Self::Grpc(Some(2)),
            other => other,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc(_) => "grpc",
        }
    }

    fn grpc_status(self) -> String {
        match self {
            Self::Grpc(Some(status)) => status.to_string(),
            Self::Http | Self::Grpc(None) => String::new(),
        }
    }
}

/// Counts of one backend on one shard. Not for sharing between threads, by design: adding is a
/// scan of a short list and a few additions. No lock, no atomic, and no allocation but for an
/// outcome seen for the first time.
///
/// [`ClusterStats::flush`] before dropping it, or the counts since the last tick are lost.
pub struct ClusterStats {
    source: Arc<SourceLabels>,
    labels: ClusterLabels,
    counts: RefCell<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Something to flush? With thousands of backends most ticks find most of them idle.
    dirty: bool,
    http: Outcomes<HttpKey, HttpCounts>,
    tcp: Outcomes<Flags, TcpCounts>,
}

/// A list searched from the front by key; `None` is what did not fit. The keys lie apart from the
/// counts, which are large, so that a search touches one or two cache lines.
struct Outcomes<K, C> {
    keys: Vec<Option<K>>,
    counts: Vec<C>,
}

#[derive(Clone, Copy, PartialEq)]
struct HttpKey {
    code: u16,
    protocol: RequestProtocol,
    flags: Flags,
}

#[derive(Default)]
struct HttpCounts {
    requests: u64,
    duration: LocalHistogram,
    received: LocalHistogram,
    sent: LocalHistogram,
    handles: Option<HttpHandles>,
}

struct HttpHandles {
    requests: Counter,
    duration: Histogram,
    received: Histogram,
    sent: Histogram,
}

#[derive(Default)]
struct TcpCounts {
    opened: Pending,
    closed: Pending,
    sent: Pending,
    received: Pending,
}

/// A counter to be: a series appears with its first count, as in Istio.
#[derive(Default)]
struct Pending {
    delta: u64,
    handle: Option<Counter>,
}

impl ClusterStats {
    /// Counts for the backend `labels` names, on behalf of the client `source`.
    pub fn new(source: Arc<SourceLabels>, labels: ClusterLabels) -> Self {
        Self {
            source,
            labels,
            counts: RefCell::default(),
        }
    }

    /// One request has ended. `code` is 0 where no response was sent (VS-H-136); `duration_us` in
    /// microseconds from the first byte of the request to the last of the response; `bytes_in` and
    /// `bytes_out` are body bytes from and to the client.
    pub fn request(
        &self,
        code: u16,
        flags: Flags,
        protocol: RequestProtocol,
        duration_us: u64,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        let mut counts = self.counts.borrow_mut();
        counts.dirty = true;
        let protocol = protocol.bounded();
        let key = HttpKey {
            code,
            protocol,
            flags,
        };
        if let Some(http) = counts.http.of(key, MAX_HTTP_OUTCOMES) {
            http.requests += 1;
            http.duration.add(&Scale::MICROS_TO_MILLIS, duration_us);
            http.received.add(&Scale::BYTES, bytes_in);
            http.sent.add(&Scale::BYTES, bytes_out);
        }
    }

    /// A TCP connection to the backend has been opened.
    pub fn tcp_opened(&self) {
        self.tcp(Flags::EMPTY, |tcp| tcp.opened.add(1));
    }

    /// Bytes of a connection that stays open: `sent` to the client, `received` from it, since the
    /// last report. Long tunnels call it now and then, so that rates do not wait for their end.
    pub fn tcp_bytes(&self, sent: u64, received: u64) {
        self.tcp(Flags::EMPTY, |tcp| {
            tcp.sent.add(sent);
            tcp.received.add(received);
        });
    }

    /// A TCP connection has ended; the bytes are those not yet reported through
    /// [`ClusterStats::tcp_bytes`].
    pub fn tcp_closed(&self, flags: Flags, sent: u64, received: u64) {
        self.tcp(flags, |tcp| {
            tcp.closed.add(1);
            tcp.sent.add(sent);
            tcp.received.add(received);
        });
    }

    fn tcp(&self, flags: Flags, add: impl FnOnce(&mut TcpCounts)) {
        let mut counts = self.counts.borrow_mut();
        counts.dirty = true;
        if let Some(tcp) = counts.tcp.of(flags, MAX_TCP_OUTCOMES) {
            add(tcp);
        }
    }

    /// Hands everything since the last flush to the recorder; call it once a tick (250 ms). Always
    /// with the same recorder: handles are resolved at first use and kept.
    pub fn flush(&self, recorder: &Recorder) {
        let mut counts = self.counts.borrow_mut();
        if !std::mem::take(&mut counts.dirty) {
            return;
        }
        let Counts { http, tcp, .. } = &mut *counts;
        for (key, counts) in http.iter_mut() {
            self.flush_http(*key, counts, recorder);
        }
        for (flags, counts) in tcp.iter_mut() {
            self.flush_tcp(*flags, counts, recorder);
        }
    }

    fn flush_http(&self, key: Option<HttpKey>, counts: &mut HttpCounts, recorder: &Recorder) {
        if counts.requests == 0 {
            return;
        }
        let handles = counts
            .handles
            .get_or_insert_with(|| self.http_handles(key, recorder));
        handles.requests.increment(counts.requests);
        counts.requests = 0;
        let scale = &Scale::MICROS_TO_MILLIS;
        counts.duration.flush(scale, &handles.duration);
        counts.received.flush(&Scale::BYTES, &handles.received);
        counts.sent.flush(&Scale::BYTES, &handles.sent);
    }

    fn http_handles(&self, key: Option<HttpKey>, recorder: &Recorder) -> HttpHandles {
        let (protocol, code, grpc_status, flags) = match key {
            Some(key) => (
                key.protocol.as_str(),
                key.code.to_string(),
                key.protocol.grpc_status(),
                key.flags.to_string(),
            ),
            None => {
                recorder.overflowed(names::REQUESTS.name);
                (OTHER, OTHER.into(), OTHER.into(), OTHER.into())
            }
        };
        let values = self
            .labels
            .http(&self.source, protocol, &code, &grpc_status, &flags);
        HttpHandles {
            requests: recorder.counter(&names::REQUESTS, values),
            duration: recorder.histogram(&names::REQUEST_DURATION, values),
            received: recorder.histogram(&names::REQUEST_BYTES, values),
            sent: recorder.histogram(&names::RESPONSE_BYTES, values),
        }
    }

    fn flush_tcp(&self, flags: Option<Flags>, counts: &mut TcpCounts, recorder: &Recorder) {
        let resolve = |family| {
            let flags = flags.map_or_else(|| OTHER.to_owned(), |flags| flags.to_string());
            recorder.counter(family, self.labels.tcp(&self.source, &flags))
        };
        if flags.is_none() && counts.closed.delta > 0 && counts.closed.handle.is_none() {
            recorder.overflowed(names::TCP_CLOSED.name);
        }
        counts.opened.flush(|| resolve(&names::TCP_OPENED));
        counts.closed.flush(|| resolve(&names::TCP_CLOSED));
        counts.sent.flush(|| resolve(&names::TCP_SENT));
        counts.received.flush(|| resolve(&names::TCP_RECEIVED));
    }
}

impl Pending {
    fn add(&mut self, delta: u64) {
        self.delta = self.delta.saturating_add(delta);
    }

    fn flush(&mut self, resolve: impl FnOnce() -> Counter) {
        if self.delta > 0 {
            self.handle
                .get_or_insert_with(resolve)
                .increment(self.delta);
            self.delta = 0;
        }
    }
}

impl<K, C> Default for Outcomes<K, C> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            counts: Vec::new(),
        }
    }
}

impl<K: Copy + PartialEq, C: Default> Outcomes<K, C> {
    /// The counts of `key`, made on first use while there are fewer than `max`, else the counts of
    /// everything that did not fit. Never `None`, since the two lists grow together.
    fn of(&mut self, key: K, max: usize) -> Option<&mut C> {
        let index = match self.keys.iter().position(|known| *known == Some(key)) {
            Some(index) => index,
            None => self.make(key, max),
        };
        self.counts.get_mut(index)
    }

    #[cold]
    fn make(&mut self, key: K, max: usize) -> usize {
        let key = (self.keys.len() < max).then_some(key);
        if key.is_none()
            && let Some(index) = self.keys.iter().position(Option::is_none)
        {
            return index;
        }
        self.keys.push(key);
        self.counts.push(C::default());
        self.keys.len() - 1
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = (&Option<K>, &mut C)> {
        self.keys.iter().zip(&mut self.counts)
    }
}
