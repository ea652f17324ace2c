//! Does a request get another try? Its policy says for what, its backend how many there may be at a
//! time; nothing here waits.
use crate::shard::{
    Shard,
    cluster_state::ClusterState,
    pool_limits::{Counted, Full, share},
};
use pointsman_model::policy::RetryBudget;
use pointsman_route::{Happened, Replied, RetriesInForce};
use pointsman_telemetry::Flags;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

/// What of a backend's requests may be repetitions where nothing is written: 20 percent, and three
/// in any case. Counted on each shard by itself, and not for tries of which nobody has seen
/// anything: those cost a backend that is in trouble nothing.
const BUDGET: RetryBudget = RetryBudget {
    percent: 20,
    min_concurrency: 3,
};

/// The tries of one request.
pub(super) struct Tries<'a> {
    shard: &'a Shard,
    policy: &'a RetriesInForce,
    /// `None`: the original destination, of which there is but one.
    backend: Option<&'a ClusterState>,
    made: Cell<u32>,
    /// URX when the tries are used up, UO when the backend allows no more.
    flags: Cell<Flags>,
    /// Room for the present repetition.
    held: RefCell<Option<Held>>,
}

enum Held {
    Counted { _room: Counted },
    Here { _room: Repeating },
}

/// One of the repetitions of this shard.
struct Repeating(Rc<Cell<u32>>);

impl Drop for Repeating {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<'a> Tries<'a> {
    /// None was made yet.
    pub(super) fn new(
        shard: &'a Shard,
        policy: &'a RetriesInForce,
        backend: Option<&'a ClusterState>,
    ) -> Self {
        Self {
            shard,
            policy,
            backend,
            made: Cell::new(0),
            flags: Cell::new(Flags::EMPTY),
            held: RefCell::default(),
        }
    }

    /// May any response be a reason for another try?
    pub(super) fn heed_responses(&self) -> bool {
        self.backend.is_some() && self.policy.heeds_responses()
    }

    /// Is a response, of which the client has seen nothing, to be thrown away for another try?
    /// `whole`: all of the request can be sent again.
    pub(super) fn reject<'f>(
        &self,
        status: u16,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
        whole: bool,
    ) -> bool {
        self.heed_responses() && self.again(&Happened::Replied(Replied::new(status, fields)), whole)
    }

    /// Is there to be another try? Counts it, if so.
    pub(super) fn again(&self, happened: &Happened, whole: bool) -> bool {
        // Room that the try which has just ended had is there for the next one.
        drop(self.held.take());
        let Some(backend) = self.backend.filter(|_| self.policy.repeats(happened)) else {
            return false;
        };
        let counts = &self.shard.counts;
        if !whole {
            counts.retry("body_not_kept");
            return false;
        }
        if self.made.get() >= self.policy.attempts() {
            self.flags.set(self.flags.get() | Flags::URX);
            counts.retry("used_up");
            return false;
        }
        match room(backend, happened) {
            Ok(held) => *self.held.borrow_mut() = held,
            Err(Full(limit)) => {
                self.flags.set(self.flags.get() | Flags::UO);
                counts.limit(limit);
                counts.retry("over_limit");
                return false;
            }
        }
        self.made.set(self.made.get() + 1);
        counts.retry("made");
        true
    }

    /// How long to wait before the try that was granted last.
    pub(super) fn pause(&self) -> Duration {
        let draw = |below| self.shard.random.borrow_mut().u64(..below);
        self.policy.pause(self.made.get(), draw)
    }

    /// Repetitions so far.
    pub(super) fn made(&self) -> u32 {
        self.made.get()
    }

    /// Why there was no other try.
    pub(super) fn flags(&self) -> Flags {
        self.flags.get()
    }

    /// What is tried again.
    pub(super) fn policy(&self) -> &'a RetriesInForce {
        self.policy
    }
}

fn room(backend: &ClusterState, happened: &Happened) -> Result<Option<Held>, Full> {
    if let Some(limits) = &backend.limits
        && let Some(room) = limits.repetition()?
    {
        return Ok(Some(Held::Counted { _room: room }));
    }
    if happened.is_harmless() {
        return Ok(None);
    }
    let repeating = &backend.repeating;
    if repeating.get() >= share(backend.active(), BUDGET) {
        return Err(Full("retryBudget"));
    }
    repeating.set(repeating.get() + 1);
    let room = Repeating(repeating.clone());
    Ok(Some(Held::Here { _room: room }))
}
