//! Ending without cutting: connections learn that the end has come, and it waits for them.
//!
//! One [`Drain`] is the controller. Each shard takes one [`Watch`] from it, clones it freely, and
//! takes a [`Guard`] per connection. A guard costs two atomic additions on a cache line no other
//! shard writes to; there is no lock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// What all parties of one drain share.
struct Signal {
    draining: AtomicBool,
    /// The time is over.
    cutting: AtomicBool,
    /// Told when a gate's last guard is dropped while draining.
    emptied: Notify,
}

impl Signal {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// The count of one watch and its clones. A cache line of its own, so that shards do not slow
/// each other down by counting.
#[repr(align(128))]
struct Gate {
    guards: AtomicUsize,
    began: Notify,
    signal: Arc<Signal>,
}

/// Controls one drain: of the process, or of one listener. Cloneable; clones are the same drain.
#[derive(Clone)]
pub struct Drain {
    signal: Arc<Signal>,
    gates: Arc<Mutex<Vec<Arc<Gate>>>>,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Drain {
        Drain {
            signal: Arc::new(Signal {
                draining: AtomicBool::new(false),
                cutting: AtomicBool::new(false),
                emptied: Notify::new(),
            }),
            gates: Arc::default(),
        }
    }

    /// A new watch with its own count: take one per shard and clone that. Takes a lock.
    pub fn watch(&self) -> Watch {
        let gate = Arc::new(Gate {
            guards: AtomicUsize::new(0),
            began: Notify::new(),
            signal: Arc::clone(&self.signal),
        });
        let mut gates = self.gates();
        // Only this list still knows them: neither a watch nor a guard is left to come back.
        gates.retain(|known| Arc::strong_count(known) > 1);
        gates.push(Arc::clone(&gate));
        Watch { gate }
    }

    /// Tells all watches that draining began. Irrevocable; repeating it does nothing.
    pub fn begin(&self) {
        // Sequentially consistent here, in `remaining` and in the guard's drop: either the last
        // guard sees the flag and wakes the controller, or the controller sees the count of 0.
        self.signal.draining.store(true, Ordering::SeqCst);
        for gate in self.gates().iter() {
            gate.began.notify_waiters();
        }
    }

    /// Whether [`Drain::begin`] was called.
    pub fn is_draining(&self) -> bool {
        self.signal.is_draining()
    }

    /// Guards alive now, over all watches.
    pub fn remaining(&self) -> usize {
        self.gates()
            .iter()
            .map(|gate| gate.guards.load(Ordering::SeqCst))
            .sum()
    }

    /// Begins draining and waits until no guard is left or `deadline` has passed. Returns how
    /// many guards remained: 0 if none has to be cut.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.begin();
        self.emptied(deadline).await
    }

    /// Tells all watches that what is left is to be cut, and waits as [`Drain::drain`] does.
    pub async fn cut(&self, deadline: Duration) -> usize {
        self.begin();
        self.signal.cutting.store(true, Ordering::Release);
        self.emptied(deadline).await
    }

    async fn emptied(&self, deadline: Duration) -> usize {
        let until = Instant::now() + deadline;
        loop {
            // Made before counting, so that a guard dropped in between still wakes it.
            let emptied = self.signal.emptied.notified();
            let remaining = self.remaining();
            if remaining == 0 {
                return 0;
            }
            if timeout_at(until, emptied).await.is_err() {
                return self.remaining();
            }
        }
    }

    fn gates(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Gate>>> {
        // Every step leaves the list valid, so a panic elsewhere while locked changes nothing.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One shard's side of a drain. Cloning costs a reference count.
#[derive(Clone)]
pub struct Watch {
    gate: Arc<Gate>,
}

impl Watch {
    /// Registers a connection: the drain waits for it until the guard is dropped. Also possible
    /// while draining, for connections that were on their way.
    pub fn guard(&self) -> Guard {
        self.gate.guards.fetch_add(1, Ordering::Relaxed);
        Guard {
            gate: Arc::clone(&self.gate),
        }
    }

    /// Whether draining began: one atomic load.
    pub fn is_draining(&self) -> bool {
        self.gate.signal.is_draining()
    }

    /// Whether what is left is to be cut: one atomic load.
    pub fn is_cutting(&self) -> bool {
        self.gate.signal.cutting.load(Ordering::Acquire)
    }

    /// Waits until draining begins; returns at once if it has. Cancellation safe. A task that
    /// selects on it in a loop keeps one pinned future rather than making one per round.
    pub async fn began(&self) {
        self.gate.began().await;
    }

    /// Guards of this watch and its clones alive now.
    pub fn guards(&self) -> usize {
        self.gate.guards.load(Ordering::Relaxed)
    }
}

/// A connection that a drain waits for. Not `Clone`: one guard, one connection.
pub struct Guard {
    gate: Arc<Gate>,
}

impl Guard {
    /// As [`Watch::is_draining`].
    pub fn is_draining(&self) -> bool {
        self.gate.signal.is_draining()
    }

    /// As [`Watch::began`].
    pub async fn began(&self) {
        self.gate.began().await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let last = self.gate.guards.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.gate.signal.draining.load(Ordering::SeqCst) {
            // `notify_one` leaves a permit if the controller is not waiting at this instant.
            self.gate.signal.emptied.notify_one();
        }
    }
}

impl Gate {
    async fn began(&self) {
        // A `Notified` receives `notify_waiters` from its creation on, so making it before
        // looking at the flag leaves no gap.
        let began = self.began.notified();
        if !self.signal.is_draining() {
            began.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_nobody_holds_are_forgotten_and_guards_keep_theirs() {
        let drain = Drain::new();
        let guards: Vec<Guard> = (0..3).map(|_| drain.watch().guard()).collect();
        for _ in 0..100 {
            drain.watch();
        }
        assert_eq!(drain.remaining(), 3);
        assert_eq!(drain.gates().len(), 4);
        let signal = Arc::downgrade(&drain.signal);
        drop((drain, guards));
        assert!(signal.upgrade().is_none(), "a cycle keeps the drain alive");
    }
}
