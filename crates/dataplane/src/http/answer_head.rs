//! Replies of our own on HTTP/2 streams. They are written once, in the form of HTTP/1, and read back
//! here: no reply exists in two spellings, and none of them is on a hot path.
use super::{
    Context,
    body::{Closed, Http2Sink},
    client::Answering,
    progress::Progress,
    watched::watched,
};
use bytes::Bytes;
use h2::SendStream;
use pointsman_telemetry::Flags;
use pointsman_wire::{
    http1::{HeadLimits, Reason, Refusal, RequestKind, field_slots, parse_response},
    http2,
};
use std::{cell::Cell, time::Duration};
use tokio::task::coop::consume_budget;

/// A reply whose head is sent. Its body is more than the client's windows have room for, or than is
/// kept for one stream.
pub(super) struct Long<'a> {
    stream: SendStream<Bytes>,
    body: &'a [u8],
}

/// Why a reply is not sent yet.
pub(super) enum Unsent<'a> {
    /// There is no room for all of it.
    Long(Long<'a>),
    /// It cannot be read back, for this reason: rules may have given it more fields than a head can have.
    Unreadable(&'static str),
}

impl From<Refusal> for Unsent<'_> {
    fn from(refusal: Refusal) -> Self {
        Self::Unreadable(refusal.reason.as_str())
    }
}

/// Sends a whole reply if there is room for it; the bytes of its body.
pub(super) fn send<'a>(answering: &Answering, reply: &'a [u8]) -> Result<u64, Unsent<'a>> {
    let mut slots = field_slots();
    let head = parse_response(reply, &mut slots, &HeadLimits::HARD, RequestKind::Other)
        .and_then(|head| head.ok_or(Refusal::response(Reason::BadStatusLine)))
        .map_err(Unsent::from)?;
    let body = reply.get(head.len..).unwrap_or_default();
    // To HEAD the length is told, and no byte follows.
    let response = http2::to_response(&head, head.body, &[]).map_err(Unsent::from)?;
    let _ = answering.head(response, body.is_empty());
    let Some(mut stream) = answering.take_body().filter(|_| !body.is_empty()) else {
        return Ok(0);
    };
    let mut sink = Http2Sink {
        to: &mut stream,
        left: &Cell::default(),
    };
    if sink.room(body.len()) < body.len() {
        return Err(Unsent::Long(Long { stream, body }));
    }
    match stream.send_data(Bytes::copy_from_slice(body), true) {
        Ok(()) => Ok(body.len() as u64),
        Err(_) => Ok(0),
    }
}

/// Bytes that are copied for h2 at a time.
const PIECE: usize = 16 * 1024;

impl Long<'_> {
    /// Sends the body as the client makes room, under the limits of one that is passed on. The bytes that
    /// were sent, and why these are not all: the stream is to be cut then.
    pub(super) async fn send(self, cx: &Context<'_>) -> (u64, Flags) {
        let Self { mut stream, body } = self;
        let progress = Progress::default();
        progress.answering.set(true);
        let mut sink = Http2Sink {
            to: &mut stream,
            left: &progress.unwritten,
        };
        let sending = async {
            let mut pieces = body.chunks(PIECE).peekable();
            while let Some(piece) = pieces.next() {
                // A client that always has room must not keep the thread to itself.
                consume_budget().await;
                progress
                    .moved
                    .sent
                    .set(progress.moved.sent.get() + piece.len() as u64);
                let (piece, last) = (Bytes::copy_from_slice(piece), pieces.peek().is_none());
                sink.data(piece, last).await?;
            }
            Ok(())
        };
        let sending = cx.lease.unless_cut(sending);
        // Only the client is waited for.
        let cut = match watched(cx, &progress, None, || Duration::ZERO, sending).await {
            Ok(Some(Ok(()))) => return (body.len() as u64, Flags::EMPTY),
            Ok(Some(Err(Closed)) | None) => Flags::DC,
            Err(stall) => stall.cut(cx),
        };
        let unsent = progress.unwritten.get() as u64;
        (progress.moved.sent.get().saturating_sub(unsent), cut)
    }
}
