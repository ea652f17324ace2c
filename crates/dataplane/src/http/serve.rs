//! The life of one HTTP/1 client connection.
use super::{
    Context,
    age::Age,
    decide::{TableCache, decide},
    handle::{Then, handle},
    local,
    reply::answer_told,
    step::Step,
    told::{Told, record},
};
use crate::{
    linger::{self, Patience, linger},
    shard::registry::IdleEnd,
    stream,
    turn::Turn,
};
use pointsman_wire::http1::{first_line_ends, head_may_be_complete};
use std::{
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
                return match answer_told(cx, None, told, 0, &out).await {
                    true => End::Close { unread: true },
                    false => End::Gone,
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

/// How a connection ends, or an answer leaves it.
pub(super) enum End {
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
