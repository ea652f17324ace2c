//! What the targets that compare with hyper have in common: a peer in memory, and fields as both sides tell them.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Names in small letters and in order, each with its values in order.
pub(crate) type Fields = Vec<(String, Vec<Vec<u8>>)>;

pub(crate) fn grouped<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> Fields {
    let mut groups: Fields = Vec::new();
    for (name, value) in fields {
        let name = name.to_ascii_lowercase();
        match groups.iter_mut().find(|(own, _)| *own == name) {
            Some((_, values)) => values.push(value.to_vec()),
            None => groups.push((name, vec![value.to_vec()])),
        }
    }
    groups.sort();
    groups
}

/// A peer that says this, in pieces, and takes whatever it is told.
pub(crate) struct Memory<'s> {
    input: Vec<u8>,
    piece: usize,
    seen: &'s Seen,
}

/// What has become of a [`Memory`].
#[derive(Default)]
pub(crate) struct Seen {
    /// Bytes that were read.
    pub(crate) read: Cell<usize>,
    pub(crate) peer: Cell<Peer>,
}

/// What a peer does.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Nothing, until it is told something.
    #[default]
    Listens,
    /// It says what it has to say, and waits.
    Speaks,
    /// It closes behind it.
    Closes,
}

impl<'s> Memory<'s> {
    pub(crate) fn new(input: &[u8], piece: usize, seen: &'s Seen) -> Self {
        Self {
            input: input.to_vec(),
            piece,
            seen,
        }
    }
}

impl hyper::rt::Read for Memory<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = self.seen.read.get();
        let left = &self.input[read..];
        match self.seen.peer.get() {
            Peer::Listens => return Poll::Pending,
            Peer::Speaks if left.is_empty() => return Poll::Pending,
            Peer::Speaks | Peer::Closes => {}
        }
        let length = left.len().min(self.piece).min(buffer.remaining());
        buffer.put_slice(&left[..length]);
        self.seen.read.set(read + length);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Memory<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.seen.peer.get() == Peer::Listens {
            self.seen.peer.set(Peer::Speaks);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// An empty body.
pub(crate) struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
