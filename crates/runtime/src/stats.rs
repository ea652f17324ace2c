//! What operators see of the runtime: counters by actor name, event-loop lag by thread.
//!
//! There is no metrics crate here: these are plain atomics, read as a whole by [`stats`] on a
//! tick. The register behind it is process-wide, because an actor's name outlives its
//! incarnations, and it is locked only when an actor starts or someone reads.

use crate::lag::LagGauge;
use crate::link::{Gate, LinkState};
use crate::place::Place;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Counters of all actors with one name. They only grow.
pub(crate) struct Counters {
    name: &'static str,
    pub(crate) restarts: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) refusals: AtomicU64,
    pub(crate) undelivered: AtomicU64,
}

impl Counters {
    /// The counters kept under `name`, made at its first use and never dropped: names are
    /// literals, so there are as many as the program text has.
    pub(crate) fn of(name: &'static str) -> Arc<Counters> {
        let mut register = register();
        if let Some(found) = register.counters.iter().find(|c| c.name == name) {
            return Arc::clone(found);
        }
        let made = Arc::new(Counters {
            name,
            restarts: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            undelivered: AtomicU64::new(0),
        });
        register.counters.push(Arc::clone(&made));
        made
    }
}

struct Register {
    counters: Vec<Arc<Counters>>,
    gates: Vec<Weak<Gate>>,
    lags: Vec<(Place, Weak<LagGauge>)>,
}

static REGISTER: Mutex<Register> = Mutex::new(Register {
    counters: Vec::new(),
    gates: Vec::new(),
    lags: Vec::new(),
});

fn register() -> MutexGuard<'static, Register> {
    // The lists are valid at every step, so a panic elsewhere while locked changes nothing.
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn enlist_gate(gate: &Arc<Gate>) {
    let gates = &mut register().gates;
    gates.retain(|known| known.strong_count() > 0);
    gates.push(Arc::downgrade(gate));
}

pub(crate) fn enlist_lag(place: Place, gauge: &Arc<LagGauge>) {
    let lags = &mut register().lags;
    lags.retain(|(_, known)| known.strong_count() > 0);
    lags.push((place, Arc::downgrade(gauge)));
}

/// All actors with one name, at one moment. Counters are since the start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActorStats {
    /// The name given in the actor's spec.
    pub name: &'static str,
    /// How many of them now serve, wait for a restart or have a seat kept for them.
    pub instances: usize,
    /// How many of them are given up (restart budget spent) and still linked to. Above 0 the
    /// process is degraded.
    pub failed: usize,
    /// Messages in their mailboxes now, those being handled included.
    pub depth: usize,
    /// Restarts, whatever the cause.
    pub restarts: u64,
    /// Panics in a factory, a handler, a lifecycle method or a future of the actor.
    pub panics: u64,
    /// Times the restart budget was spent.
    pub failures: u64,
    /// Messages `offer` or `ask` gave back because the mailbox was full.
    pub refusals: u64,
    /// Messages to an actor that is gone, by any verb.
    pub undelivered: u64,
}

/// The event-loop lag of one thread, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagStats {
    /// The thread.
    pub place: Place,
    /// The worst of the last 10 to 20 s.
    pub max_micros: u64,
    /// The moving average (each measurement weighs 1/8).
    pub ewma_micros: u64,
}

/// Everything the runtime counts, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// One entry per actor name, in order of first use.
    pub actors: Vec<ActorStats>,
    /// One entry per running thread, in order of their places.
    pub lag: Vec<LagStats>,
}

impl Stats {
    /// The entry of one actor name.
    pub fn actor(&self, name: &str) -> Option<&ActorStats> {
        self.actors.iter().find(|actor| actor.name == name)
    }
}

/// Reads all counters and gauges. Costs a lock and a few allocations: for a scrape or a tick.
pub fn stats() -> Stats {
    let register = register();
    let gates: Vec<Arc<Gate>> = register.gates.iter().filter_map(Weak::upgrade).collect();
    let actors = register
        .counters
        .iter()
        .map(|counters| {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let mut row = ActorStats {
                name: counters.name,
                instances: 0,
                failed: 0,
                depth: 0,
                restarts: read(&counters.restarts),
                panics: read(&counters.panics),
                failures: read(&counters.failures),
                refusals: read(&counters.refusals),
                undelivered: read(&counters.undelivered),
            };
            for gate in gates
                .iter()
                .filter(|gate| Arc::ptr_eq(&gate.counters, counters))
            {
                match gate.state() {
                    LinkState::Failed => row.failed += 1,
                    LinkState::Stopped => {}
                    LinkState::Waiting | LinkState::Running | LinkState::Restarting => {
                        row.instances += 1;
                        row.depth += gate.depth();
                    }
                }
            }
            row
        })
        .collect();
    let mut lag: Vec<LagStats> = register
        .lags
        .iter()
        .filter_map(|(place, gauge)| {
            let gauge = gauge.upgrade()?;
            Some(LagStats {
                place: *place,
                max_micros: gauge.max_micros(),
                ewma_micros: gauge.ewma_micros(),
            })
        })
        .collect();
    lag.sort_by_key(|row| row.place);
    Stats { actors, lag }
}
