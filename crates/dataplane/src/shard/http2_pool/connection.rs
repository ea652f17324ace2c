//! One connection of the pool: opened, driven by a task of its own, lent to one stream at a time
//! per lease.
use super::{
    ConnectionLimits, Http2OpenError, Http2Pool,
    fault::StreamFault,
    pings::Pings,
    socket::{Socket, TURNS, Wire},
};
use crate::{
    settings::{Http2, Settings},
    shard::{
        Shard, endpoint_state::EndpointState, endpoint_state::is_ourselves,
        pool_limits::ConnectionPermit,
    },
    stream::{self, Peer},
};
use bytes::Bytes;
use h2::{
    Reason, SendStream,
    client::{self, ResponseFuture, SendRequest},
};
use http::Request;
use pointsman_model::policy::TcpKeepalive;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;

/// What h2 is told the peer allows until the peer's SETTINGS are here: a number the peer cannot
/// say, since it has 32 bits, and not the one h2 takes for "no limit".
const UNKNOWN: usize = usize::MAX - 1;

/// Streams of one connection that the endpoint makes us reset, in all its time; one more ends it. A
/// connection is shared, and answers that cross a reset are no fault of anybody: it is to be that many only
/// if somebody means harm, whom it keeps from more than 40 MB.
const FAULTS: usize = 100_000;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pool: Weak<Http2Pool>,
    wire: Rc<Wire>,
    /// `None` once it takes no more streams: h2 closes a connection that nobody can use any more,
    /// as soon as its streams have ended.
    send: RefCell<Option<SendRequest<Bytes>>>,
    /// Streams the peer allows, `None` once it takes no more. Looked up when frames have been read:
    /// h2 has it behind locks.
    allowed: Cell<Option<u32>>,
    driver: RefCell<Option<AbortHandle>>,
    pings: Pings,
    /// Where the backend's connections are counted.
    permit: Option<ConnectionPermit>,
    opened: Instant,
    /// Probes that the kernel was asked for.
    probes: Cell<Option<TcpKeepalive>>,
    in_use: Cell<u32>,
    /// The most streams that it had at once.
    most: Cell<u32>,
    served: Cell<u32>,
    /// What had been written when it was taken last without a stream in flight, if it had served before.
    rested: Cell<Option<u64>>,
    idle_since: Cell<Instant>,
    /// As the policy says that it was last used with.
    idle_limit: Cell<Option<Duration>>,
    total: Cell<Option<Duration>>,
}

/// What a connection has for one more stream.
pub(super) enum Room {
    Free(Http2Lease),
    Full,
    /// The peer has said something that is not read yet, while nothing was expected of it.
    Unread,
    /// Not usable any more.
    Over,
}

impl Connection {
    /// Connects, says what this side accepts, waits for the peer's SETTINGS, and starts the task
    /// that carries the connection from then on.
    ///
    /// SETTINGS are waited for, once per connection, because a stream the peer does not allow is a
    /// refused request, and because a peer that does not speak HTTP/2 shows it before any request
    /// was sent to it.
    pub(super) async fn open(
        pool: &Rc<Http2Pool>,
        endpoint: &EndpointState,
        shard: &Rc<Shard>,
        limits: &ConnectionLimits,
        permit: Option<ConnectionPermit>,
    ) -> Result<Rc<Self>, Http2OpenError> {
        let stage = Cell::new(Http2OpenError::ConnectTimeout);
        let opening = async {
            let socket = endpoint.connect(shard).await.map_err(|error| {
                let ourselves = is_ourselves(&error);
                let error = Rc::new(error);
                if ourselves {
                    Http2OpenError::Ourselves(error)
                } else {
                    Http2OpenError::Connect(error)
                }
            })?;
            stage.set(Http2OpenError::HandshakeTimeout);
            let wire = Wire::new(socket, shard);
            let (send, http2) = builder(&shard.settings, limits.streams)
                .handshake::<_, Bytes>(Socket::new(wire.clone()))
                .await
                .map_err(|error| Http2OpenError::Handshake(Some(Rc::new(error))))?;
            let none = || stage.set(Http2OpenError::NoStreams);
            let http2 = settled(http2, send.clone(), &wire, none).await?;
            Ok((wire, send, http2))
        };
        let (wire, send, mut http2) = match tokio::time::timeout(limits.connect, opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(stage.into_inner()),
        };
        let connection = Rc::new(Self {
            pool: Rc::downgrade(pool),
            wire,
            send: RefCell::new(Some(send)),
            allowed: Cell::default(),
            driver: RefCell::default(),
            pings: Pings::new(http2.ping_pong(), shard),
            permit,
            opened: Instant::now(),
            probes: Cell::new(None),
            in_use: Cell::new(0),
            most: Cell::new(0),
            served: Cell::new(0),
            rested: Cell::default(),
            idle_since: Cell::new(Instant::now()),
            idle_limit: Cell::new(limits.idle),
            total: Cell::new(limits.total),
        });
        connection.look();
        let driver = actix::spawn(drive(http2, Driven(connection.clone())));
        *connection.driver.borrow_mut() = Some(driver.abort_handle());
        Ok(connection)
    }

    /// One more stream, if there is room. `looked`: whether the peer has said something while the
    /// connection was idle was seen to.
    pub(super) fn room(self: &Rc<Self>, limits: &ConnectionLimits, looked: bool) -> Room {
        let send = self.send.borrow();
        let Some(send) = send.as_ref() else {
            return Room::Over;
        };
        let (in_use, allowed) = (self.in_use.get(), self.allowed.get());
        match allowed {
            None => return Room::Over,
            Some(allowed) if in_use >= allowed.min(limits.streams) => return Room::Full,
            Some(_) => {}
        }
        if self.wire.has_ended() {
            return Room::Over;
        }
        // An idle connection may have ended without its task having been told yet.
        if in_use == 0 && !looked {
            match stream::peek(&self.wire.stream) {
                Peer::Silent => {}
                Peer::Spoke => return Room::Unread,
                Peer::Ended | Peer::Gone => return Room::Over,
            }
        }
        if self.is_stale(limits) {
            return Room::Over;
        }
        let written = self.wire.written();
        if in_use == 0 {
            self.rested.set((self.served.get() > 0).then_some(written));
        }
        self.in_use.set(in_use + 1);
        if in_use >= self.most.get() {
            self.most.set(in_use + 1);
            self.wire.open_at_once(in_use + 1);
        }
        self.served.set(self.served.get().saturating_add(1));
        self.idle_limit.set(limits.idle);
        self.total.set(limits.total);
        if limits.probes.is_some() && self.probes.replace(limits.probes) != limits.probes {
            limits
                .probes
                .inspect(|it| stream::keep_alive(&self.wire.stream, it));
        }
        if let Some(pings) = limits.pings {
            self.pings.begin(self, pings);
        }
        Room::Free(Http2Lease {
            send: send.clone(),
            written,
            reused: self.rested.get() == Some(written),
            begun: None,
            ended: Cell::new(false),
            stream: InUse(self.clone()),
        })
    }

    /// Is it too old, or does its peer take nothing any more?
    fn is_stale(&self, limits: &ConnectionLimits) -> bool {
        let stalled = || {
            self.wire
                .stalled()
                .is_some_and(|since| !limits.stall.is_zero() && since.elapsed() >= limits.stall)
        };
        let idle = || {
            limits.idle.is_some_and(|limit| {
                !limit.is_zero()
                    && self.in_use.get() == 0
                    && self.idle_since.get().elapsed() >= limit
            })
        };
        let old = || {
            let total = limits.total;
            total.is_some_and(|total| self.opened.elapsed() >= total)
        };
        // One that has served nobody yet must do so, or opening connections might never end.
        stalled() || (self.served.get() > 0 && (idle() || old()))
    }

    /// Has it served as many requests as it may?
    pub(super) fn is_spent(&self, limits: &ConnectionLimits) -> bool {
        limits.requests > 0 && self.served.get() >= limits.requests
    }

    /// Streams the peer allows on it at present.
    pub(super) fn allowed(&self) -> u32 {
        self.allowed.get().unwrap_or(0)
    }

    /// Sees whether the peer still takes streams, and how many.
    fn look(&self) {
        let mut send = self.send.borrow_mut();
        let allowed = send.as_mut().and_then(|send| {
            is_usable(send).ok()?;
            Some(u32::try_from(send.current_max_send_streams()).unwrap_or(u32::MAX))
        });
        self.allowed.set(allowed);
    }

    /// Takes no streams from now on: it closes when the present ones have ended.
    pub(super) fn retire(&self) {
        self.idle_since.set(Instant::now());
        drop(self.send.take());
    }

    /// No stream for `limit`, or for what the last policy it was used with says.
    pub(super) fn is_idle(&self, now: Instant, limit: Duration) -> bool {
        let limit = self.idle_limit.get().unwrap_or(limit);
        !limit.is_zero()
            && self.in_use.get() == 0
            && now.saturating_duration_since(self.idle_since.get()) >= limit
    }

    /// Is it older than the last policy it was used with allows (BE-63)?
    pub(super) fn is_old(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.opened);
        self.total.get().is_some_and(|total| age >= total)
    }

    /// Does it serve nobody, while requests wait for the right to open one elsewhere?
    pub(super) fn is_in_the_way(&self) -> bool {
        self.in_use.get() == 0
            && self.served.get() > 0
            && self.permit.as_ref().is_some_and(|it| it.wanted_by() > 0)
    }

    /// Has the peer taken nothing for `limit`?
    pub(super) fn is_stalled(&self, now: Instant, limit: Duration) -> bool {
        let since = self.wire.stalled();
        !limit.is_zero() && since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
    }

    /// Does it take streams?
    #[cfg(test)]
    pub(super) fn takes(&self) -> bool {
        self.look();
        self.allowed.get().is_some()
    }

    /// Has it no stream, and still not ended, `limit` after it was retired or its last stream ended?
    pub(super) fn is_overdue(&self, now: Instant, limit: Duration) -> bool {
        self.in_use.get() == 0 && now.saturating_duration_since(self.idle_since.get()) >= limit
    }

    /// Its peer is gone: closes it at once.
    pub(super) fn is_gone(self: &Rc<Self>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.retire(self);
        }
        self.abort();
    }

    /// Closes it at once.
    pub(super) fn abort(&self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
    }
}

/// No GOAWAY, no error, stream numbers left?
fn is_usable(send: &mut SendRequest<Bytes>) -> Result<(), h2::Error> {
    // Only a stream of the same clone that waits to be opened makes this pending.
    match send.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(usable) => usable,
        Poll::Pending => Ok(()),
    }
}

fn builder(settings: &Settings, streams: u32) -> client::Builder {
    let (http2, limits) = (&settings.http2, &settings.limits);
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(UNKNOWN)
        .initial_window_size(http2.stream_window_bytes)
        .initial_connection_window_size(http2.connection_window(streams))
        .max_frame_size(http2.frame_bytes)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .header_table_size(http2.header_table_bytes)
        .max_send_buffer_size(http2.send_buffer_bytes as usize)
        .data_frame_budget(http2.small_frames_bytes as usize)
        .max_concurrent_reset_streams(http2.remembered_resets as usize)
        .reset_stream_duration(Http2::REMEMBERED)
        .max_local_error_reset_streams(Some(FAULTS));
    builder
}

type Driver = client::Connection<Socket, Bytes>;

/// Waits until the peer's SETTINGS are here and allow a stream. A peer may allow none for a short
/// time (RFC 9113 section 6.5.2), so that is waited out; `none` is called then.
async fn settled(
    mut http2: Driver,
    mut send: SendRequest<Bytes>,
    wire: &Wire,
    none: impl Fn(),
) -> Result<Driver, Http2OpenError> {
    poll_fn(|cx| {
        let ended = match Pin::new(&mut http2).poll(cx) {
            Poll::Ready(Ok(())) => Some(None),
            Poll::Ready(Err(error)) => Some(Some(error)),
            Poll::Pending if wire.is_flooded() => {
                wire.tell_calm(cx);
                Some(Some(Reason::ENHANCE_YOUR_CALM.into()))
            }
            Poll::Pending => is_usable(&mut send).err().map(Some),
        };
        if let Some(error) = ended {
            return Poll::Ready(Err(Http2OpenError::Handshake(error.map(Rc::new))));
        }
        match send.current_max_send_streams() {
            UNKNOWN => Poll::Pending,
            0 => {
                none();
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        }
    })
    .await?;
    Ok(http2)
}

/// Carries a connection until it ends.
async fn drive(mut http2: Driver, driven: Driven) {
    let wire = &driven.0.wire;
    wire.gather();
    let mut turns = TURNS;
    poll_fn(|cx| {
        let polled = Pin::new(&mut http2).poll(cx);
        // The peer may allow more streams than before, or none any more.
        driven.0.look();
        if let Some(pool) = driven.0.pool.upgrade() {
            pool.serve();
        }
        match polled {
            Poll::Ready(Ok(())) => return Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                // The library has had enough first.
                let calm = StreamFault::Protocol(Reason::ENHANCE_YOUR_CALM);
                if StreamFault::of(&error) == calm && !wire.is_flooded() {
                    wire.refuse("http2_flood");
                }
                ended(&error);
            }
            Poll::Pending => match wire.poll_out(cx) {
                Poll::Ready(Err(error)) => ended(&error),
                _ if !wire.is_flooded() => return Poll::Pending,
                // Streams have what came before.
                _ if turns > 0 => {
                    turns -= 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                _ => wire.tell_calm(cx),
            },
        }
        Poll::Ready(())
    })
    .await;
}

fn ended(error: &dyn std::error::Error) {
    tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
}

/// Takes a connection out of the pool when its task ends, however that is.
struct Driven(Rc<Connection>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.pings.end();
        if let Some(pool) = self.0.pool.upgrade() {
            pool.ended(&self.0);
        }
    }
}

/// Room for one stream, until dropped.
///
/// The stream itself ends with its handles: dropping `ResponseFuture`, `SendStream` and
/// `RecvStream` before the stream has ended resets it (CANCEL). They are to be dropped before this.
pub(crate) struct Http2Lease {
    send: SendRequest<Bytes>,
    /// What had been written when this was taken.
    written: u64,
    reused: bool,
    /// The number of the stream, once it has one.
    begun: Option<u32>,
    /// The endpoint has ended the stream.
    ended: Cell<bool>,
    stream: InUse,
}

impl Http2Lease {
    /// Begins the stream. Nothing waits here: what the peer's limits leave no room for is kept by
    /// h2, and the limits were looked at when this was made.
    ///
    /// # Errors
    /// The connection has ended since; a head that h2 refuses is [`StreamFault::Ours`].
    pub(crate) fn send(
        &mut self,
        request: Request<()>,
        end_of_stream: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), StreamFault> {
        let sent = self.send.send_request(request, end_of_stream);
        if let Ok((response, _)) = &sent {
            self.begun = Some(response.stream_id().as_u32());
        }
        sent.map_err(|error| match StreamFault::of(&error) {
            StreamFault::Ours => StreamFault::Ours,
            _ => StreamFault::Unsent,
        })
    }

    /// What an error of the stream means. An error before the first byte of the stream can have
    /// been written is [`StreamFault::Unsent`].
    pub(crate) fn fault(&self, error: &h2::Error) -> StreamFault {
        match StreamFault::of(error) {
            StreamFault::Closed if self.stream.0.wire.written() == self.written => {
                StreamFault::Unsent
            }
            // The library was not told why.
            StreamFault::Closed if self.stream.0.wire.is_flooded() => {
                StreamFault::Protocol(Reason::ENHANCE_YOUR_CALM)
            }
            fault => fault,
        }
    }

    /// The endpoint has ended the stream: nothing of it is under way.
    pub(crate) fn ended(&self) {
        self.ended.set(true);
    }

    /// Had the connection served requests, and has nothing been written on it since there was none? Then
    /// it may have been closed by the endpoint for being idle, at the very time this request was sent,
    /// alone or in one burst with others. Later ones may be what ended it.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Does the endpoint take extended CONNECT (RFC 8441)?
    pub(crate) fn extended_connect(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        is_usable(&mut self.send.clone()).is_ok()
    }

    /// The socket, for its addresses.
    pub(crate) fn socket(&self) -> &crate::socket::Socket {
        &self.stream.0.wire.stream
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        if let Some(stream) = self.begun
            && !self.ended.get()
        {
            self.stream.0.wire.left(stream);
        }
    }
}

impl std::fmt::Debug for Http2Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Lease")
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

struct InUse(Rc<Connection>);

impl Drop for InUse {
    fn drop(&mut self) {
        let connection = &*self.0;
        let left = connection.in_use.get() - 1;
        connection.in_use.set(left);
        if left == 0 {
            connection.idle_since.set(Instant::now());
        }
        if let Some(pool) = connection.pool.upgrade() {
            pool.serve();
            if connection.is_in_the_way() {
                pool.make_room();
            }
        }
    }
}
