use super::*;
use crate::{
    stream,
    turn::tests::{longest_turn, reader, sender},
};
use socket2::SockRef;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

const SOON: Duration = Duration::from_secs(20);

/// One of ours, and its peer in a thread of the test. Little goes into the socket between them.
fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    peer.set_nodelay(true).unwrap();
    SockRef::from(&ours).set_send_buffer_size(64 << 10).unwrap();
    SockRef::from(&peer).set_recv_buffer_size(64 << 10).unwrap();
    (tokio::net::TcpStream::from_std(ours).unwrap().into(), peer)
}

fn until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < SOON, "it never comes to that");
        thread::sleep(Duration::from_micros(200));
    }
}

/// A direction under test, seen from its peers.
struct Peers {
    source: TcpStream,
    sink: TcpStream,
    hushed: Arc<AtomicBool>,
    parks: Arc<AtomicUsize>,
    sent: usize,
}

impl Peers {
    fn send(&mut self, bytes: &[u8]) {
        self.source.write_all(bytes).unwrap();
        self.sent += bytes.len();
    }

    /// Sends until the sink takes no more and its source is hushed.
    fn fill(&mut self) {
        let begun = Instant::now();
        while !self.hushed.load(Relaxed) {
            assert!(begun.elapsed() < SOON, "never hushed");
            self.send(&[b'x'; 4096]);
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// The same, and it stays so. A sink that took no more a moment ago goes on once the kernel has
    /// settled what is under way (a delayed acknowledgement is 40 ms late, a repeated segment 200).
    fn fill_for_good(&mut self) {
        let begun = Instant::now();
        let mut full = None;
        while full.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(300)) {
            assert!(begun.elapsed() < SOON, "never full");
            if !self.hushed.load(Relaxed) {
                self.fill();
                full = None;
            }
            full.get_or_insert_with(Instant::now);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Everything the sink gets.
    fn drain(&mut self) -> usize {
        let mut got = Vec::new();
        self.sink.read_to_end(&mut got).unwrap();
        got.len()
    }
}

fn runtime(parks: &Arc<AtomicUsize>) -> Runtime {
    let parks = parks.clone();
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || {
            parks.fetch_add(1, Relaxed);
        })
        .build()
        .unwrap()
}

/// Runs a direction for up to `left` bytes, with peers that do as they like. Closes the sink after it.
fn run<T: Send + 'static>(
    left: u64,
    peers: impl FnOnce(Peers) -> T + Send + 'static,
) -> (Result<(), Side>, T) {
    let parks = Arc::default();
    runtime(&parks).block_on(async {
        let ((from, source), (to, sink)) = (pair(), pair());
        let hushed: Arc<AtomicBool> = Arc::default();
        let seen = Peers {
            source,
            sink,
            hushed: hushed.clone(),
            parks: parks.clone(),
            sent: 0,
        };
        let peers = thread::spawn(|| peers(seen));
        let buffers = Buffers::default();
        let mut splice = Splice::new(&buffers, left).unwrap();
        let moved = Cell::new(0);
        let counts = Counts {
            moved: &moved,
            waiting: None,
        };
        let end = poll_fn(|cx| {
            let end = splice.poll(cx, &from, &to, counts);
            hushed.store(from.is_hushed(), Relaxed);
            end
        });
        let end = tokio::time::timeout(SOON, end).await.expect("it hangs");
        if left != u64::MAX {
            assert!(!from.is_hushed());
            // What comes next is heard.
            let mut next = Vec::new();
            assert_eq!(stream::read(&from, &mut next).await.unwrap(), 4);
            assert_eq!(next, b"next");
        }
        drop((from, to));
        (end, peers.join().unwrap())
    })
}

#[test]
fn what_arrives_while_the_sink_is_full_wakes_nobody() {
    let (end, (sent, got, woken)) = run(u64::MAX, |mut peers| {
        peers.fill_for_good();
        let before = peers.parks.load(Relaxed);
        for _ in 0..100 {
            peers.send(b"y");
            thread::sleep(Duration::from_millis(1));
        }
        let woken = peers.parks.load(Relaxed) - before;
        peers.source.shutdown(Shutdown::Write).unwrap();
        (peers.sent, peers.drain(), woken)
    });
    end.unwrap();
    assert_eq!(got, sent);
    assert!(woken < 10, "woken {woken} times for 100 segments");
}

#[test]
fn a_sink_that_goes_on_gets_everything_however_often_it_stalls() {
    let (end, (sent, got)) = run(u64::MAX, |mut peers| {
        let mut got = 0;
        for _ in 0..20 {
            peers.fill();
            let mut some = vec![0; peers.sent - got];
            peers.sink.read_exact(&mut some).unwrap();
            got += some.len();
            // The source is dry, and is listened to again.
            until(|| !peers.hushed.load(Relaxed));
        }
        peers.source.shutdown(Shutdown::Write).unwrap();
        (peers.sent, got + peers.drain())
    });
    end.unwrap();
    assert_eq!(got, sent);
}

#[test]
fn the_end_of_a_hushed_source_is_the_end_of_the_direction() {
    let (end, (sent, got)) = run(u64::MAX, |mut peers| {
        peers.fill();
        peers.source.shutdown(Shutdown::Write).unwrap();
        thread::sleep(Duration::from_millis(20));
        (peers.sent, peers.drain())
    });
    end.unwrap();
    assert_eq!(got, sent);
}

#[test]
fn the_reset_of_a_hushed_source_is_noticed_once_the_sink_takes_more() {
    let (end, ()) = run(u64::MAX, |mut peers| {
        peers.fill();
        SockRef::from(&peers.source)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peers.source);
        thread::sleep(Duration::from_millis(20));
        let _ = peers.sink.read_to_end(&mut Vec::new());
    });
    assert!(matches!(end, Err(Side::From)), "{end:?}");
}

#[test]
fn the_reset_of_a_sink_whose_source_is_hushed_is_noticed() {
    let (end, _kept) = run(u64::MAX, |mut peers| {
        peers.fill();
        SockRef::from(&peers.sink)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        peers.source
    });
    assert!(matches!(end, Err(Side::To)), "{end:?}");
}

#[test]
fn behind_a_body_its_source_is_heard_again() {
    const BODY: usize = 8 << 20;
    let (end, got) = run(BODY as u64, |mut peers| {
        peers.fill();
        let mut source = peers.source.try_clone().unwrap();
        let rest = BODY - peers.sent;
        let sending = thread::spawn(move || {
            source.write_all(&vec![b'z'; rest]).unwrap();
            source.write_all(b"next").unwrap();
        });
        let got = peers.drain();
        sending.join().unwrap();
        got
    });
    end.unwrap();
    assert_eq!(got, BODY);
}

/// Each socket is the source of one direction and the sink of the other.
#[test]
fn both_directions_of_a_tunnel_stall_and_go_on() {
    const EACH: usize = 8 << 20;
    let parks = Arc::default();
    runtime(&parks).block_on(async {
        let ((a, left), (b, right)) = (pair(), pair());
        let hushed: Arc<AtomicUsize> = Arc::default();
        let peers: Vec<_> = [left, right]
            .into_iter()
            .map(|peer| {
                let mut writer = peer.try_clone().unwrap();
                let writing = thread::spawn(move || {
                    let bytes: Vec<u8> = (0..EACH).map(|at| (at / 251) as u8).collect();
                    writer.write_all(&bytes).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let (mut reader, hushed) = (peer, hushed.clone());
                let reading = thread::spawn(move || {
                    until(|| hushed.load(Relaxed) == 2);
                    let mut got = Vec::new();
                    let mut piece = vec![0; 192 << 10];
                    loop {
                        match reader.read(&mut piece).unwrap() {
                            0 => break,
                            read => got.extend_from_slice(&piece[..read]),
                        }
                        // It stalls now and then.
                        if got.len() % 7 == 0 {
                            thread::sleep(Duration::from_millis(10));
                        }
                    }
                    assert_eq!(got.len(), EACH);
                    assert!(
                        got.iter()
                            .enumerate()
                            .all(|(at, it)| *it == (at / 251) as u8)
                    );
                });
                (writing, reading)
            })
            .collect();
        let buffers = Buffers::default();
        let moved = Cell::new(0);
        let counts = Counts {
            moved: &moved,
            waiting: None,
        };
        let mut up = Splice::new(&buffers, u64::MAX).unwrap();
        let mut down = Splice::new(&buffers, u64::MAX).unwrap();
        let (mut up_ends, mut down_ends) = (false, false);
        let both = poll_fn(|cx| {
            for (splice, from, to, ends) in [
                (&mut up, &a, &b, &mut up_ends),
                (&mut down, &b, &a, &mut down_ends),
            ] {
                if !*ends && let Poll::Ready(end) = splice.poll(cx, from, to, counts) {
                    end.unwrap();
                    stream::half_close(to);
                    *ends = true;
                }
            }
            let now = [&a, &b].iter().filter(|it| it.is_hushed()).count();
            hushed.fetch_max(now, Relaxed);
            match up_ends && down_ends {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        tokio::time::timeout(SOON, both).await.expect("it hangs");
        for (writing, reading) in peers {
            writing.join().unwrap();
            reading.join().unwrap();
        }
    });
}

#[test]
fn others_have_a_turn_after_each_piece() {
    const PIECE: usize = 16 * 1024;
    runtime(&Arc::default()).block_on(async {
        let (from, to, moved) = (sender(b"x"), reader(), Cell::new(0));
        let mut splice = Splice::new(&Buffers::default(), u64::MAX).unwrap();
        splice.pipe.room = PIECE;
        let counts = Counts {
            moved: &moved,
            waiting: None,
        };
        let spliced = poll_fn(|cx| splice.poll(cx, &from, &to, counts));
        let most = longest_turn(spliced, || moved.get()).await;
        assert!(most <= PIECE as u64, "{most}");
    });
}
