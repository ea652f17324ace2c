//! Bodies in the framing of HTTP/1.
use super::{Broken, Closed, Piece};
use crate::{
    shard::buffers::{Buffers, SMALL},
    socket::Socket,
    stream,
    turn::Turn,
};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pointsman_wire::{
    http1::{
        BodyLength, ChunkDecoder, ChunkEvent, ChunkLimits, LAST_CHUNK, ResponseBody,
        write_chunk_header,
    },
    http2,
};
use std::cell::Cell;

/// What one read of a large body brings at most: it stays in memory until the other side has taken it.
const LARGE: usize = 4 * SMALL;

/// Fewer bytes are copied, which is cheaper than another buffer.
const COPIED: usize = SMALL / 2;

/// A body that an HTTP/1 peer sends.
pub(in crate::http) struct Http1Source<'a> {
    from: &'a Socket,
    buffers: &'a Buffers,
    /// Received and not yet taken; behind the body: what is no part of it.
    input: &'a mut Vec<u8>,
    state: State,
    turn: Turn,
}

enum State {
    Length(u64),
    Chunks(Box<ChunkDecoder>),
    UntilClose,
    Ended(Option<HeaderMap>),
}

impl<'a> Http1Source<'a> {
    /// A request body.
    pub(in crate::http) fn request(
        from: &'a Socket,
        buffers: &'a Buffers,
        input: &'a mut Vec<u8>,
        body: BodyLength,
    ) -> Self {
        let state = match body {
            BodyLength::None => State::Length(0),
            BodyLength::Length(length) => State::Length(length),
            BodyLength::Chunked => chunks(),
        };
        Self {
            from,
            buffers,
            input,
            state,
            turn: Turn::default(),
        }
    }

    /// A response body.
    pub(in crate::http) fn response(
        from: &'a Socket,
        buffers: &'a Buffers,
        input: &'a mut Vec<u8>,
        body: ResponseBody,
    ) -> Self {
        let state = match body {
            ResponseBody::None => State::Length(0),
            ResponseBody::Length(length) => State::Length(length),
            ResponseBody::Chunked => chunks(),
            ResponseBody::UntilClose => State::UntilClose,
        };
        Self {
            from,
            buffers,
            input,
            state,
            turn: Turn::default(),
        }
    }

    /// Has the peer sent what nobody has asked for yet?
    pub(super) fn is_early(&self) -> bool {
        !self.input.is_empty()
    }

    pub(super) async fn next(&mut self) -> Result<Piece, Broken> {
        loop {
            match &mut self.state {
                State::Ended(trailers) => return Ok(Piece::End(trailers.take())),
                State::Length(0) => return Ok(Piece::End(None)),
                State::Length(left) if !self.input.is_empty() => {
                    let piece = take(self.input, *left);
                    *left -= piece.len() as u64;
                    return Ok(Piece::Data(piece, *left == 0));
                }
                State::UntilClose if !self.input.is_empty() => {
                    return Ok(Piece::Data(take(self.input, u64::MAX), false));
                }
                State::Chunks(decoder) if !self.input.is_empty() => {
                    let there = self.input.len();
                    let (data, end) = decode(decoder, self.input).map_err(Broken::Framing)?;
                    let taken = there - self.input.len();
                    self.turn.framing(taken.saturating_sub(data.len()));
                    if let Some(trailers) = end {
                        let last = trailers.is_empty();
                        self.state = State::Ended((!last).then_some(trailers));
                        if !data.is_empty() {
                            return Ok(Piece::Data(data, last));
                        }
                        continue;
                    }
                    if !data.is_empty() {
                        return Ok(Piece::Data(data, false));
                    }
                }
                State::Length(_) | State::UntilClose | State::Chunks(_) => {}
            }
            let until_close = matches!(self.state, State::UntilClose);
            if self.input.capacity() == 0 {
                *self.input = match self.state {
                    State::Length(left) if left > SMALL as u64 => {
                        let left = usize::try_from(left).unwrap_or(LARGE);
                        Vec::with_capacity(left.min(LARGE))
                    }
                    _ => self.buffers.small(),
                };
            }
            // Sides that are always ready must not keep the thread to themselves.
            self.turn.wait().await;
            match Broken::unless_read(stream::read(self.from, self.input).await) {
                Ok(read) => {
                    let all = self.input.len() < self.input.capacity();
                    self.turn.read(read, all);
                }
                Err(Broken::Ended) if until_close => return Ok(Piece::End(None)),
                Err(broken) => return Err(broken),
            }
        }
    }
}

fn chunks() -> State {
    State::Chunks(Box::new(ChunkDecoder::new(ChunkLimits::default())))
}

/// Up to `most` bytes off the front. A buffer that is full of them is given away.
fn take(input: &mut Vec<u8>, most: u64) -> Bytes {
    let length = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
    if length == input.len() && length >= input.capacity() / 2 && length >= COPIED {
        return std::mem::take(input).into();
    }
    let piece = Bytes::copy_from_slice(input.get(..length).unwrap_or_default());
    input.drain(..length);
    piece
}

/// The data of all chunks in `input`, as one piece, and the trailers once the body is complete.
fn decode(
    decoder: &mut ChunkDecoder,
    input: &mut Vec<u8>,
) -> Result<(Bytes, Option<HeaderMap>), pointsman_wire::http1::Refusal> {
    let mut data = BytesMut::new();
    let mut at = 0;
    let end = loop {
        let rest = input.get(at..).unwrap_or_default();
        let (used, event) = decoder.decode(rest)?;
        match event {
            ChunkEvent::Data(range) => {
                data.extend_from_slice(rest.get(range).unwrap_or_default());
                at += used;
            }
            ChunkEvent::TrailersEnd => {
                at += used;
                break Some(http2::trailers_to_map(decoder.trailers()));
            }
            ChunkEvent::NeedMore => {
                at += used;
                break None;
            }
        }
    };
    input.drain(..at.min(input.len()));
    Ok((data.freeze(), end))
}

/// How a body is delimited towards an HTTP/1 peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Framing {
    /// This many bytes are still announced.
    Length(u64),
    Chunked,
    /// By closing (HTTP/1.0).
    Bare,
    /// Bytes of a tunnel, whose end is passed on.
    Tunnel,
}

impl From<BodyLength> for Framing {
    fn from(body: BodyLength) -> Self {
        match body {
            BodyLength::None => Self::Length(0),
            BodyLength::Length(length) => Self::Length(length),
            BodyLength::Chunked => Self::Chunked,
        }
    }
}

impl From<ResponseBody> for Framing {
    fn from(body: ResponseBody) -> Self {
        match body {
            ResponseBody::None => Self::Length(0),
            ResponseBody::Length(length) => Self::Length(length),
            ResponseBody::Chunked => Self::Chunked,
            ResponseBody::UntilClose => Self::Bare,
        }
    }
}

/// A body that goes to an HTTP/1 peer.
pub(in crate::http) struct Http1Sink<'a> {
    pub(in crate::http) to: &'a Socket,
    /// What goes before the next piece, in one write with it: the head.
    pub(in crate::http) out: &'a mut Vec<u8>,
    pub(in crate::http) framing: Framing,
    /// Bytes the peer has not taken yet.
    pub(in crate::http) left: &'a Cell<usize>,
    /// Whom it concerns that the peer has taken all that was announced.
    pub(in crate::http) whole: Option<&'a Cell<bool>>,
}

impl Http1Sink<'_> {
    pub(super) async fn data(&mut self, bytes: &[u8], last: bool) -> Result<(), Closed> {
        match &mut self.framing {
            Framing::Length(left) => {
                // More than was announced would be taken for the next message.
                *left = left.checked_sub(bytes.len() as u64).ok_or(Closed)?;
                if last && *left > 0 {
                    return Err(Closed);
                }
                let whole = *left == 0;
                if self.out.is_empty() {
                    self.write(bytes).await?;
                } else {
                    self.out.extend_from_slice(bytes);
                    self.flush().await?;
                }
                if let Some(told) = self.whole {
                    told.set(whole);
                }
                return Ok(());
            }
            Framing::Bare | Framing::Tunnel => self.out.extend_from_slice(bytes),
            Framing::Chunked => {
                if !bytes.is_empty() {
                    write_chunk_header(self.out, bytes.len());
                    self.out.extend_from_slice(bytes);
                    self.out.extend_from_slice(b"\r\n");
                }
                if last {
                    self.out.extend_from_slice(LAST_CHUNK);
                }
            }
        }
        if last && self.framing == Framing::Tunnel {
            return self.end(None).await;
        }
        self.flush().await
    }

    pub(super) async fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Closed> {
        match (self.framing, trailers) {
            (Framing::Length(1..), _) => return Err(Closed),
            // Only chunks have room for trailers.
            (Framing::Length(0) | Framing::Bare, _) => {}
            (Framing::Tunnel, _) => {
                self.flush().await?;
                stream::half_close(self.to);
            }
            (Framing::Chunked, Some(trailers)) => http2::write_trailers(self.out, trailers),
            (Framing::Chunked, None) => self.out.extend_from_slice(LAST_CHUNK),
        }
        self.flush().await
    }

    /// Is a response whole by the length that was announced? Behind that there is no room for trailers. The
    /// end of a request is for mirrors too.
    pub(super) fn is_full(&self) -> bool {
        self.framing == Framing::Length(0) && self.whole.is_none()
    }

    /// Writes what is kept back.
    pub(in crate::http) async fn flush(&mut self) -> Result<(), Closed> {
        let written = stream::write_watched(self.to, self.out, self.left).await;
        self.out.clear();
        written.map_err(|_| Closed)
    }

    async fn write(&self, bytes: &[u8]) -> Result<(), Closed> {
        let written = stream::write_watched(self.to, bytes, self.left).await;
        written.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tests::{CHUNK, CHUNKS, longest_turn, sender};

    #[tokio::test]
    async fn others_have_a_turn_though_the_sender_does_not_end() {
        for (body, most) in [
            (ResponseBody::Chunked, CHUNKS),
            (ResponseBody::Length(u64::MAX), 2 * LARGE as u64),
            (ResponseBody::UntilClose, 2 * LARGE as u64),
        ] {
            let (from, buffers, mut input) = (sender(CHUNK), Buffers::default(), Vec::new());
            let mut source = Http1Source::response(&from, &buffers, &mut input, body);
            let moved = Cell::new(0);
            let taken = async {
                while let Ok(Piece::Data(bytes, _)) = source.next().await {
                    moved.set(moved.get() + bytes.len() as u64);
                    if moved.get() > 600_000 {
                        return;
                    }
                }
            };
            let longest = longest_turn(taken, || moved.get()).await;
            assert!(longest <= most, "{body:?}: {longest}");
        }
    }
}
