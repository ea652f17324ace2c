//! The life of one HTTP/2 client connection.
use super::{
    super::{age::Age, decide::TableCache, local},
    goodbye::GOODBYE,
    socket::{Out, Socket},
    workers::Workers,
};
use crate::{
    connection::Accepted,
    floods::Floods,
    settings::{Http2, Settings},
    shard::{
        Shard,
        registry::{IdleEnd, Lease},
    },
};
use bytes::Bytes;
use h2::{Reason, server};
use pointsman_wire::http2::Flood;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};
use tokio::task::coop::consume_budget;

/// What a connection and its streams share.
pub(super) struct Peer {
    pub(super) shard: Rc<Shard>,
    pub(super) lease: Lease,
    pub(super) accepted: Accepted,
    pub(super) cache: RefCell<TableCache>,
    pub(super) floods: Floods,
    pub(super) out: Out,
    pub(super) workers: Workers,
    /// Streams that are being served.
    active: Cell<u32>,
    /// When the client was told to go.
    pub(super) told: Cell<Option<Instant>>,
    /// It has opened streams long after.
    deaf: Cell<bool>,
    /// What it was sent away for, and all its streams with it: what it did wrong on the connection.
    pub(super) dismissed: Cell<Option<&'static str>>,
    /// Of the connection's task, while it waits for something to happen.
    waker: RefCell<Option<Waker>>,
}

impl Peer {
    /// Has the connection's task look what there is to do.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// One stream in service.
pub(super) struct Serving {
    peer: Rc<Peer>,
    since: Instant,
    number: u32,
    /// The client has ended its request.
    whole: Cell<bool>,
}

/// A client that gives a stream up after so long has waited for it: resets are abuse where they come right
/// behind the request, as more streams than a connection may have cost their endpoints something then.
const PATIENCE: Duration = Duration::from_millis(500);

impl Serving {
    pub(super) fn begin(peer: &Rc<Peer>, number: u32) -> Self {
        peer.active.set(peer.active.get() + 1);
        Self {
            peer: peer.clone(),
            since: peer.lease.now(),
            number,
            whole: Cell::new(false),
        }
    }

    /// The client has ended its request: nothing of it is under way.
    pub(super) fn whole(&self) {
        self.whole.set(true);
    }

    pub(super) fn peer(&self) -> &Rc<Peer> {
        &self.peer
    }

    /// The client has reset the stream.
    pub(super) fn given_up(&self) {
        let lived = self.peer.lease.now().saturating_duration_since(self.since);
        if lived >= PATIENCE {
            self.peer.floods.forgive_reset();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let Self { peer, .. } = self;
        if !self.whole.get() {
            peer.floods.left(self.number);
        }
        peer.active.set(peer.active.get().saturating_sub(1));
        if peer.active.get() == 0 {
            peer.wake();
        }
    }
}

/// The end of the connection's own task, however that comes.
struct End<'a>(&'a Peer);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.workers.end();
        self.0.tell_taken();
    }
}

/// What the connection's task has waited for.
enum Next {
    /// The client opened a stream, which is being served.
    Request,
    /// The client opened one long after it was told to go, which is refused.
    Refused,
    /// Nothing is in service, and the client goes on opening streams.
    Deaf,
    /// There are streams in service now where there were none, or none any more; or a field block
    /// was begun or ended.
    Recount,
    /// There are too many frames of a kind.
    Flood(Flood),
    /// Everything is said, or the client has ended.
    Over,
    /// The client broke the protocol, or is gone.
    Broken(h2::Error),
    Gone,
}

/// Serves streams until the connection ends. `received` holds bytes received already.
pub(crate) async fn serve(shard: Rc<Shard>, lease: Lease, accepted: Accepted, received: Vec<u8>) {
    let peer = Rc::new(Peer {
        floods: Floods::of_client(&shard.settings.http2, lease.now()),
        out: Out::new(&shard),
        shard,
        lease,
        accepted,
        cache: RefCell::default(),
        workers: Workers::default(),
        active: Cell::new(0),
        told: Cell::new(None),
        deaf: Cell::new(false),
        dismissed: Cell::new(None),
        waker: RefCell::default(),
    });
    let _end = End(&peer);
    let settings = &peer.shard.settings;
    let socket = Socket::new(peer.clone(), received);
    let handshake = builder(settings).handshake::<_, Bytes>(socket);
    let limit = settings.timeouts.request_head.0;
    let Ok(Ok(mut connection)) = peer.lease.within(limit, handshake).await else {
        peer.shard.counts.refuse("http2_preface");
        return;
    };
    peer.gather();
    let most = settings.limits.requests_per_connection;
    let faults = settings.http2.faulty_streams;
    let faults = (faults - faults / 4).max(1);
    let age = Age::new(&peer.shard);
    let (mut served, mut leaving, mut flooded): (u32, bool, bool) = (0, false, false);
    loop {
        // A client that opens streams without end must not keep the thread to itself.
        consume_budget().await;
        let idle = peer.active.get() == 0;
        let head = peer.floods.head_since();
        let next = poll_fn(|cx| {
            if let Some(flood) = peer.floods.take() {
                return Poll::Ready(Next::Flood(flood));
            }
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((_, mut respond)))) if !flooded && peer.is_late() => {
                    respond.send_reset(Reason::REFUSED_STREAM);
                    peer.deaf.set(true);
                    return Poll::Ready(Next::Refused);
                }
                Poll::Ready(Some(Ok((request, respond)))) => {
                    // Handed over here: each hand that it went through would copy it.
                    if !flooded {
                        peer.workers.serve(&peer, request, respond);
                    }
                    return Poll::Ready(Next::Request);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Next::Broken(error)),
                Poll::Ready(None) => return Poll::Ready(Next::Over),
                Poll::Pending => {}
            }
            // Seen just now; nothing is read any more, so nothing would wake this task for it.
            if let Some(flood) = peer.floods.take() {
                return Poll::Ready(Next::Flood(flood));
            }
            if peer.deaf.get() && !flooded && peer.active.get() == 0 && !peer.is_full() {
                return Poll::Ready(Next::Deaf);
            }
            if idle != (peer.active.get() == 0) || head != peer.floods.head_since() {
                return Poll::Ready(Next::Recount);
            }
            if let Poll::Ready(Err(_)) = peer.poll_out(cx) {
                return Poll::Ready(Next::Gone);
            }
            // What is written counts too.
            if let Some(flood) = peer.floods.take() {
                return Poll::Ready(Next::Flood(flood));
            }
            *peer.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        });
        let limit = match (idle, leaving) {
            _ if flooded => GOODBYE,
            (false, _) => Duration::ZERO,
            (true, false) => settings.timeouts.keep_alive.0,
            (true, true) => GOODBYE,
        };
        let limit = match age.left() {
            Some(left) if !leaving && (limit.is_zero() || left < limit) => {
                left.max(Duration::from_millis(1)) // zero would be without end
            }
            _ => limit,
        };
        // Only heads that come in several reads are waited for, and none holds up the others.
        let slow = head
            .filter(|_| !flooded && !settings.timeouts.request_head.0.is_zero())
            .map(|since| left(settings.timeouts.request_head.0, since, &peer.lease))
            .filter(|left| limit.is_zero() || *left < limit);
        let limit = slow.unwrap_or(limit);
        let next = if leaving {
            peer.lease.within(limit, next).await.map_err(IdleEnd::from)
        } else {
            peer.lease.idle(limit, next).await
        };
        match next {
            Ok(Next::Request) if flooded => {}
            Ok(Next::Request) => {
                served = served.saturating_add(1);
                let spent = most > 0 && served >= most;
                // Faults add up, also those of a client that means well (frames that are late): it is
                // told to go before they are so many that its streams are cut.
                let faulty = peer.floods.faults() >= faults;
                // A busy connection is never waited for as long as its age has left.
                if !leaving && (spent || faulty || age.is_over()) {
                    leaving = true;
                    if spent {
                        let counts = &peer.shard.counts;
                        counts.limit("limits.requests_per_connection");
                    }
                    if faulty {
                        peer.shard.counts.limit("http2.faulty_streams");
                    }
                    peer.tell();
                    connection.graceful_shutdown();
                }
            }
            Ok(Next::Refused) => {}
            Ok(Next::Deaf) => {
                peer.deaf.set(false);
                connection.abrupt_shutdown(Reason::NO_ERROR);
            }
            Ok(Next::Recount) => {}
            Ok(Next::Flood(flood)) => {
                tracing::debug!(peer = %peer.accepted.peer, flood = flood.as_str(), "cut off");
                peer.shard.counts.refuse(flood.as_str());
                peer.dismissed.set(Some(flood.as_str()));
                leaving = true;
                flooded = true;
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            Ok(Next::Over | Next::Broken(_)) if flooded => {
                drop(connection);
                return peer.dismiss().await;
            }
            Ok(Next::Over) => {
                drop(connection);
                return peer.part().await;
            }
            Ok(Next::Broken(error)) => {
                drop(connection);
                if ended(&peer, &error) {
                    peer.dismiss().await;
                }
                return;
            }
            Ok(Next::Gone) => return,
            // A head that never ends (VS-H-142).
            Err(IdleEnd::Elapsed) if slow.is_some() => {
                tracing::debug!(peer = %peer.accepted.peer, "a field block that does not end");
                peer.shard.counts.limit("timeouts.request_head");
                peer.dismissed.set(Some(local::HEAD_TIMEOUT.details));
                leaving = true;
                flooded = true;
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            // Streams that are being opened now are still served (RFC 9113 section 6.8).
            Err(_) if !leaving => {
                leaving = true;
                peer.tell();
                connection.graceful_shutdown();
            }
            Err(_) if !flooded && peer.is_behind() => {}
            Err(_) => return,
        }
    }
}

/// What is left of `limit`: a moment at least, as zero would be without end.
fn left(limit: Duration, since: Instant, lease: &Lease) -> Duration {
    let passed = lease.now().saturating_duration_since(since);
    limit.saturating_sub(passed).max(Duration::from_millis(1))
}

fn builder(settings: &Settings) -> server::Builder {
    let http2 = &settings.http2;
    // The library answers what is larger by itself, without a word or a record, so that it is left what
    // nobody means to send.
    let list = settings.limits.head_bytes.saturating_mul(2);
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(http2.client_streams)
        .initial_window_size(http2.stream_window_bytes)
        .initial_connection_window_size(http2.connection_window(http2.client_streams))
        .max_frame_size(http2.frame_bytes)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .header_table_size(http2.header_table_bytes)
        .max_send_buffer_size(http2.send_buffer_bytes as usize)
        .data_frame_budget(http2.small_frames_bytes as usize)
        .max_concurrent_reset_streams(http2.remembered_resets as usize)
        .reset_stream_duration(Http2::REMEMBERED)
        .max_pending_accept_reset_streams(http2.unserved_resets as usize)
        .max_local_error_reset_streams(Some(http2.faulty_streams as usize))
        .enable_connect_protocol();
    builder
}

/// The connection ended because the client broke the protocol, or is gone. Has it been told?
fn ended(peer: &Peer, error: &h2::Error) -> bool {
    if error.is_io() || error.is_remote() {
        return false;
    }
    tracing::debug!(peer = %peer.accepted.peer, %error, "HTTP/2 connection ended");
    let why = match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => "http2_flood",
        Some(Reason::FLOW_CONTROL_ERROR) => "http2_flow_control",
        Some(Reason::FRAME_SIZE_ERROR) => "http2_frame_size",
        Some(Reason::COMPRESSION_ERROR) => "http2_compression",
        _ => "http2_protocol",
    };
    peer.shard.counts.refuse(why);
    // Its streams are woken by now, and look behind this task.
    peer.dismissed.set(Some(why));
    true
}
