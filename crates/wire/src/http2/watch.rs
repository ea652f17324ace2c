//! What a client or an endpoint sends in HTTP/2 frames, tallied: floods of frames that cost it nothing.
//!
//! A library answers or skips many frames before anything of ours runs: PING, SETTINGS, PRIORITY,
//! empty DATA and so on (CVE-2019-9511 to 9518), CONTINUATION without end (CVE-2024-27316), streams
//! that are opened and reset at once (CVE-2023-44487). [`FrameWatch`] is shown the same bytes and
//! reads the nine-byte frame headers only. Each kind has a [`Budget`] that such a frame takes one
//! from; time, and work that such frames go with, give back. A peer that does something else
//! besides never comes near the end of one.

/// A kind of frames that come in greater number than the budget allows. The answer is GOAWAY with
/// ENHANCE_YOUR_CALM (RFC 9113 section 10.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flood {
    /// PING. Acknowledgements count too.
    Ping,
    /// SETTINGS. Acknowledgements count too.
    Settings,
    /// PRIORITY.
    Priority,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// RST_STREAM.
    Reset,
    /// DATA without data, be it padded, that does not end its stream.
    EmptyData,
    /// CONTINUATION.
    Continuation,
    /// Every other frame: unknown types, PUSH_PROMISE, GOAWAY, HEADERS that open no stream, and so all
    /// those of an endpoint.
    Other,
    /// What streams were reset for: a broken rule, a frame of one that is gone, one too many.
    Fault,
}

impl Flood {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::WindowUpdate,
        Self::Reset,
        Self::EmptyData,
        Self::Continuation,
        Self::Other,
        Self::Fault,
    ];

    /// A stable `snake_case` word for logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping_flood",
            Self::Settings => "settings_flood",
            Self::Priority => "priority_flood",
            Self::WindowUpdate => "window_update_flood",
            Self::Reset => "reset_flood",
            Self::EmptyData => "empty_data_flood",
            Self::Continuation => "continuation_flood",
            Self::Other => "other_frame_flood",
            Self::Fault => "fault_flood",
        }
    }
}

/// How many frames of one kind a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At once, and the most that is ever saved up.
    pub burst: u32,
    /// More for each second.
    pub second: u32,
    /// More for each stream that is opened, by the client or on the endpoint.
    pub stream: u32,
    /// More for each DATA frame with data that the peer sends.
    pub received: u32,
    /// More for each DATA frame with data that is sent to the peer.
    pub sent: u32,
}

impl Budget {
    const fn new(burst: u32, [second, stream, received, sent]: [u32; 4]) -> Self {
        Self {
            burst,
            second,
            stream,
            received,
            sent,
        }
    }
}

/// The budgets of one connection. The defaults are for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimits {
    /// For [`Flood::Ping`]. Clients that measure the bandwidth ping for data they get. Default 100,
    /// 2 a second, 1 for a stream and for data sent.
    pub ping: Budget,
    /// For [`Flood::Settings`]. Default 32, 1 a second.
    pub settings: Budget,
    /// For [`Flood::Priority`]. Default 128, 4 a second and for a stream.
    pub priority: Budget,
    /// For [`Flood::WindowUpdate`]. Who has no thrift sends two for each DATA frame, or for what is read
    /// at a time, which may be a KiB. It may be read long after it was
    /// sent, so a whole window of it is saved up for. Default 32,768, 20 a second, 4 for a stream and for
    /// data sent, and 1 more for each 256 bytes of that.
    pub window_update: Budget,
    /// For [`Flood::Reset`]. A stream opened pays for nothing: opening and resetting is the attack. Resets
    /// of streams that have lived for a while are forgiven ([`FrameWatch::forgive_reset`]). Default 200, 20 a second, 1 for data sent.
    pub reset: Budget,
    /// For [`Flood::EmptyData`]. Default 100, 2 a second, 1 for a stream and for data received.
    pub empty_data: Budget,
    /// For [`Flood::Continuation`]. Default 64, 4 a second, 8 for a stream.
    pub continuation: Budget,
    /// For [`Flood::Other`]. Default 100, 4 a second, 2 for a stream.
    pub other: Budget,
    /// For [`Flood::Fault`]. Default 500, 20 a second.
    pub fault: Budget,
}

impl Default for FloodLimits {
    fn default() -> Self {
        Self {
            ping: Budget::new(100, [2, 1, 0, 1]),
            settings: Budget::new(32, [1, 0, 0, 0]),
            priority: Budget::new(128, [4, 4, 0, 0]),
            window_update: Budget::new(32_768, [20, 4, 0, 4]),
            reset: Budget::new(200, [20, 0, 0, 1]),
            empty_data: Budget::new(100, [2, 1, 1, 0]),
            continuation: Budget::new(64, [4, 8, 0, 0]),
            other: Budget::new(100, [4, 2, 0, 0]),
            fault: Budget::new(500, [20, 0, 0, 0]),
        }
    }
}

impl FloodLimits {
    /// What an endpoint may send. It answers streams that this side opens, as many as this side likes, and
    /// servers are not thrifty: they measure the bandwidth with a ping for what they send and get, and
    /// give windows back in small pieces. So it may do more than a client, and work gives more back. A
    /// stream may have 32 interim heads, one that is final, and trailers.
    #[must_use]
    pub const fn of_endpoint() -> Self {
        Self {
            ping: Budget::new(1000, [20, 2, 2, 2]),
            settings: Budget::new(100, [10, 1, 0, 0]),
            priority: Budget::new(1000, [20, 4, 0, 0]),
            window_update: Budget::new(32_768, [100, 8, 2, 4]),
            reset: Budget::new(1000, [20, 2, 0, 0]),
            empty_data: Budget::new(100, [2, 1, 1, 0]),
            continuation: Budget::new(1000, [20, 16, 0, 0]),
            other: Budget::new(1000, [20, 40, 0, 0]),
            // What crosses a reset of this side looks like one.
            fault: Budget::new(u32::MAX, [0; 4]),
        }
    }

    /// No frame is one too many: nobody sends so many in a second.
    #[must_use]
    pub const fn none() -> Self {
        const WITHOUT_END: Budget = Budget::new(u32::MAX, [u32::MAX, 0, 0, 0]);
        Self {
            ping: WITHOUT_END,
            settings: WITHOUT_END,
            priority: WITHOUT_END,
            window_update: WITHOUT_END,
            reset: WITHOUT_END,
            empty_data: WITHOUT_END,
            continuation: WITHOUT_END,
            other: WITHOUT_END,
            fault: WITHOUT_END,
        }
    }

    /// All budgets times `percent` hundredths, rounded up.
    #[must_use]
    pub fn scaled(mut self, percent: u32) -> Self {
        let scale = |number: &mut u32| {
            let scaled = (u64::from(*number) * u64::from(percent)).div_ceil(100);
            *number = u32::try_from(scaled).unwrap_or(u32::MAX);
        };
        for budget in [
            &mut self.ping,
            &mut self.settings,
            &mut self.priority,
            &mut self.window_update,
            &mut self.reset,
            &mut self.empty_data,
            &mut self.continuation,
            &mut self.other,
            &mut self.fault,
        ] {
            scale(&mut budget.burst);
            scale(&mut budget.second);
            scale(&mut budget.stream);
            scale(&mut budget.received);
            scale(&mut budget.sent);
        }
        self
    }

    const fn budgets(&self) -> [Budget; KINDS] {
        [
            self.ping,
            self.settings,
            self.priority,
            self.window_update,
            self.reset,
            self.empty_data,
            self.continuation,
            self.other,
            self.fault,
        ]
    }
}

const KINDS: usize = 9;
const PREFACE: u32 = 24;
const HEADER: usize = 9;
const FLAGS: usize = 4;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Slots for streams that were left: two of which the numbers are this many apart share one.
const LEFT: usize = 1024;

/// Bytes sent to the peer for which it may send a WINDOW_UPDATE.
const PIECE: u32 = 256;

/// PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM.
const FAULTS: [u32; 5] = [1, 3, 5, 6, 7];

/// Does RST_STREAM with this code say that whoever gets it has broken a rule, or opened a stream too many?
#[must_use]
pub fn blames_receiver(code: u32) -> bool {
    FAULTS.contains(&code)
}

/// What goes over one connection with a client or an endpoint, from the client's preface on.
#[derive(Clone, Debug)]
pub struct FrameWatch {
    received: Frames,
    sent: Frames,
    /// The peer is an endpoint: this side opens the streams.
    endpoint: bool,
    last_stream: u32,
    /// The most streams that were open at once, as far as was told.
    streams: u32,
    /// Frames from the peer so far.
    frames: u64,
    /// HEADERS from the peer so far.
    heads: u32,
    /// Its last frame was HEADERS or CONTINUATION, and its field block goes on in another.
    goes_on: Option<bool>,
    /// Streams that were reset because of what the peer did.
    faults: u32,
    /// The code of an RST_STREAM to the peer as far as it has been seen, and how many bytes of it are missing.
    code: Option<(u32, u8)>,
    /// Streams that this side has left before the peer has ended them, each in the slot of its number.
    /// Empty until there is one.
    gone: Vec<u32>,
    left: [u32; KINDS],
    /// Something was taken, and may not have been given back: otherwise nothing can be.
    spent: bool,
    budgets: [Budget; KINDS],
}

impl FrameWatch {
    /// The peer is a client.
    #[must_use]
    pub fn new(limits: &FloodLimits) -> Self {
        let budgets = limits.budgets();
        Self {
            received: Frames::behind(PREFACE),
            sent: Frames::behind(0),
            endpoint: false,
            last_stream: 0,
            streams: 0,
            frames: 0,
            heads: 0,
            goes_on: None,
            faults: 0,
            code: None,
            gone: Vec::new(),
            left: budgets.map(|budget| budget.burst),
            spent: false,
            budgets,
        }
    }

    /// The peer is an endpoint.
    #[must_use]
    pub fn of_endpoint(limits: &FloodLimits) -> Self {
        Self {
            received: Frames::behind(0),
            sent: Frames::behind(PREFACE),
            endpoint: true,
            ..Self::new(limits)
        }
    }

    /// So many streams are open at once, each of which has something to come: no less than what they give
    /// is saved up for them.
    pub fn open_at_once(&mut self, streams: u32) {
        let more = streams.saturating_sub(self.streams);
        self.streams += more;
        for (left, budget) in self.left.iter_mut().zip(&mut self.budgets) {
            let more = budget.stream.saturating_mul(more);
            budget.burst = budget.burst.saturating_add(more);
            *left = left.saturating_add(more);
        }
    }

    /// Is the last frame to the peer whole, as far as it was sent?
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.sent.skip == 0 && self.sent.have == 0
    }

    /// Looks at the next bytes from the peer, cut anywhere. After `Some` the connection is to be
    /// closed; looking further is harmless and says it again for each frame too many.
    pub fn see(&mut self, mut bytes: &[u8]) -> Option<Flood> {
        let mut flood = None;
        while let Some(header) = self.received.next(&mut bytes) {
            self.frames += 1;
            flood = flood.or(self.frame(header));
        }
        flood
    }

    /// As [`FrameWatch::see`], of bytes that `h2` is to read: DATA of a stream that was [left](Self::leave)
    /// is made to end it.
    ///
    /// What crosses a reset is thrown away, but if it is small `h2` counts it against the connection as if it were
    /// kept, and never takes it off again: streams that are given up would end all others in time. It does not
    /// count what ends its stream, which says nothing of one that is reset.
    pub fn see_for_h2(&mut self, bytes: &mut [u8]) -> Option<Flood> {
        let mut flood = None;
        let mut at = 0;
        loop {
            let mut rest = bytes.get(at..).unwrap_or_default();
            let Some(header) = self.received.next(&mut rest) else {
                return flood;
            };
            at = bytes.len() - rest.len();
            // Where the flags were in the bytes before, the one frame counts.
            if header.kind == DATA
                && self.has_left(header.stream)
                && let Some(flags) = at.checked_sub(header.behind_flags)
                && let Some(flags) = bytes.get_mut(flags)
            {
                *flags |= END_STREAM;
            }
            self.frames += 1;
            flood = flood.or(self.frame(header));
        }
    }

    /// This side reads no more of a stream, and has reset it unless the peer has ended it: what still comes of it
    /// was under way.
    pub fn leave(&mut self, stream: u32) {
        if self.gone.is_empty() {
            self.gone = vec![0; LEFT];
        }
        if let Some(slot) = self.gone.get_mut(slot(stream)) {
            *slot = stream;
        }
    }

    fn has_left(&self, stream: u32) -> bool {
        self.gone.get(slot(stream)) == Some(&stream)
    }

    /// Frames from the peer whose headers have been seen.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The number of the field block that the peer has begun and not ended, if there is one:
    /// nothing else can come on the whole connection before its end (RFC 9113 section 4.3).
    #[must_use]
    pub fn in_head(&self) -> Option<u32> {
        let goes_on = self.goes_on?;
        (goes_on || self.received.skip > 0).then_some(self.heads)
    }

    /// Looks at the next bytes to the peer, cut anywhere: what it is told it has done wrong counts
    /// as in [`FrameWatch::see`].
    pub fn sent(&mut self, mut bytes: &[u8]) -> Option<Flood> {
        let mut flood = None;
        loop {
            if self.code.is_some() && self.ends_in_fault(bytes) {
                self.faults = self.faults.saturating_add(1);
                flood = flood.or(self.take(Flood::Fault));
            }
            let Some(header) = self.sent.next(&mut bytes) else {
                return flood;
            };
            match header.kind {
                DATA if header.data > 0 => {
                    self.credit(|budget| budget.sent);
                    self.give_back(Flood::WindowUpdate, header.data / PIECE);
                }
                HEADERS if self.endpoint => self.opens(header.stream),
                RST_STREAM => self.code = Some((0, 4)),
                // They are acknowledged.
                SETTINGS if header.flags & ACK == 0 => self.give_back(Flood::Settings, 1),
                PING if header.flags & ACK == 0 => self.give_back(Flood::Ping, 1),
                _ => {}
            }
        }
    }

    /// Streams that were reset because the peer broke a rule on them, or opened one too many, as far
    /// as it was told.
    #[must_use]
    pub fn faults(&self) -> u32 {
        self.faults
    }

    /// Looks at the next bytes of the payload of an RST_STREAM: is it whole, and says that the peer
    /// was at fault?
    fn ends_in_fault(&mut self, bytes: &[u8]) -> bool {
        let Some((mut code, mut missing)) = self.code.take() else {
            return false;
        };
        for byte in bytes.iter().take(usize::from(missing)) {
            code = (code << 8) | u32::from(*byte);
            missing -= 1;
        }
        self.code = (missing > 0).then_some((code, missing));
        missing == 0 && blames_receiver(code)
    }

    /// A reset of the client was no abuse after all: it does not count.
    pub fn forgive_reset(&mut self) {
        self.give_back(Flood::Reset, 1);
    }

    /// So many frames of this kind do not count.
    fn give_back(&mut self, kind: Flood, frames: u32) {
        let kind = kind as usize;
        if let (Some(left), Some(budget)) = (self.left.get_mut(kind), self.budgets.get(kind)) {
            *left = left.saturating_add(frames).min(budget.burst);
        }
    }

    /// A second has passed. Several may be told at once, later.
    pub fn tick(&mut self, seconds: u32) {
        self.credit(|budget| budget.second.saturating_mul(seconds));
    }

    /// If this stream is a new one, it gives what a stream gives.
    fn opens(&mut self, stream: u32) {
        if stream > self.last_stream {
            self.last_stream = stream;
            self.credit(|budget| budget.stream);
        }
    }

    /// One frame from the peer.
    fn frame(&mut self, header: Header) -> Option<Flood> {
        let Header {
            data,
            kind,
            flags,
            stream,
            ..
        } = header;
        let head = matches!(kind, HEADERS | CONTINUATION);
        self.goes_on = head.then_some(flags & END_HEADERS == 0);
        self.heads = self.heads.wrapping_add(u32::from(kind == HEADERS));
        let flood = match kind {
            DATA if data > 0 => {
                self.credit(|budget| budget.received);
                return None;
            }
            DATA if flags & END_STREAM != 0 => return None,
            DATA => Flood::EmptyData,
            // Streams of an endpoint are not its own to open or to end as often as it likes.
            HEADERS if self.endpoint => Flood::Other,
            HEADERS if stream > self.last_stream => {
                self.opens(stream);
                return None;
            }
            // Trailers end a stream, which happens once for each.
            HEADERS if flags & END_STREAM != 0 => return None,
            2 => Flood::Priority,
            RST_STREAM => Flood::Reset,
            SETTINGS => Flood::Settings,
            PING => Flood::Ping,
            8 => Flood::WindowUpdate,
            CONTINUATION => Flood::Continuation,
            _ => Flood::Other,
        };
        self.take(flood)
    }

    /// Takes one from a budget; `Some`: it is used up.
    fn take(&mut self, flood: Flood) -> Option<Flood> {
        self.spent = true;
        let left = self.left.get_mut(flood as usize)?;
        match left.checked_sub(1) {
            Some(less) => {
                *left = less;
                None
            }
            None => Some(flood),
        }
    }

    fn credit(&mut self, more: impl Fn(&Budget) -> u32) {
        if !self.spent {
            return;
        }
        self.spent = false;
        for (left, budget) in self.left.iter_mut().zip(&self.budgets) {
            *left = left.saturating_add(more(budget)).min(budget.burst);
            self.spent |= *left < budget.burst;
        }
    }
}

/// Streams of one side have every other number.
const fn slot(stream: u32) -> usize {
    (stream / 2) as usize % LEFT
}

/// What the header of a frame says (RFC 9113 section 4.1), and of padded DATA its first byte (section 6.1).
struct Header {
    /// Bytes of payload without padding, which only DATA is looked at for.
    data: u32,
    kind: u8,
    flags: u8,
    stream: u32,
    /// How far the flags are before the end of what was read of it.
    behind_flags: usize,
}

impl Header {
    /// Of a frame without padding.
    fn of([l2, l1, l0, kind, flags, s3, s2, s1, s0]: &[u8; HEADER]) -> Self {
        Self {
            data: u32::from_be_bytes([0, *l2, *l1, *l0]),
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes([*s3, *s2, *s1, *s0]) & 0x7fff_ffff,
            behind_flags: HEADER - FLAGS,
        }
    }
}

/// Does padding follow a header that begins like this, with its length?
fn is_padded(header: &[u8]) -> bool {
    match header {
        [0, 0, 0, ..] => false,
        [_, _, _, kind, flags, ..] => *kind == DATA && flags & PADDED != 0,
        _ => false,
    }
}

/// Finds the headers of frames in one direction.
#[derive(Clone, Debug)]
struct Frames {
    /// Bytes to pass over: the rest of a payload, or of the preface.
    skip: u32,
    /// A header that is not complete with the length of padding, and how many bytes of it there are.
    header: [u8; HEADER + 1],
    have: u8,
}

impl Frames {
    const fn behind(skip: u32) -> Self {
        Self {
            skip,
            header: [0; HEADER + 1],
            have: 0,
        }
    }

    /// Takes bytes up to the end of the next header; `None` when there are no more.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        let skipped = bytes.len().min(self.skip as usize);
        self.skip -= skipped as u32;
        *bytes = bytes.get(skipped..)?;
        // Hardly one is cut.
        if self.have == 0
            && let Some((header, rest)) = bytes.split_first_chunk::<HEADER>()
            && !is_padded(header)
        {
            *bytes = rest;
            let header = Header::of(header);
            self.skip = header.data;
            return Some(header);
        }
        self.fill(HEADER, bytes)?;
        let [header @ .., _] = &self.header;
        let mut header = Header::of(header);
        let mut skip = header.data;
        if is_padded(&self.header) {
            self.fill(HEADER + 1, bytes)?;
            let [.., padding] = self.header;
            skip -= 1;
            header.data = skip.saturating_sub(padding.into());
            header.behind_flags += 1;
        }
        self.have = 0;
        self.skip = skip;
        Some(header)
    }

    /// Takes what the header has less than `size` bytes; `None` when there are no more.
    fn fill(&mut self, size: usize, bytes: &mut &[u8]) -> Option<()> {
        let missing = self.header.get_mut(usize::from(self.have)..size)?;
        let (fresh, rest) = bytes.split_at(bytes.len().min(missing.len()));
        missing
            .iter_mut()
            .zip(fresh)
            .for_each(|(to, from)| *to = *from);
        *bytes = rest;
        self.have += fresh.len() as u8;
        (usize::from(self.have) == size).then_some(())
    }
}
