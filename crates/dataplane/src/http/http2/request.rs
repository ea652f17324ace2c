//! The request of a stream, try by try.
use super::super::{
    again::Tries,
    attempts::Attempt,
    body::Source,
    client::{Answering, Client},
    crossing::Crossing,
    kept::{Kept, Pieces},
    outcome::End,
    progress::{Progress, Sending},
    response_head::Gate,
    step::Forward,
};
use crate::{context::Context, shard::http2_pool::Http2Lease, socket::Socket};
use std::task;

/// The request of a stream.
pub(super) struct Http2Request<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) forward: &'a Forward,
    pub(super) progress: &'a Progress,
    /// The head for an endpoint that speaks HTTP/1.
    pub(super) head: &'a [u8],
    pub(super) has_body: bool,
    pub(super) copied: bool,
    pub(super) body: Source<'a>,
    /// Lost once the client has got something of a response.
    pub(super) kept: Kept,
    /// What was taken of the body.
    pub(super) pieces: Option<Pieces>,
    pub(super) answering: &'a Answering,
}

impl Attempt for Http2Request<'_> {
    fn begins(&mut self) {
        if let Some(copies) = &self.forward.copies
            && !self.has_body
            && !self.copied
        {
            self.copied = true;
            copies.send();
        }
    }

    async fn http1(&mut self, upstream: &Socket, tries: &Tries<'_>, sending: &Sending) -> End {
        let mut client = Client::Http2(self.answering);
        let crossing = Crossing {
            cx: self.cx,
            forward: self.forward,
            progress: self.progress,
            sending,
            gate: &Gate {
                forward: self.forward,
                tries,
                kept: &self.kept,
                pieces: self.pieces.as_ref(),
                progress: self.progress,
            },
        };
        let (head, body) = (self.head, &mut self.body);
        crossing.to_http1(head, body, &mut client, upstream).await
    }

    async fn http2(&mut self, upstream: Http2Lease, tries: &Tries<'_>, sending: &Sending) -> End {
        let mut client = Client::Http2(self.answering);
        let crossing = Crossing {
            cx: self.cx,
            forward: self.forward,
            progress: self.progress,
            sending,
            gate: &Gate {
                forward: self.forward,
                tries,
                kept: &self.kept,
                pieces: self.pieces.as_ref(),
                progress: self.progress,
            },
        };
        let body = &mut self.body;
        crossing.to_http2(body, &mut client, upstream).await
    }

    fn in_one_piece(&self) -> bool {
        !self.has_body
    }

    fn replayable(&self) -> bool {
        self.kept.is_whole() && self.pieces.as_ref().is_none_or(Pieces::is_whole)
    }

    fn rewind(&mut self) {}

    fn gather(&mut self, cx: &mut task::Context<'_>) {
        self.body.poll_gather(cx);
    }
}
