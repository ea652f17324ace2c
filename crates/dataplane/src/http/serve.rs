//! The life of one HTTP/1 client connection.
use super::{
    Context, RequestFacts,
    age::Age,
    attempts::{self, Outcome},
    decide::{Answered, Forward, Reply, Step, TableCache, decide},
    discard::{self, discard},
    exchange::Http1Request,
    linger::{self, Patience, linger},
    local::{self, Refused},
    progress::Progress,
    told::{Told, details_of_cut, record, record_exchange},
    watched::{awaited, watched},
    websocket,
};
use crate::{shard::registry::IdleEnd, stream, turn::Turn};
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::http1::{BodyLength, first_line_ends, head_may_be_complete, make_last};
use std::{
    cell::Cell,
    ops::ControlFlow,
    pin::pin,
    time::{Duration, Instant},
};

/// How long a client may take for its next request until what requests need is let go.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves requests until the connection ends. `input` holds bytes received already.
pub(crate) async fn serve(cx: &Context<'_>, mut input: Vec<u8>) {
    let timeouts = &cx.shard.settings.timeouts;
    let mut connection = Connection {
        cache: TableCache::default(),
        served: 0,
        age: Age::new(cx.shard),
        turn: Turn::default(),
        blank: false,
    };
    let mut patience = timeouts.keep_alive.0;
    let end = loop {
        if input.is_empty() {
            let first = pin!(first_bytes(cx, &mut input));
            match cx.idle(patience, first).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => break End::Gone,
                Err(_) => break End::Pause,
            }
        }
        // Boxed, and let go in every pause: what a request needs is most of what a connection is.
        match Box::pin(requests(cx, &mut connection, &mut input)).await {
            End::Pause if timeouts.keep_alive.0.is_zero() => patience = Duration::ZERO,
            End::Pause if timeouts.keep_alive.0 > PAUSE => patience = timeouts.keep_alive.0 - PAUSE,
            end => break end,
        }
    };
    let unread = match end {
        End::Pause => !input.is_empty(),
        End::Close { unread } => unread || !input.is_empty(),
        End::Broken { bare: true } => {
            cx.shard.buffers.give(input);
            // Boxed, as below.
            return Box::pin(linger::reset(cx.shard, cx.lease, cx.client)).await;
        }
        End::Broken { bare: false } => true,
        End::Gone => {
            return cx.shard.buffers.give(input);
        }
    };
    cx.shard.buffers.give(input);
    // A client of which nothing is unread, and which has been sent all, costs two system calls.
    if unread || stream::is_unsettled(cx.client) {
        // Boxed, since few connections ever come here.
        Box::pin(linger(cx.shard, cx.lease, cx.client, Patience::LITTLE)).await;
    }
}

/// What stays of a client connection between its requests.
struct Connection {
    cache: TableCache,
    served: u32,
    age: Age,
    turn: Turn,
    /// An empty line was taken off before the next request.
    blank: bool,
}

/// Serves requests until the client pauses or the connection is to be closed.
async fn requests(cx: &Context<'_>, connection: &mut Connection, input: &mut Vec<u8>) -> End {
    let buffers = &cx.shard.buffers;
    loop {
        // A client that pipelines must not keep the thread to itself. What is forwarded waits for others anyway.
        connection.turn.wait().await;
        let limit = cx.shard.settings.limits.requests_per_connection;
        let spent = limit > 0 && connection.served.saturating_add(1) >= limit;
        // It may be over by the time that the request comes.
        let last = || spent || connection.age.is_over();
        let mut out = Vec::new();
        let (cache, blank) = (&mut connection.cache, &mut connection.blank);
        let step = match next_head(cx, cache, blank, input, &mut out, &last).await {
            Ok(step) => step,
            Err(NoHead::Late) => {
                let told = local::HEAD_TIMEOUT.write_unread(&mut out);
                cx.shard.counts.limit("timeouts.request_head");
                record(cx, None, told, (0, body_of(&out)));
                return match answer(cx, &out).await {
                    Ok(()) => End::Close { unread: true },
                    Err(_) => End::Gone,
                };
            }
            Err(NoHead::Other(end)) => return end,
        };
        connection.blank = false;
        connection.served = connection.served.saturating_add(1);
        if spent {
            cx.shard.counts.limit("limits.requests_per_connection");
        }
        if !matches!(step, Step::Forward(_)) {
            connection.turn.answer();
        }
        let then = handle(cx, &step, input, &mut out).await;
        buffers.give(out);
        match then {
            Then::Break(end) => return end,
            Then::Continue(()) if cx.lease.is_draining() => return End::Close { unread: false },
            Then::Continue(()) => {}
        }
        if input.is_empty() {
            // An idle connection holds no buffer.
            buffers.give(std::mem::take(input));
        }
    }
}

enum End {
    /// Nothing has come for [`PAUSE`].
    Pause,
    /// To be closed, so that what was answered arrives; `unread`: the client may still be sending what
    /// nobody will read.
    Close { unread: bool },
    /// The same behind an answer that broke off, which an end in order shows unless it is `bare`: delimited by
    /// nothing else.
    Broken { bare: bool },
    /// The client closed, or is to be cut off: nothing to say.
    Gone,
}

/// Why there is no head.
enum NoHead {
    /// It was begun and not finished in time.
    Late,
    Other(End),
}

/// What becomes of a connection behind a request: it carries the next one, or ends.
type Then = ControlFlow<End>;

impl End {
    /// Behind an answer of our own that was sent whole, or not.
    fn behind(sent: bool, keep: bool) -> Then {
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
        if given_up || progress.switched.get() || !progress.answering.get() {
            stream::reset_on_close(cx.client);
            return Self::Gone;
        }
        let bare = progress.bare.get();
        Self::Broken { bare }
    }
}

/// Reads until a head is complete and decided.
async fn next_head(
    cx: &Context<'_>,
    cache: &mut TableCache,
    blank: &mut bool,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
    last: &impl Fn() -> bool,
) -> Result<Step, NoHead> {
    let timeouts = &cx.shard.settings.timeouts;
    let most = cx.shard.settings.limits.head_bytes;
    // Method, blanks and version around the longest target fit into 64 bytes.
    let line = cx.shard.settings.limits.target_bytes.saturating_add(64);
    loop {
        // Old clients send an empty line behind a body (RFC 9112 section 2.2), which begins nothing. One is
        // taken off: each makes the client idle anew.
        if input == b"\r\n" && !std::mem::replace(blank, true) {
            input.clear();
            cx.shard.buffers.give(std::mem::take(input));
        }
        if !input.is_empty() {
            break;
        }
        let first = pin!(first_bytes(cx, input));
        match cx.idle(PAUSE, first).await {
            Ok(Ok(1..)) => {}
            Err(IdleEnd::Elapsed) => return Err(NoHead::Other(End::Pause)),
            Err(IdleEnd::Draining) => return Err(NoHead::Other(End::Close { unread: false })),
            Ok(Ok(0) | Err(_)) => return Err(NoHead::Other(End::Gone)),
        }
    }
    *out = cx.shard.buffers.small();
    let deadline = cx.lease.after(timeouts.request_head.0);
    let (mut scanned, mut line_ended) = (0, false);
    loop {
        // A first look refuses garbage at once, a second one a request line that is wrong or without
        // end: its sender is told that, rather than that it was too slow.
        let parse = (scanned == 0 && !input.is_empty())
            || (scanned <= line && input.len() > line)
            || (!line_ended && first_line_ends(input, scanned));
        if parse || head_may_be_complete(input, scanned) || input.len() >= most {
            match decide(cx, cache, input, out, last()) {
                Step::NeedMore => {}
                step => return Ok(step),
            }
        }
        if scanned == 0 {
            // Of whatever becomes of it: a whole head begins the record of its request.
            cx.access.begin(None, Instant::now());
            let revision = cx.lease.generation();
            cx.access.edit(|record| record.revision = revision);
        }
        line_ended = line_ended || first_line_ends(input, scanned);
        scanned = input.len();
        let read = cx.lease.unless_cut(stream::read(cx.client, input));
        match cx.lease.until(deadline, read).await {
            Ok(Some(Ok(0) | Err(_))) => return Err(NoHead::Other(End::Gone)),
            Ok(Some(Ok(_))) => {}
            Ok(None) => {
                record(cx, None, Told::gone(cx), (0, 0));
                stream::reset_on_close(cx.client);
                return Err(NoHead::Other(End::Gone));
            }
            // As good as silence.
            Err(_) if input.iter().all(|byte| b"\r\n".contains(byte)) => {
                input.clear();
                return Err(NoHead::Other(End::Close { unread: false }));
            }
            Err(_) => return Err(NoHead::Late),
        }
    }
}

/// Waits for bytes without a buffer, and only then takes one: the runtime may take a socket for
/// readable that is not, and a connection that waits holds no buffer.
async fn first_bytes(cx: &Context<'_>, input: &mut Vec<u8>) -> std::io::Result<usize> {
    loop {
        stream::readable(cx.client).await?;
        if input.capacity() == 0 {
            *input = cx.shard.buffers.small();
        }
        match stream::try_read(cx.client, input) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                cx.shard.buffers.give(std::mem::take(input));
            }
            other => return other,
        }
    }
}

/// Carries out one decided request. The request stays with the caller: a future holds its arguments
/// twice.
async fn handle(cx: &Context<'_>, step: &Step, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Then {
    match step {
        Step::NeedMore => Then::Break(End::Gone),
        Step::Refuse(refused) => {
            tracing::debug!(reason = refused.refusal.reason.as_str(), "request refused");
            let told = refused.write(&cx.shard.counts, out);
            record(cx, None, told, (0, body_of(out)));
            End::behind(answer(cx, out).await.is_ok(), false)
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
        Outcome::Upgraded {
            upstream,
            in_flight,
            request,
            reply,
        } => {
            let first = std::mem::take(input);
            let end = websocket::run(cx, forward.stats(), &upstream, first, reply, &progress).await;
            drop((in_flight, request));
            match end {
                Ok(()) => over(101, Flags::EMPTY, "via_upstream"),
                Err(flags) => over(101, flags, details_of_cut(cx, flags)),
            }
            return Then::Break(End::Gone);
        }
    };
    let bytes = (progress.moved.received.get(), body_of(out));
    record(cx, Some(forward.routed()), told, bytes);
    End::behind(answer(cx, out).await.is_ok(), keep)
}

/// Bytes of the body of a reply of our own.
fn body_of(reply: &[u8]) -> u64 {
    let end = b"\r\n\r\n";
    let head = memchr::memmem::find(reply, end).map_or(reply.len(), |at| at + end.len());
    (reply.len() - head) as u64
}

/// An answer that was made without looking at the request's body.
struct Unread<'a> {
    facts: &'a RequestFacts,
    stats: &'a ClusterStats,
    told: Told,
    keep: bool,
}

impl Unread<'_> {
    /// Sends it, and reads the body that stands before the next request.
    async fn answer(self, cx: &Context<'_>, input: &mut Vec<u8>, out: &[u8]) -> Then {
        let (body, keep) = (self.facts.body, self.keep);
        let most = cx.shard.settings.limits.discarded_body_bytes;
        if matches!(body, BodyLength::Length(length) if length > most) {
            cx.shard.counts.limit("limits.discarded_body_bytes");
        }
        if !keep || !self.facts.has_body() {
            let sent = answer(cx, out).await;
            self.record(cx, discard::received(body, input), out, sent);
            return End::behind(sent.is_ok(), keep);
        }
        // At the same time: a client may send all of its request before it reads. Each waits by a lease of
        // its own, as one has one deadline. Boxed, since few connections ever come here.
        let both = async {
            let lease = cx.lease.stream();
            let (received, whole) = (Cell::new(0), Cell::new(Ok(())));
            let sent = async {
                whole.set(answer(cx, out).await);
                whole.get().map_err(drop)
            };
            let discarded = async { Ok(discard(cx, &lease, body, input, most, &received).await) };
            let end = cx
                .lease
                .unless_cut(async { tokio::try_join!(sent, discarded) });
            let end = end.await;
            self.record(cx, received.get(), out, whole.get());
            end
        };
        match Box::pin(both).await {
            Some(Ok(((), discarded))) => End::behind(true, discarded),
            Some(Err(())) | None => Then::Break(End::Gone),
        }
    }

    fn record(self, cx: &Context<'_>, received: u64, out: &[u8], sent: Result<(), Unsent>) {
        let (mut told, mut bytes) = (self.told, body_of(out));
        if let Err(unsent) = sent {
            bytes = bytes.saturating_sub(unsent.bytes as u64);
            told.flags |= unsent.flags;
            told.details = details_of_cut(cx, unsent.flags);
        }
        record(cx, Some((self.stats, self.facts)), told, (received, bytes));
    }
}

/// An answer that was not sent whole.
#[derive(Clone, Copy)]
struct Unsent {
    /// Why.
    flags: Flags,
    /// How much of its end the kernel has not taken.
    bytes: usize,
}

/// Sends an answer.
async fn answer(cx: &Context<'_>, out: &[u8]) -> Result<(), Unsent> {
    match stream::write_now(cx.client, out) {
        None => Ok(()),
        // Boxed, as it is rare.
        Some(rest) => Box::pin(answer_rest(cx, rest)).await,
    }
}

/// As long as its client takes something of it.
async fn answer_rest(cx: &Context<'_>, rest: &[u8]) -> Result<(), Unsent> {
    let progress = Progress::default();
    progress.answering.set(true);
    let left = &progress.unwritten;
    left.set(rest.len());
    let write = cx
        .lease
        .unless_cut(stream::write_watched(cx.client, rest, left));
    let flags = match watched(cx, &progress, None, || Duration::ZERO, write).await {
        Ok(Some(Ok(()))) => return Ok(()),
        Ok(Some(Err(_)) | None) => Flags::DC,
        Err(stall) => stall.cut(cx),
    };
    // A cut answer must never look whole.
    stream::reset_on_close(cx.client);
    let bytes = left.get();
    Err(Unsent { flags, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// A careless local held over an await shows up here as bytes of every request in flight.
    #[test]
    fn a_request_in_flight_is_small() {
        let size = size_of_future(requests);
        assert!(size <= 3072, "{size} bytes");
    }
}
