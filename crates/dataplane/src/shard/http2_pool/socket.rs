//! The socket under an HTTP/2 connection: it can be looked at while the connection owns it, knows
//! what was written to it, and shows [`floods`](crate::floods) what goes over it.
use crate::{floods::Floods, outbox::Outbox, shard::Shard, socket, turn::FrameTurn};
use std::{
    cell::Cell,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
    time::Instant,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket and what is known of it.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: socket::Socket,
    shard: Weak<Shard>,
    floods: Floods,
    outbox: Outbox,
    written: Cell<u64>,
    stalled: Cell<Option<Instant>>,
    /// The peer has ended, which the connection may not have been told yet.
    ended: Cell<bool>,
}

impl Wire {
    pub(super) fn new(stream: socket::Socket, shard: &Rc<Shard>) -> Rc<Self> {
        Rc::new(Self {
            stream,
            shard: Rc::downgrade(shard),
            floods: Floods::of_endpoint(&shard.settings.http2, shard.registry.now()),
            outbox: Outbox::new(&shard.buffers),
            written: Cell::new(0),
            stalled: Cell::new(None),
            ended: Cell::new(false),
        })
    }

    /// Bytes the kernel has taken so far. As long as they do not grow, nothing that was asked for
    /// meanwhile can have reached the peer.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// From now on [`Wire::poll_out`] is called at the end of each turn of the connection.
    pub(super) fn gather(&self) {
        self.outbox.gather();
    }

    /// Writes what the connection has written.
    pub(super) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox
            .poll_out(cx, |cx, pieces| self.poll_write(cx, pieces))
    }

    fn poll_write(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = self.stream.poll_write(cx, pieces) else {
            if self.stalled.get().is_none() {
                self.stalled.set(Some(Instant::now()));
            }
            return Poll::Pending;
        };
        let written = written?;
        self.written.set(self.written.get() + written as u64);
        self.stalled.set(None);
        self.floods.sent(pieces, written);
        Poll::Ready(Ok(written))
    }

    /// Counts what the library has sent the peer away for.
    pub(super) fn refuse(&self, reason: &'static str) {
        if let Some(shard) = self.shard.upgrade() {
            shard.counts.refuse(reason);
        }
    }

    /// These bytes came from the peer. Returns how many frames there are in them.
    fn received(&self, bytes: &mut [u8]) -> usize {
        let Some(shard) = self.shard.upgrade() else {
            return 0;
        };
        let frames = self.floods.received(bytes, shard.registry.now());
        if let Some(flood) = self.floods.take() {
            let endpoint = self.stream.peer_addr().ok();
            tracing::debug!(?endpoint, flood = flood.as_str(), "cut off");
            shard.counts.refuse(flood.as_str());
        }
        frames
    }

    /// This side has left a stream before the peer has ended it.
    pub(super) fn left(&self, stream: u32) {
        self.floods.left(stream);
    }

    /// So many streams are open at once.
    pub(super) fn open_at_once(&self, streams: u32) {
        self.floods.open_at_once(streams);
    }

    /// Has the peer sent more frames of a kind than it may? Nothing is read any more then, and whoever
    /// carries the connection ends it.
    pub(super) fn is_flooded(&self) -> bool {
        self.floods.is_over()
    }

    /// Tells a peer that floods why the connection ends, if there is room for it at once. The library
    /// has no word for it on this side.
    pub(super) fn tell_calm(&self, cx: &mut Context<'_>) {
        if self.outbox.is_empty() && self.floods.is_between_frames() {
            let _ = self.stream.poll_write(cx, &[IoSlice::new(CALM)]);
        }
    }

    /// Has the peer ended, or is it cut off?
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get() || self.is_flooded()
    }

    /// Since when the peer takes nothing of what is to be written to it.
    pub(super) fn stalled(&self) -> Option<Instant> {
        self.stalled.get()
    }
}

/// GOAWAY with ENHANCE_YOUR_CALM: no stream of the peer's was processed (RFC 9113 section 6.8).
const CALM: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

/// What the HTTP/2 connection reads and writes.
#[derive(Debug)]
pub(super) struct Socket {
    wire: Rc<Wire>,
    turn: FrameTurn,
    /// How it has ended, kept back for so many turns.
    end: Option<io::Result<()>>,
    behind: u8,
}

/// Turns that streams have for what was read, before they are told that the connection has ended.
///
/// With the connection h2 ends every stream whose request has not ended, and forgets that its response had:
/// an answer that stands before the end, as of a server that refuses a body and closes, would be taken from
/// whoever is about to read it. One turn is enough for what a client takes at once; the others are for a
/// client whose own connection has to write before it takes more.
pub(super) const TURNS: u8 = 3;

impl Socket {
    pub(super) fn new(wire: Rc<Wire>) -> Self {
        Self {
            wire,
            turn: FrameTurn::default(),
            end: None,
            behind: 0,
        }
    }

    /// The end, once the streams had their turns.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.behind > 0 {
            self.behind -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.end.take().unwrap_or(Ok(())))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.is_some() {
            return self.poll_end(cx);
        }
        if self.wire.is_flooded() {
            return Poll::Pending; // the connection's task looks for it
        }
        let Self { wire, turn, .. } = &mut *self;
        ready!(turn.poll(cx));
        let stream = &wire.stream;
        let end = loop {
            ready!(stream.poll_read_ready(cx))?;
            match turn.try_read(stream, buffer, |fresh| wire.received(fresh)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) => break Ok(()),
                Ok(_) => {
                    self.behind = TURNS;
                    return Poll::Ready(Ok(()));
                }
                Err(error) => break Err(error),
            }
        };
        wire.ended.set(true);
        self.end = Some(end);
        self.poll_end(cx)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outbox = &self.wire.outbox;
        outbox.poll_put(cx, pieces, |cx, pieces| self.wire.poll_write(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nobody waits for what is gathered: the connection's task writes it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.wire.poll_out(cx))?;
        crate::stream::half_close(&self.wire.stream);
        Poll::Ready(Ok(()))
    }
}
