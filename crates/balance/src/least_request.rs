//! Least request (BE-30).
use crate::{Candidates, weighted_random};

/// Equal weights: two different random candidates, the one with fewer in flight. Unequal weights:
/// random in proportion to weight / (in flight + 1), which is the bias Envoy's weighted form has.
///
/// Two choices beat "the least of all": every shard counts only its own requests, and all shards
/// would run to the same endpoint.
#[derive(Debug, Default)]
pub struct LeastRequest;

impl LeastRequest {
    pub(crate) fn pick<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        let len = candidates.len();
        if !candidates.equal_weights() {
            return self.pick_weighted(candidates, random);
        }
        let first = weighted_random(candidates, random)?;
        // A second, different one; one retry is enough when most are usable.
        for _ in 0..2 {
            let second = random.usize(..len);
            if second != first && candidates.usable(second) {
                return Some(if candidates.active(second) < candidates.active(first) {
                    second
                } else {
                    first
                });
            }
        }
        // Chance failed, or few are usable: look at all of them.
        (0..len)
            .filter(|&index| candidates.usable(index))
            .min_by_key(|&index| (candidates.active(index), index != first))
    }

    fn pick_weighted<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        random: &mut fastrand::Rng,
    ) -> Option<usize> {
        let share = |index: usize| {
            f64::from(candidates.weight(index)) / (f64::from(candidates.active(index)) + 1.0)
        };
        let usable = || (0..candidates.len()).filter(|&index| candidates.usable(index));
        let total: f64 = usable().map(share).sum();
        let mut left = random.f64() * total;
        let mut last = None;
        for index in usable() {
            last = Some(index);
            left -= share(index);
            if left < 0.0 {
                break;
            }
        }
        last
    }
}
