//! The request of an HTTP/1 client, try by try.
use super::{
    Context,
    again::Tries,
    attempts::Attempt,
    body::{Http1Source, Source},
    client::Client,
    crossing::Crossing,
    exchange::attempt,
    kept::{Kept, Pieces},
    local,
    mirror::Copies,
    outcome::{End, Outcome},
    progress::{Progress, Sending},
    response_head::Gate,
    step::Forward,
    upload::Taken,
};
use crate::{shard::http2_pool::Http2Lease, socket::Socket};
use pointsman_wire::http1::{BodyLength, ResponseBody};
use std::task;

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
