//! The open connections of a shard: deadlines, drain notice, generations.
use slab::Slab;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// How often deadlines are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;

/// A wait that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Why an idle wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleEnd {
    /// The deadline passed.
    Elapsed,
    /// The process is draining.
    Draining,
}

impl From<Elapsed> for IdleEnd {
    fn from(Elapsed: Elapsed) -> Self {
        Self::Elapsed
    }
}

/// All client connections of one shard.
///
/// Deadlines are cells that a sweep looks at every `TICK`: arming one is a store, where a timer
/// per read would cost an allocation-free but locked wheel insertion twice per request. The price
/// is accuracy of one tick, which no deadline here needs better. Rule timeouts use real timers.
pub struct Registry {
    slots: RefCell<Slab<Rc<Slot>>>,
    connections: Cell<usize>,
    started: Instant,
    /// When the last sweep was.
    swept: Cell<Instant>,
    /// The same in milliseconds since `started`.
    now: Cell<u64>,
    draining: Cell<bool>,
    cut: Cell<bool>,
    generations: RefCell<BTreeMap<u64, u32>>,
}

struct Slot {
    deadline: Cell<u64>,
    /// Somebody waits until then, or for ever.
    waits: Cell<bool>,
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    generation: Cell<u64>,
}

/// The one wait of a slot, until it ends or is given up.
struct Wait<'a>(&'a Slot);

impl<'a> Wait<'a> {
    fn begin(slot: &'a Slot, deadline: Deadline) -> Self {
        // Whichever of two ended first would take the other's deadline away.
        let two = slot.waits.replace(true);
        debug_assert!(!two, "two waits at a time on one lease");
        slot.fired.set(false);
        slot.deadline.set(deadline.0);
        Self(slot)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.waits.set(false);
        self.0.deadline.set(NEVER);
    }
}

/// Membership of one connection, or of one of its streams; leaving is dropping it.
pub struct Lease {
    registry: Rc<Registry>,
    slot: Rc<Slot>,
    key: usize,
    /// A stream waits for itself, but is no connection and holds no generation.
    stream: bool,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        let started = Instant::now();
        Self {
            slots: RefCell::default(),
            connections: Cell::new(0),
            started,
            swept: Cell::new(started),
            now: Cell::new(0),
            draining: Cell::new(false),
            cut: Cell::new(false),
            generations: RefCell::default(),
        }
    }

    /// Adds a connection that begins with `generation`.
    pub fn join(self: &Rc<Self>, generation: u64) -> Lease {
        *self.generations.borrow_mut().entry(generation).or_default() += 1;
        self.connections.set(self.connections.get() + 1);
        self.lease(generation, false)
    }

    fn lease(self: &Rc<Self>, generation: u64, stream: bool) -> Lease {
        let slot = Rc::new(Slot {
            deadline: Cell::new(NEVER),
            waits: Cell::new(false),
            fired: Cell::new(false),
            waker: RefCell::new(None),
            generation: Cell::new(generation),
        });
        let key = self.slots.borrow_mut().insert(slot.clone());
        Lease {
            registry: self.clone(),
            slot,
            key,
            stream,
        }
    }

    /// Open connections.
    pub fn len(&self) -> usize {
        self.connections.get()
    }

    /// True when none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Open connections by the generation they hold.
    pub fn generations(&self) -> BTreeMap<u64, u32> {
        self.generations.borrow().clone()
    }

    /// The time of the last sweep: up to one tick behind, and free.
    pub fn now(&self) -> Instant {
        self.swept.get()
    }

    /// Wakes connections whose deadline has passed. Called every `TICK`.
    pub fn sweep(&self) {
        let swept = Instant::now();
        self.swept.set(swept);
        let passed = swept.saturating_duration_since(self.started);
        let now = u64::try_from(passed.as_millis()).unwrap_or(NEVER - 1);
        self.now.set(now);
        for (_, slot) in self.slots.borrow().iter() {
            if slot.deadline.get() <= now {
                slot.deadline.set(NEVER);
                slot.fired.set(true);
                slot.wake();
            }
        }
    }

    /// Tells every connection that the process is draining.
    pub fn drain(&self) {
        self.draining.set(true);
        for (_, slot) in self.slots.borrow().iter() {
            slot.wake();
        }
    }

    /// Has [`Registry::drain`] been called?
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Wakes every connection: what it carries is cut now, as the process ends.
    pub fn cut(&self) {
        self.cut.set(true);
        for (_, slot) in self.slots.borrow().iter() {
            slot.wake();
        }
    }

    /// Has [`Registry::cut`] been called?
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    fn leave_generation(&self, generation: u64) {
        let mut generations = self.generations.borrow_mut();
        if let Some(count) = generations.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                generations.remove(&generation);
            }
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    fn wake(&self) {
        // Waking only queues the task on this thread, it never polls here.
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn register(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }
}

impl Lease {
    /// A lease for one stream of this connection: it has a deadline of its own, and counts nowhere.
    pub fn stream(&self) -> Self {
        self.registry.lease(self.slot.generation.get(), true)
    }

    /// A point in time `limit` from now, for several waits that share one deadline. Zero: never.
    pub fn after(&self, limit: Duration) -> Deadline {
        if limit.is_zero() {
            return Deadline(NEVER);
        }
        let tick = TICK.as_millis() as u64;
        let limit = milliseconds(limit);
        // The clock is up to one tick behind: add it, so that no deadline is early.
        Deadline(
            self.registry
                .now
                .get()
                .saturating_add(limit)
                .saturating_add(tick),
        )
    }

    /// Waits for `future` until `deadline`. Neither nested nor beside another wait of the same lease: it
    /// has one deadline at a time. Who needs two takes a [`Lease::stream`].
    pub async fn until<F: Future>(
        &self,
        deadline: Deadline,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let _wait = Wait::begin(&self.slot, deadline);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.slot.fired.get() {
                return Poll::Ready(Err(Elapsed));
            }
            self.slot.register(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// [`Lease::until`] with a limit from now.
    pub async fn within<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        self.until(self.after(limit), future).await
    }

    /// Like [`Lease::within`] for a wait that a drain may end.
    pub async fn idle<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, IdleEnd> {
        let mut future = pin!(future);
        let guarded = poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.registry.is_draining() {
                return Poll::Ready(Err(IdleEnd::Draining));
            }
            Poll::Pending
        });
        match self.within(limit, guarded).await {
            Ok(output) => output,
            Err(Elapsed) => Err(IdleEnd::Elapsed),
        }
    }

    /// The connection now holds `generation`.
    pub fn hold(&self, generation: u64) {
        let old = self.slot.generation.replace(generation);
        if old != generation && !self.stream {
            self.registry.leave_generation(old);
            *self
                .registry
                .generations
                .borrow_mut()
                .entry(generation)
                .or_default() += 1;
        }
    }

    /// The generation it holds.
    pub fn generation(&self) -> u64 {
        self.slot.generation.get()
    }

    /// Is the process draining?
    pub fn is_draining(&self) -> bool {
        self.registry.is_draining()
    }

    /// Is what is carried to be cut? Whoever waits by this lease is woken to ask.
    pub fn is_cut(&self) -> bool {
        self.registry.is_cut()
    }

    /// Runs `future` until what is carried is cut; `None` then. Inside a wait of this lease, or around
    /// one: that is what wakes it.
    pub async fn unless_cut<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.is_cut() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// [`Registry::now`].
    pub fn now(&self) -> Instant {
        self.registry.now()
    }
}

/// Asked several times for each request, so without the 128 bits of `Duration::as_millis`.
fn milliseconds(limit: Duration) -> u64 {
    let whole = limit.as_secs().saturating_mul(1000);
    whole.saturating_add(limit.subsec_millis().into())
}

/// A point in time on the registry's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.stream {
            let connections = &self.registry.connections;
            connections.set(connections.get().saturating_sub(1));
            self.registry.leave_generation(self.slot.generation.get());
        }
        self.registry.slots.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::future::pending;

    /// Sweeps until the future is done, as the shard's clock does.
    async fn swept<T>(registry: &Registry, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..100 {
            if let Some(output) = future.as_mut().now_or_never() {
                return output;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            registry.sweep();
        }
        panic!("nothing fired within two seconds");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_deadline_fires_and_never_early() {
        let registry = Rc::new(Registry::new());
        let lease = registry.join(1);
        let limit = Duration::from_millis(150);
        let begun = Instant::now();
        let end = swept(&registry, lease.within(limit, pending::<()>())).await;
        assert_eq!(end, Err(Elapsed));
        assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_ready_in_time_is_not_cut() {
        let registry = Rc::new(Registry::new());
        let lease = registry.join(1);
        assert_eq!(
            lease.within(Duration::from_secs(9), async { 7 }).await,
            Ok(7)
        );
        // The deadline of a finished wait is forgotten, also one that had passed.
        let late = lease.within(Duration::from_millis(1), async { 8 }).await;
        assert_eq!(late, Ok(8));
        let sleep = tokio::time::sleep(Duration::from_millis(300));
        assert!(
            swept(&registry, lease.within(Duration::ZERO, sleep))
                .await
                .is_ok()
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_drain_ends_idle_waits_only() {
        let registry = Rc::new(Registry::new());
        let (idle, busy) = (registry.join(1), registry.join(1));
        let hour = Duration::from_secs(3600);
        let mut idle = pin!(idle.idle(hour, pending::<()>()));
        let mut busy = pin!(busy.within(hour, pending::<()>()));
        assert!(idle.as_mut().now_or_never().is_none());
        assert!(busy.as_mut().now_or_never().is_none());
        registry.drain();
        assert_eq!(idle.as_mut().now_or_never(), Some(Err(IdleEnd::Draining)));
        assert!(busy.as_mut().now_or_never().is_none());
    }

    #[tokio::test(flavor = "current_thread")]
    #[should_panic(expected = "two waits")]
    #[cfg(debug_assertions)]
    async fn two_waits_at_a_time_are_a_mistake() {
        let registry = Rc::new(Registry::new());
        let lease = registry.join(1);
        let hour = Duration::from_secs(3600);
        // What is given up is no wait any more.
        let given_up = lease.within(hour, pending::<()>()).now_or_never();
        assert_eq!(given_up, None);
        let nested = lease.within(Duration::ZERO, pending::<()>());
        let _ = lease.within(hour, nested).now_or_never();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_cut_ends_what_is_to_end_with_it() {
        let registry = Rc::new(Registry::new());
        let lease = registry.join(1);
        let hour = Duration::from_secs(3600);
        let mut inside = pin!(lease.within(hour, lease.unless_cut(pending::<()>())));
        assert!(inside.as_mut().now_or_never().is_none());
        registry.drain();
        assert!(inside.as_mut().now_or_never().is_none());
        registry.cut();
        assert_eq!(inside.as_mut().now_or_never(), Some(Ok(None)));
        let ready = lease.unless_cut(async { 7 }).now_or_never();
        assert_eq!(ready, Some(Some(7)), "what is there is there");
    }

    #[test]
    fn connections_are_counted_by_generation() {
        let registry = Rc::new(Registry::new());
        let (one, two) = (registry.join(4), registry.join(4));
        two.hold(5);
        assert_eq!(registry.generations(), BTreeMap::from([(4, 1), (5, 1)]));
        drop(one);
        assert_eq!(registry.generations(), BTreeMap::from([(5, 1)]));
        assert_eq!(registry.len(), 1);
        drop(two);
        assert!(registry.is_empty() && registry.generations().is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_waits_for_itself_and_counts_nowhere() {
        let registry = Rc::new(Registry::new());
        let connection = registry.join(4);
        let stream = connection.stream();
        stream.hold(5);
        assert_eq!(registry.len(), 1);
        assert_eq!(registry.generations(), BTreeMap::from([(4, 1)]));
        let hour = Duration::from_secs(3600);
        let mut waiting = pin!(connection.within(hour, pending::<()>()));
        assert!(waiting.as_mut().now_or_never().is_none());
        let short = Duration::from_millis(50);
        let end = swept(&registry, stream.within(short, pending::<()>())).await;
        assert_eq!(end, Err(Elapsed));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(stream);
        assert_eq!(registry.len(), 1);
        assert_eq!(registry.generations(), BTreeMap::from([(4, 1)]));
    }
}
