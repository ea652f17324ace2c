//! Round robin (BE-32).
use crate::Candidates;
use std::cell::{Cell, RefCell};

/// In turn. With unequal weights the smooth form: everyone earns its weight each turn, the richest
/// is picked and pays the total, so that picks of a heavy endpoint are spread, not bunched.
///
/// A change of the endpoint list keeps the cursor, so a swap does not send every shard back to the
/// first endpoint.
#[derive(Debug, Default)]
pub struct RoundRobin {
    cursor: Cell<usize>,
    earned: RefCell<Vec<i64>>,
}

impl RoundRobin {
    pub(crate) fn pick<C: Candidates + ?Sized>(&self, candidates: &C) -> Option<usize> {
        let len = candidates.len();
        if candidates.equal_weights() {
            let start = self.cursor.get();
            let picked = (0..len)
                .map(|step| start.wrapping_add(step) % len)
                .find(|&index| candidates.usable(index))?;
            self.cursor.set(picked + 1);
            return Some(picked);
        }
        let mut earned = self.earned.borrow_mut();
        earned.resize(len, 0);
        let mut total = 0;
        let mut richest = None;
        for (index, purse) in earned.iter_mut().enumerate() {
            if !candidates.usable(index) {
                continue;
            }
            let weight = i64::from(candidates.weight(index));
            *purse += weight;
            total += weight;
            if richest.is_none_or(|(_, most)| *purse > most) {
                richest = Some((index, *purse));
            }
        }
        let (index, _) = richest?;
        if let Some(purse) = earned.get_mut(index) {
            *purse -= total;
        }
        Some(index)
    }
}
