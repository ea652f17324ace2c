//! Bodies of HTTP/2 streams.
use super::{Broken, Closed, Piece};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use pointsman_wire::{
    http1::{ChunkLimits, Refusal},
    http2,
};
use std::{
    cell::Cell,
    future::poll_fn,
    task::{Context, Poll},
};

/// A body that an HTTP/2 peer sends. Its window opens again only by what was passed on.
pub(in crate::http) struct Http2Source {
    stream: RecvStream,
}

impl Http2Source {
    pub(in crate::http) fn new(stream: RecvStream) -> Self {
        Self { stream }
    }

    pub(super) async fn next(&mut self) -> Result<Piece, Broken> {
        match self.stream.data().await {
            Some(Ok(bytes)) => {
                let last = self.stream.is_end_stream();
                Ok(Piece::Data(bytes, last))
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
        Broken::Reset(reason) => reason,
        Broken::Gone => Reason::INTERNAL_ERROR,
        Broken::Framing(_) => Reason::PROTOCOL_ERROR,
    }
}

fn broken(error: &h2::Error) -> Broken {
    match error.reason() {
        Some(reason) if error.is_reset() => Broken::Reset(reason),
        _ => Broken::Gone,
    }
}

/// A body that goes to an HTTP/2 peer, never faster than the peer's windows allow.
pub(in crate::http) struct Http2Sink<'a> {
    pub(in crate::http) to: &'a mut SendStream<Bytes>,
    /// Bytes that wait for the peer's window.
    pub(in crate::http) left: &'a Cell<usize>,
}

impl Http2Sink<'_> {
    pub(super) async fn data(&mut self, mut bytes: Bytes, last: bool) -> Result<(), Closed> {
        loop {
            if bytes.is_empty() {
                return match last {
                    true => self.end(None),
                    false => Ok(()),
                };
            }
            self.to.reserve_capacity(bytes.len());
            let mut room = self.to.capacity();
            if room == 0 {
                self.left.set(bytes.len());
                room = match poll_fn(|cx| self.to.poll_capacity(cx)).await {
                    Some(Ok(room)) => room,
                    Some(Err(_)) | None => return Err(Closed),
                };
                self.left.set(0);
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
