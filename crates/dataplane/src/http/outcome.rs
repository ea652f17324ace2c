//! How tries and requests end.
//!
//! From the inside out, and never back: a body that is [cut](super::body::Cut) or whole makes a
//! [`Download`](super::download::Download), that the [`End`] of a try, and the last of those the [`Outcome`] of
//! the request. What there was to wait for ends a try too, if it does not come: a
//! [connection](super::connecting::NoConnection), or [movement](super::watched::Stall).
use super::{
    local::{self, Local},
    progress::Progress,
};
use crate::shard::{
    endpoint_state::InFlight, http2_pool::StreamFault, pool_limits::Counted, upstream::Upstream,
};
use pointsman_route::Happened;
use pointsman_telemetry::Flags;
use pointsman_wire::http1::Refusal;

/// What became of a request.
pub(super) enum Outcome {
    /// Answered whole.
    Answered {
        status: u16,
        keep: bool,
        /// Why the request was not tried again, if its policy would have it so.
        flags: Flags,
    },
    /// The endpoint switched protocols; both sides speak HTTP/1. Boxed, as outcomes are moved at every
    /// turn of a request, and it is by far the largest.
    Upgraded(Box<Upgraded>),
    /// Nothing was sent to the client; this is to be.
    Reply(Local),
    /// As `Reply`, for a body with wrong framing; as `Abort` where the client gets a response already.
    Refused(Refusal),
    /// The client must see a cut.
    Abort { status: u16, flags: Flags },
}

/// What a connection carries whose protocol was switched.
pub(super) struct Upgraded {
    pub(super) upstream: Upstream,
    pub(super) in_flight: InFlight,
    /// It goes on counting as a request of its backend (BE-67).
    pub(super) request: Option<Counted>,
    pub(super) reply: Vec<u8>,
}

impl Outcome {
    /// Its client went before there was a response.
    pub(super) const CLIENT_GONE: Self = Self::Abort {
        status: 0,
        flags: Flags::DC,
    };

    /// It is cut as far as it has come.
    pub(super) fn abort(progress: &Progress, flags: Flags) -> Self {
        Self::Abort {
            status: progress.status.get(),
            flags,
        }
    }
}

/// How one try ended.
pub(super) enum End {
    /// The response was passed on.
    Finished {
        status: u16,
        /// The endpoint's connection can carry another request.
        reusable: bool,
        keep: bool,
    },
    /// As [`Outcome::Upgraded`].
    Upgraded(Vec<u8>),
    /// Nothing was sent to the client.
    Failed(Failure),
    /// The response was thrown away for another try, which [`Tries`] has granted.
    Rejected,
    /// There is nothing to be tried again.
    Other(Outcome),
}

/// A try that gave the client nothing.
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// What the client is told if it stays at this.
    pub(super) local: Local,
}

/// What is known of a request whose try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// There was no connection to send it on.
    Connect,
    /// The endpoint has certainly not begun with it.
    Unprocessed,
    /// The connection ended without a byte of a response.
    Silent,
    /// The response was cut in its head, or reset, or was none.
    Reset,
    /// It did not begin in time (VS-H-75).
    Late,
}

impl FailureKind {
    /// In the words of policies.
    pub(super) fn happened(self) -> Happened {
        match self {
            Self::Connect => Happened::ConnectFailed,
            Self::Unprocessed => Happened::Refused,
            Self::Silent | Self::Reset => Happened::Reset,
            Self::Late => Happened::TryTimeout,
        }
    }
}

/// Of a stream that failed before its response, or was not even begun.
impl From<StreamFault> for Failure {
    fn from(fault: StreamFault) -> Self {
        let (kind, local) = match fault {
            StreamFault::Refused | StreamFault::GoneAway => {
                (FailureKind::Unprocessed, local::UPSTREAM_REFUSED)
            }
            StreamFault::Unsent => (FailureKind::Unprocessed, local::UPSTREAM_CLOSED),
            StreamFault::Reset(_) => (FailureKind::Reset, local::UPSTREAM_RESET),
            StreamFault::Closed => (FailureKind::Silent, local::UPSTREAM_CLOSED),
            StreamFault::Protocol(_) | StreamFault::Ours => {
                (FailureKind::Reset, local::BAD_RESPONSE)
            }
        };
        Self { kind, local }
    }
}
