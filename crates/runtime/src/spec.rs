//! How an actor is described before it is started.

use crate::budget::Budget;
use crate::link::{Link, Seat};
use actix::{Actor, Context};

/// When an actor that ended is made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Always, also after it stopped by itself. (Never after [`Link::stop`].)
    #[default]
    Permanent,
    /// Only after a panic.
    Transient,
    /// Never.
    Temporary,
}

/// Makes an incarnation of an actor. The link is the actor's own.
pub(crate) type Factory<A> = Box<dyn FnMut(&mut <A as Actor>::Context, &Link<A>) -> A>;

/// An actor to be: its name, mailbox, restart policy and factory.
pub struct ActorSpec<A: Actor> {
    pub(crate) seat: Seat<A>,
    pub(crate) factory: Factory<A>,
    pub(crate) restart: Restart,
    pub(crate) budget: Budget,
}

impl<A: Actor<Context = Context<A>>> ActorSpec<A> {
    /// Describes an actor called `name` (logs, counters) whose mailbox takes `capacity` messages
    /// by `offer` and `ask`.
    ///
    /// The factory makes each incarnation, the first included, always on the thread the actor was
    /// started on, so it may capture that thread's `Rc`s. It is given the context, to add
    /// intervals and futures to, and the actor's own link, which an actor needs to be reached from
    /// tasks it spawns. A panic in the factory counts like one in the actor.
    pub fn new(
        name: &'static str,
        capacity: usize,
        factory: impl FnMut(&mut Context<A>, &Link<A>) -> A + 'static,
    ) -> Self {
        let (_, seat) = Link::reserve(name, capacity);
        Self::seated(seat, factory)
    }

    /// Describes an actor for a link that was handed out already; see [`Link::reserve`].
    pub fn seated(
        seat: Seat<A>,
        factory: impl FnMut(&mut Context<A>, &Link<A>) -> A + 'static,
    ) -> Self {
        ActorSpec {
            seat,
            factory: Box::new(factory),
            restart: Restart::default(),
            budget: Budget::default(),
        }
    }

    /// Sets when the actor is made anew; [`Restart::Permanent`] unless set.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets how often the actor may be made anew.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }
}
