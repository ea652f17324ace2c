//! Bodies of gRPC-Web, on their way to and from a server of gRPC.
use super::{Broken, Piece, Source};
use crate::http::grpc;
use bytes::Bytes;
use pointsman_wire::{
    grpc_web::{TextDecoder, encode_text, write_trailers},
    http1::{Field, Reason, Refusal},
};
use std::{cell::Cell, pin::Pin, task::Context};

/// A body that is written anew on its way, piece by piece.
pub(in crate::http) struct WebSource<'a> {
    inner: Source<'a>,
    way: Way<'a>,
}

enum Way<'a> {
    /// A request in base64.
    FromText {
        decoder: TextDecoder,
        /// Characters of what was not delivered yet.
        taken: usize,
    },
    /// A response: its trailers become the last frame of the body. The call's status is among them.
    ToClient {
        text: bool,
        status: &'a Cell<Option<u8>>,
    },
}

impl<'a> WebSource<'a> {
    /// The request that a body in base64 means.
    pub(in crate::http) fn request(inner: Source<'a>) -> Self {
        let way = Way::FromText {
            decoder: TextDecoder::default(),
            taken: 0,
        };
        Self { inner, way }
    }

    /// The response as the client reads it.
    pub(in crate::http) fn response(
        inner: Source<'a>,
        text: bool,
        status: &'a Cell<Option<u8>>,
    ) -> Self {
        let way = Way::ToClient { text, status };
        Self { inner, way }
    }

    /// Of what it is made from.
    pub(super) fn poll_gather(&mut self, cx: &mut Context<'_>) {
        self.inner.poll_gather(cx);
    }

    /// As of any source; but the client has sent more than what was made of it.
    pub(super) fn delivered(&mut self, bytes: usize) -> usize {
        match &mut self.way {
            Way::FromText { taken, .. } => std::mem::take(taken),
            Way::ToClient { .. } => bytes,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Piece, Broken> {
        loop {
            // Boxed: a source may hold this one.
            let next: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(self.inner.next());
            let piece = next.await?;
            if let Piece::Data(bytes, _) = &piece {
                self.inner.delivered(bytes.len());
            }
            let written = match &mut self.way {
                Way::FromText { decoder, taken } => {
                    if let Piece::Data(text, _) = &piece {
                        *taken += text.len();
                    }
                    decoded(decoder, piece)?
                }
                Way::ToClient { text, status } => encoded(piece, *text, status),
            };
            match written {
                Piece::Data(bytes, false) if bytes.is_empty() => {}
                written => return Ok(written),
            }
        }
    }
}

fn decoded(decoder: &mut TextDecoder, piece: Piece) -> Result<Piece, Broken> {
    let bad = |_| Broken::Framing(Refusal::request(Reason::BadGrpcWebText));
    match piece {
        Piece::Data(text, last) => {
            let mut out = Vec::with_capacity(text.len());
            decoder.decode(&text, &mut out).map_err(bad)?;
            if last {
                decoder.finish().map_err(bad)?;
            }
            Ok(Piece::Data(out.into(), last))
        }
        Piece::End(trailers) => {
            decoder.finish().map_err(bad)?;
            Ok(Piece::End(trailers))
        }
    }
}

fn encoded(piece: Piece, text: bool, status: &Cell<Option<u8>>) -> Piece {
    let (bytes, last) = match piece {
        Piece::Data(bytes, last) => (bytes, last),
        Piece::End(None) => return Piece::End(None),
        Piece::End(Some(trailers)) => {
            if let Some(value) = trailers.get("grpc-status") {
                status.set(Some(grpc::status(value.as_bytes())));
            }
            let mut frame = Vec::new();
            let fields = trailers.iter().map(|(name, value)| Field {
                name: name.as_str(),
                value: value.as_bytes(),
            });
            write_trailers(&mut frame, fields);
            (frame.into(), true)
        }
    };
    if !text {
        return Piece::Data(bytes, last);
    }
    let mut out = Vec::new();
    encode_text(&mut out, &bytes);
    Piece::Data(Bytes::from(out), last)
}
