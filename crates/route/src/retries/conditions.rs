//! The words of `retryOn` as a set of bits, and its statuses as a sorted list.
use super::happened::{Happened, Replied};

/// What is a reason to try again (VS-H-79c).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    words: u16,
    /// Sorted, each once (VS-H-74).
    statuses: Box<[u16]>,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $bit:literal $word:literal,)*) => {
        $($(#[$doc])* const $name: u16 = 1 << $bit;)*
        const WORDS: &[(&str, u16)] = &[$(($word, $name),)*];
    };
}

words! {
    /// Any 5xx, or no response.
    SERVER_ERROR = 0 "5xx",
    /// 502, 503, 504, or no response.
    GATEWAY_ERROR = 1 "gateway-error",
    /// No response.
    RESET = 2 "reset",
    /// No response, and nothing of the request was sent.
    RESET_UNSENT = 3 "reset-before-request",
    CONNECT_FAILURE = 4 "connect-failure",
    REFUSED_STREAM = 5 "refused-stream",
    /// 409.
    CONFLICT = 6 "retriable-4xx",
    RATE_LIMITED = 7 "envoy-ratelimited",
    CANCELLED = 8 "cancelled",
    DEADLINE_EXCEEDED = 9 "deadline-exceeded",
    INTERNAL = 10 "internal",
    RESOURCE_EXHAUSTED = 11 "resource-exhausted",
    UNAVAILABLE = 12 "unavailable",
}
// `retriable-status-codes` is switched on by each status that is listed and says nothing without
// one; for `retriable-headers` no list can be written; there is no HTTP/3 to endpoints.

/// Words that hold for responses only.
const REPLIES: u16 = CONFLICT
    | RATE_LIMITED
    | CANCELLED
    | DEADLINE_EXCEEDED
    | INTERNAL
    | RESOURCE_EXHAUSTED
    | UNAVAILABLE;
/// Statuses of gRPC.
const GRPC: u16 = CANCELLED | DEADLINE_EXCEEDED | INTERNAL | RESOURCE_EXHAUSTED | UNAVAILABLE;
/// No response at all, whatever the reason.
const ANY_RESET: u16 = SERVER_ERROR | GATEWAY_ERROR | RESET;

/// Is it the name of a status of gRPC that may be tried again?
pub(super) fn is_of_grpc(word: &str) -> bool {
    let mut words = WORDS.iter();
    words.any(|(name, bit)| *name == word && bit & GRPC != 0)
}

/// Does it say anything, by itself or of a list of statuses?
pub(super) fn is_condition(word: &str) -> bool {
    word == "retriable-status-codes" || Conditions::parse(word) != Conditions::default()
}

impl Conditions {
    /// Words with commas between. Unknown ones have been refused with the document.
    pub(super) fn parse(text: &str) -> Self {
        let mut words = 0;
        let mut statuses = Vec::new();
        for word in text.split(',').map(str::trim) {
            if let Some((_, bit)) = WORDS.iter().find(|(name, _)| *name == word) {
                words |= bit;
            } else if let Ok(status @ 100..=599) = word.parse() {
                statuses.push(status);
            }
        }
        statuses.sort_unstable();
        statuses.dedup();
        Self {
            words,
            statuses: statuses.into(),
        }
    }

    /// May any response hold?
    pub(super) fn heeds_responses(&self) -> bool {
        self.has(SERVER_ERROR | GATEWAY_ERROR | REPLIES) || !self.statuses.is_empty()
    }

    fn has(&self, any: u16) -> bool {
        self.words & any != 0
    }

    pub(super) fn hold(&self, happened: &Happened) -> bool {
        match happened {
            Happened::ConnectFailed => self.has(ANY_RESET | CONNECT_FAILURE | RESET_UNSENT),
            Happened::Refused => self.has(ANY_RESET | REFUSED_STREAM),
            Happened::ResetUnsent => self.has(ANY_RESET | RESET_UNSENT),
            Happened::Reset | Happened::TryTimeout => self.has(ANY_RESET),
            Happened::Replied(reply) => self.hold_reply(reply),
        }
    }

    fn hold_reply(&self, reply: &Replied) -> bool {
        if reply.rate_limited {
            return self.has(RATE_LIMITED);
        }
        let by_status = match reply.status {
            502..=504 => SERVER_ERROR | GATEWAY_ERROR,
            500..=599 => SERVER_ERROR,
            409 => CONFLICT,
            _ => 0,
        };
        // Numbers of the gRPC specification's status codes.
        let by_grpc = match reply.grpc_status {
            Some(1) => CANCELLED,
            Some(4) => DEADLINE_EXCEEDED,
            Some(8) => RESOURCE_EXHAUSTED,
            Some(13) => INTERNAL,
            Some(14) => UNAVAILABLE,
            _ => 0,
        };
        self.has(by_status | by_grpc) || self.statuses.binary_search(&reply.status).is_ok()
    }
}
