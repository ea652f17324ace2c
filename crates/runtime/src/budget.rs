//! How often an actor may be restarted before it is given up, and how long each restart waits.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Limits on restarting one actor.
///
/// The default allows 5 restarts in any 60 s, the first after 10 ms and each further one after
/// twice as long, up to 1 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Restarts allowed within any `window`; the next one fails the actor. 0 never restarts.
    pub limit: u16,
    /// The span over which restarts are counted.
    pub window: Duration,
    /// The wait before a restart when no other lies within `window`. It is there so that an actor
    /// that dies at once does not turn its shard into a busy loop.
    pub first_delay: Duration,
    /// The longest wait; the wait doubles with each restart within `window`, up to this.
    pub max_delay: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            limit: 5,
            window: Duration::from_secs(60),
            first_delay: Duration::from_millis(10),
            max_delay: Duration::from_secs(1),
        }
    }
}

/// The restarts of one actor that still count.
pub(crate) struct Ledger {
    budget: Budget,
    recent: VecDeque<Instant>,
}

impl Ledger {
    pub(crate) fn new(budget: Budget) -> Ledger {
        Ledger {
            budget,
            recent: VecDeque::new(),
        }
    }

    /// Asks for one restart at `now`: the wait before it, or `None` when the budget is spent.
    pub(crate) fn spend(&mut self, now: Instant) -> Option<Duration> {
        let Budget {
            limit,
            window,
            first_delay,
            max_delay,
        } = self.budget;
        while self
            .recent
            .front()
            .is_some_and(|&then| now.duration_since(then) >= window)
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= usize::from(limit) {
            return None;
        }
        // Bounded by `limit`, so the exponent fits; beyond 2^31 the longest wait applies anyway.
        let doublings = u32::try_from(self.recent.len()).unwrap_or(31).min(31);
        self.recent.push_back(now);
        Some(first_delay.saturating_mul(1 << doublings).min(max_delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_longest_and_the_window_forgets() {
        let budget = Budget {
            limit: 4,
            window: Duration::from_secs(10),
            first_delay: Duration::from_millis(10),
            max_delay: Duration::from_millis(35),
        };
        let mut ledger = Ledger::new(budget);
        let start = Instant::now();
        let waits: Vec<_> = (0..5)
            .map(|n| ledger.spend(start + Duration::from_secs(n)))
            .collect();
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!(waits, [ms(10), ms(20), ms(35), ms(35), None]);
        // The first restart has left the window; three remain.
        assert_eq!(ledger.spend(start + Duration::from_secs(10)), ms(35));
        assert_eq!(ledger.spend(start + Duration::from_secs(10)), None);
        // All have.
        assert_eq!(ledger.spend(start + Duration::from_secs(20)), ms(10));
    }

    proptest! {
        /// Against the sentence of the doc comment, counted anew at each step.
        #[test]
        fn never_more_than_the_limit_in_any_window(
            limit in 0u16..6,
            window_ms in 1u64..50,
            steps in prop::collection::vec(0u64..30, 0..60),
        ) {
            let window = Duration::from_millis(window_ms);
            let mut ledger = Ledger::new(Budget { limit, window, ..Budget::default() });
            let mut granted: Vec<Instant> = Vec::new();
            let mut now = Instant::now();
            for step in steps {
                now += Duration::from_millis(step);
                let counted = granted.iter().filter(|&&t| now - t < window).count();
                let answer = ledger.spend(now);
                prop_assert_eq!(answer.is_some(), counted < usize::from(limit));
                if let Some(wait) = answer {
                    prop_assert!(wait <= Budget::default().max_delay);
                    granted.push(now);
                }
            }
        }
    }
}
