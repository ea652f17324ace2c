//! Bodies of HTTP/2 streams.
use super::{Broken, Closed, Piece};
use crate::shard::http2_pool::StreamFault;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use pointsman_wire::{
    http1::{ChunkLimits, Refusal},
    http2,
};
use smallvec::SmallVec;
use std::{
    cell::Cell,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

/// A body that an HTTP/2 peer sends. Its window opens again only by what was passed on.
///
/// Small pieces that are here already become one: h2 keeps each DATA frame by itself, and counts the
/// memory that takes against the peer, which for a stream of short messages is what it sends and no
/// attack.
pub(in crate::http) struct Http2Source {
    stream: RecvStream,
    /// Taken from the stream and not handed out; as the window stays shut, bounded by it.
    held: SmallVec<[Bytes; 1]>,
    /// Small pieces behind those.
    gathered: BytesMut,
    /// The end was behind what was taken last. h2 forgets that with a connection that ends.
    ended: bool,
}

/// Pieces of fewer bytes are put together.
const SMALL: usize = 1024;

/// Until there are as many bytes as these.
const ENOUGH: usize = 16 * 1024;

impl Http2Source {
    pub(in crate::http) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            held: SmallVec::new(),
            gathered: BytesMut::new(),
            ended: false,
        }
    }

    /// Takes a piece that is here. An end or an error is found again by whoever asks next.
    fn take(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        let Poll::Ready(Some(Ok(piece))) = self.stream.poll_data(cx) else {
            return None;
        };
        self.ended = self.stream.is_end_stream();
        Some(piece)
    }

    /// Takes what is here while what was handed out waits for its receiver: as far as the window goes.
    pub(in crate::http) fn poll_gather(&mut self, cx: &mut Context<'_>) {
        while let Some(piece) = self.take(cx) {
            if piece.len() < SMALL {
                self.gathered.extend_from_slice(&piece);
                continue;
            }
            if !self.gathered.is_empty() {
                self.held.push(self.gathered.split().freeze());
            }
            self.held.push(piece);
        }
    }

    /// Throws away what has come so far; how many bytes that was.
    pub(in crate::http) fn discard(&mut self) -> u64 {
        self.poll_discard(&mut Context::from_waker(Waker::noop()))
    }

    /// As [`Http2Source::discard`], and is told of what comes later.
    pub(in crate::http) fn poll_discard(&mut self, cx: &mut Context<'_>) -> u64 {
        let mut bytes = 0;
        loop {
            self.poll_gather(cx);
            let Some(piece) = self.gathered() else {
                return bytes;
            };
            bytes += piece.len() as u64;
        }
    }

    /// What is still to end behind a body of which all bytes have come.
    pub(in crate::http) fn rest(mut self) -> Option<RecvStream> {
        loop {
            match self.next().now_or_never() {
                None => return Some(self.stream),
                Some(Ok(Piece::Data(_, false))) => {}
                Some(_) => return None,
            }
        }
    }

    fn gathered(&mut self) -> Option<Bytes> {
        match (self.held.is_empty(), self.gathered.is_empty()) {
            (false, _) => Some(self.held.remove(0)),
            (true, false) => Some(self.gathered.split().freeze()),
            (true, true) => None,
        }
    }

    fn is_end(&self) -> bool {
        self.gathered.is_empty() && self.held.is_empty() && self.ended
    }

    pub(super) async fn next(&mut self) -> Result<Piece, Broken> {
        if let Some(bytes) = self.gathered() {
            return Ok(Piece::Data(bytes, self.is_end()));
        }
        if self.ended {
            return Ok(Piece::End(None));
        }
        match self.stream.data().await {
            Some(Ok(first)) => {
                let mut bytes = first;
                self.ended = self.stream.is_end_stream();
                if bytes.len() < SMALL && !self.ended {
                    // The next call waits, so nobody is to be told of what comes later.
                    let mut cx = Context::from_waker(Waker::noop());
                    while self.held.is_empty() && self.gathered.len() < ENOUGH {
                        match self.take(&mut cx) {
                            None => break,
                            Some(piece) if piece.len() < SMALL => {
                                self.gathered.extend_from_slice(&piece);
                            }
                            Some(piece) => self.held.push(piece),
                        }
                    }
                    if !self.gathered.is_empty() {
                        let rest = self.gathered.split();
                        let mut both = BytesMut::with_capacity(bytes.len() + rest.len());
                        both.extend_from_slice(&bytes);
                        both.extend_from_slice(&rest);
                        bytes = both.freeze();
                    }
                }
                Ok(Piece::Data(bytes, self.is_end()))
            }
            Some(Err(error)) => Err(broken(&error)),
            None => match self.stream.trailers().await {
                Ok(None) => Ok(Piece::End(None)),
                Ok(Some(mut trailers)) => {
                    let kept = http2::retain_trailers(&mut trailers, &ChunkLimits::default());
                    kept.map_err(|reason| Broken::Framing(Refusal::request(reason)))?;
                    Ok(Piece::End((!trailers.is_empty()).then_some(trailers)))
                }
                Err(error) => Err(broken(&error)),
            },
        }
    }

    pub(super) fn delivered(&mut self, bytes: usize) {
        // Fails only for a stream that is gone, whose next piece says so.
        let _ = self.stream.flow_control().release_capacity(bytes);
    }
}

/// The code that a reset or a broken connection has.
pub(in crate::http) fn reason_of(broken: Broken) -> Reason {
    match broken {
        Broken::Reset(reason) | Broken::Protocol(reason) => reason,
        Broken::Ended | Broken::Gone => Reason::INTERNAL_ERROR,
        Broken::Framing(_) => Reason::PROTOCOL_ERROR,
    }
}

fn broken(error: &h2::Error) -> Broken {
    match StreamFault::of(error) {
        StreamFault::Refused => Broken::Reset(Reason::REFUSED_STREAM),
        StreamFault::Reset(reason) => Broken::Reset(reason),
        StreamFault::Protocol(reason) if error.is_reset() => Broken::Protocol(reason),
        // What was wrong with the connection on one side is no fault of the other.
        StreamFault::Protocol(_) => Broken::Protocol(Reason::INTERNAL_ERROR),
        StreamFault::GoneAway | StreamFault::Unsent | StreamFault::Closed | StreamFault::Ours => {
            Broken::Gone
        }
    }
}

/// A body that goes to an HTTP/2 peer, never faster than the peer's windows allow.
pub(in crate::http) struct Http2Sink<'a> {
    pub(in crate::http) to: &'a mut SendStream<Bytes>,
    /// Bytes that wait for the peer's window.
    pub(in crate::http) left: &'a Cell<usize>,
}

impl Http2Sink<'_> {
    /// Sends a whole body, if there is room for it; else gives it back.
    pub(super) fn all(&mut self, bytes: Bytes) -> Result<Option<Bytes>, Closed> {
        if self.room(bytes.len()) < bytes.len() {
            return Ok(Some(bytes));
        }
        let sent = self.to.send_data(bytes, true);
        sent.map(|()| None).map_err(|_| Closed)
    }

    /// Asks for room for this many bytes, and says how much there is now.
    pub(in crate::http) fn room(&mut self, bytes: usize) -> usize {
        // h2 tells whoever has waited for this stream that there is room now. That is this task, which
        // is about to use it, and would be polled once more for each body.
        let _ = self.to.poll_reset(&mut Context::from_waker(Waker::noop()));
        self.to.reserve_capacity(bytes);
        self.to.capacity()
    }

    pub(in crate::http) async fn data(
        &mut self,
        mut bytes: Bytes,
        last: bool,
    ) -> Result<(), Closed> {
        loop {
            if bytes.is_empty() {
                return match last {
                    true => self.end(None),
                    false => Ok(()),
                };
            }
            let mut room = self.room(bytes.len());
            if room == 0 {
                self.left.set(bytes.len());
                room = match poll_fn(|cx| self.to.poll_capacity(cx)).await {
                    Some(Ok(room)) => room,
                    Some(Err(_)) | None => return Err(Closed),
                };
                self.left.set(0);
                if room == 0 {
                    continue; // an empty frame would say nothing
                }
            }
            let piece = bytes.split_to(room.min(bytes.len()));
            let end = last && bytes.is_empty();
            self.to.send_data(piece, end).map_err(|_| Closed)?;
            if end {
                return Ok(());
            }
        }
    }

    pub(super) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Closed> {
        let sent = match trailers {
            Some(trailers) => self.to.send_trailers(trailers),
            None => self.to.send_data(Bytes::new(), true),
        };
        sent.map_err(|_| Closed)
    }

    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.to.poll_reset(cx).map(drop)
    }
}
