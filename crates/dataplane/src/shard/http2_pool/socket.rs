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
}

impl Wire {
    pub(super) fn new(stream: socket::Socket, shard: &Shard) -> Rc<Self> {
        Rc::new(Self {
            stream,
            outbox: Outbox::new(&shard.buffers),
            written: Cell::new(0),
            stalled: Cell::new(None),
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
}

impl Socket {
    pub(super) fn new(wire: Rc<Wire>) -> Self {
        Self {
            wire,
            turn: Turn::default(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { wire, turn } = &mut *self;
        ready!(turn.poll(cx));
        let stream = &wire.stream;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(read) => {
                    // A read that leaves room has emptied the socket, see `stream::try_read`.
                    let all = read > 0 && buffer.remaining() > 0;
                    turn.read(read, all);
                    if all {
                        stream.emptied();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
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
