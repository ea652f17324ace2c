//! Which shard serves which generation, and what to send next. Pure.
use super::status::ShardStatus;
use std::time::{Duration, Instant};

/// Per shard at most one snapshot is on its way, so that a shard that stands still holds up
/// neither the others nor memory. What it missed meanwhile it never sees: the next it is sent is
/// the newest.
#[derive(Debug)]
pub(crate) struct Delivery {
    shards: Vec<Shard>,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    active: u64,
    /// Sent and not answered.
    sent: Option<(u64, Instant)>,
}

impl Delivery {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards: vec![Shard::default(); shards],
        }
    }

    /// `newest` should be served everywhere. Returns the shards to send it to now.
    pub(crate) fn wish(&mut self, newest: u64, now: Instant) -> Vec<usize> {
        let mut to = Vec::new();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if shard.sent.is_none() && shard.active != newest {
                shard.sent = Some((newest, now));
                to.push(index);
            }
        }
        to
    }

    /// A shard says what it serves, in answer or because its replica was restarted. True when it
    /// should be sent `newest`.
    pub(crate) fn confirm(&mut self, shard: u16, active: u64, newest: u64, now: Instant) -> bool {
        let Some(shard) = self.shards.get_mut(usize::from(shard)) else {
            return false;
        };
        shard.active = active;
        // Whatever was on its way to a replica that was restarted is lost, if it was being
        // handled, or comes before the next; either way one more is not too many.
        shard.sent = (active != newest).then_some((newest, now));
        shard.sent.is_some()
    }

    /// Answers may have been lost: nothing counts as sent.
    pub(crate) fn forget_sent(&mut self) {
        for shard in &mut self.shards {
            shard.sent = None;
        }
    }

    /// The oldest generation any shard serves; `None` without shards.
    pub(crate) fn active_everywhere(&self) -> Option<u64> {
        self.shards.iter().map(|shard| shard.active).min()
    }

    pub(crate) fn status(&self, now: Instant) -> Vec<ShardStatus> {
        self.shards
            .iter()
            .map(|shard| ShardStatus {
                active: shard.active,
                unanswered: shard
                    .sent
                    .map(|(_, at)| now.saturating_duration_since(at))
                    .unwrap_or(Duration::ZERO),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_newest_next() {
        let now = Instant::now();
        let mut delivery = Delivery::new(2);
        assert_eq!(delivery.wish(1, now), [0, 1]);
        assert!(!delivery.confirm(0, 1, 1, now));
        // Shard 1 has not answered: generations 2 and 3 go to shard 0 alone.
        assert_eq!(delivery.wish(2, now), [0]);
        assert!(!delivery.confirm(0, 2, 2, now));
        assert_eq!(delivery.wish(3, now), [0]);
        assert_eq!(delivery.active_everywhere(), Some(0));
        // When it answers, it is sent the newest and skips 2.
        assert!(delivery.confirm(1, 1, 3, now));
        assert!(delivery.wish(3, now).is_empty());
        assert!(!delivery.confirm(1, 3, 3, now));
        assert!(!delivery.confirm(0, 3, 3, now));
        assert_eq!(delivery.active_everywhere(), Some(3));
    }

    #[test]
    fn a_replica_that_was_restarted_is_sent_the_newest_again() {
        let now = Instant::now();
        let mut delivery = Delivery::new(1);
        assert_eq!(delivery.wish(1, now), [0]);
        // It died over generation 1 and says that it serves none.
        assert!(delivery.confirm(0, 0, 1, now));
        assert!(!delivery.confirm(0, 1, 1, now));
    }

    #[test]
    fn a_shard_nobody_knows_changes_nothing() {
        let now = Instant::now();
        let mut delivery = Delivery::new(1);
        assert!(!delivery.confirm(7, 9, 1, now));
        assert_eq!(delivery.active_everywhere(), Some(0));
    }
}
