//! One direction of a tunnel.
use super::{
    Side, is_would_block,
    splice::{Counts, Splice},
};
use crate::{shard::buffers::Buffers, socket::Socket, stream, turn::Turn};
use std::{
    cell::Cell,
    task::{Context, Poll, ready},
};

/// Copies from one socket to the other until the end of the stream, then passes the end on.
pub(crate) struct Direction<'a> {
    /// Bytes read and not yet written, from `sent` on. `None` while nothing is pending.
    buffer: Option<Vec<u8>>,
    sent: usize,
    /// Set once the direction has proven to be bulk.
    splice: Option<Splice>,
    splice_after: u64,
    turn: Turn,
    done: bool,
    moved: &'a Cell<u64>,
}

impl<'a> Direction<'a> {
    pub(crate) fn new(pending: Vec<u8>, splice_after: u64, moved: &'a Cell<u64>) -> Self {
        Self {
            buffer: (!pending.is_empty()).then_some(pending),
            sent: 0,
            splice: None,
            splice_after,
            turn: Turn::default(),
            done: false,
            moved,
        }
    }

    /// Has the end been passed on?
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Moves what can be moved. `Ready(Ok)` once the end has been passed on. `last` says that the
    /// other direction has ended already.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Socket,
        to: &Socket,
        buffers: &Buffers,
        last: bool,
    ) -> Poll<Result<(), Side>> {
        while !self.done {
            ready!(self.poll_flush(cx, to, buffers))?;
            if let Some(splice) = &mut self.splice {
                let counts = Counts {
                    moved: self.moved,
                    waiting: None,
                };
                match ready!(splice.poll(cx, from, to, counts)) {
                    Ok(()) => self.finish(to, buffers, last),
                    Err(side) => return Poll::Ready(Err(side)),
                }
                continue;
            }
            // Sides that are always ready must not keep the thread to themselves.
            ready!(self.turn.poll(cx));
            ready!(from.poll_read_ready(cx)).map_err(|_| Side::From)?;
            let mut buffer = if self.moved.get() > crate::shard::buffers::SMALL as u64 {
                buffers.bulk()
            } else {
                buffers.small()
            };
            match stream::try_read(from, &mut buffer) {
                Ok(0) => {
                    buffers.give(buffer);
                    self.finish(to, buffers, last);
                }
                Ok(read) => {
                    self.turn.read(read, buffer.len() < buffer.capacity());
                    self.buffer = Some(buffer);
                    self.sent = 0;
                }
                Err(error) if is_would_block(&error) => buffers.give(buffer),
                Err(_) => return Poll::Ready(Err(Side::From)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &Socket,
        buffers: &Buffers,
    ) -> Poll<Result<(), Side>> {
        let Some(buffer) = &self.buffer else {
            return Poll::Ready(Ok(()));
        };
        while let Some(rest) = buffer.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match stream::try_write(to, rest) {
                Ok(written) => {
                    self.sent += written;
                    self.moved.set(self.moved.get() + written as u64);
                }
                Err(error) if is_would_block(&error) => {
                    ready!(to.poll_write_ready(cx)).map_err(|_| Side::To)?;
                }
                Err(_) => return Poll::Ready(Err(Side::To)),
            }
        }
        self.release(buffers);
        if self.splice_after > 0 && self.moved.get() >= self.splice_after {
            // Out of pipes: keep copying, and do not try again for every buffer.
            self.splice = Splice::new(buffers, u64::MAX).ok();
            self.splice_after = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self, to: &Socket, buffers: &Buffers, last: bool) {
        // The last end needs no FIN of its own: both sockets are closed at once.
        if !last {
            stream::half_close(to);
        }
        if let Some(splice) = self.splice.take() {
            splice.release(buffers);
        }
        self.done = true;
    }

    /// Gives the buffer back.
    pub(crate) fn release(&mut self, buffers: &Buffers) {
        if let Some(buffer) = self.buffer.take() {
            buffers.give(buffer);
        }
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        shard::buffers::BULK,
        turn::tests::{longest_turn, reader, sender},
    };
    use std::future::poll_fn;

    #[tokio::test]
    async fn others_have_a_turn_though_the_sender_does_not_end() {
        let (from, to, buffers) = (sender(b"x"), reader(), Buffers::default());
        let moved = Cell::new(0);
        let mut direction = Direction::new(Vec::new(), 0, &moved);
        let copied = poll_fn(|cx| direction.poll(cx, &from, &to, &buffers, false));
        let most = longest_turn(copied, || moved.get()).await;
        // What is not yet a turn, and one more read.
        assert!(most <= 64 * 1024 + BULK as u64, "{most}");
    }
}
