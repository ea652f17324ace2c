//! The time of one try.
use super::{
    connecting::NoConnection,
    outcome::End,
    progress::{Progress, Sending},
};
use std::{
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::task::coop::unconstrained;

/// The time that one try has until its response begins (VS-H-75).
#[derive(Clone, Copy)]
pub(super) struct TryTime {
    pub(super) limit: Duration,
    /// Of a try that begins with all of the request: connecting counts too.
    pub(super) end: Option<Instant>,
}

/// What is waited for that is the endpoint's to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owed {
    /// To answer.
    Response,
    /// To take what there is of the request, of which it has so much.
    Room(u64, usize),
}

/// An exchange that is given up if its response does not begin in the time of its try (VS-H-75). That is
/// the endpoint's: while the client owes something of the request, none of it passes.
pub(super) async fn in_time(
    time: TryTime,
    progress: &Progress,
    sending: &Sending,
    one: impl Future<Output = End>,
) -> End {
    let owed = || match (progress.is_complete(), sending.unsent.get()) {
        (true, _) => Some(Owed::Response),
        (false, 0) => None,
        (false, left) => Some(Owed::Room(progress.moved.received.get(), left)),
    };
    let mut one = pin!(one);
    let mut since = time.end.map(|_| Owed::Response);
    // As the time of the rule.
    let end = time.end.map(|end| tokio::time::sleep_until(end.into()));
    let mut late = pin!(end.map(unconstrained));
    poll_fn(|cx| {
        let polled = one.as_mut().poll(cx);
        if polled.is_ready() || progress.answering.get() {
            return polled;
        }
        let now = owed();
        if now != since {
            since = now;
            late.set(now.map(|_| unconstrained(tokio::time::sleep(time.limit))));
        }
        match late.as_mut().as_pin_mut() {
            Some(late) => late.poll(cx).map(|()| NoConnection::Late.end()),
            None => Poll::Pending,
        }
    })
    .await
}
