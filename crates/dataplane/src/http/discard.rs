//! A request body that nobody wants: read and thrown away, so that the connection can be kept
//! behind an answer that was made without it (VS-H-51).
use super::Context;
use crate::{shard::registry::Lease, stream};
use pointsman_wire::http1::{BodyLength, ChunkDecoder, ChunkEvent, ChunkLimits};
use std::cell::Cell;
use tokio::task::coop::consume_budget;

/// Reads at most `most` bytes of body and chunk framing. `input` holds what was received behind the
/// head, and afterwards what was received behind the body. False if the connection cannot be used
/// any more: the body is longer, malformed, or its sender is gone or too slow. Adds to `received` what
/// there was of the body. Waits by `lease`.
pub(super) async fn discard(
    cx: &Context<'_>,
    lease: &Lease,
    body: BodyLength,
    input: &mut Vec<u8>,
    mut most: u64,
    received: &Cell<u64>,
) -> bool {
    let limit = cx.shard.settings.timeouts.request_body.0;
    let mut rest = Rest::new(body);
    loop {
        consume_budget().await;
        let Some(part) = rest.take(input) else {
            return false;
        };
        received.set(received.get() + part.contents as u64);
        input.drain(..part.bytes.min(input.len()));
        match most.checked_sub(part.bytes as u64) {
            None => {
                cx.shard.counts.limit("limits.discarded_body_bytes");
                return false;
            }
            Some(_) if part.last => return true,
            Some(left) => most = left,
        }
        if input.capacity() == 0 {
            *input = cx.shard.buffers.small();
        }
        match lease.within(limit, stream::read(cx.client, input)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return false,
            Err(_) => {
                cx.shard.counts.limit("timeouts.request_body");
                return false;
            }
        }
    }
}

/// How many bytes of a body have come behind its head.
pub(super) fn received(body: BodyLength, input: &[u8]) -> u64 {
    let part = Rest::new(body).take(input);
    part.map_or(0, |part| part.contents as u64)
}

/// What is still to come of a body.
pub(super) enum Rest {
    Length(u64),
    Chunks(Box<ChunkDecoder>),
}

/// What of some bytes belongs to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// With its framing.
    pub(super) bytes: usize,
    /// Without that.
    pub(super) contents: usize,
    /// The body ends with them.
    pub(super) last: bool,
}

impl Rest {
    pub(super) fn new(body: BodyLength) -> Self {
        match body {
            BodyLength::None => Self::Length(0),
            BodyLength::Length(length) => Self::Length(length),
            BodyLength::Chunked => {
                Self::Chunks(Box::new(ChunkDecoder::new(ChunkLimits::default())))
            }
        }
    }

    /// What of `input` belongs to the body. `None`: its framing is wrong.
    pub(super) fn take(&mut self, input: &[u8]) -> Option<Part> {
        match self {
            Self::Length(left) => {
                let used = usize::try_from(*left).map_or(input.len(), |it| it.min(input.len()));
                *left -= used as u64;
                Some(Part {
                    bytes: used,
                    contents: used,
                    last: *left == 0,
                })
            }
            Self::Chunks(decoder) => {
                let (mut bytes, mut contents) = (0, 0);
                let last = loop {
                    let (used, event) = decoder.decode(input.get(bytes..)?).ok()?;
                    bytes += used;
                    match event {
                        ChunkEvent::Data(range) => contents += range.len(),
                        ChunkEvent::TrailersEnd => break true,
                        ChunkEvent::NeedMore => break false,
                    }
                };
                Some(Part {
                    bytes,
                    contents,
                    last,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: usize, contents: usize, last: bool) -> Option<Part> {
        Some(Part {
            bytes,
            contents,
            last,
        })
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for (body, input, expected) in [
            (BodyLength::None, "GET", part(0, 0, true)),
            (BodyLength::Length(3), "ab", part(2, 2, false)),
            (BodyLength::Length(3), "abcGET", part(3, 3, true)),
            (
                BodyLength::Chunked,
                "3\r\nabc\r\n0\r\n\r\nGET",
                part(13, 3, true),
            ),
            (BodyLength::Chunked, "x\r\n", None),
        ] {
            assert_eq!(Rest::new(body).take(input.as_bytes()), expected, "{input}");
        }
        let mut chunks = Rest::new(BodyLength::Chunked);
        let begun = chunks.take(b"3\r\nab").expect("well formed");
        assert!(!begun.last);
        let rest = [&b"3\r\nab"[begun.bytes..], b"c\r\n0\r\nx: y\r\n\r\n"].concat();
        let end = chunks.take(&rest).expect("well formed");
        assert_eq!((end.bytes, end.last), (rest.len(), true));
        assert_eq!(begun.contents + end.contents, 3);
    }
}
