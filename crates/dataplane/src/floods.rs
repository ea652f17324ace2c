//! Frames of HTTP/2 that cost their sender nothing, counted against their budgets: those of clients, and
//! those of endpoints.
use crate::settings::Http2;
use pointsman_wire::http2::{Flood, FloodLimits, FrameWatch};
use std::{
    cell::{Cell, RefCell},
    io::IoSlice,
    time::{Duration, Instant},
};

/// The watch over one connection. The library that reads the frames does not say what it has read, so
/// the socket shows it the bytes.
#[derive(Debug)]
pub(crate) struct Floods {
    watch: RefCell<FrameWatch>,
    /// Up to when time has been told.
    told: Cell<Instant>,
    found: Cell<Option<Flood>>,
    /// One was found; nothing more is read.
    over: Cell<bool>,
    /// The field block that is coming in, and since when.
    head: Cell<Option<(u32, Instant)>>,
}

impl Floods {
    /// Over a connection with a client.
    pub(crate) fn of_client(settings: &Http2, now: Instant) -> Self {
        let mut limits = FloodLimits::default();
        // All streams may be given up at once.
        let streams = settings.client_streams.saturating_mul(2);
        limits.reset.burst = limits.reset.burst.max(streams);
        Self::new(settings, now, &limits, FrameWatch::new)
    }

    /// Over a connection with an endpoint.
    pub(crate) fn of_endpoint(settings: &Http2, now: Instant) -> Self {
        let limits = FloodLimits::of_endpoint();
        Self::new(settings, now, &limits, FrameWatch::of_endpoint)
    }

    fn new(
        settings: &Http2,
        now: Instant,
        limits: &FloodLimits,
        watch: impl FnOnce(&FloodLimits) -> FrameWatch,
    ) -> Self {
        let limits = match settings.flood_budget_percent {
            0 => FloodLimits::none(),
            percent => limits.scaled(percent),
        };
        Self {
            watch: RefCell::new(watch(&limits)),
            told: Cell::new(now),
            found: Cell::new(None),
            over: Cell::new(false),
            head: Cell::new(None),
        }
    }

    /// These bytes came from the peer, and are the library's next, see [`FrameWatch::see_for_h2`]. Returns how many
    /// frames there are in them.
    pub(crate) fn received(&self, bytes: &mut [u8], now: Instant) -> usize {
        let mut watch = self.watch.borrow_mut();
        let before = watch.frames();
        let seconds = now.saturating_duration_since(self.told.get()).as_secs();
        if seconds > 0 {
            watch.tick(u32::try_from(seconds).unwrap_or(u32::MAX));
            let told = self.told.get().checked_add(Duration::from_secs(seconds));
            self.told.set(told.unwrap_or(now));
        }
        self.find(watch.see_for_h2(bytes));
        let head = watch.in_head();
        if head != self.head.get().map(|(number, _)| number) {
            self.head.set(head.map(|number| (number, now)));
        }
        usize::try_from(watch.frames() - before).unwrap_or(usize::MAX)
    }

    fn find(&self, flood: Option<Flood>) {
        if flood.is_some() && !self.over.replace(true) {
            self.found.set(flood);
        }
    }

    /// Since when a field block is begun and not ended.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.head.get().map(|(_, since)| since)
    }

    /// So many streams are open at once.
    pub(crate) fn open_at_once(&self, streams: u32) {
        self.watch.borrow_mut().open_at_once(streams);
    }

    /// The first `length` of these bytes went to the peer.
    pub(crate) fn sent(&self, pieces: &[IoSlice<'_>], length: usize) {
        let mut watch = self.watch.borrow_mut();
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

    /// Streams that were reset because of what the peer did.
    pub(crate) fn faults(&self) -> u32 {
        self.watch.borrow().faults()
    }

    /// The client has given up a stream that had its time.
    pub(crate) fn forgive_reset(&self) {
        self.watch.borrow_mut().forgive_reset();
    }

    /// All handles of a stream were dropped before the peer has ended it: the library has reset it.
    pub(crate) fn left(&self, stream: u32) {
        self.watch.borrow_mut().leave(stream);
    }

    /// Is the last frame to the peer whole, as far as it was sent?
    pub(crate) fn is_between_frames(&self) -> bool {
        self.watch.borrow().is_between_frames()
    }

    /// A flood that was found; once.
    pub(crate) fn take(&self) -> Option<Flood> {
        self.found.take()
    }

    /// Whether nothing is to be read any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }
}
