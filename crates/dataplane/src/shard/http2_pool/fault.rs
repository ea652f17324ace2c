//! What an error of a stream means for its request: may it have been acted upon?
use h2::Reason;

/// Why a stream to an endpoint ended without a whole response.
///
/// Of `Refused`, `GoneAway` and `Unsent` it is certain that the endpoint has done nothing about the
/// request: it may be sent again, whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFault {
    /// The endpoint refused the stream before it did anything with it: RST_STREAM with
    /// REFUSED_STREAM (RFC 9113 section 8.7).
    Refused,
    /// The endpoint said in a GOAWAY that it does not process this stream (RFC 9113 section 6.8).
    GoneAway,
    /// The connection ended before this stream was begun on it.
    Unsent,
    /// The endpoint reset the stream, with this code.
    Reset(Reason),
    /// The connection ended.
    Closed,
    /// The endpoint broke the protocol, on this stream or on the connection.
    Protocol(Reason),
    /// This process ended the stream.
    Ours,
}

impl StreamFault {
    /// What an error says that h2 reports at a stream: by its response, its body, its capacity or
    /// its reset.
    ///
    /// h2 gives a stream a GOAWAY of the peer only if the stream's number is above the last one the
    /// GOAWAY promises to process; the others go on, and end as the connection does.
    pub(crate) fn of(error: &h2::Error) -> Self {
        let by = match (error.is_remote(), error.is_library()) {
            (true, _) => By::Peer,
            (_, true) => By::Library,
            _ => By::Us,
        };
        let what = if error.is_io() {
            What::Io
        } else if error.is_go_away() {
            What::GoAway
        } else {
            What::Stream
        };
        classify(what, by, error.reason())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Io,
    GoAway,
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Peer,
    /// h2, because of what the peer sent.
    Library,
    Us,
}

fn classify(what: What, by: By, reason: Option<Reason>) -> StreamFault {
    match (what, by, reason) {
        (What::Io, ..) => StreamFault::Closed,
        (What::GoAway, By::Peer, _) => StreamFault::GoneAway,
        (What::Stream, By::Peer, Some(Reason::REFUSED_STREAM)) => StreamFault::Refused,
        (What::Stream, By::Peer, Some(reason)) => StreamFault::Reset(reason),
        (_, By::Library, Some(reason)) => StreamFault::Protocol(reason),
        (_, By::Us, _) | (_, _, None) => StreamFault::Ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_peer_says_it_did_not_touch_is_unprocessed() {
        use {By::*, What::*};
        let refused = Some(Reason::REFUSED_STREAM);
        let cancel = Some(Reason::CANCEL);
        let broken = Some(Reason::PROTOCOL_ERROR);
        for (what, by, reason, expected) in [
            (Stream, Peer, refused, StreamFault::Refused),
            (GoAway, Peer, Some(Reason::NO_ERROR), StreamFault::GoneAway),
            (
                GoAway,
                Peer,
                Some(Reason::ENHANCE_YOUR_CALM),
                StreamFault::GoneAway,
            ),
            (Stream, Peer, cancel, StreamFault::Reset(Reason::CANCEL)),
            (
                Stream,
                Library,
                refused,
                StreamFault::Protocol(Reason::REFUSED_STREAM),
            ),
            (
                GoAway,
                Library,
                broken,
                StreamFault::Protocol(Reason::PROTOCOL_ERROR),
            ),
            (Io, Us, None, StreamFault::Closed),
            (Stream, Us, refused, StreamFault::Ours),
            (Stream, Us, None, StreamFault::Ours),
        ] {
            let fault = classify(what, by, reason);
            assert_eq!(fault, expected, "{what:?} {by:?} {reason:?}");
        }
    }

    #[test]
    fn an_error_of_our_own_is_not_the_peers() {
        assert_eq!(
            StreamFault::of(&h2::Error::from(Reason::REFUSED_STREAM)),
            StreamFault::Ours
        );
    }
}
