//! Connections to an endpoint that speaks HTTP/2 by prior knowledge (PS-61), shared by the requests
//! of one shard.
//!
//! In the order a request meets them: [`Http2Pool::try_open`] finds room on a connection,
//! [`Http2Pool::open`] has one opened; `connection` is one of them, `socket` what lies under it, `pings`
//! what finds out that its peer is gone; `fault` says what an error of a stream means.
//!
//! Requests that find no room wait in one line. As many connections are being opened as the line
//! needs, going by how many streams the endpoint allowed before; a connection that is open, a stream
//! that ends and a peer that allows more each serve the head of the line. A connection counts as
//! open once the peer has allowed at least one stream, and serves the line in the same moment: so
//! each connection that was opened serves somebody, and a peer that opens and closes cannot make
//! this side connect for ever.
mod connection;
mod fault;
mod pings;
mod socket;
#[cfg(test)]
pub(crate) mod tests;

use super::{
    Shard,
    endpoint_state::EndpointState,
    pool_limits::{ConnectionPermit, Full, PoolLimits},
};
use crate::settings::Settings;
pub(crate) use connection::Http2Lease;
use connection::{Connection, Room};
pub(crate) use fault::StreamFault;
use pointsman_model::policy::{ConnectionPool, Http2KeepAlive, TcpKeepalive};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};

/// What holds for the connections of one request's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// From the first step of opening a connection to the peer's SETTINGS (BE-61).
    pub(crate) connect: Duration,
    /// Streams at a time on one connection (BE-71); the peer may allow less.
    pub(crate) streams: u32,
    /// Requests on one connection; 0: any number (BE-68).
    pub(crate) requests: u32,
    /// How long a connection is kept without a request (BE-70); `None`: as for all, zero: for ever.
    pub(crate) idle: Option<Duration>,
    /// How long a connection is used in all (BE-63); streams under way are not cut.
    pub(crate) total: Option<Duration>,
    /// Probes by the kernel (BE-62).
    pub(crate) probes: Option<TcpKeepalive>,
    /// Pings (BE-74).
    pub(crate) pings: Option<Http2KeepAlive>,
    /// How long a peer may take nothing of what is to be written.
    pub(crate) stall: Duration,
    /// Connections to the endpoint.
    pub(crate) connections: u32,
}

impl ConnectionLimits {
    /// What a backend's policy and the settings say.
    pub(crate) fn of(policy: Option<&ConnectionPool>, settings: &Settings) -> Self {
        let (timeouts, http2) = (&settings.timeouts, &settings.http2);
        let connect = policy.and_then(|it| it.connect_timeout);
        let streams = policy.and_then(|it| it.max_concurrent_streams);
        Self {
            connect: connect.unwrap_or(timeouts.connect.0),
            streams: streams.unwrap_or(http2.endpoint_streams).max(1),
            requests: policy
                .and_then(|it| it.max_requests_per_connection)
                .unwrap_or(0),
            idle: policy.and_then(|it| it.http_idle_timeout.or(it.tcp_idle_timeout)),
            total: policy
                .and_then(|it| it.max_connection_duration)
                .filter(|total| !total.is_zero()),
            probes: policy.and_then(|it| it.tcp_keepalive),
            pings: policy.and_then(|it| it.http2_keep_alive),
            stall: timeouts.write.0,
            connections: http2.endpoint_connections.max(1),
        }
    }
}

/// Why there is no room for a request. No byte of it was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Http2OpenError {
    /// Connecting failed.
    #[error("{0}")]
    Connect(Rc<io::Error>),
    /// Connecting took too long.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The endpoint is this gateway itself.
    #[error("{0}")]
    Ourselves(Rc<io::Error>),
    /// The peer does not speak HTTP/2, or closed before it said anything.
    #[error("no HTTP/2: {}", .0.as_ref().map_or("closed".into(), |it| it.to_string()))]
    Handshake(Option<Rc<h2::Error>>),
    /// The connection was made, but the peer did not say its SETTINGS in time.
    #[error("the endpoint did not say its HTTP/2 SETTINGS in time")]
    HandshakeTimeout,
    /// The peer allows no stream.
    #[error("the endpoint allows no stream (MAX_CONCURRENT_STREAMS is 0)")]
    NoStreams,
    /// `http2.endpoint_connections` are in use, and none had room in time.
    #[error("all connections to the endpoint are in use")]
    Exhausted,
    /// As many connections as its policy allows the backend are in use (BE-60), and none had room
    /// within `timeouts.pending`.
    #[error("all connections that the backend may have are in use")]
    Late,
    /// As many requests to the backend wait as its policy allows (BE-66).
    #[error("the backend has no room: {}", .0.0)]
    Full(Full),
}

impl Http2OpenError {
    /// Did the peer break the protocol? Else it has closed before it said anything.
    pub(crate) fn is_breach(&self) -> bool {
        match self {
            Self::Handshake(Some(error)) => {
                matches!(StreamFault::of(error), StreamFault::Protocol(_))
            }
            _ => false,
        }
    }
}

/// The HTTP/2 connections to one endpoint.
pub(crate) struct Http2Pool {
    own: Weak<Self>,
    /// Those that take streams. The first with room is used, so that the others can time out when
    /// there is less to do.
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Those that take none any more, until they have ended.
    leaving: RefCell<Vec<Rc<Connection>>>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// Told when the line needs a connection that the backend may not have: who waits in it is to
    /// wait for the right to one.
    short: Notify,
    opening: Cell<u32>,
    /// Streams the endpoint allowed on the latest connection.
    expected: Cell<u32>,
    /// As of its endpoint: once nobody waits, its connections take no more streams.
    retired: Cell<bool>,
}

/// A request in the line.
struct Waiting {
    endpoint: Rc<EndpointState>,
    shard: Rc<Shard>,
    limits: ConnectionLimits,
    /// What the backend may have, where that is limited.
    backend: Option<Rc<PoolLimits>>,
    lease: oneshot::Sender<Result<Http2Lease, Http2OpenError>>,
}

/// How long a request waits in the line beyond the time for connecting: a connection that was begun
/// for it fails first, and says why.
const BEYOND: Duration = Duration::from_millis(100);

/// How long a connection without streams may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

impl Http2Pool {
    /// No connections yet.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new_cyclic(|own| Self {
            own: own.clone(),
            connections: RefCell::default(),
            leaving: RefCell::default(),
            waiting: RefCell::default(),
            short: Notify::new(),
            opening: Cell::new(0),
            expected: Cell::new(u32::MAX),
            retired: Cell::new(false),
        })
    }

    /// Room for one request, if nothing is to be waited for.
    pub(crate) fn try_open(&self, limits: &ConnectionLimits) -> Option<Http2Lease> {
        if !self.waiting.borrow().is_empty() {
            return None;
        }
        match self.take(limits, false) {
            Taken::Lease(lease) => Some(lease),
            Taken::None | Taken::Unread => None,
        }
    }

    /// Room for one request to `endpoint`, whose pool this is. `backend` has the limits that hold for
    /// all connections and requests of the backend; but one connection of this pool there may
    /// always be.
    ///
    /// # Errors
    /// See [`Http2OpenError`]. Dropping the future gives up the place in the line.
    pub(crate) async fn open(
        &self,
        endpoint: &Rc<EndpointState>,
        shard: &Rc<Shard>,
        limits: &ConnectionLimits,
        backend: Option<&Rc<PoolLimits>>,
    ) -> Result<Http2Lease, Http2OpenError> {
        if self.waiting.borrow().is_empty() {
            match self.take(limits, false) {
                Taken::Lease(lease) => return Ok(lease),
                Taken::None => {}
                Taken::Unread => {
                    // The connection's own task reads first, what the kernel has for it.
                    tokio::task::yield_now().await;
                    if let Taken::Lease(lease) = self.take(limits, true) {
                        return Ok(lease);
                    }
                }
            }
        }
        let pending = backend.map_or(Ok(None), |it| it.pending());
        let _pending = pending.map_err(Http2OpenError::Full)?;
        let (lease, waits) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Waiting {
            endpoint: endpoint.clone(),
            shard: shard.clone(),
            limits: *limits,
            backend: backend.cloned(),
            lease,
        });
        self.open_more(None);
        match backend.filter(|it| it.counts_connections()) {
            None => match tokio::time::timeout(limits.connect + BEYOND, waits).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => {
                    shard.counts.limit("http2.endpoint_connections");
                    Err(Http2OpenError::Exhausted)
                }
            },
            Some(backend) => self.counted(shard, backend, waits).await,
        }
    }

    /// Waits for an answer, and where connections are counted for the right to open another one.
    async fn counted(
        &self,
        shard: &Rc<Shard>,
        backend: &PoolLimits,
        mut waits: oneshot::Receiver<Result<Http2Lease, Http2OpenError>>,
    ) -> Result<Http2Lease, Http2OpenError> {
        let answer = async {
            loop {
                // It may be needed only later: when those that are being opened allow fewer streams
                // than were expected of them, nobody but who waits here can ask for more.
                let short = self.short.notified();
                let needed = self.needed() > 0;
                tokio::select! {
                    biased;
                    answer = &mut waits => return answer,
                    permit = backend.wait(&shard.shared), if needed => self.open_more(permit),
                    () = short, if !needed => {}
                }
            }
        };
        let limit = shard.settings.timeouts.pending.0;
        let answer = match limit.is_zero() {
            true => answer.await.ok(),
            false => tokio::time::timeout(limit, answer)
                .await
                .ok()
                .and_then(Result::ok),
        };
        answer.unwrap_or_else(|| {
            shard.counts.limit("timeouts.pending");
            Err(Http2OpenError::Late)
        })
    }

    /// Connections that take streams.
    pub(crate) fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    fn take(&self, limits: &ConnectionLimits, looked: bool) -> Taken {
        let mut at = 0;
        loop {
            let Some(connection) = self.connections.borrow().get(at).cloned() else {
                return Taken::None;
            };
            match connection.room(limits, looked) {
                Room::Free(lease) => {
                    if connection.is_spent(limits) {
                        self.retire(&connection);
                    }
                    return Taken::Lease(lease);
                }
                Room::Full => at += 1,
                Room::Unread => return Taken::Unread,
                Room::Over => self.retire(&connection),
            }
        }
    }

    /// Gives the head of the line what room there is, and has opened what the rest needs.
    pub(crate) fn serve(&self) {
        loop {
            let Some(next) = self.waiting.borrow_mut().pop_front() else {
                if self.retired.get() {
                    let all: Vec<_> = self.connections.borrow().clone();
                    all.iter().for_each(|it| self.retire(it));
                }
                return;
            };
            if next.lease.is_closed() {
                continue;
            }
            match self.take(&next.limits, true) {
                Taken::Lease(lease) => {
                    // Its receiver is there: nothing else ran since that was asked.
                    let _ = next.lease.send(Ok(lease));
                }
                Taken::None | Taken::Unread => {
                    self.waiting.borrow_mut().push_front(next);
                    return self.open_more(None);
                }
            }
        }
    }

    /// How many more connections are to be opened for the line.
    fn needed(&self) -> u32 {
        let waiting = self.waiting.borrow();
        let Some(first) = waiting.front() else {
            return 0;
        };
        let streams = first.limits.streams.min(self.expected.get()).max(1);
        let needed = u32::try_from(waiting.len())
            .unwrap_or(u32::MAX)
            .div_ceil(streams);
        let open = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let most = first.limits.connections.saturating_sub(open).min(needed);
        most.saturating_sub(self.opening.get())
    }

    /// Opens them, as far as the backend may have them. `permit`: the right to one is there already.
    fn open_more(&self, mut permit: Option<ConnectionPermit>) {
        for _ in 0..self.needed() {
            let waiting = self.waiting.borrow();
            let (Some(first), Some(pool)) = (waiting.front(), self.own.upgrade()) else {
                return;
            };
            let backend = first.backend.as_ref().filter(|_| permit.is_none());
            match backend.map_or(Ok(None), |it| it.connection()) {
                Ok(None) => {}
                Ok(granted) => permit = granted,
                // Else nobody might ever serve the line: connections elsewhere need not end.
                Err(Full(_)) if self.len() == 0 && self.opening.get() == 0 => {}
                Err(Full(_)) => return self.short.notify_waiters(),
            }
            self.opening.set(self.opening.get() + 1);
            let (endpoint, shard) = (first.endpoint.clone(), first.shard.clone());
            actix::spawn(Attempt(pool).run(endpoint, shard, first.limits, permit.take()));
        }
    }

    fn opened(&self, connection: Rc<Connection>) {
        self.expected.set(connection.allowed().max(1));
        self.connections.borrow_mut().push(connection);
        self.serve();
    }

    /// Tells those at the head of the line for whom no other connection is being opened.
    fn not_opened(&self, error: &Http2OpenError) {
        tracing::debug!(%error, "no HTTP/2 connection to an endpoint");
        loop {
            let next = {
                let mut waiting = self.waiting.borrow_mut();
                let Some(first) = waiting.front() else {
                    return;
                };
                let streams = first.limits.streams.min(self.expected.get()).max(1);
                let served = self.opening.get().saturating_mul(streams);
                if waiting.len() <= served as usize {
                    return;
                }
                waiting.pop_front()
            };
            if let Some(next) = next {
                let _ = next.lease.send(Err(error.clone()));
            }
        }
    }

    fn retire(&self, connection: &Rc<Connection>) {
        self.connections
            .borrow_mut()
            .retain(|it| !Rc::ptr_eq(it, connection));
        self.leaving.borrow_mut().push(connection.clone());
        connection.retire();
    }

    /// From now on its connections serve who waits for them, and no others; or they do again.
    pub(super) fn retire_all(&self, retired: bool) {
        self.retired.set(retired);
        if retired {
            self.serve();
        }
    }

    /// The task of a connection has ended.
    fn ended(&self, connection: &Rc<Connection>) {
        for list in [&self.connections, &self.leaving] {
            list.borrow_mut().retain(|it| !Rc::ptr_eq(it, connection));
        }
        connection.retire();
        self.serve();
    }

    /// Closes idle connections that keep requests from opening one elsewhere.
    pub(crate) fn make_room(&self) {
        let all: Vec<_> = self.connections.borrow().clone();
        for connection in all.iter().filter(|it| it.is_in_the_way()) {
            self.retire(connection);
        }
    }

    /// Closes what is idle for longer than its policy or else `limit` says, what writes nothing for
    /// `stall`, and what does not end although it was told to.
    pub(crate) fn prune(&self, now: Instant, limit: Duration, stall: Duration) {
        self.waiting.borrow_mut().retain(|it| !it.lease.is_closed());
        let all: Vec<_> = self.connections.borrow().clone();
        for connection in all {
            if connection.is_stalled(now, stall) {
                self.retire(&connection);
                connection.abort();
            } else if connection.is_idle(now, limit) || connection.is_old(now) {
                self.retire(&connection);
            }
        }
        for connection in self.leaving.borrow().iter() {
            if connection.is_stalled(now, stall) || connection.is_overdue(now, GOODBYE) {
                connection.abort();
            }
        }
    }
}

impl std::fmt::Debug for Http2Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Pool")
            .field("connections", &self.len())
            .field("opening", &self.opening)
            .finish_non_exhaustive()
    }
}

enum Taken {
    Lease(Http2Lease),
    None,
    Unread,
}

/// A connection that is being opened, until dropped.
struct Attempt(Rc<Http2Pool>);

impl Attempt {
    /// A task of its own, since several requests may wait for it, and the first one may give up.
    async fn run(
        self,
        endpoint: Rc<EndpointState>,
        shard: Rc<Shard>,
        limits: ConnectionLimits,
        permit: Option<ConnectionPermit>,
    ) {
        let opened = Connection::open(&self.0, &endpoint, &shard, &limits, permit).await;
        let pool = self.0.clone();
        drop(self);
        match opened {
            Ok(connection) => pool.opened(connection),
            Err(error) => {
                if let Http2OpenError::Handshake(_) | Http2OpenError::HandshakeTimeout = error {
                    shard.counts.no_http2(&endpoint.address, &error);
                }
                pool.not_opened(&error);
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.opening.set(self.0.opening.get() - 1);
    }
}
