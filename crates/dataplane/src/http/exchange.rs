//! From an HTTP/1 client to an HTTP/1 endpoint: send, stream both ways, bytes from socket to socket.
use super::{
    Context,
    body::{Broken, Cut},
    download::{Download, download},
    local,
    outcome::{End, Failure, FailureKind, Outcome},
    progress::{Progress, Sending},
    response_head::Gate,
    step::Forward,
    upload::{Taken, upload},
    watched::{Stall, watched},
};
use crate::{socket::Socket, stream};
use pointsman_telemetry::Flags;
use pointsman_wire::http1::BodyLength;
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

/// One try.
pub(super) async fn attempt(
    cx: &Context<'_>,
    upstream: &Socket,
    out: &mut Vec<u8>,
    input: &mut Vec<u8>,
    body: BodyLength,
    gate: &Gate<'_>,
    taken: &Taken<'_>,
) -> End {
    let Taken {
        progress, sending, ..
    } = *taken;
    let operations = gate.forward.changes.levels();
    stream::behind_others().await;
    let rest = match stream::write_now(upstream, out) {
        None if body == BodyLength::None => {
            // Pinned here: handed on by value it would be in the connection once for each hand.
            let down = pin!(download(cx, &operations, upstream, out, gate, progress));
            return one_way(cx, down, progress, sending).await;
        }
        // Apart, as `out` is for the response once that begins: maybe before the endpoint takes this.
        rest => rest.map(<[u8]>::to_vec),
    };
    if body == BodyLength::None {
        progress.taken.set(true);
    }
    // Boxed, so that connections whose requests have no body are not as large as this is.
    Box::pin(async {
        let down = pin!(download(cx, &operations, upstream, out, gate, progress));
        let up = pin!(async {
            if let Some(rest) = rest {
                let written = stream::write_watched(upstream, &rest, &sending.unsent);
                if written.await.is_err() {
                    return Err(Cut::Sink);
                }
            }
            upload(cx.client, upstream, cx.shard, body, input, taken).await
        });
        both_ways(cx, up, down, gate.forward, progress, sending).await
    })
    .await
}

/// Sends the head of a request, and what stands behind it. An endpoint that takes none of it may have
/// said why before it closed: that is for whoever reads the response.
pub(super) async fn send_head(
    cx: &Context<'_>,
    upstream: &Socket,
    head: &[u8],
) -> Result<(), Stall> {
    stream::behind_others().await;
    let Some(rest) = stream::write_now(upstream, head) else {
        return Ok(());
    };
    // Boxed, as it is rare.
    let limit = cx.shard.settings.timeouts.write.0;
    let written = cx.lease.within(limit, stream::write_all(upstream, rest));
    match Box::pin(written).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Stall::Unread),
    }
}

/// The response to a request that is sent whole.
///
/// Pinned by the caller: a future holds its arguments twice, and this is the largest of them.
pub(super) async fn one_way(
    cx: &Context<'_>,
    down: Pin<&mut impl Future<Output = Download>>,
    progress: &Progress,
    sending: &Sending,
) -> End {
    progress.taken.set(true);
    let end = watched(
        cx,
        progress,
        Some(sending),
        || cx.shard.settings.timeouts.response.0,
        down,
    )
    .await;
    match end {
        Ok(end) => finish(cx, end, true, progress),
        Err(stall) => stall.end(cx, progress, local::RESPONSE_IDLE),
    }
}

/// Body up and response down at the same time: a server may answer before it has read everything.
/// Both are pinned by the caller, as above.
pub(super) async fn both_ways(
    cx: &Context<'_>,
    mut up: Pin<&mut impl Future<Output = Result<(), Cut>>>,
    mut down: Pin<&mut impl Future<Output = Download>>,
    forward: &Forward,
    progress: &Progress,
    sending: &Sending,
) -> End {
    let copies = forward.copies.as_deref();
    let uploaded = Cell::new(false);
    let sent = || uploaded.get() || sending.whole.get();
    let held_back =
        || forward.facts.expects && !progress.asked.get() && progress.moved.received.get() == 0;
    let waits_for_client = || {
        let owes = !(sent() || forward.is_open() || held_back());
        owes && !progress.answering.get() && sending.unsent.get() == 0
    };
    let end = {
        // Nobody takes more of the body, or no more of it comes.
        let mut over = false;
        let mut complete = progress.is_complete();
        let access = &cx.access;
        let both = poll_fn(|cx| {
            if !uploaded.get() && !over {
                let polled = up.as_mut().poll(cx);
                if sending.whole.get() {
                    progress.complete.set(true);
                }
                match polled {
                    Poll::Ready(Ok(())) => {
                        uploaded.set(true);
                        progress.taken.set(true);
                        if let Some(copies) = copies {
                            copies.send();
                        }
                    }
                    // The endpoint may have answered before it stopped reading.
                    Poll::Ready(Err(Cut::Sink)) => over = true,
                    // It has its answer, and is told that the connection ends with it: then it reads on
                    // (RFC 9112 section 9.5).
                    Poll::Ready(Err(Cut::Source(Broken::Ended)))
                        if progress.answering.get() && progress.status.get() != 0 =>
                    {
                        over = true;
                    }
                    Poll::Ready(Err(Cut::Source(broken))) => return Poll::Ready(Err(broken)),
                    Poll::Pending => {}
                }
            }
            if !complete && progress.is_complete() {
                complete = true;
                access.complete();
            }
            down.as_mut().poll(cx).map(Ok)
        });
        let timeouts = &cx.shard.settings.timeouts;
        let limit = || match waits_for_client() {
            true => timeouts.request_body.0,
            false => timeouts.response.0,
        };
        watched(cx, progress, Some(sending), limit, both).await
    };
    match end {
        Ok(Ok(end)) => {
            // Answered before the stream of a body that is there whole has ended.
            if let Some(copies) = copies
                && !uploaded.get()
                && forward.facts.body == BodyLength::Length(progress.moved.received.get())
                && matches!(end, Download::Done { .. })
            {
                copies.pieces_end();
                copies.send();
            }
            finish(cx, end, sent(), progress)
        }
        Ok(Err(Broken::Framing(refusal))) => End::Other(Outcome::Refused(refusal)),
        Ok(Err(_)) => End::Other(Outcome::abort(progress, Flags::DC)),
        Err(stall) if waits_for_client() => stall.end(cx, progress, local::BODY_IDLE),
        Err(stall) => stall.end(cx, progress, local::RESPONSE_IDLE),
    }
}

fn finish(cx: &Context<'_>, end: Download, uploaded: bool, progress: &Progress) -> End {
    match end {
        Download::Done {
            status,
            upstream_reusable,
            client_keeps,
        } => End::Finished {
            status,
            // An early answer leaves a body half sent, on both sides.
            reusable: upstream_reusable && uploaded,
            keep: client_keeps,
        },
        Download::Upgraded(reply) => End::Upgraded(reply),
        Download::Silent => End::Failed(Failure {
            kind: FailureKind::Silent,
            local: local::UPSTREAM_CLOSED,
        }),
        Download::CutHead => End::Failed(Failure {
            kind: FailureKind::Reset,
            local: local::UPSTREAM_CLOSED,
        }),
        Download::Fault(fault) => End::Failed(fault.into()),
        Download::Malformed(reason) => {
            cx.refuse_response(reason);
            End::Failed(Failure {
                kind: FailureKind::Reset,
                local: local::BAD_RESPONSE,
            })
        }
        Download::Rejected => End::Rejected,
        Download::Cut(flags) => End::Other(Outcome::abort(progress, flags)),
    }
}
