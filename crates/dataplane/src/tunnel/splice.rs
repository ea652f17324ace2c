//! Zero-copy bulk: socket to pipe to socket inside the kernel (`splice(2)`).
//!
//! Only for directions that have proven to be bulk, and for bodies that say so: a pipe costs two
//! descriptors, and its set-up system calls that a short exchange never earns back.
//!
//! While the sink is full, what arrives at the source wakes nobody (`Socket::look_away`).
use super::{Side, is_would_block};
use crate::{
    shard::buffers::{Buffers, Pipe},
    socket::Socket,
};
use rustix::{io::Errno, pipe::SpliceFlags};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    os::fd::AsFd,
    pin::pin,
    task::{Context, Poll, ready},
};
use tokio::{io::Interest, task::yield_now};

/// Bytes on their way from one socket to another.
pub(crate) struct Splice {
    pipe: Pipe,
    /// Bytes in the pipe.
    filled: usize,
    /// Bytes still to be taken from the source; `u64::MAX` for all there are.
    left: u64,
    /// A piece was moved: it is the others' turn.
    over: bool,
}

/// Where the bytes are counted.
#[derive(Clone, Copy)]
pub(crate) struct Counts<'a> {
    /// Bytes delivered.
    pub(crate) moved: &'a Cell<u64>,
    /// Bytes that wait for the sink to take them.
    pub(crate) waiting: Option<&'a Cell<usize>>,
}

impl Splice {
    /// For up to `left` bytes.
    ///
    /// # Errors
    /// Out of descriptors: copying still works.
    pub(crate) fn new(buffers: &Buffers, left: u64) -> io::Result<Self> {
        Ok(Self {
            pipe: buffers.pipe()?,
            filled: 0,
            left,
            over: false,
        })
    }

    /// Moves bytes until the end of `from`, or until there were as many as asked for (`Ready(Ok)`).
    ///
    /// After each piece comes a turn of the event loop. The source fills meanwhile, so that pieces are large
    /// and few; and a stream that is always ready does not keep the thread to itself.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Socket,
        to: &Socket,
        counts: Counts<'_>,
    ) -> Poll<Result<(), Side>> {
        loop {
            ready!(self.poll_empty(cx, from, to, counts))?;
            if self.left == 0 {
                // Whoever keeps the connection hears of it again.
                let _ = from.listen(cx);
                return Poll::Ready(Ok(()));
            }
            if std::mem::take(&mut self.over) {
                // The first poll leaves the waker with the runtime.
                let _ = pin!(yield_now()).poll(cx);
                return Poll::Pending;
            }
            // The pipe is empty here, so "would block" can only mean that the socket is.
            let most =
                usize::try_from(self.left).map_or(self.pipe.room, |it| it.min(self.pipe.room));
            match from.try_io(Interest::READABLE, |from| {
                splice(from, &self.pipe.write, most)
            }) {
                Ok(0) if from.is_broken() => return Poll::Ready(Err(Side::From)),
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(read) => {
                    self.filled = read;
                    self.over = true;
                    if self.left != u64::MAX {
                        self.left = self.left.saturating_sub(read as u64);
                    }
                }
                Err(error) if is_would_block(&error) => {
                    ready!(from.poll_read_ready(cx)).map_err(|_| Side::From)?;
                }
                Err(_) => return Poll::Ready(Err(Side::From)),
            }
        }
    }

    fn poll_empty(
        &mut self,
        cx: &mut Context<'_>,
        from: &Socket,
        to: &Socket,
        Counts { moved, waiting }: Counts<'_>,
    ) -> Poll<Result<(), Side>> {
        let wait = |count| {
            if let Some(waiting) = waiting {
                waiting.set(count);
            }
        };
        while self.filled > 0 {
            match to.try_write_io(|to| splice(&self.pipe.read, to, self.filled)) {
                Ok(0) => return Poll::Ready(Err(Side::To)),
                Ok(written) => {
                    self.filled = self.filled.saturating_sub(written);
                    moved.set(moved.get() + written as u64);
                }
                Err(error) if is_would_block(&error) => {
                    wait(self.filled);
                    if to.poll_write_ready(cx).map_err(|_| Side::To)?.is_pending() {
                        if self.left > 0 {
                            from.look_away(cx).map_err(|_| Side::From)?;
                        }
                        return Poll::Pending;
                    }
                }
                Err(_) => return Poll::Ready(Err(Side::To)),
            }
        }
        wait(0);
        Poll::Ready(Ok(()))
    }

    /// Bytes that were asked for and did not come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Gives the pipe back.
    pub(crate) fn release(self, buffers: &Buffers) {
        if self.filled == 0 {
            buffers.give_pipe(self.pipe);
        }
    }
}

/// Moves `bytes` of a body; true when they all came. `None` without having moved any where there is
/// no pipe to be had.
pub(crate) async fn exactly(
    buffers: &Buffers,
    from: &Socket,
    to: &Socket,
    bytes: u64,
    counts: Counts<'_>,
) -> Option<Result<bool, Side>> {
    let mut splice = Splice::new(buffers, bytes).ok()?;
    let end = poll_fn(|cx| splice.poll(cx, from, to, counts)).await;
    let all = splice.left() == 0;
    splice.release(buffers);
    Some(end.map(|()| all))
}

fn splice(from: impl AsFd, to: impl AsFd, bytes: usize) -> io::Result<usize> {
    loop {
        match rustix::pipe::splice(
            &from,
            None,
            &to,
            None,
            bytes,
            SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
        ) {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests;
