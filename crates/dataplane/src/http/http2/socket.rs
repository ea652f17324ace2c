//! A client's socket as HTTP/2 reads and writes it.
use super::serve::Peer;
use crate::stream::Turn;
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
    /// What is to be written has let the others go first.
    waited: Cell<bool>,
}

impl Socket {
    pub(super) fn new(peer: Rc<Peer>, received: Vec<u8>) -> Self {
        Self {
            peer,
            received: RefCell::new(received),
            turn: Turn::default(),
            waited: Cell::new(false),
        }
    }

    /// Lets everybody else who is ready have their turn before something is written, as
    /// [`behind_others`](crate::stream::behind_others) does: streams that are about to be answered
    /// are answered in the same write, and connections write one after the other.
    fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waited.replace(true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        let stream = &self.peer.accepted.stream;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(written) => {
                    self.peer.floods.sent(&[IoSlice::new(bytes)], written);
                    return Poll::Ready(Ok(written));
                }
                other => return Poll::Ready(other),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        let stream = &self.peer.accepted.stream;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_write_vectored(pieces) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(written) => {
                    self.peer.floods.sent(pieces, written);
                    return Poll::Ready(Ok(written));
                }
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All is written: what comes next waits once more.
        self.waited.set(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        crate::stream::half_close(&self.peer.accepted.stream);
        Poll::Ready(Ok(()))
    }
}
