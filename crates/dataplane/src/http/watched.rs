//! Waiting for an exchange as long as its bytes move.
use super::{
    Context,
    local::{self, Local},
    outcome::{End, Outcome},
    progress::{Progress, Sending},
};
use crate::{shard::registry, stream};
use pointsman_telemetry::Flags;
use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

/// Why an exchange was given up while it waited.
pub(super) enum Stall {
    /// Nothing moved for too long.
    Idle,
    /// The client, or the endpoint, took nothing of what was written to it for too long.
    Unread,
    /// The client has reset its connection, or ended its side long ago and got nothing since.
    ClientGone,
}

impl Stall {
    /// What the client gets: `late` if it has got nothing yet.
    pub(super) fn end(self, cx: &Context<'_>, progress: &Progress, late: Local) -> End {
        match self {
            Self::ClientGone => {}
            Self::Unread => cx.shard.counts.limit("timeouts.write"),
            Self::Idle if late == local::BODY_IDLE => {
                cx.shard.counts.limit("timeouts.request_body");
            }
            Self::Idle => cx.shard.counts.limit("timeouts.response"),
        }
        match self {
            Self::ClientGone => End::Other(Outcome::abort(progress, Flags::DC)),
            Self::Idle | Self::Unread if progress.answering.get() => {
                End::Other(Outcome::abort(progress, Flags::SI))
            }
            Self::Idle | Self::Unread => End::Other(Outcome::Reply(late)),
        }
    }

    /// Why an answer of our own is cut: only its client was waited for.
    pub(super) fn cut(self, cx: &Context<'_>) -> Flags {
        match self {
            Self::ClientGone => Flags::DC,
            Self::Idle | Self::Unread => {
                cx.shard.counts.limit("timeouts.write");
                Flags::SI
            }
        }
    }
}

/// How often a waiting exchange looks whether its client is still there. A look is a system call,
/// which no exchange that ends sooner pays.
const LOOK: Duration = Duration::from_secs(1);

/// What looks at a client have found.
#[derive(Default)]
pub(super) struct Looks {
    /// Since when its side is ended. A FIN may mean "that was my request" or "I am gone"; only time
    /// tells.
    ended: Option<Instant>,
}

impl Looks {
    /// Looks once more: is it gone? One that gets its response already (`answering`) may have ended its
    /// side for any time.
    pub(super) fn find_gone(&mut self, cx: &Context<'_>, answering: bool) -> bool {
        match stream::peek(cx.client) {
            stream::Peer::Gone => true,
            // What it has sent may be there still.
            stream::Peer::Spoke => {
                self.ended = None;
                stream::is_broken(cx.client)
            }
            stream::Peer::Ended if !answering => {
                let gone = elapsed(cx, *self.ended.get_or_insert_with(|| cx.lease.now()));
                let patience = cx.shard.settings.timeouts.half_closed.0;
                let over = !patience.is_zero() && gone >= patience;
                if over {
                    cx.shard.counts.limit("timeouts.half_closed");
                }
                over
            }
            stream::Peer::Ended | stream::Peer::Silent => {
                self.ended = None;
                false
            }
        }
    }
}

/// Time since then. Both times are up to one tick behind: less one, so that no limit is early.
fn elapsed(cx: &Context<'_>, since: Instant) -> Duration {
    let passed = cx.lease.now().saturating_duration_since(since);
    passed.saturating_sub(registry::TICK)
}

/// Waits for what a request needs before it is sent, as long as its client is there: up to `limit`, zero
/// for any time. Where that took a while, the client is looked at in the end as well.
pub(super) async fn awaited<T>(
    cx: &Context<'_>,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Stall> {
    let mut future = pin!(future);
    let mut looks = Looks::default();
    let since = cx.lease.now();
    let end = cx.lease.after(limit);
    loop {
        let look = cx.lease.after(LOOK).min(end);
        match cx.lease.until(look, future.as_mut()).await {
            Ok(output) if cx.lease.now() == since => return Ok(output),
            Ok(_) if looks.find_gone(cx, false) => return Err(Stall::ClientGone),
            Ok(output) => return Ok(output),
            Err(_) if looks.find_gone(cx, false) => return Err(Stall::ClientGone),
            Err(_) if look == end => return Err(Stall::Idle),
            Err(_) => {}
        }
    }
}

/// Runs `future` as long as bytes move: given up after `limit` without any, or after
/// `timeouts.write` in which the client took none of what was written to it. `sending`: of
/// the try that it is, if it is one.
pub(super) async fn watched<T>(
    cx: &Context<'_>,
    progress: &Progress,
    sending: Option<&Sending>,
    limit: impl Fn() -> Duration,
    future: impl Future<Output = T>,
) -> Result<T, Stall> {
    let mut future = pin!(future);
    let timeouts = &cx.shard.settings.timeouts;
    let moved = || {
        let (received, sent) = (progress.moved.received.get(), progress.moved.sent.get());
        (
            received,
            sent,
            progress.unwritten.get(),
            sending.map(|it| it.unsent.get()),
            progress.interims.number(),
        )
    };
    let mut seen = moved();
    let mut interims = 0;
    let mut since = cx.lease.now();
    let mut still = Duration::ZERO;
    let mut looks = Looks::default();
    let mut asked = false;
    loop {
        // Who is waited for may change meanwhile, so the shorter limit sets the pace.
        let pace = [limit(), timeouts.write.0]
            .into_iter()
            .filter(|limit| !limit.is_zero())
            .map(|limit| limit.saturating_sub(still))
            .fold(LOOK, Duration::min)
            .max(registry::TICK);
        if let Ok(output) = cx.lease.within(pace, future.as_mut()).await {
            return Ok(output);
        }
        if moved() != seen {
            seen = moved();
            since = cx.lease.now();
        }
        if progress.interims.number() != interims {
            interims = progress.interims.number();
            // It has got something.
            looks = Looks::default();
        }
        still = elapsed(cx, since);
        if looks.find_gone(cx, progress.answering.get()) {
            return Err(Stall::ClientGone);
        }
        let waits_for_client = progress.unwritten.get() > 0;
        let most = if waits_for_client {
            timeouts.write.0
        } else {
            limit()
        };
        // Has the client taken anything? If so that is written now, and moves.
        let was_asked = std::mem::replace(&mut asked, waits_for_client);
        if waits_for_client {
            cx.client.ask_for_room();
        }
        if !most.is_zero() && still >= most && was_asked == waits_for_client {
            return Err(match waits_for_client {
                true => Stall::Unread,
                false => Stall::Idle,
            });
        }
    }
}
