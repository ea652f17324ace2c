//! The socket under an HTTP/2 connection: it can be looked at while the connection owns it, and
//! knows what was written to it.
use crate::{outbox::Outbox, shard::Shard, socket, stream::Turn};
use std::{
    cell::Cell,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket and what is known of it.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: socket::Socket,
    outbox: Outbox,
    written: Cell<u64>,
    stalled: Cell<Option<Instant>>,
    /// The peer has ended, which the connection may not have been told yet.
    ended: Cell<bool>,
}

impl Wire {
    pub(super) fn new(stream: socket::Socket, shard: &Shard) -> Rc<Self> {
        Rc::new(Self {
            stream,
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
        Poll::Ready(Ok(written))
    }

    /// Has the peer ended?
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Since when the peer takes nothing of what is to be written to it.
    pub(super) fn stalled(&self) -> Option<Instant> {
        self.stalled.get()
    }
}

/// What the HTTP/2 connection reads and writes.
#[derive(Debug)]
pub(super) struct Socket {
    wire: Rc<Wire>,
    turn: Turn,
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
const TURNS: u8 = 3;

impl Socket {
    pub(super) fn new(wire: Rc<Wire>) -> Self {
        Self {
            wire,
            turn: Turn::default(),
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
        let Self { wire, turn, .. } = &mut *self;
        ready!(turn.poll(cx));
        let stream = &wire.stream;
        let end = loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) => break Ok(()),
                Ok(read) => {
                    // A read that leaves room has emptied the socket, see `stream::try_read`.
                    let all = buffer.remaining() > 0;
                    turn.read(read, all);
                    if all {
                        stream.emptied();
                    }
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
