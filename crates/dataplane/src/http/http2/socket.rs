//! A client's socket as HTTP/2 reads and writes it.
use super::serve::Peer;
use crate::{outbox::Outbox, shard::Shard, stream::Turn};
use std::{
    cell::{Cell, RefCell},
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The socket of a connection. Its streams look at it too, so it is not owned here.
pub(super) struct Socket {
    peer: Rc<Peer>,
    /// Received before HTTP/2 was recognised.
    received: RefCell<Vec<u8>>,
    turn: Turn,
}

impl Socket {
    pub(super) fn new(peer: Rc<Peer>, received: Vec<u8>) -> Self {
        Self {
            peer,
            received: RefCell::new(received),
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
        if self.peer.floods.is_over() {
            return Poll::Pending; // the connection's task looks for it
        }
        ready!(self.turn.poll(cx));
        let mut received = self.received.borrow_mut();
        if !received.is_empty() {
            let take = received.len().min(buffer.remaining());
            let now = received.get(..take).unwrap_or_default();
            self.peer.floods.received(now, self.peer.lease.now());
            buffer.put_slice(now);
            received.drain(..take);
            if received.is_empty() {
                let buffers = &self.peer.shard.buffers;
                buffers.give(std::mem::take(&mut *received));
            }
            return Poll::Ready(Ok(()));
        }
        drop(received);
        let Self { peer, turn, .. } = &mut *self;
        let stream = &peer.accepted.stream;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let before = buffer.filled().len();
            match stream.try_read_buf(buffer) {
                Ok(read) => {
                    // A read that leaves room has emptied the socket: the next one waits for the
                    // kernel's notice at once, instead of asking it.
                    let all = read > 0 && buffer.remaining() > 0;
                    turn.read(read, all);
                    if all {
                        stream.emptied();
                    }
                    let fresh = buffer.filled().get(before..).unwrap_or_default();
                    peer.floods.received(fresh, peer.lease.now());
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// What a connection has written is here until everybody else who is ready has had a turn, as
/// [`behind_others`](crate::stream::behind_others) has it: streams that are about to be answered are
/// answered in the same write, and connections write one after the other.
pub(super) struct Out {
    outbox: Outbox,
    waited: Cell<bool>,
}

impl Out {
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            outbox: Outbox::new(&shard.buffers),
            waited: Cell::new(false),
        }
    }
}

impl Peer {
    /// From now on [`Peer::poll_out`] is called whenever the connection has nothing else to do.
    pub(super) fn gather(&self) {
        self.out.outbox.gather();
    }

    /// Writes what the connection has written, once the others had their turn.
    pub(super) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Out { outbox, waited } = &self.out;
        if !outbox.is_empty() && !waited.replace(true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_all_out(cx))?;
        waited.set(false);
        Poll::Ready(Ok(()))
    }

    /// Is nothing left here to be written?
    pub(super) fn is_written(&self) -> bool {
        self.out.outbox.is_empty()
    }

    fn poll_all_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outbox = &self.out.outbox;
        outbox.poll_out(cx, |cx, pieces| self.poll_write(cx, pieces))
    }

    fn poll_write(&self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(self.accepted.stream.poll_write(cx, pieces))?;
        self.floods.sent(pieces, written);
        Poll::Ready(Ok(written))
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
        let outbox = &self.peer.out.outbox;
        outbox.poll_put(cx, pieces, |cx, pieces| self.peer.poll_write(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nobody waits for what is gathered: the connection's task writes it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Our side ends once all is sent, see `Peer::part`.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.peer.poll_all_out(cx)
    }
}
