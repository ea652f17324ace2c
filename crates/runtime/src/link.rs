//! What other code holds of an actor, and the mailbox behind it.
//!
//! The mailbox is our own, not actix's, for four reasons. actix's belongs to one
//! incarnation: after a panic every `Addr` is dead for good, so each holder would have to be
//! re-pointed. Its bound is per handle: a clone per send passes any number. Its receive loop has
//! no budget: a flood from another thread held up everything else on the receiving one for 0.3 s
//! in the worst of a few runs. And a permit cannot travel with a message, since no wrapper type can
//! be given a `Handler` impl for every actor. Here the mailbox belongs to the [`Link`]: each
//! incarnation of the actor reads on where the last one ended, a send costs no lookup, the bound
//! holds over all clones, and tokio's cooperative budget interrupts a flood.
//!
//! What this means to a sender: a panic loses the message being handled, never those behind it.

use crate::send::{Offered, Target};
use crate::stats::{self, Counters};
use actix::dev::MessageResponse;
use actix::{Actor, ActorContext, Context, Handler, Message};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};

/// What is in the mailbox: one message, and how to hand it over. The slot is the place in the
/// mailbox it had.
pub(crate) type Envelope<A> = Box<dyn FnOnce(&mut A, &mut <A as Actor>::Context, Slot<'_>) + Send>;

/// A taken place in a mailbox, given back on drop: after the handler, also if it panics.
pub(crate) struct Slot<'a>(pub(crate) &'a Gate);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.leave_slot();
    }
}

/// How the actor behind a [`Link`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkState {
    /// Its [`Seat`] is kept, but it was not started yet. Messages wait for it.
    Waiting,
    /// It serves.
    Running,
    /// It died and is about to be made anew. Messages wait for it.
    Restarting,
    /// It ended and will not come back. Messages are refused or dropped, and counted.
    Stopped,
    /// It died too often for its [`Budget`](crate::Budget). Otherwise as `Stopped`.
    Failed,
}

/// The part of a mailbox that does not depend on the actor's type.
pub(crate) struct Gate {
    pub(crate) name: &'static str,
    pub(crate) counters: Arc<Counters>,
    capacity: usize,
    depth: AtomicUsize,
    state: AtomicU8,
    retired: AtomicBool,
}

impl Gate {
    pub(crate) fn state(&self) -> LinkState {
        match self.state.load(Ordering::Acquire) {
            0 => LinkState::Waiting,
            1 => LinkState::Running,
            2 => LinkState::Restarting,
            4 => LinkState::Failed,
            _ => LinkState::Stopped,
        }
    }

    pub(crate) fn set_state(&self, state: LinkState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Messages in the mailbox, the one being handled included.
    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Whether somebody asked the actor to end for good.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Takes a place in the mailbox unless all are taken.
    ///
    /// Compare-and-swap rather than add-then-check: with the latter, two senders at the limit can
    /// both be refused although one place was free.
    fn take_slot(&self, bounded: bool) -> bool {
        if !bounded {
            self.depth.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.depth
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |depth| {
                (depth < self.capacity).then_some(depth + 1)
            })
            .is_ok()
    }

    fn leave_slot(&self) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sender's side of a mailbox.
pub(crate) struct Inbox<A: Actor> {
    pub(crate) gate: Arc<Gate>,
    queue: mpsc::UnboundedSender<Envelope<A>>,
}

impl<A: Actor<Context = Context<A>>> Inbox<A> {
    /// Puts `message` into the mailbox. Gives it back if the actor is gone or, where `bounded`,
    /// if the mailbox is full. One allocation, no lock.
    fn deliver<M>(
        &self,
        message: M,
        reply: Option<oneshot::Sender<M::Result>>,
        bounded: bool,
    ) -> Result<(), Offered<M>>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let counters = &self.gate.counters;
        if self.queue.is_closed() {
            counters.undelivered.fetch_add(1, Ordering::Relaxed);
            return Err(Offered::Dead(message));
        }
        if !self.gate.take_slot(bounded) {
            counters.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(Offered::Full(message));
        }
        let envelope: Envelope<A> = Box::new(move |actor, ctx, slot| {
            // Nobody waits for the answer any more: the asker's deadline passed.
            if reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
                return;
            }
            let answer = <A as Handler<M>>::handle(actor, message, ctx);
            // Before the answer goes out, or whoever asks again on getting it might find the
            // mailbox still full. (While a panic unwinds, `slot` goes before `reply` too: a
            // parameter before what the closure captured.)
            drop(slot);
            MessageResponse::handle(answer, ctx, reply);
        });
        if self.queue.send(envelope).is_err() {
            // It died since the check above. The message shares the fate of those it had already
            // queued, so this is no error the sender could not meet a moment later anyway.
            self.gate.leave_slot();
            counters.undelivered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A handle to an actor that stays good when the actor is restarted.
///
/// Cheap to clone (one reference count), `Send` and `Sync` whatever the actor holds. A link does
/// not keep its actor alive, nor does the loss of the last link end it: an actor lives until it
/// stops itself, is told to by [`Link::stop`], fails, or its thread ends. Send with the verbs of
/// [`crate::send`].
pub struct Link<A: Actor> {
    pub(crate) inbox: Arc<Inbox<A>>,
}

impl<A: Actor<Context = Context<A>>> Link<A> {
    /// Makes the link before the actor, for actors that need to know each other.
    ///
    /// `name` is for logs and counters; all actors with one name share theirs. `capacity` bounds
    /// what `offer` and `ask` put into the mailbox, in messages. What is sent before the actor
    /// starts waits for it; if the seat is dropped unused, the link is dead.
    pub fn reserve(name: &'static str, capacity: usize) -> (Link<A>, Seat<A>) {
        let (queue, mailbox) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate {
            name,
            counters: Counters::of(name),
            capacity,
            depth: AtomicUsize::new(0),
            state: AtomicU8::new(LinkState::Waiting as u8),
            retired: AtomicBool::new(false),
        });
        stats::enlist_gate(&gate);
        let link = Link {
            inbox: Arc::new(Inbox { gate, queue }),
        };
        let seat = Seat {
            link: link.clone(),
            mailbox,
        };
        (link, seat)
    }

    /// This link for one kind of message, without the actor's type. Costs a reference count.
    pub fn outlet<M>(&self) -> Outlet<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Outlet {
            inbox: self.inbox.clone(),
        }
    }

    /// The actor's name.
    pub fn name(&self) -> &'static str {
        self.inbox.gate.name
    }

    /// How the actor is doing.
    pub fn state(&self) -> LinkState {
        self.inbox.gate.state()
    }

    /// Messages in the mailbox now, the one being handled included.
    pub fn depth(&self) -> usize {
        self.inbox.gate.depth()
    }

    /// Ends the actor for good, whatever its restart policy, once it has handled what is in its
    /// mailbox before this.
    pub fn stop(&self) {
        let gate = &self.inbox.gate;
        // Asking twice is no more than asking once, so the queue cannot grow by it.
        if gate.retired.swap(true, Ordering::AcqRel) {
            return;
        }
        gate.take_slot(false);
        if self
            .inbox
            .queue
            .send(Box::new(|_, ctx, _slot| ctx.stop()))
            .is_err()
        {
            gate.leave_slot();
        }
    }
}

impl<A: Actor> Clone for Link<A> {
    fn clone(&self) -> Self {
        Link {
            inbox: Arc::clone(&self.inbox),
        }
    }
}

impl<A: Actor> fmt::Debug for Link<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gate = &self.inbox.gate;
        write!(f, "Link({} {:?})", gate.name, gate.state())
    }
}

impl<A, M> Target<M> for Link<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn deliver(
        &self,
        message: M,
        reply: Option<oneshot::Sender<M::Result>>,
        bounded: bool,
    ) -> Result<(), Offered<M>> {
        self.inbox.deliver(message, reply, bounded)
    }
}

/// The receiving end of a reserved [`Link`], for [`ActorSpec::seated`](crate::ActorSpec::seated).
/// It may be moved to the thread its actor will live on.
pub struct Seat<A: Actor> {
    pub(crate) link: Link<A>,
    pub(crate) mailbox: mpsc::UnboundedReceiver<Envelope<A>>,
}

trait Accept<M: Message>: Send + Sync {
    fn accept(
        &self,
        message: M,
        reply: Option<oneshot::Sender<M::Result>>,
        bounded: bool,
    ) -> Result<(), Offered<M>>;
    fn gate(&self) -> &Gate;
}

impl<A, M> Accept<M> for Inbox<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn accept(
        &self,
        message: M,
        reply: Option<oneshot::Sender<M::Result>>,
        bounded: bool,
    ) -> Result<(), Offered<M>> {
        self.deliver(message, reply, bounded)
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// A [`Link`] known only by one message it accepts; the verbs take it as they take a link.
pub struct Outlet<M: Message> {
    inbox: Arc<dyn Accept<M>>,
}

impl<M: Message> Outlet<M> {
    /// The actor's name.
    pub fn name(&self) -> &'static str {
        self.inbox.gate().name
    }

    /// How the actor is doing.
    pub fn state(&self) -> LinkState {
        self.inbox.gate().state()
    }
}

impl<M: Message> Clone for Outlet<M> {
    fn clone(&self) -> Self {
        Outlet {
            inbox: Arc::clone(&self.inbox),
        }
    }
}

impl<M: Message> fmt::Debug for Outlet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outlet({} {:?})", self.name(), self.state())
    }
}

impl<M> Target<M> for Outlet<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn deliver(
        &self,
        message: M,
        reply: Option<oneshot::Sender<M::Result>>,
        bounded: bool,
    ) -> Result<(), Offered<M>> {
        self.inbox.accept(message, reply, bounded)
    }
}
