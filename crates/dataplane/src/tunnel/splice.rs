//! Zero-copy bulk: socket to pipe to socket inside the kernel (`splice(2)`).
//!
//! Only for directions that have proven to be bulk: a pipe costs two descriptors and the set-up of
//! three system calls, which a short exchange never earns back.
use super::{Side, is_would_block};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    pipe::{PipeFlags, SpliceFlags},
};
use std::{
    cell::Cell,
    io,
    os::fd::AsFd,
    task::{Context, Poll, ready},
};
use tokio::{io::Interest, net::TcpStream, task::coop::poll_proceed};

/// Room of the pipe. More than the default 64 KiB, for the same reason that bulk buffers are large;
/// an unprivileged process may have 1 MiB (`/proc/sys/fs/pipe-max-size`).
const PIPE_BYTES: usize = 1024 * 1024;

pub(crate) struct Splice {
    read: OwnedFd,
    write: OwnedFd,
    room: usize,
    /// Bytes in the pipe.
    filled: usize,
}

impl Splice {
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused when the user's pipe budget is used up: the default room still works.
        let room = match rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES) {
            Ok(room) => room,
            Err(_) => rustix::pipe::fcntl_getpipe_size(&write)?,
        };
        Ok(Self {
            read,
            write,
            room,
            filled: 0,
        })
    }

    /// Moves bytes until the end of `from` (`Ready(Ok)`).
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        moved: &Cell<u64>,
    ) -> Poll<Result<(), Side>> {
        loop {
            // Sockets that are always ready must not keep the thread to themselves.
            let turn = ready!(poll_proceed(cx));
            turn.made_progress();
            while self.filled > 0 {
                match to.try_io(Interest::WRITABLE, || splice(&self.read, to, self.filled)) {
                    Ok(0) => return Poll::Ready(Err(Side::To)),
                    Ok(written) => {
                        self.filled = self.filled.saturating_sub(written);
                        moved.set(moved.get() + written as u64);
                    }
                    Err(error) if is_would_block(&error) => {
                        ready!(to.poll_write_ready(cx)).map_err(|_| Side::To)?;
                    }
                    Err(_) => return Poll::Ready(Err(Side::To)),
                }
            }
            // The pipe is empty here, so "would block" can only mean that the socket is.
            match from.try_io(Interest::READABLE, || splice(from, &self.write, self.room)) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(read) => self.filled = read,
                Err(error) if is_would_block(&error) => {
                    ready!(from.poll_read_ready(cx)).map_err(|_| Side::From)?;
                }
                Err(_) => return Poll::Ready(Err(Side::From)),
            }
        }
    }
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
