//! The tasks that serve the streams of one connection.
//!
//! A task takes one stream after the other. With one of its own for each stream, several KiB would be
//! allocated, filled, moved and given back for each request: on small ones that was a fifth of all
//! that this process did.
use super::{
    serve::{Peer, Serving},
    stream,
};
use crate::shard::registry::Lease;
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::Request;
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

/// A stream that was opened.
pub(super) struct Opened {
    pub(super) request: Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
    /// It outlives the library's handles.
    pub(super) serving: Serving,
}

/// The streams that no task has taken yet, and the tasks that have none at present.
#[derive(Default)]
pub(super) struct Workers {
    /// No more than tasks were woken or begun.
    opened: RefCell<VecDeque<Opened>>,
    /// Which tasks wait; the latest is woken first, so that the others can end.
    idle: RefCell<Vec<(u64, Waker)>>,
    /// Tasks so far.
    number: Cell<u64>,
    over: Cell<bool>,
}

/// Tasks that wait at most.
const SPARE: usize = 32;

/// How long a task waits for a stream before it ends: connections that are idle for longer have none.
const PATIENCE: Duration = Duration::from_secs(1);

impl Workers {
    /// Has the stream served.
    pub(super) fn serve(
        &self,
        peer: &Rc<Peer>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) {
        self.opened.borrow_mut().push_back(Opened {
            serving: Serving::begin(peer, respond.stream_id().as_u32()),
            request,
            respond,
        });
        match self.idle.borrow_mut().pop() {
            Some((_, waker)) => waker.wake(),
            None => {
                let number = self.number.get();
                self.number.set(number + 1);
                // Boxed: the runtime moves what it is given.
                actix::spawn(Box::pin(work(peer.clone(), number)));
            }
        }
    }

    /// Takes the stream that has waited longest.
    pub(super) fn take(&self) -> Option<Opened> {
        self.opened.borrow_mut().pop_front()
    }

    /// The connection has ended; so do the tasks, once they are done.
    pub(super) fn end(&self) {
        self.over.set(true);
        for (_, waker) in self.idle.take() {
            waker.wake();
        }
    }

    /// Has the connection ended?
    pub(super) fn are_over(&self) -> bool {
        self.over.get()
    }

    /// Waits until there is a stream to take; `false`: the task of this number is to end.
    async fn wait(&self, number: u64, lease: &Lease) -> bool {
        let wait = poll_fn(|cx| {
            if !self.opened.borrow().is_empty() {
                return Poll::Ready(true);
            }
            let mut idle = self.idle.borrow_mut();
            if idle.iter().any(|(of, _)| *of == number) {
                return Poll::Pending; // a task's waker stays the same
            }
            if self.over.get() || idle.len() >= SPARE {
                return Poll::Ready(false);
            }
            idle.push((number, cx.waker().clone()));
            Poll::Pending
        });
        let woken = lease.within(PATIENCE, wait).await;
        if woken.is_err() {
            self.idle.borrow_mut().retain(|(of, _)| *of != number);
        }
        woken.unwrap_or(false)
    }
}

async fn work(peer: Rc<Peer>, number: u64) {
    let lease = peer.lease.stream();
    while peer.workers.wait(number, &lease).await {
        lease.hold(peer.lease.generation());
        stream::serve(&lease, &peer.workers).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// A careless local held over an await shows up here as bytes of every stream in service.
    #[test]
    fn a_stream_is_small() {
        let size = size_of_future(work);
        assert!(size <= 4608, "{size} bytes");
    }
}
