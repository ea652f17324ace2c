//! The heads of an HTTP/1 endpoint: read, and passed on if the client is to get them.
use super::{
    Context,
    again::Tries,
    client::{Client, Head, pass_head},
    download::Download,
    interim,
    kept::{Kept, Pieces},
    progress::Progress,
    step::Forward,
};
use crate::{socket::Socket, stream};
use pointsman_route::action::Levels;
use pointsman_wire::http1::{
    ChunkDecoder, ChunkEvent, ChunkLimits, HeadLimits, ResponseBody, ResponseHead, field_slots,
    head_may_be_complete, parse_response,
};

/// Who decides whether the client gets a response.
pub(super) struct Gate<'a> {
    pub(super) forward: &'a Forward,
    pub(super) tries: &'a Tries<'a>,
    /// What another try would send.
    pub(super) kept: &'a Kept,
    /// The same of a body that travels in pieces.
    pub(super) pieces: Option<&'a Pieces>,
    pub(super) progress: &'a Progress,
}

impl Gate<'_> {
    /// Is the response to be thrown away? If not, it takes the place of the request, which cannot
    /// be sent again from then on.
    pub(super) fn rejects(&self, head: &ResponseHead<'_>) -> bool {
        if !head.is_interim() && self.tries.heed_responses() {
            let whole = self.kept.is_whole() && self.pieces.is_none_or(Pieces::is_whole);
            let fields = head.fields.iter().map(|field| (field.name, field.value));
            if self.tries.reject(head.status, fields, whole) {
                return true;
            }
        }
        self.kept.lose();
        if let Some(pieces) = self.pieces {
            pieces.lose();
        }
        false
    }
}

/// Reads heads up to that of the response, and passes each on to the client, as far as its side of the
/// exchange goes. What follows them is left in `input`.
pub(super) async fn read_head(
    cx: &Context<'_>,
    operations: &Levels<'_>,
    upstream: &Socket,
    input: &mut Vec<u8>,
    client: &mut Client<'_>,
    gate: &Gate<'_>,
    limits: &HeadLimits,
) -> Result<Head, Download> {
    let progress = gate.progress;
    let mut scanned = 0;
    loop {
        // Most heads come in one piece: parsing the first is cheaper than looking for its end.
        let first = scanned == 0 && !input.is_empty();
        if (first || head_may_be_complete(input, scanned) || input.len() >= limits.max_bytes)
            && let Some(head) = parse_head(cx, operations, upstream, input, client, gate, limits)?
        {
            input.drain(..head.len.min(input.len()));
            if !head.interim {
                cx.access.answered(!progress.is_complete());
                return Ok(head);
            }
            // Boxed, as it is rare.
            let version = gate.forward.facts.version;
            Box::pin(interim::send(cx, client, version, progress)).await?;
            scanned = 0;
            continue;
        }
        scanned = input.len();
        if input.capacity() == 0 {
            // What is wrong with the socket shows when it is read from.
            let _ = stream::readable(upstream).await;
            *input = cx.shard.buffers.small();
        }
        match stream::read(upstream, input).await {
            // Behind an interim head nothing is there to be sent again, and the endpoint has begun to act.
            Ok(0) | Err(_) if input.is_empty() && progress.interims.number() == 0 => {
                return Err(Download::Silent);
            }
            Ok(0) | Err(_) => return Err(Download::CutHead),
            Ok(_) => {}
        }
    }
}

fn parse_head(
    cx: &Context<'_>,
    operations: &Levels<'_>,
    upstream: &Socket,
    input: &[u8],
    client: &mut Client<'_>,
    gate: &Gate<'_>,
    limits: &HeadLimits,
) -> Result<Option<Head>, Download> {
    let mut slots = field_slots();
    let parsed = parse_response(input, &mut slots, limits, gate.forward.facts.kind);
    match parsed.map_err(|refusal| Download::Malformed(refusal.reason.as_str()))? {
        Some(head) => {
            if let Client::Http2(_) = client {
                look_ahead(&head, input).map_err(Download::Malformed)?;
            }
            pass_head(cx, operations, upstream, head, client, gate).map(Some)
        }
        None => Ok(None),
    }
}

/// Is the framing of the body wrong already in what came with its head? On a stream the head is on
/// its way before the body is looked at, and could only be cut; this way the client is told.
fn look_ahead(head: &ResponseHead<'_>, input: &[u8]) -> Result<(), &'static str> {
    if head.body != ResponseBody::Chunked {
        return Ok(());
    }
    let mut decoder = ChunkDecoder::new(ChunkLimits::default());
    let mut rest = input.get(head.len..).unwrap_or_default();
    loop {
        let (used, event) = decoder
            .decode(rest)
            .map_err(|refusal| refusal.reason.as_str())?;
        if !matches!(event, ChunkEvent::Data(_)) {
            return Ok(());
        }
        rest = rest.get(used..).unwrap_or_default();
    }
}
