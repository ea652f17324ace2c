//! The bound of a mailbox holds over all clones and threads, places come back, and an actor that
//! stalls or is flooded holds up nobody but itself.

mod support;

use actix::{
    Actor, ActorFutureExt, AtomicResponse, Context, Handler, Message, ResponseFuture, WrapFuture,
};
use pointsman_runtime::{ActorSpec, AskError, Link, Offered, Overseer, ask, offer, stats, tell};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use support::{DEADLINE, eventually, with_shards};

/// Work that is only counted. From the tests to `Worker`, in floods; `offer`, or `tell` up to the
/// number the test states.
#[derive(Message)]
#[rtype(result = "()")]
struct Work;

/// Holds the worker's thread until the sender of the channel is dropped. From the tests to
/// `Worker`, once at a time; `offer`.
#[derive(Message)]
#[rtype(result = "()")]
struct Hold(mpsc::Receiver<()>);

/// Asks for an answer that never comes. From the tests to `Worker`, once; `ask`.
#[derive(Message)]
#[rtype(result = "()")]
struct Never;

/// Asks for exclusive time: what is sent after it must wait. From the tests to `Worker`, once;
/// `ask`. Answers how much work was done when the time was over.
#[derive(Message)]
#[rtype(result = "usize")]
struct Exclusive(Duration);

struct Worker {
    done: Arc<AtomicUsize>,
}

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Work> for Worker {
    type Result = ();
    fn handle(&mut self, _: Work, _: &mut Self::Context) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }
}

impl Handler<Hold> for Worker {
    type Result = ();
    fn handle(&mut self, Hold(until): Hold, _: &mut Self::Context) {
        self.done.fetch_add(1, Ordering::SeqCst);
        let _ = until.recv_timeout(DEADLINE);
    }
}

impl Handler<Never> for Worker {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: Never, _: &mut Self::Context) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

impl Handler<Exclusive> for Worker {
    type Result = AtomicResponse<Self, usize>;
    fn handle(&mut self, Exclusive(time): Exclusive, _: &mut Self::Context) -> Self::Result {
        let nap = tokio::time::sleep(time).into_actor(self);
        AtomicResponse::new(Box::pin(
            nap.map(|(), worker, _| worker.done.load(Ordering::SeqCst)),
        ))
    }
}

async fn hire(
    shards: &pointsman_runtime::Shards,
    name: &'static str,
    capacity: usize,
) -> (Link<Worker>, Arc<AtomicUsize>) {
    let done = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&done);
    let overseer = Overseer::default();
    let mut links = shards
        .on_each(DEADLINE, async move |_| {
            let done = Arc::clone(&counter);
            let spec = ActorSpec::new(name, capacity, move |_, _| Worker {
                done: Arc::clone(&done),
            });
            overseer.start(spec)
        })
        .await
        .unwrap();
    (links.remove(0), done)
}

/// Occupies the worker; it goes on when the returned sender is dropped.
async fn hold(link: &Link<Worker>, done: &AtomicUsize) -> mpsc::Sender<()> {
    let before = done.load(Ordering::SeqCst);
    let (release, until) = mpsc::channel();
    assert!(offer(link, Hold(until)).is_ok());
    eventually("the hold", || done.load(Ordering::SeqCst) == before + 1).await;
    release
}

#[test]
fn a_flood_from_many_threads_and_clones_stops_at_the_bound() {
    const CAPACITY: usize = 8;
    const THREADS: usize = 4;
    const OFFERS: usize = 1_000;
    with_shards(1, async |shards| {
        let (link, done) = hire(shards, "flooded", CAPACITY).await;
        for round in 1..=3_usize {
            let release = hold(&link, &done).await;
            let before = done.load(Ordering::SeqCst);
            let flooders: Vec<_> = (0..THREADS)
                .map(|_| {
                    let link = link.clone();
                    std::thread::spawn(move || {
                        (0..OFFERS)
                            .filter(|n| match n % 2 {
                                0 => offer(&link.clone(), Work).is_ok(),
                                _ => offer(&link.outlet::<Work>(), Work).is_ok(),
                            })
                            .count()
                    })
                })
                .collect();
            let taken: usize = flooders.into_iter().map(|f| f.join().unwrap()).sum();
            // The message being handled has a place too.
            assert_eq!(taken, CAPACITY - 1);
            assert_eq!(link.depth(), CAPACITY);
            let refused = (THREADS * OFFERS - taken) * round;
            let row = *stats().actor("flooded").unwrap();
            assert_eq!(row.refusals, u64::try_from(refused).unwrap());
            assert_eq!(row.depth, CAPACITY);
            // A tell is not refused, and takes a place that an offer then lacks.
            tell(&link, Work);
            assert_eq!(link.depth(), CAPACITY + 1);
            // The places come back.
            drop(release);
            eventually("an empty mailbox", || link.depth() == 0).await;
            assert_eq!(done.load(Ordering::SeqCst), before + taken + 1);
        }
    });
}

#[test]
fn a_refused_message_comes_back_whole() {
    with_shards(1, async |shards| {
        let (link, done) = hire(shards, "whole", 1).await;
        let release = hold(&link, &done).await;
        let (_alive, until) = mpsc::channel();
        let Err(Offered::Full(Hold(until))) = offer(&link, Hold(until)) else {
            panic!("taken beyond the bound");
        };
        assert_eq!(until.try_recv(), Err(mpsc::TryRecvError::Empty));
        assert_eq!(ask(&link, Work, DEADLINE).await, Err(AskError::Full));
        drop(release);
    });
}

#[test]
fn asking_a_stalled_actor_times_out_and_holds_up_nobody() {
    with_shards(1, async |shards| {
        let (link, done) = hire(shards, "stalled", 8).await;
        let release = hold(&link, &done).await;
        let ticks = Rc::new(Cell::new(0));
        let ticker = tokio::task::spawn_local({
            let ticks = Rc::clone(&ticks);
            async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    ticks.set(ticks.get() + 1);
                }
            }
        });
        let answer = ask(&link, Work, Duration::from_millis(100)).await;
        assert_eq!(answer, Err(AskError::Timeout));
        assert!(ticks.get() >= 5, "this thread stood still: {}", ticks.get());
        ticker.abort();
        drop(release);
        // The message had not been begun, so it was withdrawn.
        eventually("an empty mailbox", || link.depth() == 0).await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
        // An actor that is free but never answers times out as well.
        let answer = ask(&link, Never, Duration::from_millis(20)).await;
        assert_eq!(answer, Err(AskError::Timeout));
        assert_eq!(ask(&link, Work, DEADLINE).await, Ok(()));
    });
}

#[test]
fn one_slot_is_enough_for_any_number_of_asks_in_a_row() {
    with_shards(1, async |shards| {
        let (link, done) = hire(shards, "single", 1).await;
        for n in 1..=2_000 {
            assert_eq!(ask(&link, Work, DEADLINE).await, Ok(()));
            assert_eq!(done.load(Ordering::SeqCst), n);
        }
    });
}

#[test]
fn a_flood_leaves_the_other_tasks_of_the_thread_their_turns() {
    const FLOOD: usize = 20_000;
    with_shards(1, async |shards| {
        let overseer = Overseer::default();
        let longest_wait = shards
            .on_control(DEADLINE, async move || {
                let done = Arc::new(AtomicUsize::new(0));
                let (link, seat) = Link::reserve("swamped", 1);
                for _ in 0..FLOOD {
                    tell(&link, Work);
                }
                let counter = Arc::clone(&done);
                overseer.start(ActorSpec::seated(seat, move |_, _| Worker {
                    done: Arc::clone(&counter),
                }));
                let (mut last, mut longest) = (0, 0);
                while last < FLOOD {
                    tokio::task::yield_now().await;
                    let now = done.load(Ordering::SeqCst);
                    longest = longest.max(now - last);
                    last = now;
                }
                longest
            })
            .await
            .unwrap();
        assert!(longest_wait <= 1_000, "{longest_wait} messages in one go");
    });
}

#[test]
fn what_follows_an_exclusive_handler_waits_and_is_then_handled() {
    with_shards(1, async |shards| {
        let (link, done) = hire(shards, "exclusive", 8).await;
        tell(&link, Work);
        let exclusive = ask(&link, Exclusive(Duration::from_millis(50)), DEADLINE);
        let follower = async {
            tokio::task::yield_now().await;
            ask(&link, Work, DEADLINE).await
        };
        // Only the work sent before was done when the exclusive time was over.
        assert_eq!(tokio::join!(exclusive, follower), (Ok(1), Ok(())));
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert_eq!(link.depth(), 0);
    });
}
