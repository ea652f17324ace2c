//! Messages between actors, by the three verbs, to an actor on the same thread and to one on
//! another.
//!
//! `tell` and `offer` count a message from sending to the end of an empty handler, in bursts of
//! [`BURST`] of which the last one is waited for; the time shown is for [`MESSAGES`] messages, so
//! read 1 ms as 100 ns a message. To another thread this is the sustained pace: both threads work
//! at the same time, and only the first message of a burst may have to wake the receiver. `ask`
//! waits for each answer before the next question, wake-ups included; the time shown is for
//! [`QUESTIONS`] questions, so read 1 ms as 1 µs a round trip.
//!
//! Not measured: a message that finds its receiver asleep with nobody asking, and queues of many
//! senders.

use actix::{Actor, Context, Handler, Message};
use divan::Bencher;
use divan::counter::ItemsCount;
use pointsman_runtime::{ActorSpec, Link, Overseer, ShardId, Shards, ask, offer, tell};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// The product's allocator, which has a share in these figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Messages sent before one is waited for; what a mailbox has room for.
const BURST: usize = 1_000;
/// Messages in one timed run of `tell` and `offer`.
const MESSAGES: usize = 10 * BURST;
/// Questions in one timed run of `ask`.
const QUESTIONS: usize = 1_000;
/// No answer takes this long.
const DEADLINE: Duration = Duration::from_secs(20);

/// Adds to the sum and answers it. From the benchmarks to `Adder`, [`BURST`] at a time by `tell`
/// and `offer`, one at a time by `ask`.
#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

struct Adder(u64);

impl Actor for Adder {
    type Context = Context<Self>;
}

impl Handler<Add> for Adder {
    type Result = u64;
    fn handle(&mut self, Add(more): Add, _: &mut Self::Context) -> u64 {
        self.0 = self.0.wrapping_add(more);
        self.0
    }
}

/// Where the actor lives.
#[derive(Clone, Copy, Debug)]
enum Thread {
    Same,
    Other,
}

const THREADS: [Thread; 2] = [Thread::Same, Thread::Other];

/// What is done in one timed run.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Tell,
    Offer,
    Ask,
}

async fn send(verb: Verb, link: &Link<Adder>) {
    let answered = async || {
        let answer = ask(link, Add(1), DEADLINE).await;
        divan::black_box(answer.expect("an answer"));
    };
    if let Verb::Ask = verb {
        for _ in 0..QUESTIONS {
            answered().await;
        }
        return;
    }
    for _ in 0..MESSAGES / BURST {
        for _ in 1..BURST {
            match verb {
                Verb::Tell => tell(link, Add(1)),
                _ => assert!(offer(link, Add(1)).is_ok(), "the mailbox is full"),
            }
        }
        answered().await;
    }
}

/// A thread with an event loop that sends on request, since a benchmark's own thread cannot both
/// wait for it and run it. The request costs some 10 µs of each run, 1 ns of each message.
struct Sender {
    orders: Option<mpsc::UnboundedSender<Verb>>,
    done: std::sync::mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    fn start(to: Thread) -> Sender {
        let (orders, mut ordered) = mpsc::unbounded_channel();
        let (finish, done) = std::sync::mpsc::channel();
        let main = async move {
            let shards = Shards::start(1).expect("threads");
            let overseer = Overseer::default();
            let spec = || ActorSpec::new("adder", BURST, |_, _| Adder(0));
            let link = match to {
                Thread::Same => overseer.start(spec()),
                Thread::Other => {
                    let begin = async move |_: ShardId| overseer.start(spec());
                    let mut links = shards.on_each(DEADLINE, begin).await.expect("an actor");
                    links.remove(0)
                }
            };
            while let Some(verb) = ordered.recv().await {
                send(verb, &link).await;
                let _ = finish.send(());
            }
            assert!(shards.stop(DEADLINE).await.is_clean());
        };
        let thread = std::thread::spawn(|| pointsman_runtime::run(main).expect("an event loop"));
        Sender {
            orders: Some(orders),
            done,
            thread: Some(thread),
        }
    }

    fn run(&self, verb: Verb) {
        let orders = self.orders.as_ref().expect("not dropped");
        orders.send(verb).expect("the thread lives");
        self.done.recv().expect("the thread lives");
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.orders = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the sender failed");
    }
}

fn measure(bencher: Bencher<'_, '_>, verb: Verb, to: Thread, messages: usize) {
    let sender = Sender::start(to);
    bencher
        .counter(ItemsCount::new(messages))
        .bench_local(|| sender.run(verb));
}

#[divan::bench(name = "tell_10000", args = THREADS, sample_count = 100, sample_size = 1)]
fn told(bencher: Bencher<'_, '_>, to: Thread) {
    measure(bencher, Verb::Tell, to, MESSAGES);
}

#[divan::bench(name = "offer_10000", args = THREADS, sample_count = 100, sample_size = 1)]
fn offered(bencher: Bencher<'_, '_>, to: Thread) {
    measure(bencher, Verb::Offer, to, MESSAGES);
}

#[divan::bench(name = "ask_1000", args = THREADS, sample_count = 100, sample_size = 1)]
fn asked(bencher: Bencher<'_, '_>, to: Thread) {
    measure(bencher, Verb::Ask, to, QUESTIONS);
}
