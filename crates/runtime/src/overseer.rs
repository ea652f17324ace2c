//! Starting actors, and making them anew after a panic.
//!
//! actix's own `Supervisor` restarts an actor that stopped, keeping the same struct, but not one
//! that panicked: the task that ran it is gone. Here each actor has one task on its thread that
//! owns the factory and the mailbox, runs one incarnation after the other, and catches the unwind
//! of each (`panic = "unwind"`; under `abort` a panic ends the process). A guard whose `Drop`
//! notices the unwinding, with a message to a watcher, was the alternative: it needs a watcher,
//! a register of factories and a channel, and a second panic while the first unwinds (in
//! `stopped`, say) would abort the process. Catching first and dropping after avoids all of it.

use crate::budget::Ledger;
use crate::intake::{Intake, SharedMailbox};
use crate::link::{Gate, Link, LinkState, Seat};
use crate::panics::{self, caught, describe};
use crate::place::Place;
use crate::spec::{ActorSpec, Factory, Restart};
use actix::{Actor, AsyncContext, Context};
use futures_util::FutureExt;
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// An actor that was given up. The process goes on without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The actor's name.
    pub name: &'static str,
    /// The thread it lived on.
    pub place: Place,
    /// What ended its last incarnation: the panic's message and place, or that it stopped.
    pub cause: String,
}

/// Starts actors and restarts them by their policy. Clones share one failure hook.
#[derive(Clone)]
pub struct Overseer {
    on_failure: Arc<dyn Fn(&Failure) + Send + Sync>,
}

impl Default for Overseer {
    /// An overseer that only logs failures.
    fn default() -> Self {
        Overseer::new(|_| {})
    }
}

impl Overseer {
    /// An overseer that calls `on_failure` once per actor it gives up, on that actor's thread,
    /// after its link went dead. The hook marks the process degraded; it must not block.
    pub fn new(on_failure: impl Fn(&Failure) + Send + Sync + 'static) -> Overseer {
        panics::remember_locations();
        Overseer {
            on_failure: Arc::new(on_failure),
        }
    }

    /// Starts an actor on the calling thread, where all its incarnations will live. Several
    /// actors started in one [`Shards::on_each`](crate::Shards::on_each) initialiser can share an
    /// `Rc`; it survives their restarts.
    ///
    /// Returns before the actor has started; messages sent meanwhile wait.
    ///
    /// # Panics
    /// Outside a shard, the control thread or [`run`](crate::run): there is nothing to run it on.
    pub fn start<A: Actor<Context = Context<A>>>(&self, spec: ActorSpec<A>) -> Link<A> {
        let link = spec.seat.link.clone();
        tokio::task::spawn_local(oversee(self.clone(), spec));
        link
    }
}

/// How one incarnation ended.
enum End {
    Stopped,
    Panicked(String),
}

/// The life of one actor, over all its incarnations.
async fn oversee<A: Actor<Context = Context<A>>>(overseer: Overseer, spec: ActorSpec<A>) {
    let ActorSpec {
        seat,
        mut factory,
        restart,
        budget,
    } = spec;
    let Seat { link, mailbox } = seat;
    let gate = Arc::clone(&link.inbox.gate);
    let (name, place) = (gate.name, Place::here());
    // Declared before the mailbox, so dropped after it, also when the thread's runtime ends.
    let _ended = Ended(Arc::clone(&gate));
    let mailbox: SharedMailbox<A> = Rc::new(RefCell::new(mailbox));
    let mut ledger = Ledger::new(budget);
    loop {
        gate.set_state(LinkState::Running);
        let end = live(&mut factory, &link, &mailbox).await;
        if let End::Panicked(cause) = &end {
            gate.counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(actor = name, %place, %cause, "actor panicked");
        }
        let cause = match (restart, end) {
            _ if gate.is_retired() => return,
            (Restart::Permanent | Restart::Transient, End::Panicked(cause)) => cause,
            (Restart::Permanent, End::Stopped) => "it stopped".to_owned(),
            (Restart::Transient, End::Stopped) | (Restart::Temporary, _) => return,
        };
        let Some(delay) = ledger.spend(Instant::now()) else {
            gate.counters.failures.fetch_add(1, Ordering::Relaxed);
            gate.set_state(LinkState::Failed);
            drop(mailbox);
            tracing::error!(
                actor = name, %place, %cause, restarts = budget.limit, window = ?budget.window,
                "actor given up: restart budget spent",
            );
            (overseer.on_failure)(&Failure { name, place, cause });
            return;
        };
        gate.set_state(LinkState::Restarting);
        gate.counters.restarts.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(actor = name, %place, ?delay, "restarting actor");
        tokio::time::sleep(delay).await;
        if gate.is_retired() {
            return;
        }
    }
}

/// One incarnation, from the factory to the drop of the actor.
async fn live<A: Actor<Context = Context<A>>>(
    factory: &mut Factory<A>,
    link: &Link<A>,
    mailbox: &SharedMailbox<A>,
) -> End {
    let born = caught(|| {
        let mut ctx = Context::new();
        ctx.spawn(Intake {
            mailbox: Rc::clone(mailbox),
            gate: Arc::clone(&link.inbox.gate),
        });
        let actor = factory(&mut ctx, link);
        ctx.into_future(actor)
    });
    let incarnation = match born {
        Ok(incarnation) => incarnation,
        Err(cause) => return End::Panicked(cause),
    };
    let mut incarnation = Box::pin(AssertUnwindSafe(incarnation).catch_unwind());
    let end = match incarnation.as_mut().await {
        Ok(()) => End::Stopped,
        Err(payload) => End::Panicked(describe(payload.as_ref())),
    };
    // After a panic, this is where actix calls `stopping` and `stopped`, which may panic too.
    match (caught(|| drop(incarnation)), end) {
        (Err(cause), End::Stopped) => End::Panicked(cause),
        (_, end) => end,
    }
}

/// Marks the link when the actor's task is over for whatever reason.
struct Ended(Arc<Gate>);

impl Drop for Ended {
    fn drop(&mut self) {
        if self.0.state() != LinkState::Failed {
            self.0.set_state(LinkState::Stopped);
        }
    }
}
