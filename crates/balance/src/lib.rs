//! Endpoint choice. Pure: no I/O, no clock; randomness is handed in.
//!
//! [`Candidates`] is how a caller shows its endpoints without copying them; [`Algorithm`] is how
//! one of them is chosen. State that must outlive a configuration change (whose turn it is) lives
//! in the algorithm value, which the caller carries from generation to generation.
#![forbid(unsafe_code)]

mod least_request;
mod round_robin;

use pointsman_model::policy;
use std::cell::RefCell;

pub use least_request::LeastRequest;
pub use round_robin::RoundRobin;

/// The endpoints of one backend as a balancer sees them.
///
/// Indexes are stable during one pick only.
pub trait Candidates {
    /// How many there are.
    fn len(&self) -> usize;
    /// True when there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// May this one be used now: ready, not ejected, not already tried for this request?
    fn usable(&self, index: usize) -> bool;
    /// Requests or connections in flight.
    fn active(&self, index: usize) -> u32;
    /// Relative weight, at least 1 (BE-109).
    fn weight(&self, index: usize) -> u32;
    /// True when all weights are equal: the cheap forms of the algorithms apply.
    fn equal_weights(&self) -> bool;
}

/// One way to choose (BE-30..33), with the state it needs.
#[derive(Debug)]
pub enum Algorithm {
    /// Two random choices, the one with fewer in flight.
    LeastRequest(LeastRequest),
    /// In turn.
    RoundRobin(RoundRobin),
    /// Weighted random.
    Random,
}

impl Algorithm {
    /// The algorithm a policy asks for. Consistent hashing is not available yet and falls back to
    /// the default, least request; a finding says so where the policy is read.
    pub fn of(policy: &policy::Algorithm) -> Self {
        match policy {
            policy::Algorithm::RoundRobin => Self::RoundRobin(RoundRobin::default()),
            policy::Algorithm::Random => Self::Random,
            policy::Algorithm::LeastRequest
            | policy::Algorithm::Passthrough
            | policy::Algorithm::ConsistentHash(_) => Self::LeastRequest(LeastRequest),
        }
    }

    /// Chooses a usable candidate; `None` when there is none.
    pub fn pick<C: Candidates + ?Sized>(
        &self,
        candidates: &C,
        random: &RefCell<fastrand::Rng>,
    ) -> Option<usize> {
        if candidates.len() == 1 {
            return candidates.usable(0).then_some(0);
        }
        let mut random = random.borrow_mut();
        match self {
            Self::LeastRequest(state) => state.pick(candidates, &mut random),
            Self::RoundRobin(state) => state.pick(candidates),
            Self::Random => weighted_random(candidates, &mut random),
        }
    }
}

/// One usable candidate with probability proportional to its weight.
pub(crate) fn weighted_random<C: Candidates + ?Sized>(
    candidates: &C,
    random: &mut fastrand::Rng,
) -> Option<usize> {
    let len = candidates.len();
    if len == 0 {
        return None;
    }
    if candidates.equal_weights() {
        // A few blind draws find a usable one at once unless most are down.
        for _ in 0..3 {
            let index = random.usize(..len);
            if candidates.usable(index) {
                return Some(index);
            }
        }
    }
    let usable = || (0..len).filter(|&index| candidates.usable(index));
    let total: u64 = usable()
        .map(|index| u64::from(candidates.weight(index)))
        .sum();
    if total == 0 {
        return None;
    }
    let mut left = random.u64(..total);
    usable().find(|&index| {
        let weight = u64::from(candidates.weight(index));
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Fixed(Vec<(bool, u32, u32)>);

    impl Candidates for Fixed {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn usable(&self, index: usize) -> bool {
            self.0[index].0
        }
        fn active(&self, index: usize) -> u32 {
            self.0[index].1
        }
        fn weight(&self, index: usize) -> u32 {
            self.0[index].2
        }
        fn equal_weights(&self) -> bool {
            self.0.windows(2).all(|pair| pair[0].2 == pair[1].2)
        }
    }

    fn counts(algorithm: &Algorithm, candidates: &Fixed, picks: usize) -> Vec<usize> {
        let random = RefCell::new(fastrand::Rng::with_seed(7));
        let mut counts = vec![0; candidates.len()];
        for _ in 0..picks {
            counts[algorithm.pick(candidates, &random).unwrap()] += 1;
        }
        counts
    }

    fn all() -> [Algorithm; 3] {
        [
            Algorithm::of(&policy::Algorithm::LeastRequest),
            Algorithm::of(&policy::Algorithm::RoundRobin),
            Algorithm::of(&policy::Algorithm::Random),
        ]
    }

    #[test]
    fn an_unusable_endpoint_is_never_picked() {
        for algorithm in all() {
            let counts = counts(
                &algorithm,
                &Fixed(vec![(false, 0, 1), (true, 9, 1), (false, 0, 1)]),
                200,
            );
            assert_eq!(counts, [0, 200, 0], "{algorithm:?}");
        }
    }

    #[test]
    fn nothing_usable_is_nothing_picked() {
        let random = RefCell::new(fastrand::Rng::with_seed(1));
        for algorithm in all() {
            for candidates in [
                vec![],
                vec![(false, 0, 1)],
                vec![(false, 0, 1), (false, 0, 3)],
            ] {
                assert_eq!(
                    algorithm.pick(&Fixed(candidates), &random),
                    None,
                    "{algorithm:?}"
                );
            }
        }
    }

    #[test]
    fn least_request_avoids_the_busiest() {
        let counts = counts(
            &Algorithm::of(&policy::Algorithm::LeastRequest),
            &Fixed(vec![(true, 50, 1), (true, 0, 1), (true, 1, 1)]),
            3000,
        );
        assert!(counts[0] < 10, "{counts:?}"); // only when it is drawn twice, which never happens
        assert!(counts[1] > counts[2]);
    }

    #[test]
    fn round_robin_takes_turns_and_honours_weights() {
        let rr = Algorithm::of(&policy::Algorithm::RoundRobin);
        assert_eq!(counts(&rr, &Fixed(vec![(true, 0, 1); 4]), 400), [100; 4]);
        let weighted = Algorithm::of(&policy::Algorithm::RoundRobin);
        assert_eq!(
            counts(&weighted, &Fixed(vec![(true, 0, 1), (true, 0, 3)]), 400),
            [100, 300]
        );
    }

    #[test]
    fn round_robin_owes_nothing_for_weights_that_are_no_more() {
        // BE-32
        let algorithm = Algorithm::of(&policy::Algorithm::RoundRobin);
        counts(&algorithm, &Fixed(vec![(true, 0, 1000), (true, 0, 1)]), 500);
        let now = Fixed(vec![(true, 0, 2), (true, 0, 1)]);
        assert_eq!(counts(&algorithm, &now, 30), [20, 10]);
        let more = Fixed(vec![(true, 0, 2), (true, 0, 1), (true, 0, 3)]);
        assert_eq!(counts(&algorithm, &more, 30), [10, 5, 15]);
    }

    #[test]
    fn weights_hold_for_random_and_idle_least_request() {
        for policy in [policy::Algorithm::Random, policy::Algorithm::LeastRequest] {
            let counts = counts(
                &Algorithm::of(&policy),
                &Fixed(vec![(true, 0, 1), (true, 0, 4)]),
                10_000,
            );
            assert!((1700..2300).contains(&counts[0]), "{policy:?} {counts:?}");
        }
    }
}
