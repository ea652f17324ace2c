//! One decided request of an HTTP/1 client, carried out.
use super::{
    Context, attempts,
    http1_request::Http1Request,
    local::Refused,
    outcome::{Outcome, Upgraded},
    progress::Progress,
    reply::{Unread, answer_told},
    serve::End,
    step::{Answered, Forward, Reply, Step},
    told::{Told, details_of_cut, record, record_exchange},
    watched::awaited,
    websocket,
};
use crate::{stream, tunnel};
use pointsman_telemetry::Flags;
use pointsman_wire::http1::make_last;
use std::{ops::ControlFlow, time::Duration};

/// What becomes of a connection behind a request: it carries the next one, or ends.
pub(super) type Then = ControlFlow<End>;

impl End {
    /// Behind an answer of our own that was sent whole, or not.
    pub(super) fn behind(sent: bool, keep: bool) -> Then {
        match (sent, keep) {
            (false, _) => Then::Break(Self::Gone),
            (true, true) => Then::Continue(()),
            (true, false) => Then::Break(Self::Close { unread: true }),
        }
    }

    /// Behind an answer that broke off. Nothing of that may look whole, and nothing before it may be lost.
    fn behind_broken(cx: &Context<'_>, progress: &Progress, flags: Flags) -> Self {
        if progress.ended.get() {
            return Self::Gone;
        }
        // It is gone or the process ends, or what was written it has not taken in time.
        let given_up = flags == Flags::DC || (flags == Flags::SI && progress.unwritten.get() > 0);
        let tunnel = progress.switched.get();
        if given_up || (tunnel && progress.cut.get().is_none()) || !progress.answering.get() {
            stream::reset_on_close(cx.client);
            return Self::Gone;
        }
        let bare = progress.bare.get() || tunnel;
        Self::Broken { bare }
    }
}

/// Carries out one decided request. The request stays with the caller: a future holds its arguments
/// twice.
pub(super) async fn handle(
    cx: &Context<'_>,
    step: &Step,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Then {
    match step {
        Step::NeedMore => Then::Break(End::Gone),
        Step::Refuse(refused) => {
            tracing::debug!(reason = refused.refusal.reason.as_str(), "request refused");
            let told = refused.write(&cx.shard.counts, out);
            End::behind(answer_told(cx, None, told, 0, out).await, false)
        }
        Step::Reply(Reply {
            facts,
            local,
            stats,
            changes,
        }) => {
            input.drain(..facts.head_len.min(input.len()));
            let most = cx.shard.settings.limits.discarded_body_bytes;
            let keep = facts.keeps_discarding(most) && !cx.lease.is_draining();
            let unread = Unread {
                facts,
                stats,
                told: local.write_changed(out, changes, facts, keep),
                keep,
            };
            unread.answer(cx, input, out).await
        }
        Step::Answered(Answered { facts, told, stats }) => {
            input.drain(..facts.head_len.min(input.len()));
            let most = cx.shard.settings.limits.discarded_body_bytes;
            let mut keep = facts.keeps_discarding(most);
            if keep && cx.lease.is_draining() {
                // It began while this waited.
                make_last(out);
                keep = false;
            }
            let unread = Unread {
                facts,
                stats,
                told: *told,
                keep,
            };
            unread.answer(cx, input, out).await
        }
        // Boxed, so that connections nobody delays are not as large as this is.
        Step::After(delay, step) => Box::pin(handle_after(cx, *delay, step, input, out)).await,
        Step::Forward(forward) => {
            input.drain(..forward.facts.head_len.min(input.len()));
            if input.is_empty() && !forward.facts.has_body() {
                // Nobody reads from the client meanwhile. Few buffers in turn stay in the
                // processor's cache, one for each request in flight does not.
                cx.shard.buffers.give(std::mem::take(input));
            }
            proxy(cx, forward, input, out).await
        }
    }
}

/// Carries out a request after the delay that a fault asks for, unless its client goes meanwhile.
async fn handle_after(
    cx: &Context<'_>,
    delay: Duration,
    step: &Step,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Then {
    // The runtime's own timer: the shard's clock is accurate to a tenth of a second.
    let wait = cx.lease.unless_cut(tokio::time::sleep(delay));
    let waited = awaited(cx, Duration::ZERO, wait).await;
    if let Ok(Some(())) = waited {
        cx.access.complete();
        return handle(cx, step, input, out).await;
    }
    if let Some(whose) = step.routed() {
        record(cx, Some(whose), Told::gone(cx), (0, 0));
    }
    if waited.is_ok() {
        stream::reset_on_close(cx.client);
    }
    Then::Break(End::Gone)
}

async fn proxy(
    cx: &Context<'_>,
    forward: &Forward,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Then {
    let progress = Progress::default();
    let outcome = {
        let mut request = Http1Request::new(cx, forward, out, input, &progress);
        let outcome = attempts::exchange(cx, forward, &mut request, &progress).await;
        request.leave_unread();
        outcome
    };
    let facts = &forward.facts;
    let over = |status, flags, details| {
        record_exchange(cx, forward, &progress, status, flags, details);
    };
    let (told, keep) = match outcome {
        Outcome::Answered {
            status,
            keep,
            flags,
        } => {
            over(status, flags, "via_upstream");
            return match keep {
                true => Then::Continue(()),
                // The body may not have been read to its end.
                false => Then::Break(End::Close {
                    unread: facts.has_body(),
                }),
            };
        }
        Outcome::Reply(local) => {
            // In the middle of a body it is not known where the next request begins.
            let whole = progress.complete.get() || progress.taken.get();
            let keep = facts.keep_alive && whole && !cx.lease.is_draining();
            out.clear();
            let told = local.write_changed(out, &forward.changes, facts, keep);
            (told, keep)
        }
        Outcome::Refused(refusal) if progress.answering.get() => {
            cx.shard.counts.refuse_for(refusal.reason);
            let (status, details) = (progress.status.get(), refusal.reason.as_str());
            over(status, Flags::DPE, details);
            return Then::Break(End::behind_broken(cx, &progress, Flags::DPE));
        }
        Outcome::Refused(refusal) => {
            out.clear();
            let refused = Refused::routed(refusal, facts);
            (refused.write(&cx.shard.counts, out), false)
        }
        Outcome::Abort { status, flags } => {
            over(status, flags, details_of_cut(cx, flags));
            return Then::Break(End::behind_broken(cx, &progress, flags));
        }
        Outcome::Upgraded(upgraded) => {
            let Upgraded {
                upstream,
                in_flight,
                request,
                reply,
            } = *upgraded;
            let first = std::mem::take(input);
            let end = websocket::run(cx, forward.stats(), &upstream, first, reply, &progress).await;
            drop((upstream, in_flight, request));
            match end {
                Ok(_) => over(101, Flags::EMPTY, "via_upstream"),
                Err(flags) => over(101, flags, details_of_cut(cx, flags)),
            }
            if end == Ok(true) {
                // Boxed, as it is rare.
                Box::pin(tunnel::hear_out(cx)).await;
            }
            return Then::Break(End::Gone);
        }
    };
    let (whose, received) = (Some(forward.routed()), progress.moved.received.get());
    End::behind(answer_told(cx, whose, told, received, out).await, keep)
}
