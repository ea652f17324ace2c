//! Frames that cost a client nothing, counted against their budgets.
use crate::settings::Http2;
use pointsman_wire::http2::{Flood, FloodLimits, FrameWatch};
use std::{
    cell::{Cell, RefCell},
    io::IoSlice,
    time::{Duration, Instant},
};

/// The watch over one client connection. The library that reads the frames does not say what it
/// has read, so the socket shows it the bytes.
pub(super) struct Floods {
    /// `None` when there are no budgets.
    watch: Option<RefCell<FrameWatch>>,
    /// Up to when time has been told.
    told: Cell<Instant>,
    found: Cell<Option<Flood>>,
    /// One was found; nothing more is read.
    over: Cell<bool>,
    /// The field block that is coming in, and since when.
    head: Cell<Option<(u32, Instant)>>,
}

impl Floods {
    pub(super) fn new(settings: &Http2, now: Instant) -> Self {
        let percent = settings.flood_budget_percent;
        let mut limits = FloodLimits::default();
        // All streams may be given up at once.
        let streams = settings.client_streams.saturating_mul(2);
        limits.reset.burst = limits.reset.burst.max(streams);
        let limits = limits.scaled(percent);
        Self {
            watch: (percent > 0).then(|| RefCell::new(FrameWatch::new(&limits))),
            told: Cell::new(now),
            found: Cell::new(None),
            over: Cell::new(false),
            head: Cell::new(None),
        }
    }

    /// These bytes came from the client.
    pub(super) fn received(&self, bytes: &[u8], now: Instant) {
        let Some(watch) = &self.watch else {
            return;
        };
        let mut watch = watch.borrow_mut();
        let seconds = now.saturating_duration_since(self.told.get()).as_secs();
        if seconds > 0 {
            watch.tick(u32::try_from(seconds).unwrap_or(u32::MAX));
            let told = self.told.get().checked_add(Duration::from_secs(seconds));
            self.told.set(told.unwrap_or(now));
        }
        self.find(watch.see(bytes));
        let head = watch.in_head();
        if head != self.head.get().map(|(number, _)| number) {
            self.head.set(head.map(|number| (number, now)));
        }
    }

    fn find(&self, flood: Option<Flood>) {
        if flood.is_some() && !self.over.replace(true) {
            self.found.set(flood);
        }
    }

    /// Since when a field block is begun and not ended.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.head.get().map(|(_, since)| since)
    }

    /// The first `length` of these bytes went to the client.
    pub(super) fn sent(&self, pieces: &[IoSlice<'_>], length: usize) {
        let Some(watch) = &self.watch else {
            return;
        };
        let mut watch = watch.borrow_mut();
        let mut left = length;
        for piece in pieces {
            let sent = piece.get(..left).unwrap_or(piece);
            self.find(watch.sent(sent));
            left -= sent.len();
            if left == 0 {
                return;
            }
        }
    }

    /// Streams that were reset because of what the client did; nobody counts when there are no budgets.
    pub(super) fn faults(&self) -> u32 {
        let watch = self.watch.as_ref();
        watch.map_or(0, |watch| watch.borrow().faults())
    }

    /// The client has given up a stream that had its time.
    pub(super) fn forgive_reset(&self) {
        if let Some(watch) = &self.watch {
            watch.borrow_mut().forgive_reset();
        }
    }

    /// A flood that was found; once.
    pub(super) fn take(&self) -> Option<Flood> {
        self.found.take()
    }

    /// Whether nothing is to be read any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }
}
