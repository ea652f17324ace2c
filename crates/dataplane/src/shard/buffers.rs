//! Buffers that only busy connections hold.
use std::cell::RefCell;

/// Bytes of an ordinary buffer: a head, or a piece of a small body.
pub const SMALL: usize = 16 * 1024;

/// Bytes of a bulk buffer. Larger reads are what makes bulk cheap: the per-call cost of the kernel
/// is shared by more bytes.
pub const BULK: usize = 256 * 1024;

const KEPT: usize = 256;

/// Free buffers of one shard. An idle connection holds none.
#[derive(Debug, Default)]
pub struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    bulk: RefCell<Vec<Vec<u8>>>,
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
