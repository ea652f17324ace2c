//! From an HTTP/1 client to an HTTP/1 endpoint: send, stream both ways, bytes from socket to socket.
use super::{
    Context,
    again::Tries,
    attempts::{Attempt, End, Failure, FailureKind, Outcome},
    body::{Broken, Cut, Http1Source, Source},
    client::Client,
    crossing::{Crossing, failed},
    decide::Forward,
    download::{Download, Gate, download},
    kept::{Kept, Pieces},
    local,
    mirror::Copies,
    progress::{Progress, Sending},
    upload::{Taken, upload},
    watched::{Stall, watched},
};
use crate::{shard::http2_pool::Http2Lease, socket::Socket, stream};
use pointsman_telemetry::Flags;
use pointsman_wire::http1::{BodyLength, ResponseBody};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{self, Poll},
};

/// The request of an HTTP/1 client.
pub(super) struct Http1Request<'a> {
    cx: &'a Context<'a>,
    forward: &'a Forward,
    /// The head for the endpoint and what came with it of the body, until the first byte of the
    /// response is there.
    out: &'a mut Vec<u8>,
    /// What was received behind the head, and afterwards what was received behind the body; `None`
    /// where `pieces` have it.
    input: Option<&'a mut Vec<u8>>,
    /// What is still to come of the body behind what is in `out`.
    body: BodyLength,
    /// What was sent of it beyond what is in `out`.
    kept: Kept,
    /// The body on its way to an endpoint that speaks HTTP/2.
    pieces: Option<Box<InPieces<'a>>>,
    progress: &'a Progress,
}

/// One for all tries: what one of them has taken is kept, and the next one goes on behind it.
struct InPieces<'a> {
    source: Source<'a>,
    /// What was sent; `None` for an upgrade, of which nothing is until it is granted.
    kept: Option<Pieces>,
}

impl<'a> Http1Request<'a> {
    /// `out` holds the head.
    pub(super) fn new(
        cx: &'a Context<'a>,
        forward: &'a Forward,
        out: &'a mut Vec<u8>,
        input: &'a mut Vec<u8>,
        progress: &'a Progress,
    ) -> Self {
        let body = match forward.http2 {
            None => {
                let copies = forward.copies.as_deref();
                take_received_body(forward.facts.body, copies, out, input, progress)
            }
            // Its pieces travel apart from the head.
            Some(_) if forward.facts.has_body() => forward.facts.body,
            Some(_) => BodyLength::None,
        };
        let most = forward.kept_bytes(&cx.shard.settings);
        let kept = match forward.http2 {
            None => Kept::new(body, most),
            Some(_) => Kept::new(BodyLength::None, 0),
        };
        let (client, buffers) = (cx.client, &cx.shard.buffers);
        let in_pieces = |source, kept| {
            let source = Source::Http1(source);
            Some(Box::new(InPieces { source, kept }))
        };
        let (pieces, input) = match forward.http2 {
            Some(_) if forward.facts.has_body() => {
                let source = Http1Source::request(client, buffers, input, body);
                (in_pieces(source, Some(Pieces::new(most))), None)
            }
            Some(_) if forward.facts.upgrade => {
                let bytes = ResponseBody::UntilClose;
                let source = Http1Source::response(client, buffers, input, bytes);
                (in_pieces(source, None), None)
            }
            _ => (None, Some(input)),
        };
        Self {
            cx,
            forward,
            out,
            input,
            body,
            kept,
            pieces,
            progress,
        }
    }

    /// What was taken of the body last, and was being sent, goes out of the buffer.
    pub(super) fn leave_unread(&mut self) {
        let Some(input) = self.input.as_deref_mut() else {
            return; // its pieces are kept elsewhere
        };
        let sending = self.kept.unread().min(input.len());
        input.drain(..sending);
        let received = self.progress.moved.received.get() + sending as u64;
        self.progress.moved.received.set(received);
    }
}

impl Attempt for Http1Request<'_> {
    fn begins(&mut self) {
        if let Some(copies) = &self.forward.copies
            && self.body == BodyLength::None
        {
            copies.send();
        }
    }

    async fn http1(&mut self, upstream: &Socket, tries: &Tries<'_>, sending: &Sending) -> End {
        let gate = Gate {
            forward: self.forward,
            tries,
            kept: &self.kept,
            pieces: None,
            progress: self.progress,
        };
        let taken = Taken {
            copies: self.forward.copies.as_deref(),
            kept: &self.kept,
            progress: self.progress,
            sending,
        };
        let Some(input) = self.input.as_deref_mut() else {
            return End::Other(Outcome::Reply(local::BAD_RESPONSE)); // is for an HTTP/2 endpoint
        };
        let (cx, body) = (self.cx, self.body);
        attempt(cx, upstream, self.out, input, body, &gate, &taken).await
    }

    async fn http2(&mut self, upstream: Http2Lease, tries: &Tries<'_>, sending: &Sending) -> End {
        // Boxed, so that connections to endpoints of HTTP/1 are not as large as this is.
        Box::pin(async move {
            let (cx, forward, progress) = (self.cx, self.forward, self.progress);
            let mut none = Source::Empty;
            let (body, pieces) = match self.pieces.as_deref_mut() {
                Some(InPieces { source, kept }) => (source, kept.as_ref()),
                None => (&mut none, None),
            };
            let crossing = Crossing {
                cx,
                forward,
                progress,
                sending,
                gate: &Gate {
                    forward,
                    tries,
                    kept: &self.kept,
                    pieces,
                    progress,
                },
            };
            let mut client = Client::Http1(self.out);
            crossing.to_http2(body, &mut client, upstream).await
        })
        .await
    }

    fn in_one_piece(&self) -> bool {
        self.body == BodyLength::None
    }

    fn replayable(&self) -> bool {
        let pieces = self.pieces.as_deref().and_then(|it| it.kept.as_ref());
        self.kept.is_whole() && pieces.is_none_or(Pieces::is_whole)
    }

    fn rewind(&mut self) {
        if self.input.is_none() {
            return; // its pieces are kept elsewhere
        }
        self.leave_unread();
        self.out.extend_from_slice(&self.kept.take());
        self.body = self.kept.still();
    }

    /// What an HTTP/1 client sends stays in its socket.
    fn gather(&mut self, _: &mut task::Context<'_>) {}
}

/// Body bytes that came with the head go out with the head, in one write.
fn take_received_body(
    body: BodyLength,
    copies: Option<&Copies>,
    out: &mut Vec<u8>,
    input: &mut Vec<u8>,
    progress: &Progress,
) -> BodyLength {
    let BodyLength::Length(length) = body else {
        return body;
    };
    let take = usize::try_from(length).map_or(input.len(), |length| length.min(input.len()));
    let received = input.get(..take).unwrap_or_default();
    out.extend_from_slice(received);
    if let Some(copies) = copies {
        copies.add(received);
    }
    input.drain(..take);
    progress.moved.received.set(take as u64);
    match length - take as u64 {
        0 => BodyLength::None,
        left => BodyLength::Length(left),
    }
}

async fn attempt(
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
        Download::Fault(fault) => failed(fault),
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
