//! Answers of our own on connections of HTTP/1: sent as long as the client takes them, and read behind.
use super::{
    Context, RequestFacts,
    discard::{self, discard},
    handle::Then,
    progress::Progress,
    serve::End,
    told::{Told, details_of_cut, record},
    watched::watched,
};
use crate::stream;
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::http1::BodyLength;
use std::{cell::Cell, time::Duration};

/// Bytes of the body of a reply of our own.
fn body_of(reply: &[u8]) -> u64 {
    let end = b"\r\n\r\n";
    let head = memchr::memmem::find(reply, end).map_or(reply.len(), |at| at + end.len());
    (reply.len() - head) as u64
}

/// An answer that was made without looking at the request's body.
pub(super) struct Unread<'a> {
    pub(super) facts: &'a RequestFacts,
    pub(super) stats: &'a ClusterStats,
    pub(super) told: Told,
    pub(super) keep: bool,
}

impl Unread<'_> {
    /// Sends it, and reads the body that stands before the next request.
    pub(super) async fn answer(self, cx: &Context<'_>, input: &mut Vec<u8>, out: &[u8]) -> Then {
        let (body, keep) = (self.facts.body, self.keep);
        let most = cx.shard.settings.limits.discarded_body_bytes;
        if matches!(body, BodyLength::Length(length) if length > most) {
            cx.shard.counts.limit("limits.discarded_body_bytes");
        }
        if !keep || !self.facts.has_body() {
            let sent = answer(cx, out).await;
            self.record(cx, discard::received(body, input), out, sent);
            return End::behind(sent.is_ok(), keep);
        }
        // At the same time: a client may send all of its request before it reads. Each waits by a lease of
        // its own, as one has one deadline. Boxed, since few connections ever come here.
        let both = async {
            let lease = cx.lease.stream();
            let (received, whole) = (Cell::new(0), Cell::new(Ok(())));
            let sent = async {
                whole.set(answer(cx, out).await);
                whole.get().map_err(drop)
            };
            let discarded = async { Ok(discard(cx, &lease, body, input, most, &received).await) };
            let end = cx
                .lease
                .unless_cut(async { tokio::try_join!(sent, discarded) });
            let end = end.await;
            self.record(cx, received.get(), out, whole.get());
            end
        };
        match Box::pin(both).await {
            Some(Ok(((), discarded))) => End::behind(true, discarded),
            Some(Err(())) | None => Then::Break(End::Gone),
        }
    }

    fn record(self, cx: &Context<'_>, received: u64, out: &[u8], sent: Result<(), Unsent>) {
        let whose = Some((self.stats, self.facts));
        record_sent(cx, whose, self.told, received, out, sent);
    }
}

/// Sends an answer, and records its request as its client got it. Did it get all of it?
pub(super) async fn answer_told(
    cx: &Context<'_>,
    whose: Option<(&ClusterStats, &RequestFacts)>,
    told: Told,
    received: u64,
    out: &[u8],
) -> bool {
    let sent = answer(cx, out).await;
    record_sent(cx, whose, told, received, out, sent);
    sent.is_ok()
}

fn record_sent(
    cx: &Context<'_>,
    whose: Option<(&ClusterStats, &RequestFacts)>,
    mut told: Told,
    received: u64,
    out: &[u8],
    sent: Result<(), Unsent>,
) {
    let mut bytes = body_of(out);
    if let Err(unsent) = sent {
        bytes = bytes.saturating_sub(unsent.bytes as u64);
        told.flags |= unsent.flags;
        told.details = details_of_cut(cx, unsent.flags);
    }
    record(cx, whose, told, (received, bytes));
}

/// An answer that was not sent whole.
#[derive(Clone, Copy)]
pub(super) struct Unsent {
    /// Why.
    flags: Flags,
    /// How much of its end the kernel has not taken.
    bytes: usize,
}

/// Sends an answer.
async fn answer(cx: &Context<'_>, out: &[u8]) -> Result<(), Unsent> {
    match stream::write_now(cx.client, out) {
        None => Ok(()),
        // Boxed, as it is rare.
        Some(rest) => Box::pin(answer_rest(cx, rest)).await,
    }
}

/// As long as its client takes something of it.
async fn answer_rest(cx: &Context<'_>, rest: &[u8]) -> Result<(), Unsent> {
    let progress = Progress::default();
    progress.answering.set(true);
    let left = &progress.unwritten;
    left.set(rest.len());
    let write = cx
        .lease
        .unless_cut(stream::write_watched(cx.client, rest, left));
    let flags = match watched(cx, &progress, None, || Duration::ZERO, write).await {
        Ok(Some(Ok(()))) => return Ok(()),
        Ok(Some(Err(_)) | None) => Flags::DC,
        Err(stall) => stall.cut(cx),
    };
    // A cut answer must never look whole.
    stream::reset_on_close(cx.client);
    let bytes = left.get();
    Err(Unsent { flags, bytes })
}
