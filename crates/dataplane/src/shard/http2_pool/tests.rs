//! The pool against peers on real sockets: h2's server, and raw frames where that is too polite.
use super::*;
use crate::{capture::Capture, extension::Extensions, shard::Common};
use bytes::Bytes;
use futures_util::FutureExt;
use h2::Reason;
use http::{Request, Response};
use pointsman_model::Given;
use pointsman_route::{Contexts, EndpointAddress, Snapshot, Tables};
use pointsman_runtime::Drain;
use std::{future::Future, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MOMENT: Duration = Duration::from_secs(10);

/// Runs a test as a shard runs its tasks: on one thread.
fn on_a_shard(test: impl Future<Output = ()>) {
    actix_rt::System::new()
        .block_on(async { tokio::time::timeout(2 * MOMENT, test).await })
        .expect("the test ends in time");
}

/// With an empty table, and no actors.
pub(crate) fn shard() -> Rc<Shard> {
    Shard::new(
        0,
        Common {
            settings: Settings::default(),
            capture: Capture::default(),
            source: Arc::default(),
            shared: Arc::default(),
        },
        Arc::new(Snapshot {
            generation: 1,
            tables: Tables::empty(&Contexts::mesh(Given::default())),
        }),
        Extensions::default(),
        Rc::new(|_| Box::pin(std::future::ready(Err("nobody to ask".into())))),
        Drain::new().watch(),
    )
}

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        connect: MOMENT,
        ..ConnectionLimits::of(None, &Settings::default())
    }
}

struct World {
    shard: Rc<Shard>,
    endpoint: Rc<EndpointState>,
    limits: ConnectionLimits,
    backend: Option<Rc<PoolLimits>>,
}

impl World {
    fn new(address: SocketAddr) -> Self {
        Self {
            shard: shard(),
            endpoint: Rc::new(EndpointState::new(EndpointAddress::Socket(address))),
            limits: limits(),
            backend: None,
        }
    }

    async fn open(&self) -> Result<Http2Lease, Http2OpenError> {
        let pool = self.endpoint.http2();
        let backend = self.backend.as_ref();
        pool.open(&self.endpoint, &self.shard, &self.limits, backend)
            .await
    }

    fn pool(&self) -> &Http2Pool {
        self.endpoint.http2()
    }

    /// A whole request; its status, or what its error means.
    async fn get(&self) -> Result<u16, StreamFault> {
        let mut lease = self.open().await.expect("room");
        self.get_on(&mut lease).await
    }

    async fn until_none_takes_streams(&self) {
        while self.pool().connections.borrow().iter().any(|it| it.takes()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn get_on(&self, lease: &mut Http2Lease) -> Result<u16, StreamFault> {
        let (response, _body) = lease.send(request(), true)?;
        match response.await {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) => Err(lease.fault(&error)),
        }
    }
}

fn request() -> Request<()> {
    let request = Request::get("http://reviews/");
    request.body(()).expect("a request")
}

/// What became of the connections of a peer.
#[derive(Clone, Default)]
struct Seen {
    connections: Rc<Cell<u32>>,
    /// The most streams at a time on one connection.
    most: Rc<Cell<u32>>,
    resets: Rc<RefCell<Vec<Reason>>>,
    /// Requests so far, and how many there are to be before any is answered; 0: none is held up.
    asked: Rc<Cell<u32>>,
    crowd: Rc<Cell<u32>>,
    complete: Rc<tokio::sync::Notify>,
}

impl Seen {
    /// Once the crowd is complete, or at once.
    async fn all(&self) {
        while self.asked.get() < self.crowd.get() {
            self.complete.notified().await;
        }
    }
}

/// A server that answers every request with 200 after `delay`, and allows `streams` at a time.
async fn peer(streams: u32, delay: Duration) -> (World, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let world = World::new(listener.local_addr().expect("bound"));
    let seen = Seen::default();
    let shared = seen.clone();
    actix::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = shared.clone();
            seen.connections.set(seen.connections.get() + 1);
            actix::spawn(serve(socket, streams, delay, seen));
        }
    });
    (world, seen)
}

async fn serve(socket: TcpStream, streams: u32, delay: Duration, seen: Seen) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else {
        return;
    };
    let at_once = Rc::new(Cell::new(0));
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        at_once.set(at_once.get() + 1);
        seen.most.set(seen.most.get().max(at_once.get()));
        seen.asked.set(seen.asked.get() + 1);
        if seen.asked.get() == seen.crowd.get() {
            seen.complete.notify_waiters();
        }
        let (at_once, seen) = (at_once.clone(), seen.clone());
        actix::spawn(async move {
            seen.all().await;
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx));
            let gone = tokio::time::timeout(delay, reset).await;
            at_once.set(at_once.get() - 1);
            match gone {
                Ok(Ok(reason)) => seen.resets.borrow_mut().push(reason),
                Ok(Err(_)) => {}
                Err(_) => drop(respond.send_response(Response::new(()), true)),
            }
        });
    }
}

/// A peer whose every connection, numbered from 0, is served by `script`.
async fn scripted<F: Future<Output = ()> + 'static>(
    script: impl Fn(Raw, u32) -> F + 'static,
) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let world = World::new(listener.local_addr().expect("bound"));
    actix::spawn(async move {
        for number in 0.. {
            let Ok((socket, _)) = listener.accept().await else {
                return;
            };
            actix::spawn(script(Raw(socket), number));
        }
    });
    world
}

/// One end of a connection, in frames (RFC 9113 section 4.1).
struct Raw(TcpStream);

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

impl Raw {
    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // The other side may have gone already.
        let _ = self.0.write_all(&frame).await;
    }

    /// SETTINGS with MAX_CONCURRENT_STREAMS.
    async fn allow(&mut self, streams: u32) {
        let value = streams.to_be_bytes();
        self.send(SETTINGS, 0, 0, &[&[0, 3], &value[..]].concat())
            .await;
    }

    async fn go_away(&mut self, last: u32) {
        let reason = 0u32.to_be_bytes();
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), reason].concat())
            .await;
    }

    /// 200 without a body.
    async fn answer(&mut self, stream: u32) {
        // Indexed field 8 of the static table is `:status: 200`.
        self.send(HEADERS, 0x5, stream, &[0x88]).await;
    }

    async fn preface(&mut self) {
        let mut preface = [0; 24];
        let _ = self.0.read_exact(&mut preface).await;
    }

    /// The stream of the next frame of this kind; `None` at the end.
    async fn next(&mut self, kind: u8) -> Option<u32> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let [a, b, c, found, _, stream @ ..] = head;
            let length = u32::from_be_bytes([0, a, b, c]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            if found == kind {
                return Some(u32::from_be_bytes(stream));
            }
        }
    }

    async fn until_closed(&mut self) {
        while self.next(u8::MAX).await.is_some() {}
    }
}

#[test]
fn requests_share_one_connection() {
    on_a_shard(async {
        let (world, seen) = peer(100, Duration::ZERO).await;
        let first = world.open().await.expect("room");
        assert!(!first.is_reused());
        drop(first);
        for _ in 0..10 {
            assert_eq!(world.get().await, Ok(200));
        }
        assert!(world.open().await.expect("room").is_reused());
        assert_eq!((seen.connections.get(), world.pool().len()), (1, 1));
    });
}

#[test]
fn a_connection_was_idle_for_all_that_is_sent_in_one_burst() {
    on_a_shard(async {
        let (world, seen) = peer(100, Duration::ZERO).await;
        let new = [world.open().await, world.open().await];
        assert!(new.iter().flatten().all(|it| !it.is_reused()));
        drop(new);
        assert_eq!(world.get().await, Ok(200));
        let (first, second) = (world.open().await, world.open().await);
        let mut first = first.expect("room");
        assert!(first.is_reused() && second.as_ref().is_ok_and(Http2Lease::is_reused));
        assert_eq!(world.get_on(&mut first).await, Ok(200));
        // The other one is there still.
        assert!(!world.open().await.expect("room").is_reused());
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn another_connection_is_opened_at_the_peers_limit_and_at_our_own() {
    on_a_shard(async {
        let (mut world, seen) = peer(2, Duration::ZERO).await;
        let held = [world.open().await, world.open().await, world.open().await];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(seen.connections.get(), 2);
        drop(held);
        world.limits.streams = 1;
        let held = [world.open().await, world.open().await];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(seen.connections.get(), 2);
        let third = world.open().await;
        assert_eq!(seen.connections.get(), 3);
        drop((held, third));
    });
}

/// 200 requests at once, none of which is answered before all are there, and the peer never sees more at a
/// time than it allows.
#[test]
fn a_crowd_waits_for_few_connections() {
    on_a_shard(async {
        for (streams, least, most) in [(100, 2, 2), (10, 20, 22), (1, 200, 202)] {
            let (mut world, seen) = peer(streams, Duration::ZERO).await;
            seen.crowd.set(200);
            // A machine that is busy with other things is no reason to give up.
            world.limits.connect = Duration::from_secs(60);
            let world = Rc::new(world);
            let crowd: Vec<_> = (0..200)
                .map(|_| {
                    let world = world.clone();
                    actix::spawn(async move { world.get().await })
                })
                .collect();
            for request in crowd {
                assert_eq!(request.await.expect("no panic"), Ok(200));
            }
            assert!(seen.most.get() <= streams, "{}", seen.most.get());
            let connections = seen.connections.get();
            assert!(
                (least..=most).contains(&connections),
                "{connections} connections at {streams} streams each"
            );
            assert!(world.pool().waiting.borrow().is_empty());
            assert_eq!(world.pool().opening.get(), 0);
        }
    });
}

#[test]
fn requests_wait_for_room_at_the_limit_of_connections_but_not_for_ever() {
    on_a_shard(async {
        let (mut world, seen) = peer(1, Duration::ZERO).await;
        world.limits.connections = 1;
        let first = world.open().await.expect("room");
        let (second, ()) = tokio::join!(world.open(), async { drop(first) });
        assert!(second.expect("the first one's room").is_reused());
        let _held = world.open().await.expect("room");
        world.limits.connect = Duration::from_millis(50);
        let third = world.open().await;
        assert!(matches!(third, Err(Http2OpenError::Exhausted)), "{third:?}");
        assert_eq!(seen.connections.get(), 1);
        let limits = world.shard.counts.limits.borrow();
        assert_eq!(limits.get("http2.endpoint_connections"), Some(&1));
    });
}

/// Makes them endpoints of one backend, which may have so many connections.
fn of_one_backend([one, two]: [&mut World; 2], most: u32) {
    let mut policy = pointsman_route::Policy::default();
    policy.pool.max_connections = Some(most);
    let limits = one.shard.shared.limits(&"web".into(), &policy);
    one.backend = limits.map(Rc::new);
    (two.shard, two.backend) = (one.shard.clone(), one.backend.clone());
}

/// BE-60: what is idle elsewhere makes room for who waits, and a pool without any connection may have
/// one in any case.
#[test]
fn an_idle_connection_of_another_pool_makes_room() {
    on_a_shard(async {
        let (mut one, _) = peer(1, Duration::ZERO).await;
        let (mut two, seen) = peer(1, Duration::ZERO).await;
        of_one_backend([&mut one, &mut two], 1);
        assert_eq!(one.get().await, Ok(200));
        let _held = two.open().await.expect("its only one");
        let mut wanted = one.shard.shared.wanted();
        let second = two.open();
        let room = async {
            wanted.changed().await.expect("somebody wants one");
            assert_eq!(one.pool().len(), 1);
            one.endpoint.make_room();
            assert_eq!(one.pool().len(), 0);
        };
        let (second, ()) = tokio::join!(second, room);
        assert!(second.is_ok(), "{second:?}");
        assert_eq!(seen.connections.get(), 2);
        // One that comes to be idle while somebody waits does not stay.
        let held = one.open().await.expect("its only one");
        let mut third = Box::pin(two.open());
        assert!(third.as_mut().now_or_never().is_none());
        drop((held, second));
        assert!(third.await.is_ok());
    });
}

/// BE-60: also for who was thought to be served by a connection that was being opened already.
#[test]
fn who_finds_no_room_on_a_connection_that_was_begun_waits_for_another() {
    on_a_shard(async {
        let (mut one, seen) = peer(1, Duration::ZERO).await;
        let (mut two, _) = peer(1, Duration::ZERO).await;
        of_one_backend([&mut one, &mut two], 2);
        assert_eq!(two.get().await, Ok(200));
        let mut wanted = one.shard.shared.wanted();
        let room = async {
            wanted.changed().await.expect("somebody wants one");
            two.endpoint.make_room();
            assert_eq!(two.pool().len(), 0);
        };
        // The peer says only once it is connected to that it allows a single stream.
        let (first, second, ()) = tokio::join!(one.open(), one.open(), room);
        assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
        assert_eq!(seen.connections.get(), 2);
    });
}

#[test]
fn a_connection_begun_for_somebody_who_left_serves_the_next() {
    on_a_shard(async {
        let (world, seen) = peer(10, Duration::ZERO).await;
        let mut left = Box::pin(world.open());
        assert!(left.as_mut().now_or_never().is_none());
        drop(left);
        assert_eq!(world.get().await, Ok(200));
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn a_connection_serves_as_many_requests_as_it_may() {
    on_a_shard(async {
        let (mut world, seen) = peer(100, Duration::ZERO).await;
        world.limits.requests = 2;
        for _ in 0..5 {
            assert_eq!(world.get().await, Ok(200));
        }
        assert_eq!(seen.connections.get(), 3);
        assert_eq!(world.pool().len(), 1);
    });
}

#[test]
fn an_idle_connection_is_closed() {
    on_a_shard(async {
        let (mut world, seen) = peer(100, Duration::ZERO).await;
        assert_eq!(world.get().await, Ok(200));
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let pool = world.endpoint.http2().clone();
        let prune = |later| pool.prune(now + later, minute, Duration::ZERO);
        prune(minute / 2);
        assert_eq!(world.pool().len(), 1);
        prune(minute * 2);
        assert_eq!(world.pool().len(), 0);
        // One that is too old, although it is not idle for long (BE-63).
        world.limits.total = Some(minute / 4);
        assert_eq!(world.get().await, Ok(200));
        world.limits.total = None;
        prune(minute / 3);
        assert_eq!(world.pool().len(), 0);
        // Its policy says less than what holds for all, and is kept without being pruned.
        world.limits.idle = Some(Duration::from_millis(20));
        assert_eq!(world.get().await, Ok(200));
        tokio::time::sleep(Duration::from_millis(40)).await;
        assert_eq!(world.get().await, Ok(200));
        assert_eq!(seen.connections.get(), 4);
        // Those that were retired end: nothing is left of them.
        while !world.pool().leaving.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn streams_finish_behind_a_goaway_and_new_ones_go_elsewhere() {
    on_a_shard(async {
        let world = scripted(async |mut peer: Raw, _| {
            peer.preface().await;
            peer.allow(100).await;
            let Some(stream) = peer.next(HEADERS).await else {
                return;
            };
            peer.go_away(stream).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            peer.answer(stream).await;
            peer.until_closed().await;
        })
        .await;
        let mut old = world.open().await.expect("room");
        let (response, _) = old.send(request(), true).expect("sent");
        world.until_none_takes_streams().await;
        let new = world.open().await.expect("room on a second connection");
        assert!(!new.is_reused());
        assert_eq!(response.await.expect("an answer").status(), 200);
    });
}

#[test]
fn what_the_peer_did_not_touch_is_told_from_what_it_may_have() {
    on_a_shard(async {
        let world = scripted(async |mut peer: Raw, number| {
            peer.preface().await;
            peer.allow(100).await;
            let Some(stream) = peer.next(HEADERS).await else {
                return;
            };
            match number {
                0 => peer.go_away(0).await,
                1 => peer.send(3, 0, stream, &7u32.to_be_bytes()).await,
                2 => peer.send(3, 0, stream, &8u32.to_be_bytes()).await,
                // HEADERS of a stream nobody asked for.
                3 => peer.send(HEADERS, 0x5, stream + 2, &[0x88]).await,
                _ => return,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        })
        .await;
        for expected in [
            StreamFault::GoneAway,
            StreamFault::Refused,
            StreamFault::Reset(Reason::CANCEL),
            StreamFault::Protocol(Reason::PROTOCOL_ERROR),
            StreamFault::Closed,
        ] {
            let mut lease = world.open().await.expect("room");
            assert_eq!(world.get_on(&mut lease).await, Err(expected));
            // The next one comes on a connection of its own.
            for connection in &*world.pool().connections.borrow() {
                connection.retire();
            }
        }
    });
}

#[test]
fn nothing_was_sent_on_a_connection_that_ends_before_the_stream() {
    on_a_shard(async {
        let world = scripted(async |mut peer: Raw, _| {
            peer.preface().await;
            peer.allow(100).await;
            // The acknowledgement is here: this side has nothing left to write.
            peer.next(SETTINGS).await;
            peer.next(SETTINGS).await;
        })
        .await;
        let mut lease = world.open().await.expect("room");
        while lease.is_open() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(world.get_on(&mut lease).await, Err(StreamFault::Unsent));
    });
}

#[test]
fn an_idle_connection_that_the_peer_closed_is_not_used() {
    on_a_shard(async {
        let world = scripted(async |mut peer: Raw, number| {
            peer.preface().await;
            peer.allow(100).await;
            while let Some(stream) = peer.next(HEADERS).await {
                peer.answer(stream).await;
                match number {
                    0 => return,
                    1 => return peer.go_away(stream).await,
                    _ => {}
                }
            }
        })
        .await;
        for _ in 0..3 {
            assert_eq!(world.get().await, Ok(200));
            // The peer's end arrives, but nobody on this thread has looked yet.
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(world.pool().len(), 1);
    });
}

#[test]
fn a_limit_that_the_peer_lowers_holds() {
    on_a_shard(async {
        let world = scripted(async |mut peer: Raw, number| {
            peer.preface().await;
            peer.allow(100).await;
            let mut lowered = false;
            while let Some(stream) = peer.next(HEADERS).await {
                if number == 0 && !lowered {
                    peer.allow(1).await;
                    lowered = true;
                }
                peer.answer(stream).await;
            }
        })
        .await;
        assert_eq!(world.get().await, Ok(200));
        let _first = world.open().await.expect("room");
        assert_eq!(world.pool().len(), 1);
        let _second = world.open().await.expect("room elsewhere");
        assert_eq!(world.pool().len(), 2);
    });
}

/// `MAX_CONCURRENT_STREAMS=0` and GOAWAY have crashed others (CVE-2021-32780).
#[test]
fn a_peer_that_allows_no_stream_is_given_up() {
    on_a_shard(async {
        let mut world = scripted(async |mut peer: Raw, number| {
            peer.preface().await;
            peer.allow(0).await;
            match number {
                0 => peer.go_away(0).await,
                1 => return,
                2 => {
                    peer.allow(1).await;
                    peer.go_away(0).await;
                }
                3 => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    peer.allow(1).await;
                    let stream = peer.next(HEADERS).await.unwrap_or_default();
                    peer.answer(stream).await;
                    peer.allow(0).await;
                    peer.go_away(stream).await;
                }
                _ => {}
            }
            peer.until_closed().await;
        })
        .await;
        for _ in 0..3 {
            let refused = world.open().await;
            assert!(
                matches!(refused, Err(Http2OpenError::Handshake(_))),
                "{refused:?}"
            );
        }
        // "For a short time" only: RFC 9113 section 6.5.2.
        assert_eq!(world.get().await, Ok(200));
        world.until_none_takes_streams().await;
        world.limits.connect = Duration::from_millis(100);
        let refused = world.open().await;
        assert!(
            matches!(refused, Err(Http2OpenError::NoStreams)),
            "{refused:?}"
        );
    });
}

#[test]
fn a_connection_that_cannot_be_opened_says_why_to_all_who_wait() {
    on_a_shard(async {
        let mut silent = scripted(async |mut peer: Raw, _| {
            peer.preface().await;
            peer.until_closed().await;
        })
        .await;
        silent.limits.connect = Duration::from_millis(100);
        let waited = Instant::now();
        let (one, two) = tokio::join!(silent.open(), silent.open());
        for refused in [one, two] {
            assert!(
                matches!(refused, Err(Http2OpenError::HandshakeTimeout)),
                "{refused:?}"
            );
        }
        assert!(waited.elapsed() >= silent.limits.connect);

        let http1 = scripted(async |Raw(mut socket), _| {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        })
        .await;
        let refused = http1.open().await;
        assert!(
            matches!(refused, Err(Http2OpenError::Handshake(_))),
            "{refused:?}"
        );

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let nobody = World::new(address);
        let refused = nobody.open().await;
        assert!(
            matches!(refused, Err(Http2OpenError::Connect(_))),
            "{refused:?}"
        );
        nobody.shard.ourselves.bind(std::iter::once(address));
        let refused = nobody.open().await;
        assert!(
            matches!(refused, Err(Http2OpenError::Ourselves(_))),
            "{refused:?}"
        );
    });
}

#[test]
fn an_abandoned_stream_is_reset_and_its_room_given_on() {
    on_a_shard(async {
        let (mut world, seen) = peer(1, MOMENT).await;
        world.limits.connections = 1;
        for _ in 0..3 {
            let mut lease = world.open().await.expect("room");
            let (response, body) = lease.send(request(), false).expect("sent");
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop((response, body, lease));
        }
        while seen.resets.borrow().len() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*seen.resets.borrow(), [Reason::CANCEL; 3]);
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn a_connection_that_takes_nothing_is_given_up() {
    on_a_shard(async {
        let world = scripted(async |mut peer: Raw, _| {
            peer.preface().await;
            peer.allow(100).await;
            // INITIAL_WINDOW_SIZE and a WINDOW_UPDATE for the connection: bytes without end.
            let most = 0x7fff_0000u32.to_be_bytes();
            peer.send(SETTINGS, 0, 0, &[&[0, 4], &most[..]].concat())
                .await;
            peer.send(8, 0, 0, &most).await;
            std::future::pending::<()>().await;
        })
        .await;
        let mut lease = world.open().await.expect("room");
        let (_response, mut body) = lease.send(request(), false).expect("sent");
        let stall = Duration::from_millis(100);
        let connection = world.pool().connections.borrow()[0].clone();
        while !connection.is_stalled(Instant::now(), stall) {
            body.reserve_capacity(64 * 1024);
            if body.capacity() > 0 {
                let piece = Bytes::from(vec![0; body.capacity()]);
                body.send_data(piece, false).expect("sent");
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        world.pool().prune(Instant::now(), MOMENT, stall);
        let reset = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
        let error = reset.expect_err("the connection ended");
        assert_eq!(lease.fault(&error), StreamFault::Closed);
        assert_eq!(world.pool().len(), 0);
    });
}
