//! What an HTTP/2 connection has written and its socket has not got yet.
//!
//! h2 puts heads and tiny bodies together in one write, but writes for each piece of 256 bytes and more
//! by itself: ten streams that are answered at once took ten system calls, and woke their reader ten
//! times. So what it writes is gathered here, and written by the task of the connection when h2 has
//! nothing more to do.
use crate::shard::buffers::{Buffers, SMALL};
use smallvec::SmallVec;
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, ready},
};

/// Bytes that wait to be written, [`SMALL`] at most. Holds no memory while there are none.
#[derive(Debug)]
pub(crate) struct Outbox {
    buffers: Rc<Buffers>,
    bytes: RefCell<Vec<u8>>,
    /// So many of `bytes` are written.
    written: Cell<usize>,
    gathers: Cell<bool>,
    /// Bytes that passed by since the task of the connection looked here.
    passed: Cell<usize>,
}

/// Bytes that pass by before others have a turn.
const TURN: usize = 64 * 1024;

impl Outbox {
    /// Nothing waits.
    pub(crate) fn new(buffers: &Rc<Buffers>) -> Self {
        Self {
            buffers: buffers.clone(),
            bytes: RefCell::default(),
            written: Cell::new(0),
            gathers: Cell::new(false),
            passed: Cell::new(0),
        }
    }

    /// From now on somebody calls [`Outbox::poll_out`] at the end of each turn. Before, as in a
    /// handshake, all is written at once.
    pub(crate) fn gather(&self) {
        self.gathers.set(true);
    }

    /// Does nothing wait?
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.borrow().is_empty()
    }

    /// Takes what there is room for, and says how many bytes that is. What there is no room for goes by
    /// `write`, together with what waits.
    pub(crate) fn poll_put(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
        mut write: impl FnMut(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let mut bytes = self.bytes.borrow_mut();
        if self.gathers.get() && bytes.len() + length <= SMALL {
            if bytes.capacity() == 0 {
                *bytes = self.buffers.small();
            }
            for piece in pieces {
                bytes.extend_from_slice(piece);
            }
            return Poll::Ready(Ok(length));
        }
        if self.passed.get() >= TURN {
            self.passed.set(0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let waiting = bytes.get(self.written.get()..).unwrap_or_default();
            let before = waiting.len();
            let written = if before == 0 {
                ready!(write(cx, pieces))?
            } else {
                let mut all = SmallVec::<[IoSlice<'_>; 4]>::new();
                all.push(IoSlice::new(waiting));
                all.extend(pieces.iter().map(|piece| IoSlice::new(piece)));
                ready!(write(cx, &all))?
            };
            self.passed.set(self.passed.get() + written);
            if written < before {
                self.written.set(self.written.get() + written);
                continue;
            }
            self.clear(&mut bytes);
            // Nothing at all would be taken for the end of the socket.
            if written > before || before == 0 {
                return Poll::Ready(Ok(written - before));
            }
        }
    }

    /// Writes what waits.
    pub(crate) fn poll_out(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        self.passed.set(0);
        let mut bytes = self.bytes.borrow_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let waiting = bytes.get(self.written.get()..).unwrap_or_default();
            if waiting.is_empty() {
                self.clear(&mut bytes);
                return Poll::Ready(Ok(()));
            }
            match ready!(write(cx, &[IoSlice::new(waiting)]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written.set(self.written.get() + written),
            }
        }
    }

    fn clear(&self, bytes: &mut Vec<u8>) {
        self.written.set(0);
        self.buffers.give(std::mem::take(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// A socket that takes so many bytes at a time; none: it is full for once.
    struct Peer {
        takes: Vec<usize>,
        got: Vec<u8>,
        writes: usize,
    }

    impl Peer {
        fn write(&mut self, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let Some(most @ 1..) = self.takes.pop().or(Some(usize::MAX)) else {
                return Poll::Pending;
            };
            self.writes += 1;
            let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            let taken = all.len().min(most);
            self.got.extend(all.get(..taken).unwrap_or_default());
            Poll::Ready(Ok(taken))
        }
    }

    fn peer(takes: &[usize]) -> Peer {
        Peer {
            takes: takes.to_vec(),
            got: Vec::new(),
            writes: 0,
        }
    }

    #[test]
    fn what_is_written_in_one_turn_goes_out_at_once() {
        let (outbox, mut peer) = (Outbox::new(&Rc::default()), peer(&[]));
        let cx = &mut Context::from_waker(Waker::noop());
        outbox.gather();
        for _ in 0..10 {
            let pieces = [IoSlice::new(b"head"), IoSlice::new(&[b'x'; 1024])];
            let taken = outbox.poll_put(cx, &pieces, |_, it| peer.write(it));
            assert!(matches!(taken, Poll::Ready(Ok(1028))));
        }
        assert_eq!(peer.writes, 0);
        assert!(matches!(
            outbox.poll_out(cx, |_, it| peer.write(it)),
            Poll::Ready(Ok(()))
        ));
        assert_eq!((peer.writes, peer.got.len()), (1, 10_280));
        assert!(outbox.is_empty() && outbox.bytes.borrow().capacity() == 0);
        // Large pieces are not copied.
        let piece = vec![b'y'; SMALL + 1];
        let taken = outbox.poll_put(cx, &[IoSlice::new(&piece)], |_, it| peer.write(it));
        assert!(matches!(taken, Poll::Ready(Ok(count)) if count == piece.len()));
        assert_eq!(peer.writes, 2);
    }

    #[test]
    fn nothing_is_gathered_before_somebody_takes_care_of_it() {
        let (outbox, mut peer) = (Outbox::new(&Rc::default()), peer(&[]));
        let cx = &mut Context::from_waker(Waker::noop());
        let taken = outbox.poll_put(cx, &[IoSlice::new(b"SETTINGS")], |_, it| peer.write(it));
        assert!(matches!(taken, Poll::Ready(Ok(8))));
        assert_eq!(peer.got, b"SETTINGS");
    }

    #[test]
    fn who_writes_without_end_lets_others_have_a_turn() {
        let (outbox, mut peer) = (Outbox::new(&Rc::default()), peer(&[]));
        let cx = &mut Context::from_waker(Waker::noop());
        outbox.gather();
        let piece = [b'x'; SMALL + 1];
        let mut writes = 0;
        while outbox
            .poll_put(cx, &[IoSlice::new(&piece)], |_, it| peer.write(it))
            .is_ready()
        {
            writes += 1;
        }
        assert_eq!(writes, TURN / SMALL);
    }

    proptest! {
        /// Whatever the socket takes at a time: every byte arrives once, in order.
        #[test]
        fn bytes_stay_in_order(
            puts in prop::collection::vec((0..3_usize, 1..SMALL * 2), 1..20),
            takes in prop::collection::vec(0..SMALL * 2, 0..40),
        ) {
            let (outbox, mut peer) = (Outbox::new(&Rc::default()), peer(&takes));
            let cx = &mut Context::from_waker(Waker::noop());
            outbox.gather();
            let mut expected: Vec<u8> = Vec::new();
            for (number, (turns, length)) in puts.into_iter().enumerate() {
                let piece: Vec<u8> = (0..length).map(|at| (at * 7 + number) as u8).collect();
                expected.extend(&piece);
                let mut rest = &piece[..];
                while !rest.is_empty() {
                    let (one, two) = rest.split_at(rest.len() / 2);
                    let pieces = [IoSlice::new(one), IoSlice::new(two)];
                    match outbox.poll_put(cx, &pieces, |_, it| peer.write(it)) {
                        Poll::Ready(taken) => rest = &rest[taken.unwrap()..],
                        Poll::Pending => {}
                    }
                }
                for _ in 0..turns {
                    let _ = outbox.poll_out(cx, |_, it| peer.write(it));
                }
                prop_assert!(outbox.bytes.borrow().len() <= SMALL);
            }
            while outbox.poll_out(cx, |_, it| peer.write(it)).is_pending() {}
            prop_assert_eq!(peer.got, expected);
        }
    }
}
