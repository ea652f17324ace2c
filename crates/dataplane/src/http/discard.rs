//! A request body that nobody wants: read and thrown away, so that the connection can be kept
//! behind an answer that was made without it (VS-H-51).
use super::Context;
use crate::{shard::registry::Lease, stream};
use pointsman_wire::http1::{BodyLength, ChunkDecoder, ChunkEvent, ChunkLimits};
use tokio::task::coop::consume_budget;

/// Reads at most `most` bytes of body and chunk framing. `input` holds what was received behind the
/// head, and afterwards what was received behind the body. False if the connection cannot be used
/// any more: the body is longer, malformed, or its sender is gone or too slow. Waits by `lease`.
pub(crate) async fn discard(
    cx: &Context<'_>,
    lease: &Lease,
    body: BodyLength,
    input: &mut Vec<u8>,
    most: u64,
) -> bool {
    let limit = cx.shard.settings.timeouts.request_body.0;
    lease
        .within(limit, read(cx, body, input, most))
        .await
        .unwrap_or(false)
}

async fn read(cx: &Context<'_>, body: BodyLength, input: &mut Vec<u8>, mut most: u64) -> bool {
    let mut rest = Rest::new(body);
    loop {
        consume_budget().await;
        let Some((used, done)) = rest.take(input) else {
            return false;
        };
        input.drain(..used.min(input.len()));
        match most.checked_sub(used as u64) {
            None => {
                cx.shard.counts.limit("limits.discarded_body_bytes");
                return false;
            }
            Some(_) if done => return true,
            Some(left) => most = left,
        }
        if input.capacity() == 0 {
            *input = cx.shard.buffers.small();
        }
        if !matches!(stream::read(cx.client, input).await, Ok(1..)) {
            return false;
        }
    }
}

/// What is still to come of a body.
pub(super) enum Rest {
    Length(u64),
    Chunks(Box<ChunkDecoder>),
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

    /// How many bytes of `input` belong to the body, and whether it ends with them. `None`: its
    /// framing is wrong.
    pub(super) fn take(&mut self, input: &[u8]) -> Option<(usize, bool)> {
        match self {
            Self::Length(left) => {
                let used = usize::try_from(*left).map_or(input.len(), |it| it.min(input.len()));
                *left -= used as u64;
                Some((used, *left == 0))
            }
            Self::Chunks(decoder) => {
                let mut at = 0;
                loop {
                    let (used, event) = decoder.decode(input.get(at..)?).ok()?;
                    at += used;
                    match event {
                        ChunkEvent::Data(_) => {}
                        ChunkEvent::TrailersEnd => return Some((at, true)),
                        ChunkEvent::NeedMore => return Some((at, false)),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for (body, input, expected) in [
            (BodyLength::None, "GET", Some((0, true))),
            (BodyLength::Length(3), "ab", Some((2, false))),
            (BodyLength::Length(3), "abcGET", Some((3, true))),
            (
                BodyLength::Chunked,
                "3\r\nabc\r\n0\r\n\r\nGET",
                Some((13, true)),
            ),
            (BodyLength::Chunked, "x\r\n", None),
        ] {
            assert_eq!(Rest::new(body).take(input.as_bytes()), expected, "{input}");
        }
        let mut chunks = Rest::new(BodyLength::Chunked);
        let (used, done) = chunks.take(b"3\r\nab").expect("well formed");
        assert!(!done);
        let rest = [&b"3\r\nab"[used..], b"c\r\n0\r\nx: y\r\n\r\n"].concat();
        assert_eq!(chunks.take(&rest), Some((rest.len(), true)));
    }
}
