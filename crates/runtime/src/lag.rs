//! How late a thread's event loop runs.
//!
//! A timer is set for 100 ms from now, over and over, and the gauge tells how much later than
//! asked it fired. On an idle thread that is up to 1 ms, the granularity of the timer wheel, plus
//! the operating system's scheduling; anything above is handlers and tasks that held the thread.

use crate::place::Place;
use crate::stats;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The time between measurements.
const TICK: Duration = Duration::from_millis(100);
/// Measurements per span over which the worst is remembered: 10 s.
const TICKS_PER_SPAN: u32 = 100;

/// The lag of one thread, readable from any.
#[derive(Debug, Default)]
pub struct LagGauge {
    max: AtomicU64,
    ewma: AtomicU64,
    ticks: AtomicU64,
}

impl LagGauge {
    /// The worst lag of the last 10 to 20 s, in microseconds.
    pub fn max_micros(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// The moving average, in microseconds; each measurement weighs 1/8.
    pub fn ewma_micros(&self) -> u64 {
        self.ewma.load(Ordering::Relaxed)
    }

    /// Measurements so far. A value that stands still means a thread that does.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}

/// Makes the gauge for a thread about to be started, and the future to run there. The future
/// ends after the gauge is dropped.
pub(crate) fn probe(place: Place) -> (Arc<LagGauge>, impl Future<Output = ()> + Send) {
    let gauge = Arc::new(LagGauge::default());
    stats::enlist_lag(place, &gauge);
    let weak = Arc::downgrade(&gauge);
    let probe = async move {
        let mut recent = Recent::default();
        loop {
            let due = Instant::now() + TICK;
            sleep_until(due).await;
            let late = Instant::now().saturating_duration_since(due).as_micros();
            let Some(gauge) = weak.upgrade() else { return };
            recent.record(u64::try_from(late).unwrap_or(u64::MAX));
            gauge.max.store(recent.max(), Ordering::Relaxed);
            gauge.ewma.store(recent.ewma, Ordering::Relaxed);
            gauge.ticks.fetch_add(1, Ordering::Relaxed);
        }
    };
    (gauge, probe)
}

/// Measurements summed up. The worst is kept over two spans, so that neither it is forgotten
/// before a scrape sees it, nor does one bad moment after the start colour the gauge for ever.
#[derive(Default)]
struct Recent {
    ewma: u64,
    this_span: u64,
    last_span: u64,
    ticks: u32,
}

impl Recent {
    fn record(&mut self, late: u64) {
        if self.ticks == TICKS_PER_SPAN {
            self.ticks = 0;
            self.last_span = std::mem::take(&mut self.this_span);
        }
        self.ticks += 1;
        self.this_span = self.this_span.max(late);
        self.ewma = if late >= self.ewma {
            self.ewma + (late - self.ewma) / 8
        } else {
            // Rounded up, or the average would never come down the last seven microseconds.
            self.ewma - (self.ewma - late).div_ceil(8)
        };
    }

    fn max(&self) -> u64 {
        self.this_span.max(self.last_span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_remembered_for_one_to_two_spans() {
        let mut recent = Recent::default();
        recent.record(9_000);
        for _ in 1..2 * TICKS_PER_SPAN {
            recent.record(10);
            assert_eq!(recent.max(), 9_000);
        }
        recent.record(10);
        assert_eq!(recent.max(), 10);
    }

    #[test]
    fn the_average_moves_by_an_eighth_and_settles() {
        let mut recent = Recent::default();
        recent.record(800);
        assert_eq!(recent.ewma, 100);
        recent.record(800);
        assert_eq!(recent.ewma, 187);
        for _ in 0..100 {
            recent.record(0);
        }
        assert_eq!(recent.ewma, 0);
        recent.record(u64::MAX);
        recent.record(u64::MAX);
    }
}
