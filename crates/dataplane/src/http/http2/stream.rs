//! One stream of an HTTP/2 client: one request, from its head to the end of its response.
use super::{
    super::{
        RequestFacts,
        answer_head::{self, Unsent},
        attempts,
        body::{Http2Source, Source, gathering},
        client::Answering,
        decide::decide_head,
        grpc,
        kept::{Kept, Pieces},
        local::Refused,
        outcome::Outcome,
        progress::Progress,
        step::{Forward, Step},
        told::{Told, details_of_cut, record, record_exchange},
        watched::watched,
    },
    goodbye::GOODBYE,
    request::Http2Request,
    serve::{Peer, Serving},
    workers::{Opened, Workers},
};
use crate::{access::pending::Pending, context::Context, shard::registry::Lease};
use h2::{Reason, RecvStream};
use http::request::Parts;
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::{http1::BodyLength, http2};
use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    task::{self, Poll},
    time::Duration,
};

/// Serves one request, the next of those that wait; taken here, as each hand it went through would
/// copy it.
pub(super) async fn serve(lease: &Lease, workers: &Workers) {
    let Some(Opened {
        serving,
        request,
        respond,
    }) = workers.take()
    else {
        return;
    };
    let peer = serving.peer();
    let accepted = &peer.accepted;
    let cx = Context {
        shard: &peer.shard,
        lease,
        client: &accepted.stream,
        peer: accepted.peer,
        source: Cell::new(accepted.peer),
        via: accepted.via,
        original: accepted.original,
        original_is_self: accepted.original_is_self,
        access: Pending::new(peer.shard.clone(), accepted.peer, accepted.original),
    };
    let answering = Answering::new(respond);
    let mut out = peer.shard.buffers.small();
    let (parts, body) = request.into_parts();
    let ended = body.is_end_stream();
    if ended {
        serving.whole();
    }
    let step = route(&cx, peer, parts, ended, &mut out);
    peer.lease.hold(lease.generation());
    let stream = Stream {
        cx: &cx,
        serving: &serving,
        answering: &answering,
        ended,
    };
    stream.handle(&step, &mut out, body).await;
    peer.shard.buffers.give(out);
}

/// What to do with the request. A function of its own, so that a stream is not as large as what only
/// this needs.
fn route(cx: &Context<'_>, peer: &Peer, mut parts: Parts, ended: bool, out: &mut Vec<u8>) -> Step {
    http2::join_cookies(&mut parts.headers);
    let mut step = {
        let mut slots = http2::field_slots();
        let protocol = parts.extensions.get::<h2::ext::Protocol>();
        let protocol = protocol.map(h2::ext::Protocol::as_str);
        let limits = cx.shard.settings.limits.of_heads();
        match http2::request_head(&parts, protocol, ended, &mut slots, &limits) {
            Ok(head) => decide_head(cx, &mut peer.cache.borrow_mut(), &head, out, false),
            Err(refusal) => Step::refused(refusal, grpc::asks_in(&parts), parts.method.as_str()),
        }
    };
    if let Some(request) = step.http2() {
        request.complete(|| parts.headers);
    }
    step
}

struct Stream<'a> {
    cx: &'a Context<'a>,
    serving: &'a Serving,
    answering: &'a Answering,
    /// With the head of the request.
    ended: bool,
}

impl Stream<'_> {
    async fn handle(&self, step: &Step, out: &mut Vec<u8>, body: RecvStream) {
        let mut step = step;
        let mut body = Http2Source::new(body);
        if let Step::After(delay, then) = step {
            let delayed = self.delayed(*delay, &mut body);
            match self.unless_reset(delayed).await {
                Some(true) => {
                    self.cx.access.complete();
                    step = then;
                }
                cut => return self.gone_before(step, cut.is_some()),
            }
        }
        let cx = self.cx;
        let (told, received) = match step {
            Step::NeedMore | Step::After(..) => return,
            Step::Refuse(refused) => {
                tracing::debug!(reason = refused.refusal.reason.as_str(), "request refused");
                out.clear();
                (refused.write(&cx.shard.counts, out), 0)
            }
            Step::Reply(reply) => {
                out.clear();
                let (local, changes) = (&reply.local, &reply.changes);
                let told = local.write_changed(out, changes, &reply.facts, true);
                (told, body.discard())
            }
            Step::Answered(answered) => (answered.told, body.discard()),
            Step::Forward(forward) => {
                // Pinned where it is made: awaited as it stands it would be moved twice, and that
                // is most of what a stream is.
                let proxied = pin!(self.proxy(forward, out, body));
                return proxied.await;
            }
        };
        self.answer(step.routed(), told, received, out, Some(body))
            .await;
    }

    /// Waits, unless nothing is to be waited for; `false`: it was cut.
    async fn delayed(&self, delay: Duration, body: &mut Http2Source) -> bool {
        let cx = self.cx;
        let wait = gathering(|cx| body.poll_gather(cx), tokio::time::sleep(delay));
        let wait = cx.lease.unless_cut(wait);
        // Nothing is to move, so nothing can stall.
        let waited = watched(cx, &Progress::default(), None, || Duration::ZERO, wait).await;
        !matches!(waited, Ok(None))
    }

    /// The client gave up while the fault's delay ran, or it is cut.
    fn gone_before(&self, step: &Step, cut: bool) {
        match cut {
            true => self.answering.reset(Reason::INTERNAL_ERROR),
            false => self.serving.given_up(),
        }
        if let Some(whose) = step.routed() {
            let (flags, details) = self.gone();
            let told = Told {
                flags,
                details,
                ..Told::gone(self.cx)
            };
            record(self.cx, Some(whose), told, (0, 0));
        }
    }

    /// Why the client has no more of the stream, in Envoy's words as far as that tells them apart.
    fn gone(&self) -> (Flags, &'static str) {
        if !self.cx.lease.is_cut() {
            if let Some(why) = self.serving.peer().dismissed.get() {
                return (Flags::DPE, why);
            }
            if self.answering.is_reset() {
                return (Flags::DR, "http2.remote_reset");
            }
        }
        (Flags::DC, details_of_cut(self.cx, Flags::DC))
    }

    /// Runs `future` until the client gives the stream up.
    async fn unless_reset<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| match self.answering.poll_reset(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => future.as_mut().poll(cx).map(Some),
        })
        .await
    }

    /// Sends a whole reply of our own, and records it.
    async fn answer(
        &self,
        whose: Option<(&ClusterStats, &RequestFacts)>,
        mut told: Told,
        received: u64,
        out: &[u8],
        body: Option<Http2Source>,
    ) {
        let (sent, cut) = self.send(out, body).await;
        told.flags |= cut;
        record(self.cx, whose, told, (received, sent));
    }

    /// Sends a whole reply of our own, written in `out` as HTTP/1: one place writes them. Returns
    /// the bytes of its body that were sent, and why these are not all. What comes of the `body` meanwhile
    /// is thrown away here: the library would do so too, and count it for ever.
    async fn send(&self, out: &[u8], body: Option<Http2Source>) -> (u64, Flags) {
        let long = match answer_head::send(self.answering, out) {
            Ok(sent) => return (sent, Flags::EMPTY),
            Err(Unsent::Long(long)) => long,
            Err(Unsent::Unreadable(reason)) => {
                self.cx.refuse_response(reason);
                self.answering.reset(Reason::INTERNAL_ERROR);
                return (0, Flags::LR);
            }
        };
        // Boxed, since most replies are short.
        let (sent, mut cut) = Box::pin(async {
            let mut body = body;
            let discard = |cx: &mut task::Context<'_>| {
                body.as_mut().map(|body| body.poll_discard(cx));
            };
            gathering(discard, long.send(self.cx)).await
        })
        .await;
        if cut == Flags::DC {
            (cut, _) = self.gone();
        }
        if !cut.is_empty() {
            match self.answering.is_reset() {
                true => self.serving.given_up(),
                false => self.answering.reset(Reason::INTERNAL_ERROR),
            }
        }
        (sent, cut)
    }

    /// May there be trailers though a length of zero was told? Not for HTTP/1, which has no room for
    /// them behind a length: there they are left out, as RFC 9110 section 6.5.1 permits. Chunks would
    /// carry them, but there are servers that take none of a POST without a body.
    fn may_trail(&self, forward: &Forward) -> bool {
        let told = forward.facts.body == BodyLength::Length(0);
        told && !self.ended && forward.http2.is_some()
    }

    async fn proxy(&self, forward: &Forward, out: &mut Vec<u8>, body: Http2Source) {
        let cx = self.cx;
        let progress = Progress::default();
        let outcome = {
            let has_body = forward.facts.has_body() || self.may_trail(forward);
            let most = forward.kept_bytes(&cx.shard.settings);
            let mut request = Http2Request {
                cx,
                forward,
                progress: &progress,
                head: out,
                has_body,
                copied: false,
                body: Source::Http2(body),
                kept: Kept::new(BodyLength::None, 0),
                pieces: has_body.then(|| Pieces::new(most)),
                answering: self.answering,
            };
            let mut exchange = pin!(attempts::exchange(cx, forward, &mut request, &progress));
            let given_up = |cx: &mut task::Context<'_>| self.answering.poll_reset(cx).is_ready();
            let mut begun = false;
            poll_fn(|cx| {
                // Before the first step, as a stream that is opened and reset at once is to cost its
                // endpoint nothing (CVE-2023-44487).
                if !begun && given_up(cx) {
                    return Poll::Ready(Outcome::CLIENT_GONE);
                }
                let polled = exchange.as_mut().poll(cx);
                // Once the head is sent, whoever sends the body notices.
                if begun && polled.is_pending() && !progress.answering.get() && given_up(cx) {
                    return Poll::Ready(Outcome::CLIENT_GONE);
                }
                begun = true;
                polled
            })
            .await
        };
        if progress.is_complete() {
            self.serving.whole();
        }
        let over = |status, flags, details| {
            record_exchange(cx, forward, &progress, status, flags, details);
        };
        let told = match outcome {
            Outcome::Answered { status, flags, .. } => {
                return over(status, flags, "via_upstream");
            }
            Outcome::Reply(local) => {
                out.clear();
                local.write_changed(out, &forward.changes, &forward.facts, true)
            }
            Outcome::Refused(refusal) if progress.answering.get() => {
                cx.shard.counts.refuse_for(refusal.reason);
                self.answering.reset(Reason::PROTOCOL_ERROR);
                let (status, details) = (progress.status.get(), refusal.reason.as_str());
                return over(status, Flags::DPE, details);
            }
            Outcome::Refused(refusal) => {
                out.clear();
                Refused::routed(refusal, &forward.facts).write(&cx.shard.counts, out)
            }
            Outcome::Abort { status, flags } => {
                let (flags, details) = match flags {
                    Flags::DC => self.gone(),
                    _ => (flags, details_of_cut(cx, flags)),
                };
                if self.answering.is_reset() {
                    self.serving.given_up();
                }
                let reason = match progress.cut.get() {
                    // Clients take these for an end in order.
                    None | Some(Reason::NO_ERROR | Reason::CANCEL) => Reason::INTERNAL_ERROR,
                    // What an endpoint did, or says that we did, is no fault of this client: it would count as
                    // one, and its connection would be cut. REFUSED_STREAM promises that nothing happened.
                    Some(reason) if http2::blames_receiver(reason.into()) => Reason::INTERNAL_ERROR,
                    Some(reason) => reason,
                };
                if progress.cut.get().is_some() {
                    // What the endpoint has said before is the client's. Boxed, as it is rare.
                    let taken = cx.lease.unless_cut(self.serving.peer().taken());
                    let _ = Box::pin(cx.lease.within(GOODBYE, taken)).await;
                }
                self.answering.reset(reason);
                return over(status, flags, details);
            }
            // Only HTTP/1 clients switch protocols; this stream's upgrade is a tunnel of pieces.
            Outcome::Upgraded(_) => return self.answering.reset(Reason::INTERNAL_ERROR),
        };
        let received = progress.moved.received.get();
        self.answer(Some(forward.routed()), told, received, out, None)
            .await;
    }
}
