//! Buffers that only busy connections hold: memory, and pipes for what never comes to memory.
use rustix::{
    fd::OwnedFd,
    pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with},
};
use std::{cell::RefCell, io};

/// Bytes of an ordinary buffer: a head, or a piece of a small body.
pub const SMALL: usize = 16 * 1024;

/// Bytes of a bulk buffer. Larger reads are what makes bulk cheap: the per-call cost of the kernel
/// is shared by more bytes.
pub const BULK: usize = 256 * 1024;

/// Room of a pipe, for the same reason that bulk buffers are large; an unprivileged process may have
/// 1 MiB (`/proc/sys/fs/pipe-max-size`).
pub const PIPE: usize = 1024 * 1024;

const KEPT: usize = 256;

/// Pipes kept: a user without privileges may have 64 of this size (`/proc/sys/fs/pipe-user-pages-soft`),
/// and shards share them.
const KEPT_PIPES: usize = 8;

/// Free buffers of one shard. An idle connection holds none.
#[derive(Debug, Default)]
pub struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    bulk: RefCell<Vec<Vec<u8>>>,
    pipes: RefCell<Vec<Pipe>>,
}

/// A pipe between two sockets.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
    /// Bytes it has room for.
    pub(crate) room: usize,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused when the user's pipe budget is used up: the default room still works.
        let room = match fcntl_setpipe_size(&write, PIPE) {
            Ok(room) => room,
            Err(_) => fcntl_getpipe_size(&write)?,
        };
        Ok(Self { read, write, room })
    }
}

impl Buffers {
    /// An empty buffer with room for [`SMALL`] bytes.
    pub fn small(&self) -> Vec<u8> {
        self.small
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    /// An empty buffer with room for [`BULK`] bytes.
    pub fn bulk(&self) -> Vec<u8> {
        self.bulk
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(BULK))
    }

    /// Exchanges a buffer that one read has filled for a bulk buffer: there is more to come.
    pub(crate) fn widen(&self, buffer: &mut Vec<u8>) {
        if buffer.len() == buffer.capacity() && buffer.capacity() < BULK {
            self.exchange(buffer, self.bulk());
        }
    }

    /// Exchanges a bulk buffer for a small one, if `taken` bytes of chunks out of it had only so many
    /// bytes of `contents`. A small chunk costs as much as copying some hundred bytes: a bulk buffer of
    /// them would keep everybody else waiting for milliseconds.
    pub(crate) fn narrow(&self, buffer: &mut Vec<u8>, taken: usize, contents: u64) {
        let small = taken >= SMALL && contents < (taken - taken / 16) as u64;
        if small && buffer.len() < SMALL && buffer.capacity() > SMALL {
            self.exchange(buffer, self.small());
        }
    }

    fn exchange(&self, buffer: &mut Vec<u8>, mut other: Vec<u8>) {
        other.extend_from_slice(buffer);
        self.give(std::mem::replace(buffer, other));
    }

    /// An empty pipe: one that was given back, since making one takes four system calls.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub(crate) fn pipe(&self) -> io::Result<Pipe> {
        match self.pipes.borrow_mut().pop() {
            Some(pipe) => Ok(pipe),
            None => Pipe::new(),
        }
    }

    /// Takes a pipe back, which must be empty: what is in it would come out on another connection.
    pub(crate) fn give_pipe(&self, pipe: Pipe) {
        let mut pipes = self.pipes.borrow_mut();
        if pipes.len() < KEPT_PIPES && pipe.room >= PIPE {
            pipes.push(pipe);
        }
    }

    /// Takes a buffer back. One that has grown to an unusual size is dropped, so that one large
    /// head does not stay in memory for ever.
    pub fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let (list, kept) = match buffer.capacity() {
            SMALL => (&self.small, KEPT),
            BULK => (&self.bulk, KEPT / 8),
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < kept {
            list.push(buffer);
        }
    }
}
