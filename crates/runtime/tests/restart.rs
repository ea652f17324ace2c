//! An actor that panics is made anew on its thread, its links stay good, and what it shares with
//! its neighbours survives; one that panics too often is given up and the rest goes on.

mod support;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Running, WrapFuture};
use pointsman_runtime::{
    ActorSpec, AskError, Budget, Failure, Link, LinkState, Offered, Overseer, Place, Restart,
    ShardId, ask, offer, stats, tell,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use support::{DEADLINE, eventually, with_shards};

/// Adds to the log. From the test to `Clerk`, some tens in all; any verb.
#[derive(Message, Debug, PartialEq)]
#[rtype(result = "usize")]
struct Write(&'static str);

/// Asks for the log, and who wrote it. From the test to `Clerk`; `ask`.
#[derive(Message)]
#[rtype(result = "Option<(u32, Vec<&'static str>)>")]
struct Read;

/// Makes the clerk end in some way. From the test to `Clerk`; `tell`, a few in all.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
enum End {
    PanicInHandler,
    PanicInFuture,
    PanicInStopped,
    Stop,
}

/// What the actors of one shard share; it holds no thread's name but that of its own.
#[derive(Default)]
struct Office {
    hired: Cell<u32>,
    log: RefCell<Vec<&'static str>>,
}

struct Clerk {
    number: u32,
    office: Rc<Office>,
    panic_in_started: bool,
    panic_in_stopped: bool,
}

impl Clerk {
    fn hire(office: &Rc<Office>) -> Clerk {
        office.hired.set(office.hired.get() + 1);
        Clerk {
            number: office.hired.get(),
            office: Rc::clone(office),
            panic_in_started: false,
            panic_in_stopped: false,
        }
    }
}

impl Actor for Clerk {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        assert!(!self.panic_in_started, "on purpose, in started");
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        assert!(!self.panic_in_stopped, "on purpose, in stopped");
    }
}

impl Handler<Write> for Clerk {
    type Result = usize;
    fn handle(&mut self, Write(line): Write, _: &mut Self::Context) -> usize {
        self.office.log.borrow_mut().push(line);
        self.office.log.borrow().len()
    }
}

impl Handler<Read> for Clerk {
    type Result = Option<(u32, Vec<&'static str>)>;
    fn handle(&mut self, _: Read, _: &mut Self::Context) -> Self::Result {
        Some((self.number, self.office.log.borrow().clone()))
    }
}

impl Handler<End> for Clerk {
    type Result = ();
    fn handle(&mut self, end: End, ctx: &mut Self::Context) {
        match end {
            End::PanicInHandler => panic!("on purpose, in a handler"),
            End::PanicInFuture => {
                ctx.spawn(async { panic!("on purpose, in a future") }.into_actor(self));
            }
            End::PanicInStopped => {
                self.panic_in_stopped = true;
                ctx.stop();
            }
            End::Stop => ctx.stop(),
        }
    }
}

fn quick(limit: u16) -> Budget {
    Budget {
        limit,
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(2),
        ..Budget::default()
    }
}

async fn read(link: &Link<Clerk>) -> (u32, Vec<&'static str>) {
    ask(link, Read, DEADLINE).await.unwrap().unwrap()
}

#[test]
fn a_panic_in_a_handler_costs_one_message_and_no_link() {
    with_shards(1, async |shards| {
        let overseer = Overseer::default();
        let links = shards
            .on_each(DEADLINE, async move |_| {
                let office = Rc::new(Office::default());
                let start = |name| {
                    let office = Rc::clone(&office);
                    overseer.start(ActorSpec::new(name, 16, move |_, _| Clerk::hire(&office)))
                };
                (start("handler-a"), start("handler-b"))
            })
            .await
            .unwrap();
        let (a, b) = &links[0];
        let (clone, outlet) = (a.clone(), a.outlet::<Write>());
        // Queued in one go: the clerk dies between the lines.
        tell(a, Write("before"));
        tell(a, End::PanicInHandler);
        tell(&clone, Write("after"));
        assert_eq!(ask(&outlet, Write("erased"), DEADLINE).await, Ok(3));
        // Numbers 1 and 2 were the first incarnations, if both had begun; the panic made a third.
        let (number, log) = read(a).await;
        assert_eq!(log, ["before", "after", "erased"]);
        assert!(number >= 2, "a new incarnation answers, not {number}");
        // The neighbour shares the log, and was not touched.
        assert_eq!(read(b).await.1, log);
        assert_eq!(a.state(), LinkState::Running);
        let stats = stats();
        let (a, b) = (stats.actor("handler-a"), stats.actor("handler-b"));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(
            (a.restarts, a.panics, a.failures, a.instances),
            (1, 1, 0, 1)
        );
        assert_eq!((b.restarts, b.panics, b.instances), (0, 0, 1));
    });
}

#[test]
fn the_asker_whose_message_kills_the_actor_is_told_at_once() {
    with_shards(1, async |shards| {
        let overseer = Overseer::default();
        let link = shards
            .on_control(DEADLINE, async move || {
                let office = Rc::new(Office::default());
                overseer.start(ActorSpec::new("killed", 16, move |_, _| {
                    Clerk::hire(&office)
                }))
            })
            .await
            .unwrap();
        let answer = ask(&link, End::PanicInHandler, DEADLINE).await;
        assert_eq!(answer, Err(AskError::Dead));
        assert_eq!(read(&link).await.0, 2);
        assert_eq!(
            link.depth(),
            0,
            "the panic gave the slot back, before the answer"
        );
    });
}

#[test]
fn panics_in_started_in_the_factory_in_a_future_and_in_stopped_are_restarted() {
    with_shards(1, async |shards| {
        let overseer = Overseer::default();
        let links = shards
            .on_each(DEADLINE, async move |_| {
                let office = Rc::new(Office::default());
                let spec = ActorSpec::new("everywhere", 16, move |_, _| {
                    let mut clerk = Clerk::hire(&office);
                    assert!(clerk.number != 1, "on purpose, in the factory");
                    clerk.panic_in_started = clerk.number <= 3;
                    clerk
                });
                overseer.start(spec.budget(quick(10)))
            })
            .await
            .unwrap();
        let link = &links[0];
        assert_eq!(read(link).await.0, 4);
        for (end, next) in [(End::PanicInFuture, 5), (End::PanicInStopped, 6)] {
            tell(link, end);
            let restarts = u64::from(next - 1_u32);
            eventually("a restart", || {
                stats().actor("everywhere").unwrap().restarts == restarts
            })
            .await;
            assert_eq!(read(link).await.0, next);
        }
        assert_eq!(stats().actor("everywhere").unwrap().panics, 5);
    });
}

#[test]
fn an_actor_that_spends_its_budget_fails_alone() {
    with_shards(1, async |shards| {
        let failures: Arc<Mutex<Vec<Failure>>> = Arc::default();
        let seen = Arc::clone(&failures);
        let failed: Arc<OnceLock<Link<Clerk>>> = Arc::default();
        let link = Arc::clone(&failed);
        let overseer = Overseer::new(move |failure| {
            // By now the link is dead, so whoever the hook tells cannot find it half alive.
            let refused = offer(link.get().unwrap(), Write("late"));
            assert_eq!(refused, Err(Offered::Dead(Write("late"))));
            seen.lock().unwrap().push(failure.clone());
        });
        let links = shards
            .on_each(DEADLINE, async move |_| {
                let office = Rc::new(Office::default());
                let start = |name| {
                    let office = Rc::clone(&office);
                    let spec = ActorSpec::new(name, 16, move |_, _| Clerk::hire(&office));
                    overseer.start(spec.budget(quick(3)))
                };
                (start("doomed"), start("sibling"))
            })
            .await
            .unwrap();
        let (doomed, sibling) = &links[0];
        failed.set(doomed.clone()).unwrap();
        tell(doomed, Write("kept"));
        for _ in 0..4 {
            tell(doomed, End::PanicInHandler);
        }
        eventually("the failure", || !failures.lock().unwrap().is_empty()).await;
        assert_eq!(doomed.state(), LinkState::Failed);
        {
            let failures = failures.lock().unwrap();
            let [failure] = failures.as_slice() else {
                panic!("{failures:?}")
            };
            assert_eq!(failure.name, "doomed");
            assert_eq!(failure.place, Place::Shard(ShardId(0)));
            assert!(failure.cause.starts_with("on purpose, in a handler (at "));
            assert!(failure.cause.contains("restart.rs"), "{}", failure.cause);
        }
        // The message comes back; the asker does not wait; telling is counted.
        assert_eq!(offer(doomed, Write("x")), Err(Offered::Dead(Write("x"))));
        assert_eq!(ask(doomed, Read, DEADLINE).await, Err(AskError::Dead));
        tell(doomed, Write("y"));
        let row = *stats().actor("doomed").unwrap();
        assert_eq!((row.restarts, row.panics, row.failures), (3, 4, 1));
        assert_eq!((row.failed, row.instances, row.depth), (1, 0, 0));
        assert_eq!(row.undelivered, 4);
        // The shard goes on, and so does what the two shared.
        assert_eq!(read(sibling).await.1, ["kept"]);
    });
}

#[test]
fn the_policy_says_who_comes_back_after_a_stop() {
    with_shards(1, async |shards| {
        let overseer = Overseer::default();
        let start = async |name, restart| {
            let overseer = overseer.clone();
            shards
                .on_control(DEADLINE, async move || {
                    let office = Rc::new(Office::default());
                    let spec = ActorSpec::new(name, 16, move |_, _| Clerk::hire(&office));
                    overseer.start(spec.restart(restart).budget(quick(5)))
                })
                .await
                .unwrap()
        };
        let cases = [
            ("permanent-stop", Restart::Permanent, End::Stop, true),
            (
                "permanent-panic",
                Restart::Permanent,
                End::PanicInHandler,
                true,
            ),
            ("transient-stop", Restart::Transient, End::Stop, false),
            (
                "transient-panic",
                Restart::Transient,
                End::PanicInHandler,
                true,
            ),
            ("temporary-stop", Restart::Temporary, End::Stop, false),
            (
                "temporary-panic",
                Restart::Temporary,
                End::PanicInHandler,
                false,
            ),
        ];
        for (name, restart, end, comes_back) in cases {
            let link = start(name, restart).await;
            assert_eq!(read(&link).await.0, 1);
            tell(&link, end);
            if comes_back {
                assert_eq!(read(&link).await.0, 2, "{name}");
                // Told to end for good, it does not come back, whatever its policy.
                link.stop();
                link.stop();
            }
            eventually(name, || link.state() == LinkState::Stopped).await;
            assert_eq!(ask(&link, Read, DEADLINE).await, Err(AskError::Dead));
            let restarts = stats().actor(name).unwrap().restarts;
            assert_eq!(restarts, u64::from(comes_back), "{name}");
        }
    });
}

#[test]
fn messages_sent_before_the_start_wait_for_it() {
    with_shards(1, async |shards| {
        let overseer = Overseer::default();
        let (link, seat) = Link::<Clerk>::reserve("seated", 4);
        assert_eq!(link.state(), LinkState::Waiting);
        for line in ["1", "2", "3", "4"] {
            offer(&link, Write(line)).unwrap();
        }
        assert_eq!(offer(&link, Write("5")), Err(Offered::Full(Write("5"))));
        let mut seat = Some(seat);
        shards
            .on_control(DEADLINE, async move || {
                let office = Rc::new(Office::default());
                let seat = seat.take().unwrap();
                overseer.start(ActorSpec::seated(seat, move |_, _| Clerk::hire(&office)));
            })
            .await
            .unwrap();
        eventually("an empty mailbox", || link.depth() == 0).await;
        assert_eq!(read(&link).await.1, ["1", "2", "3", "4"]);
        // An unused seat leaves a dead link, not one that swallows messages.
        let (link, seat) = Link::<Clerk>::reserve("unseated", 4);
        drop(seat);
        assert_eq!(offer(&link, Write("5")), Err(Offered::Dead(Write("5"))));
    });
}

#[test]
fn the_end_of_the_thread_is_the_end_of_the_link() {
    let mut kept = None;
    with_shards(1, async |shards| {
        let overseer = Overseer::default();
        let link = shards
            .on_each(DEADLINE, async move |_| {
                let office = Rc::new(Office::default());
                overseer.start(ActorSpec::new("left", 4, move |_, _| Clerk::hire(&office)))
            })
            .await
            .unwrap()
            .remove(0);
        assert_eq!(read(&link).await.0, 1);
        kept = Some(link);
    });
    let link = kept.unwrap();
    assert_eq!(link.state(), LinkState::Stopped);
    assert_eq!(offer(&link, Write("x")), Err(Offered::Dead(Write("x"))));
}
