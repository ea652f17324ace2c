//! The actor's end of its mailbox.

use crate::link::{Envelope, Gate, Slot};
use actix::{Actor, ActorFuture, AsyncContext, Context};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use tokio::sync::mpsc;

/// The mailbox as incarnations hand it on: the overseer's task owns it, the living actor reads it.
pub(crate) type SharedMailbox<A> = Rc<RefCell<mpsc::UnboundedReceiver<Envelope<A>>>>;

/// A future in the actor's context that takes messages out of the mailbox and has them handled.
///
/// It never completes, and thereby keeps the actor alive: actix ends an actor without addresses
/// and without futures.
pub(crate) struct Intake<A: Actor> {
    pub(crate) mailbox: SharedMailbox<A>,
    pub(crate) gate: Arc<Gate>,
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Intake<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut Context<A>,
        task: &mut std::task::Context<'_>,
    ) -> Poll<()> {
        // Waiting means: the actor is stopping (what is queued belongs to its successor), or a
        // handler asked for exclusive time (`AtomicResponse`), after which actix polls this again.
        while !ctx.waiting() {
            // `poll_recv` spends the task's cooperative budget: after 128 messages the thread's
            // other tasks, timers and sockets get their turn. The borrow ends before the handler
            // runs. The overseer holds a link, so the queue is never closed by its senders.
            let next = self.mailbox.borrow_mut().poll_recv(task);
            let Some(envelope) = ready!(next) else {
                return Poll::Pending;
            };
            envelope(actor, ctx, Slot(&self.gate));
        }
        Poll::Pending
    }
}
