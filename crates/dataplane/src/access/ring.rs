//! Finished records of one shard, and what is known of the batches that sinks still have.
use super::{AccessBatch, Place, SinkOutlet};
use pointsman_runtime::offer;
use pointsman_telemetry::{AccessRecord, Recorder, names};
use std::{
    cell::{Cell, RefCell},
    sync::{Arc, Weak},
};

/// What a place for a record takes, full or empty.
const PLACE: usize = size_of::<AccessRecord>();
/// The first places, where there were none.
const FIRST_PLACES: usize = 32;

/// Finished records of one shard. Bounded, in records and, together with the batches of this shard
/// that sinks have not dealt with, in bytes: a few bytes of HTTP/2 can refer to thousands that are
/// recorded. Where the tick or a sink does not come in time the newest are lost, so that what is
/// logged has no holes in the middle.
pub(crate) struct Ring {
    records: usize,
    bytes: usize,
    kept: RefCell<Kept>,
    /// Of `bytes`, what is left beside the batches under way. As of the last tick, so a record costs
    /// no look at what other threads are doing.
    room: Cell<usize>,
    /// Batches that a sink had at the last tick, with their bytes. As few as there are places.
    under_way: RefCell<Vec<(Weak<Vec<AccessRecord>>, usize)>>,
    /// Of this shard, at each sink.
    places: RefCell<Vec<Place>>,
    lost: Cell<u64>,
}

/// What the next batch is made of.
#[derive(Default)]
struct Kept {
    records: Vec<AccessRecord>,
    /// Bytes that they keep besides themselves.
    besides: usize,
}

impl Kept {
    /// Bytes of memory, empty places included.
    fn bytes(&self) -> usize {
        self.records.capacity() * PLACE + self.besides
    }

    /// Says whether there was a place for it among `records`, and `room` bytes.
    fn push(&mut self, record: AccessRecord, records: usize, room: usize) -> bool {
        let besides = self.besides + record.bytes_besides();
        let kept = self.records.len();
        if kept == self.records.capacity() {
            let twice = (2 * kept).max(FIRST_PLACES);
            let places = twice.min(records).min(room.saturating_sub(besides) / PLACE);
            self.records.reserve_exact(places.saturating_sub(kept));
        }
        let places = self.records.capacity();
        let fits = kept < places.min(records) && places * PLACE + besides <= room;
        if fits {
            self.besides = besides;
            self.records.push(record);
        }
        fits
    }
}

impl Ring {
    /// For so many records, and so many bytes.
    pub(crate) fn new(records: usize, bytes: usize) -> Self {
        Self {
            records,
            bytes,
            kept: RefCell::default(),
            room: Cell::new(bytes),
            under_way: RefCell::default(),
            places: RefCell::default(),
            lost: Cell::new(0),
        }
    }

    pub(crate) fn push(&self, record: AccessRecord) {
        let lost = self.lost.get();
        // Behind a long one that was lost a short one would fit, and leave a hole.
        if lost > 0
            || !self
                .kept
                .borrow_mut()
                .push(record, self.records, self.room.get())
        {
            self.lost.set(lost + 1);
        }
    }

    /// Records that a sink has not dealt with, of those that were handed on.
    pub(crate) fn under_way(&self) -> usize {
        let under_way = self.under_way.borrow();
        let batches = under_way.iter().filter_map(|(batch, _)| batch.upgrade());
        batches.map(|batch| batch.len()).sum()
    }

    /// Offers what there is to each sink as one shared batch.
    pub(crate) fn drain(&self, sinks: &[SinkOutlet], recorder: &Recorder) {
        let overflow = self.lost.take();
        let mut kept = self.kept.take();
        let count = kept.records.len();
        if count < kept.records.capacity() / 2 {
            kept.records.shrink_to_fit();
        }
        let bytes = kept.bytes();
        let batch = Arc::new(kept.records);
        let mut places = self.places.borrow_mut();
        places.resize_with(sinks.len(), Place::default);
        for (sink, place) in sinks.iter().zip(&*places) {
            let mut lost = overflow;
            if !batch.is_empty() {
                let records = batch.clone();
                let taken = place.take().is_some_and(|place| {
                    offer(&sink.records, AccessBatch { records, place }).is_ok()
                });
                if !taken {
                    lost += batch.len() as u64;
                }
            }
            // At zero too: an alert on the series must find it.
            recorder
                .counter(&names::ACCESS_LOG_LOST, [sink.name])
                .increment(lost);
        }
        let mut under_way = self.under_way.borrow_mut();
        under_way.push((Arc::downgrade(&batch), bytes));
        drop(batch);
        under_way.retain(|(batch, _)| batch.strong_count() > 0);
        let taken: usize = under_way.iter().map(|(_, bytes)| bytes).sum();
        let room = self.bytes.saturating_sub(taken);
        self.room.set(room);
        // The next tick will bring about as many.
        if bytes <= room {
            self.kept.borrow_mut().records = Vec::with_capacity(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{SINK_PLACES, SinkHost, sink_mailbox},
        *,
    };
    use pointsman_runtime::Link;

    impl Ring {
        /// All that it answers for.
        fn waiting(&self) -> usize {
            let under_way = self.under_way.borrow();
            let alive = under_way.iter().filter(|it| it.0.strong_count() > 0);
            self.kept.borrow().bytes() + alive.map(|it| it.1).sum::<usize>()
        }
    }

    /// A sink of two shards that takes no batch from its mailbox, which goes with what is given beside
    /// it.
    fn unstarted() -> ([SinkOutlet; 1], impl Sized) {
        let (sink, seat) = Link::<SinkHost>::reserve("sink", sink_mailbox(2));
        let sink = SinkOutlet {
            name: "sink",
            records: sink.outlet(),
        };
        ([sink], seat)
    }

    fn record(path: usize) -> AccessRecord {
        AccessRecord {
            path: Some(vec![b'p'; path].into()),
            ..AccessRecord::default()
        }
    }

    #[test]
    fn a_full_ring_keeps_the_oldest_and_counts_the_rest() {
        let ring = Ring::new(2, usize::MAX);
        for code in 1..=5 {
            ring.push(AccessRecord {
                response_code: code,
                ..AccessRecord::default()
            });
        }
        let kept: Vec<u16> = ring
            .kept
            .borrow()
            .records
            .iter()
            .map(|it| it.response_code)
            .collect();
        assert_eq!((kept, ring.lost.get()), (vec![1, 2], 3));
        ring.drain(&[], &Recorder::default());
        assert_eq!((ring.kept.borrow().records.len(), ring.lost.get()), (0, 0));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_until_the_sink_has_dealt_with_it() {
        const BYTES: usize = 1 << 20;
        let recorder = Recorder::default();
        let (sinks, seat) = unstarted();
        // Long ones, short ones, and a change from many to few, which leaves empty places.
        for (path, burst) in [(4096, 100_000), (4096, 100), (0, 100_000), (0, 700)] {
            let ring = Ring::new(16_384, BYTES);
            let mut most = 0;
            for tick in 0..SINK_PLACES / 4 {
                for _ in 0..if tick % 2 == 0 { burst } else { 1 } {
                    ring.push(record(path));
                    most = most.max(ring.waiting());
                }
                ring.drain(&sinks, &recorder);
                most = most.max(ring.waiting());
            }
            assert!(most <= BYTES, "{path} {burst}: {most}");
            if burst == 100_000 {
                assert!(most > BYTES / 4 * 3, "{path}: {most}");
                assert!(ring.room.get() < BYTES / 4, "{path}");
            }
        }
        drop(seat);
    }

    #[test]
    fn room_comes_back_with_the_sink() {
        const BYTES: usize = 1 << 20;
        let recorder = Recorder::default();
        let (sinks, seat) = unstarted();
        let ring = Ring::new(16_384, BYTES);
        for _ in 0..2 {
            for _ in 0..1000 {
                ring.push(record(4096));
            }
            ring.drain(&sinks, &recorder);
        }
        assert!(ring.room.get() < 8 * 1024, "{}", ring.room.get());
        // All that waits in its mailbox goes with it.
        drop(seat);
        ring.drain(&sinks, &recorder);
        assert_eq!((ring.room.get(), ring.waiting()), (BYTES, 0));
        for _ in 0..100 {
            ring.push(record(4096));
        }
        assert_eq!(
            (ring.kept.borrow().records.len(), ring.lost.get()),
            (100, 0)
        );
    }

    #[test]
    fn a_shard_has_its_places_whatever_another_offers() {
        let recorder = Recorder::default();
        let (sinks, seat) = unstarted();
        let [busy, quiet] = [(); 2].map(|()| Ring::new(16_384, usize::MAX));
        let offered = |ring: &Ring| {
            ring.push(record(1));
            ring.drain(&sinks, &recorder);
            ring.under_way.borrow().len()
        };
        for tick in 1..=3 * SINK_PLACES {
            assert_eq!(offered(&busy), tick.min(SINK_PLACES));
        }
        for tick in 1..=SINK_PLACES {
            assert_eq!(offered(&quiet), tick);
        }
        // All that waits in its mailbox goes with it.
        drop(seat);
        assert_eq!(offered(&busy), 0);
        assert!(busy.places.borrow()[0].take().is_some());
    }

    #[test]
    fn behind_a_lost_record_there_is_no_hole() {
        let ring = Ring::new(16_384, 64 * 1024);
        for path in [4096; 20].into_iter().chain([0; 20]) {
            ring.push(record(path));
        }
        let kept = ring.kept.borrow().records.len();
        assert!(kept < 20, "{kept}");
        assert_eq!(ring.lost.get(), 40 - kept as u64);
    }
}
