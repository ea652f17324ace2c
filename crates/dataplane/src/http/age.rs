//! How long one client connection is served.
use crate::shard::Shard;
use std::time::{Duration, Instant};

/// When a client connection is to end, of whatever version it is (`timeouts.connection_age`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Age(Option<Instant>);

impl Age {
    /// Of a connection that begins now.
    pub(super) fn new(shard: &Shard) -> Self {
        let limit = shard.settings.timeouts.connection_age.0;
        if limit.is_zero() {
            return Self(None);
        }
        // A tenth more or less: connections that were opened together, as after a restart, do not
        // all come back together.
        let factor = 0.9 + 0.2 * shard.random.borrow_mut().f64();
        Self(Instant::now().checked_add(limit.mul_f64(factor)))
    }

    /// Is the next response to be the last?
    pub(super) fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }

    /// Until then; `None`: it does not end by its age.
    pub(super) fn left(self) -> Option<Duration> {
        self.0
            .map(|end| end.saturating_duration_since(Instant::now()))
    }
}
