//! Copies of requests for mirrors (VS-H-86..89): sent by tasks of their own, answered to nobody.
//!
//! A copy is taken while the request itself is sent, byte by byte as the endpoint gets it, into
//! memory that is bounded; it goes out once it is complete. So nothing a mirror does, or fails to
//! do, can hold up or fail the request it was copied from.
use super::{Context, RequestFacts, discard::Rest};
use crate::{
    shard::{
        Shard,
        cluster_state::{ClusterState, Tried},
        pool_limits::PoolLimits,
        upstream::Upstream,
        view::View,
    },
    stream,
};
use pointsman_route::{Rule, action};
use pointsman_wire::http1::{
    BodyLength, HeadLimits, LAST_CHUNK, RequestKind, ResponseBody, field_slots, parse_response,
    write_chunk_header,
};
use smallvec::SmallVec;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};
use tokio::{net::TcpStream, task::coop::consume_budget};

/// The copies of one request, until they are complete and sent. Dropped before that, they are
/// counted as dropped.
pub(crate) struct Copies {
    to: RefCell<SmallVec<[Recipient; 1]>>,
    /// Head and body as they are sent.
    bytes: RefCell<Vec<u8>>,
    /// Bytes of body there may still be.
    room: Cell<usize>,
    kind: RequestKind,
    /// The body is chunked.
    chunked: bool,
    limit: Duration,
    shard: Rc<Shard>,
}

/// Who gets a copy, and the copy's place among those that a shard may have at a time.
struct Recipient {
    cluster: Rc<ClusterState>,
    slot: Slot,
}

struct Slot(Rc<Shard>);

impl Slot {
    fn take(shard: &Rc<Shard>) -> Option<Self> {
        let now = shard.mirrors.get();
        if now >= shard.settings.mirrors.in_flight {
            shard.counts.limit("mirrors.in_flight");
            return None;
        }
        shard.mirrors.set(now + 1);
        Some(Self(shard.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

impl Copies {
    /// Draws the rule's mirrors, each for itself; `None` where none is to get a copy. `head` gives
    /// the head to send, with a host of shadows if asked for; it is called only if there is a copy.
    ///
    /// A request for another protocol is not copied: what follows its head is no HTTP.
    pub(crate) fn draw(
        cx: &Context<'_>,
        view: &View,
        rule: &Rule,
        facts: &RequestFacts,
        head: impl FnOnce(bool) -> Vec<u8>,
    ) -> Option<Box<Self>> {
        if rule.mirrors.is_empty() || facts.upgrade {
            return None;
        }
        let shard = cx.shard;
        let mut to = SmallVec::new();
        for mirror in &rule.mirrors {
            let drawn = action::drawn(mirror.share, || shard.random.borrow_mut().u32(..));
            // An unknown destination is ignored (VS-H-89); a finding tells of it.
            if let Some(id) = mirror.cluster.ok().filter(|_| drawn)
                && let Some(cluster) = shard.cluster(view, id)
                && let Some(slot) = Slot::take(shard)
            {
                to.push(Recipient { cluster, slot });
            }
        }
        if to.is_empty() {
            return None;
        }
        let settings = &shard.settings.mirrors;
        let limit = settings.timeout.0;
        Some(Box::new(Self {
            to: RefCell::new(to),
            bytes: RefCell::new(head(settings.shadow_host)),
            room: Cell::new(settings.body_bytes),
            kind: facts.kind,
            chunked: facts.body == BodyLength::Chunked,
            limit: rule.timeout.map_or(limit, |timeout| timeout.min(limit)),
            shard: shard.clone(),
        }))
    }

    /// Adds bytes of the body in the framing they are sent in. Beyond the limit the copies are
    /// dropped.
    pub(crate) fn add(&self, bytes: &[u8]) {
        if self.to.borrow().is_empty() {
            return;
        }
        match self.room.get().checked_sub(bytes.len()) {
            Some(room) => {
                self.room.set(room);
                self.bytes.borrow_mut().extend_from_slice(bytes);
            }
            None => {
                self.shard.counts.limit("mirrors.body_bytes");
                self.give_up();
            }
        }
    }

    /// Adds a piece of a body that has no framing of its own.
    pub(crate) fn piece(&self, data: &[u8]) {
        if !self.chunked {
            return self.add(data);
        }
        if !data.is_empty() {
            let mut chunk = Vec::with_capacity(data.len() + 24);
            write_chunk_header(&mut chunk, data.len());
            chunk.extend_from_slice(data);
            chunk.extend_from_slice(b"\r\n");
            self.add(&chunk);
        }
    }

    /// The body that came in pieces is complete.
    pub(crate) fn pieces_end(&self) {
        if self.chunked {
            self.add(LAST_CHUNK);
        }
    }

    /// The request is complete: sends its copies, and does not wait for that.
    pub(crate) fn send(&self) {
        let bytes: Rc<[u8]> = self.bytes.take().into();
        for to in self.to.take() {
            actix::spawn(deliver(
                self.shard.clone(),
                to,
                bytes.clone(),
                self.kind,
                self.limit,
            ));
        }
    }

    fn give_up(&self) {
        self.bytes.take();
        for _ in self.to.take() {
            self.shard.counts.mirror("dropped");
        }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Delivers one copy within `limit`, and counts how that went.
async fn deliver(
    shard: Rc<Shard>,
    to: Recipient,
    bytes: Rc<[u8]>,
    kind: RequestKind,
    limit: Duration,
) {
    let attempt = attempt(&shard, &to.cluster, &bytes, kind);
    let outcome = tokio::time::timeout(limit, attempt).await;
    shard.counts.mirror(outcome.unwrap_or("late"));
    drop(to.slot);
}

/// No retries (VS-H-89): a copy that is lost is lost.
async fn attempt(
    shard: &Shard,
    cluster: &ClusterState,
    bytes: &[u8],
    kind: RequestKind,
) -> &'static str {
    let Some(in_flight) = cluster.pick(&Tried::new(), &shard.random) else {
        return "unavailable";
    };
    let endpoint = in_flight.endpoint();
    let limits = cluster.limits.as_deref();
    // Its backend's own limits hold for a copy too (VS-H-89); it does not wait for room.
    let Ok(_request) = limits.map_or(Ok(None), PoolLimits::request) else {
        return "overflow";
    };
    let upstream = match endpoint.take_idle(&cluster.lifetime, false) {
        Some(upstream) => upstream,
        None => {
            let Ok(permit) = limits.map_or(Ok(None), PoolLimits::connection) else {
                return "overflow";
            };
            match endpoint.connect(shard).await {
                Ok(upstream) => Upstream::new(upstream, &cluster.lifetime, permit),
                Err(_) => return "failed",
            }
        }
    };
    if stream::write_all(&upstream, bytes).await.is_err() {
        return "failed";
    }
    let mut input = shard.buffers.small();
    let end = read_away(shard, &upstream, kind, &mut input).await;
    shard.buffers.give(input);
    match end {
        None => "failed",
        Some(reusable) => {
            if reusable {
                let most = shard.settings.limits.pooled_per_endpoint;
                endpoint.keep(upstream, &cluster.lifetime, most, std::time::Instant::now());
            }
            "answered"
        }
    }
}

/// Reads a response and throws it away. Whether the connection can be used again; `None` where
/// there was no response.
async fn read_away(
    shard: &Shard,
    upstream: &TcpStream,
    kind: RequestKind,
    input: &mut Vec<u8>,
) -> Option<bool> {
    let limits = HeadLimits {
        max_bytes: shard.settings.limits.head_bytes,
        ..HeadLimits::default()
    };
    let mut rest = loop {
        let head = {
            let mut slots = field_slots();
            let head = parse_response(input, &mut slots, &limits, kind).ok()?;
            head.map(|head| (head.len, head.is_interim(), head.keep_alive, head.body))
        };
        match head {
            None => {
                if stream::read(upstream, input).await.ok()? == 0 {
                    return None;
                }
            }
            Some((length, true, ..)) => drop(input.drain(..length.min(input.len()))),
            Some((length, false, keep_alive, body)) => {
                input.drain(..length.min(input.len()));
                match body {
                    _ if !keep_alive => return Some(false),
                    ResponseBody::UntilClose => return Some(false),
                    ResponseBody::None => break Rest::new(BodyLength::None),
                    ResponseBody::Length(length) => break Rest::new(BodyLength::Length(length)),
                    ResponseBody::Chunked => break Rest::new(BodyLength::Chunked),
                }
            }
        }
    };
    // What is longer than a request may be is not worth reading for the sake of a connection.
    let mut most = shard.settings.mirrors.body_bytes;
    loop {
        consume_budget().await;
        let Some((used, done)) = rest.take(input) else {
            return Some(false);
        };
        input.drain(..used.min(input.len()));
        match most.checked_sub(used) {
            // Bytes behind the response answer nobody.
            Some(_) if done => return Some(input.is_empty()),
            Some(left) => most = left,
            None => return Some(false),
        }
        if !matches!(stream::read(upstream, input).await, Ok(1..)) {
            return Some(false);
        }
    }
}
