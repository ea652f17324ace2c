//! A client's socket as HTTP/2 reads and writes it.
use super::serve::Peer;
use crate::{outbox::Outbox, shard::Shard, turn::FrameTurn};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The socket of a connection. Its streams look at it too, so it is not owned here.
pub(super) struct Socket {
    peer: Rc<Peer>,
    /// Received before HTTP/2 was recognised.
    received: Vec<u8>,
    turn: FrameTurn,
}

impl Socket {
    pub(super) fn new(peer: Rc<Peer>, received: Vec<u8>) -> Self {
        Self {
            peer,
            received,
            turn: FrameTurn::default(),
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
        let Self {
            peer,
            received,
            turn,
        } = &mut *self;
        ready!(turn.poll(cx));
        if !received.is_empty() {
            let take = received.len().min(buffer.remaining());
            let now = received.get_mut(..take).unwrap_or_default();
            let frames = peer.floods.received(now, peer.lease.now());
            turn.read(take, frames, false);
            buffer.put_slice(now);
            received.drain(..take);
            if received.is_empty() {
                peer.shard.buffers.give(std::mem::take(received));
            }
            return Poll::Ready(Ok(()));
        }
        let stream = &peer.accepted.stream;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let received = |fresh: &mut _| peer.floods.received(fresh, peer.lease.now());
            match turn.try_read(stream, buffer, received) {
                Ok(_) => return Poll::Ready(Ok(())),
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
    /// There was no room for what h2 had to write last: it holds the rest.
    full: Cell<bool>,
    /// Streams that wait until it has written all.
    waiting: RefCell<Vec<Waker>>,
    /// How often that was so while somebody waited.
    taken: Cell<u64>,
}

impl Out {
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            outbox: Outbox::new(&shard.buffers),
            waited: Cell::new(false),
            full: Cell::new(false),
            waiting: RefCell::default(),
            taken: Cell::new(0),
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
        if !self.is_full() {
            self.tell_taken();
        }
        let Out { outbox, waited, .. } = &self.out;
        if !outbox.is_empty() && !waited.replace(true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_all_out(cx))?;
        waited.set(false);
        Poll::Ready(Ok(()))
    }

    /// Does h2 hold what it could not write?
    pub(super) fn is_full(&self) -> bool {
        self.out.full.get()
    }

    /// Waits until h2 has written what it was given before, as far as windows go: what it still holds of a
    /// stream is thrown away when that is reset.
    pub(super) async fn taken(&self) {
        let before = self.out.taken.get();
        self.wake();
        poll_fn(|cx| {
            if self.workers.are_over() || self.out.taken.get() != before {
                return Poll::Ready(());
            }
            let mut waiting = self.out.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Nothing waits in h2 any more, or the connection has ended.
    pub(super) fn tell_taken(&self) {
        for waker in self.out.waiting.take() {
            self.out.taken.set(self.out.taken.get() + 1);
            waker.wake();
        }
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
        let before = self.floods.faults();
        self.floods.sent(pieces, written);
        for _ in before..self.floods.faults() {
            // Most of them are the library's, which nobody else hears of: such a stream has no record.
            tracing::debug!(peer = %self.accepted.peer, "a stream broke the rules of HTTP/2");
            self.shard.counts.refuse("http2_stream");
        }
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
        let Out { outbox, full, .. } = &self.peer.out;
        let put = outbox.poll_put(cx, pieces, |cx, pieces| self.peer.poll_write(cx, pieces));
        full.set(put.is_pending());
        put
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
