//! What a shard knows about one endpoint address. Lives beside the snapshot and survives it.
use super::{
    http2_pool::Http2Pool,
    pool_limits::{ConnectionPermit, Lifetime},
    upstream::Upstream,
};
use crate::{shard::Shard, socket::Socket, stream};
use pointsman_route::EndpointAddress;
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// One endpoint address: requests in flight and idle connections.
///
/// Keyed by address, protocol and TLS identity (today: plain text HTTP/1 only), not by service:
/// 100,000 services in front of few endpoints share connections. Only a backend whose connections
/// are counted (BE-60) has endpoint states, and so connections, of its own: one for each number of them.
#[derive(Debug)]
pub struct EndpointState {
    /// Where it is.
    pub address: EndpointAddress,
    active: Cell<u32>,
    idle: RefCell<Vec<Idle>>,
    /// Made on first use: most endpoints speak HTTP/1.
    http2: OnceCell<Rc<Http2Pool>>,
    /// Requests of this shard that wait until they may open a connection: they take one that is
    /// given back as well.
    line: RefCell<VecDeque<oneshot::Sender<Upstream>>>,
    /// Connections handed on since others had a turn.
    handed: Cell<u8>,
    /// Its connections count towards a number that its backend has no more.
    retired: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    upstream: Upstream,
    since: Instant,
    /// What its policy says, if anything; zero: for ever.
    limit: Option<Duration>,
    /// When it is too old (BE-63).
    end: Option<Instant>,
}

/// So many connections that are given back go to requests of the same shard before one is closed for
/// those of others.
const HANDED_IN_A_ROW: u8 = 8;

impl EndpointState {
    /// Nothing in flight, nothing pooled.
    pub fn new(address: EndpointAddress) -> Self {
        Self {
            address,
            active: Cell::new(0),
            idle: RefCell::default(),
            http2: OnceCell::new(),
            line: RefCell::default(),
            handed: Cell::new(0),
            retired: Cell::new(false),
        }
    }

    /// Requests and connections in flight from this shard.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Counts one more in flight until the guard is dropped.
    pub fn enter(self: &Rc<Self>) -> InFlight {
        self.active.set(self.active.get() + 1);
        InFlight(self.clone(), None)
    }

    /// The most recently used idle connection that is still sound and within its `lifetime`. The
    /// oldest ones are left to time out, so that the pool shrinks when traffic does.
    ///
    /// What the runtime knows is enough for a request that is repeated when its connection turns
    /// out to be closed (`replayable`). It polls the sockets of this thread all at once and before
    /// any task runs: whatever came on a pooled connection before the request did, it has told. What
    /// comes later can come after any look. For other requests the kernel is asked as well, since
    /// a connection that is closed this very moment costs the client its answer.
    pub(crate) fn take_idle(&self, lifetime: &Lifetime, replayable: bool) -> Option<Upstream> {
        loop {
            let Idle {
                mut upstream,
                since,
                ..
            } = self.idle.borrow_mut().pop()?;
            if lifetime.is_limited() && !upstream.may_serve(lifetime, since.elapsed()) {
                continue;
            }
            let sound = replayable && stream::is_quiet(&upstream);
            if sound || !stream::is_disturbed(&upstream) {
                upstream.take(lifetime);
                return Some(upstream);
            }
        }
    }

    /// Keeps a connection for the next request, up to `most`.
    pub(crate) fn keep(&self, upstream: Upstream, lifetime: &Lifetime, most: usize, now: Instant) {
        if lifetime.is_limited() && !upstream.may_serve(lifetime, Duration::ZERO) {
            return;
        }
        let upstream = match upstream.permit().map(ConnectionPermit::wanted_by) {
            None | Some(0) => upstream,
            // What stands behind a response that was spliced is with the kernel, and would answer the
            // next request. Who gets the connection looks again.
            Some(1..) if stream::is_disturbed(&upstream) => return,
            Some(wanted_by) => match self.hand_on(upstream, lifetime, wanted_by) {
                Some(upstream) => upstream,
                None => return,
            },
        };
        if self.retired.get() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < most {
            idle.push(Idle {
                since: now,
                limit: lifetime.idle,
                end: upstream.end(lifetime),
                upstream,
            });
        }
    }

    /// Gives a connection to the next request in the line, or closes it so that a request elsewhere
    /// may open one. `None`: it is gone.
    fn hand_on(
        &self,
        mut upstream: Upstream,
        lifetime: &Lifetime,
        wanted_by: u32,
    ) -> Option<Upstream> {
        let others = wanted_by as usize > self.line.borrow().len();
        if others && self.handed.get() >= HANDED_IN_A_ROW {
            self.handed.set(0);
            return None;
        }
        loop {
            let next = self.line.borrow_mut().pop_front();
            let Some(next) = next else {
                // Everybody who is still waiting is elsewhere. That is asked anew: who waits no more
                // leaves a place in the line behind, and counted as if it did would hide another
                // one, who would wait for ever while this connection lies idle.
                let wanted = upstream.permit().is_some_and(|it| it.wanted_by() > 0);
                return (!wanted).then_some(upstream);
            };
            upstream.take(lifetime);
            // Who has given up sends it back.
            match next.send(upstream) {
                Ok(()) => {
                    self.handed.set(self.handed.get().saturating_add(1));
                    return None;
                }
                Err(back) => upstream = back,
            }
        }
    }

    /// Joins the line for a connection that is given back.
    pub(crate) fn queue(&self) -> oneshot::Receiver<Upstream> {
        let (sender, receiver) = oneshot::channel();
        let mut line = self.line.borrow_mut();
        line.retain(|waiting| !waiting.is_closed());
        line.push_back(sender);
        receiver
    }

    /// From now on its connections serve who waits for them, and are not kept; or are again.
    pub(crate) fn retire(&self, retired: bool) {
        self.retired.set(retired);
        if retired {
            self.idle.borrow_mut().clear();
        }
        if let Some(http2) = self.http2.get() {
            http2.retire_all(retired);
        }
    }

    /// Closes idle connections that keep requests from opening one elsewhere.
    pub(crate) fn make_room(&self) {
        self.idle.borrow_mut().retain(|idle| {
            let permit = idle.upstream.permit();
            permit.is_none_or(|permit| permit.wanted_by() == 0)
        });
        if let Some(http2) = self.http2.get() {
            http2.make_room();
        }
    }

    /// Connections of HTTP/2.
    pub(crate) fn http2(&self) -> &Rc<Http2Pool> {
        self.http2.get_or_init(Http2Pool::new)
    }

    /// Idle connections of HTTP/1.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Connections that are kept for requests to come: idle ones, and those of HTTP/2.
    pub fn pooled(&self) -> usize {
        self.idle() + self.http2.get().map_or(0, |pool| pool.len())
    }

    /// Closes idle connections that are older than their policy says, else `limit`, or that the
    /// endpoint has closed, and those of HTTP/2 to which nothing could be written for `stall`.
    pub(crate) fn prune(&self, now: Instant, limit: Duration, stall: Duration) {
        if let Some(http2) = self.http2.get() {
            http2.prune(now, limit, stall);
        }
        self.idle.borrow_mut().retain(|idle| {
            let limit = idle.limit.unwrap_or(limit);
            let young = now.saturating_duration_since(idle.since) < limit;
            let young = young || idle.limit == Some(Duration::ZERO);
            young && idle.end.is_none_or(|end| now < end) && !stream::is_disturbed(&idle.upstream)
        });
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// As connecting fails; a name that does not resolve is `NotFound`; [`is_ourselves`] tells that
    /// the endpoint is this gateway, which is not connected to.
    pub(crate) async fn connect(&self, shard: &Shard) -> io::Result<Socket> {
        match &self.address {
            EndpointAddress::Socket(address) => connect(shard, *address).await,
            // Rare: names are known soon after the documents that have them.
            EndpointAddress::Name { host, port } => {
                Box::pin(connect_by_name(shard, host, *port)).await
            }
            EndpointAddress::Unix(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "unix socket endpoints are not supported yet",
            )),
        }
    }
}

async fn connect(shard: &Shard, address: SocketAddr) -> io::Result<Socket> {
    if shard.ourselves.is(address) {
        return Err(io::Error::other(ConnectsToItself(address)));
    }
    stream::connect(address, shard.capture.mark).await
}

/// To the first of the addresses of a name that can be connected to.
async fn connect_by_name(shard: &Shard, name: &Arc<str>, port: u16) -> io::Result<Socket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in shard.lookups.addresses(name).await?.iter() {
        match connect(shard, SocketAddr::new(*address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The endpoint is this gateway itself: following it would be a loop.
#[derive(Debug, thiserror::Error)]
#[error("{0} is this gateway itself")]
struct ConnectsToItself(SocketAddr);

/// Was a connection not made because the endpoint is this gateway itself?
pub(crate) fn is_ourselves(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|it| it.is::<ConnectsToItself>())
}

/// One request or connection in flight.
#[derive(Debug)]
pub struct InFlight(Rc<EndpointState>, Option<ConnectionPermit>);

impl InFlight {
    /// The endpoint.
    pub fn endpoint(&self) -> &Rc<EndpointState> {
        &self.0
    }

    /// It holds the right to its connection too.
    pub(crate) fn with(mut self, permit: Option<ConnectionPermit>) -> Self {
        self.1 = permit;
        self
    }

    /// That right, if its backend's connections are counted.
    pub(crate) fn permit(&self) -> Option<&ConnectionPermit> {
        self.1.as_ref()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::pool_limits::{PoolLimits, SharedCounts};
    use futures_util::FutureExt;
    use pointsman_route::Policy;
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    const ANY: Lifetime = Lifetime::ANY;

    async fn pair(listener: &TcpListener) -> (Socket, TcpStream) {
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.unwrap().into(), theirs.unwrap().0)
    }

    /// Lets the runtime see what the kernel knows.
    async fn settle(streams: &[&Socket]) {
        for stream in streams {
            stream::readable(stream).await.unwrap();
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_closed_or_talking_connection_is_not_handed_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = EndpointState::new(EndpointAddress::Socket(listener.local_addr().unwrap()));
        let now = Instant::now();
        let (sound, _peer) = pair(&listener).await;
        let sound_address = sound.local_addr().unwrap();
        let (closed, peer) = pair(&listener).await;
        drop(peer);
        let (talking, mut peer) = pair(&listener).await;
        peer.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            .await
            .unwrap();
        settle(&[&closed, &talking]).await;
        for stream in [sound, closed, talking] {
            state.keep(Upstream::new(stream, &ANY, None), &ANY, 8, now);
        }
        let taken = state.take_idle(&ANY, true).expect("the sound one");
        assert_eq!(taken.local_addr().unwrap(), sound_address);
        assert!(state.take_idle(&ANY, true).is_none());
    }

    /// The runtime has not looked since: only the kernel knows.
    #[tokio::test(flavor = "current_thread")]
    async fn what_must_not_be_repeated_asks_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = EndpointState::new(EndpointAddress::Socket(listener.local_addr().unwrap()));
        let (closed, mut peer) = pair(&listener).await;
        // Emptied, as it is after a response.
        peer.write_all(b"x").await.unwrap();
        let mut bytes = Vec::with_capacity(16);
        stream::read(&closed, &mut bytes).await.unwrap();
        assert!(stream::is_quiet(&closed));
        peer.into_std()
            .unwrap()
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        state.keep(Upstream::new(closed, &ANY, None), &ANY, 8, Instant::now());
        assert!(state.take_idle(&ANY, false).is_none());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_pool_is_bounded_and_ages() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = EndpointState::new(EndpointAddress::Socket(listener.local_addr().unwrap()));
        let now = Instant::now();
        let mut peers = Vec::new();
        for _ in 0..3 {
            let (ours, theirs) = pair(&listener).await;
            state.keep(Upstream::new(ours, &ANY, None), &ANY, 2, now);
            peers.push(theirs);
        }
        assert_eq!(state.idle(), 2);
        state.prune(
            now + Duration::from_secs(1),
            Duration::from_secs(2),
            Duration::ZERO,
        );
        assert_eq!(state.idle(), 2);
        state.prune(
            now + Duration::from_secs(3),
            Duration::from_secs(2),
            Duration::ZERO,
        );
        assert_eq!(state.idle(), 0);
    }

    #[test]
    fn in_flight_is_counted_until_dropped() {
        let address = EndpointAddress::Socket(([127, 0, 0, 1], 1).into());
        let state = Rc::new(EndpointState::new(address));
        let (one, two) = (state.enter(), state.enter());
        assert_eq!(state.active(), 2);
        drop((one, two));
        assert_eq!(state.active(), 0);
    }

    /// A backend that may have one connection, and the connection.
    async fn one_of_one(shared: &SharedCounts) -> (PoolLimits, Upstream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut policy = Policy::default();
        policy.pool.max_connections = Some(1);
        let limits = shared.limits(&"web".into(), &policy).expect("limited");
        let permit = limits.connection().expect("room");
        let (ours, peer) = pair(&listener).await;
        (limits, Upstream::new(ours, &ANY, permit), peer)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_nobody_asked_for_is_not_handed_on() {
        // BE-60
        let state = EndpointState::new(EndpointAddress::Socket(([127, 0, 0, 1], 1).into()));
        let shared = SharedCounts::default();
        let (limits, upstream, mut peer) = one_of_one(&shared).await;
        let mut line = state.queue();
        let mut right = Box::pin(limits.wait(&shared));
        assert!(right.as_mut().now_or_never().is_none());
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        settle(&[&upstream]).await;
        state.keep(upstream, &ANY, 8, Instant::now());
        assert!(line.try_recv().is_err(), "it was handed on");
        assert!(right.now_or_never().is_some(), "it is open still");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_comes_on_its_way_to_who_waits_closes_a_connection() {
        // BE-60
        let state = EndpointState::new(EndpointAddress::Socket(([127, 0, 0, 1], 1).into()));
        let shared = SharedCounts::default();
        let (limits, upstream, mut peer) = one_of_one(&shared).await;
        let mut line = state.queue();
        let mut right = Box::pin(limits.wait(&shared));
        assert!(right.as_mut().now_or_never().is_none());
        state.keep(upstream, &ANY, 8, Instant::now());
        let upstream = line.try_recv().expect("handed on");
        let upstream = upstream.still_sound().expect("silent");
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        settle(&[&upstream]).await;
        let permit = upstream.still_sound().expect_err("it has talked");
        assert!(permit.is_some());
        assert!(right.as_mut().now_or_never().is_none(), "who waited has it");
        drop(permit);
        assert!(right.now_or_never().is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_elsewhere_is_not_hidden_by_a_place_that_was_left() {
        // BE-60
        let state = EndpointState::new(EndpointAddress::Socket(([127, 0, 0, 1], 1).into()));
        let shared = SharedCounts::default();
        let (limits, upstream, _peer) = one_of_one(&shared).await;
        // One joined the line and left it; another one waits on another shard.
        drop(state.queue());
        let mut elsewhere = Box::pin(limits.wait(&shared));
        assert!(elsewhere.as_mut().now_or_never().is_none());
        state.keep(upstream, &ANY, 8, Instant::now());
        assert_eq!(state.idle(), 0);
        assert!(elsewhere.now_or_never().is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_connection_serves_as_long_as_its_policy_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = EndpointState::new(EndpointAddress::Socket(listener.local_addr().unwrap()));
        let mut peers = Vec::new();
        let ms = |ms| Some(Duration::from_millis(ms));
        for (lifetime, wait, uses) in [
            // BE-68: the second request is the last one.
            (Lifetime { requests: 2, ..ANY }, 0, 1),
            // BE-70, BE-63
            (
                Lifetime {
                    idle: ms(30),
                    ..ANY
                },
                40,
                0,
            ),
            (
                Lifetime {
                    total: ms(30),
                    ..ANY
                },
                40,
                0,
            ),
            (Lifetime { idle: ms(0), ..ANY }, 40, 3),
        ] {
            let (ours, theirs) = pair(&listener).await;
            peers.push(theirs);
            let mut used = 0;
            let mut held = Some(Upstream::new(ours, &lifetime, None));
            while let Some(upstream) = held.take() {
                state.keep(upstream, &lifetime, 8, Instant::now());
                tokio::time::sleep(Duration::from_millis(wait)).await;
                held = state.take_idle(&lifetime, false).filter(|_| used < 3);
                used += u32::from(held.is_some());
            }
            assert_eq!(used, uses, "{lifetime:?}");
        }
    }
}
