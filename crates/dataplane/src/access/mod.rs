//! What is recorded of each request and connection, and who is told.
//!
//! `pending` fills one record while its request runs; the shard's `Ring` keeps finished ones
//! until the `Meter`'s next tick; each sink has a [`SinkHost`] that takes batches of them. Without a
//! sink nothing is recorded, and that costs one branch a request.
pub(crate) mod pending;
mod sink_host;

pub use sink_host::{AccessBatch, SINK_MAILBOX, Settled, SinkHost, SinkOutlet, sink_host};

use pointsman_runtime::offer;
use pointsman_telemetry::{AccessRecord, Recorder, names};
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

/// Finished records of one shard. Bounded: where the tick does not come in time the newest are
/// lost, so that what is logged has no holes in the middle.
pub(crate) struct Ring {
    records: RefCell<Vec<AccessRecord>>,
    limit: usize,
    lost: Cell<u64>,
}

impl Ring {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            records: RefCell::default(),
            limit,
            lost: Cell::new(0),
        }
    }

    pub(crate) fn push(&self, record: AccessRecord) {
        let mut records = self.records.borrow_mut();
        if records.len() < self.limit {
            records.push(record);
        } else {
            self.lost.set(self.lost.get() + 1);
        }
    }

    /// Offers what there is to each sink as one shared batch.
    pub(crate) fn drain(&self, sinks: &[SinkOutlet], recorder: &Recorder) {
        let overflow = self.lost.take();
        let batch = {
            let mut records = self.records.borrow_mut();
            // The next tick will bring about as many.
            let next = Vec::with_capacity(records.len());
            Arc::new(std::mem::replace(&mut *records, next))
        };
        for sink in sinks {
            let mut lost = overflow;
            if !batch.is_empty() && offer(&sink.records, AccessBatch(batch.clone())).is_err() {
                lost += batch.len() as u64;
            }
            // At zero too: an alert on the series must find it.
            recorder
                .counter(&names::ACCESS_LOG_LOST, [sink.name])
                .increment(lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_keeps_the_oldest_and_counts_the_rest() {
        let ring = Ring::new(2);
        for code in 1..=5 {
            ring.push(AccessRecord {
                response_code: code,
                ..AccessRecord::default()
            });
        }
        let kept: Vec<u16> = ring
            .records
            .borrow()
            .iter()
            .map(|it| it.response_code)
            .collect();
        assert_eq!((kept, ring.lost.get()), (vec![1, 2], 3));
        ring.drain(&[], &Recorder::default());
        assert_eq!((ring.records.borrow().len(), ring.lost.get()), (0, 0));
    }
}
