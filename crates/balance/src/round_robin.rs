//! Round robin (BE-32).
use crate::Candidates;
use std::cell::{Cell, RefCell};

/// In turn. With unequal weights the smooth form: everyone earns its weight each turn, the richest
/// is picked and pays the total, so that picks of a heavy endpoint are spread, not bunched.
///
/// A change of the endpoint list keeps the cursor, so a swap does not send every shard back to the
/// first endpoint. A change of weights ends what was earned: under weights of 1000 and 1 that is turns by the
/// hundred, which the one endpoint would get in a row.
#[derive(Debug, Default)]
pub struct RoundRobin {
    cursor: Cell<usize>,
    purses: RefCell<Vec<Purse>>,
}

#[derive(Debug)]
struct Purse {
    weight: u32,
    earned: i64,
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
        let mut purses = self.purses.borrow_mut();
        let weights = (0..len).map(|index| candidates.weight(index));
        if !weights.clone().eq(purses.iter().map(|purse| purse.weight)) {
            purses.clear();
            purses.extend(weights.map(|weight| Purse { weight, earned: 0 }));
        }
        let mut total = 0;
        let mut richest = None;
        for (index, purse) in purses.iter_mut().enumerate() {
            if !candidates.usable(index) {
                continue;
            }
            let weight = i64::from(purse.weight);
            purse.earned += weight;
            total += weight;
            if richest.is_none_or(|(_, most)| purse.earned > most) {
                richest = Some((index, purse.earned));
            }
        }
        let (index, _) = richest?;
        if let Some(purse) = purses.get_mut(index) {
            purse.earned -= total;
        }
        Some(index)
    }
}
