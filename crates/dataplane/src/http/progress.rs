//! How far a request and its response have come: noted by those who carry them, and asked by those who
//! wait.
use super::interim::Interims;
use crate::tunnel::{Moved, splice::Counts};
use std::cell::Cell;

/// Of a request, however many tries it takes. What is said of its response is said of one that the client
/// gets: behind that there is no other try.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Bytes of the bodies, and of what follows a switch of protocols.
    pub(super) moved: Moved,
    /// All of the request has been read from the client, or all that was told of its body by its length. What
    /// was read last may not have left us yet.
    pub(super) complete: Cell<bool>,
    /// All of the request's body has been read from the client, and sent on.
    pub(super) taken: Cell<bool>,
    pub(super) interims: Interims,
    /// The endpoint has asked for a body that was held back (RFC 9110 section 10.1.1).
    pub(super) asked: Cell<bool>,
    /// The head of a response is on its way to the client: from here on only a cut can tell it of
    /// a failure.
    pub(super) answering: Cell<bool>,
    /// The end of the response's body is that of the client's connection (HTTP/1.0).
    pub(super) bare: Cell<bool>,
    /// Of the response that is on its way to the client; 0 until it is known, which is earlier.
    pub(super) status: Cell<u16>,
    /// Bytes the client has not taken yet of the write under way; 0 when there is none. Whoever
    /// waits meanwhile waits for the client.
    pub(super) unwritten: Cell<usize>,
    /// The protocol is switched: what moves from now on is no body, and no time is set for it.
    pub(super) switched: Cell<bool>,
    /// The client was told the end of what its tunnel sends it: it gets what comes before that of the kernel,
    /// however slowly.
    pub(super) ended: Cell<bool>,
    /// An HTTP/1 client has sent bytes before it saw that the protocol is switched.
    pub(super) early: Cell<bool>,
    /// With which code the endpoint cut its response, if it did.
    pub(super) cut: Cell<Option<h2::Reason>>,
    /// What the response to a gRPC call said in `grpc-status`.
    pub(super) grpc_status: Cell<Option<u8>>,
}

/// Of one try: what its endpoint has of the request.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Bytes of the request's body that it has not taken yet of the write under way; 0 when there is none.
    pub(super) unsent: Cell<usize>,
    /// It has all that it was told of the body, by its length. The stream that comes from may not have
    /// ended yet, which is nothing to it.
    pub(super) whole: Cell<bool>,
}

impl Progress {
    /// Is there nothing of the request that an endpoint could still wait for?
    pub(super) fn is_complete(&self) -> bool {
        self.complete.get() || self.taken.get()
    }

    /// The endpoint has sent an interim head; `false`: one too many.
    #[must_use]
    pub(super) fn interim(&self, status: u16) -> bool {
        if status == 100 {
            self.asked.set(true);
        }
        self.interims.another()
    }

    /// For a body to the client that is spliced.
    pub(super) fn down(&self) -> Counts<'_> {
        Counts {
            moved: &self.moved.sent,
            waiting: Some(&self.unwritten),
        }
    }

    /// For a body from the client.
    pub(super) fn up<'a>(&'a self, sending: &'a Sending) -> Counts<'a> {
        Counts {
            moved: &self.moved.received,
            waiting: Some(&sending.unsent),
        }
    }
}
