//! What the client gets: the heads of responses, in the version it speaks.
use super::{
    Context, Date,
    body::Closed,
    changes::{self, Response},
    download::Download,
    grpc,
    response_head::Gate,
};
use crate::socket::Socket;
use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::HeaderMap;
use pointsman_route::action::{self, Extra, Levels};
use pointsman_wire::{
    http1::{
        BodyLength, ConnectionOption, ResponseBody, ResponseHead, Upgrade, Version, write_response,
    },
    http2::{self, Outgoing},
};
use std::{
    cell::{Cell, RefCell},
    task::{Context as TaskContext, Poll, Waker},
};

/// The client's side of one exchange.
pub(super) enum Client<'a> {
    /// Heads are written here; the connection takes them.
    Http1(&'a mut Vec<u8>),
    /// A stream.
    Http2(&'a Answering),
}

/// An HTTP/2 stream that waits for its response, or gets it. Borrowed only between two awaits.
pub(super) struct Answering {
    respond: RefCell<SendResponse<Bytes>>,
    /// Open once the head is sent and a body follows.
    body: RefCell<Option<SendStream<Bytes>>>,
    /// A head that is about to be sent, and whether it is all.
    begun: Cell<Option<(Outgoing<http::Response<()>>, bool)>>,
}

impl Answering {
    pub(super) fn new(respond: SendResponse<Bytes>) -> Self {
        Self {
            respond: RefCell::new(respond),
            body: RefCell::default(),
            begun: Cell::default(),
        }
    }

    /// Sends a head; with `end` it is all.
    pub(super) fn head(&self, response: http::Response<()>, end: bool) -> Result<(), Closed> {
        let mut respond = self.respond.borrow_mut();
        if response.status().is_informational() {
            return respond.send_informational(response).map_err(|_| Closed);
        }
        let stream = respond.send_response(response, end).map_err(|_| Closed)?;
        *self.body.borrow_mut() = Some(stream);
        Ok(())
    }

    /// Sends the head that was begun. `source` gives the fields of the response it was made from.
    pub(super) fn complete(&self, source: impl FnOnce() -> HeaderMap) {
        if let Some((response, end)) = self.begun.take() {
            self.send(response, end, source);
        }
    }

    fn send(
        &self,
        response: Outgoing<http::Response<()>>,
        end: bool,
        source: impl FnOnce() -> HeaderMap,
    ) {
        // A stream that is gone tells whoever sends its body, or waits for it.
        let _ = self.head(response.with(source), end);
    }

    /// Takes the stream for the body: there is one once the head is sent.
    pub(super) fn take_body(&self) -> Option<SendStream<Bytes>> {
        self.body.borrow_mut().take()
    }

    /// Has the client given the stream up? Asked until the head is sent.
    pub(super) fn poll_reset(&self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.respond.borrow_mut().poll_reset(cx).map(drop)
    }

    /// Has the client given the stream up, if it was not cut?
    pub(super) fn is_reset(&self) -> bool {
        let cx = &mut TaskContext::from_waker(Waker::noop());
        matches!(self.respond.borrow_mut().poll_reset(cx), Poll::Ready(Ok(_)))
    }

    /// Cuts the stream.
    pub(super) fn reset(&self, reason: Reason) {
        self.respond.borrow_mut().send_reset(reason);
    }
}

/// What a response head says, without borrowing it.
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) status: u16,
    /// Another one follows.
    pub(super) interim: bool,
    pub(super) upgraded: bool,
    pub(super) body: ResponseBody,
    /// How the body is delimited towards the client.
    pub(super) to_client: ResponseBody,
    pub(super) reusable: bool,
    pub(super) client_keeps: bool,
    /// Of a gRPC response that is nothing but its trailers.
    pub(super) grpc_status: Option<u8>,
}

/// Does a response say when it was made, once it is changed?
fn is_dated(head: &ResponseHead<'_>, extra: &Extra<'_>) -> bool {
    let is_date = |(name, _): &(&str, _)| name.eq_ignore_ascii_case("date");
    head.date.is_some_and(|index| !head.drop.contains(index)) || extra.iter().any(is_date)
}

/// Passes a response head on, changed as the rule wants it: written into the buffer of an HTTP/1
/// client, sent on the stream of an HTTP/2 one.
pub(super) fn pass_head(
    cx: &Context<'_>,
    operations: &Levels<'_>,
    upstream: &Socket,
    mut head: ResponseHead<'_>,
    client: &mut Client<'_>,
    gate: &Gate<'_>,
) -> Result<Head, Download> {
    let facts = &gate.forward.facts;
    let from = head.version;
    if facts.upgrade && head.version == Version::Http2 && matches!(head.status, 200..=299) {
        // What HTTP/2 says with a success is a switch in HTTP/1 (RFC 8441 section 5).
        (head.status, head.reason) = (101, "Switching Protocols");
        head.upgrade = Some(Upgrade::WEBSOCKET);
        (head.body, head.declared) = (ResponseBody::None, BodyLength::None);
    }
    let interim = head.is_interim();
    // A 101 that nobody asked for switches nothing (RFC 9110 section 7.8), nor does one to another
    // protocol than the only one that is asked for: its tunnel would speak what no rule allowed.
    let upgraded = head.status == 101;
    let granted = head.upgrade.is_some_and(|upgrade| upgrade.is_websocket());
    if upgraded && !(facts.upgrade && granted) {
        return Err(Download::Malformed("unexpected_upgrade"));
    }
    let accept = gate.forward.accept.as_deref().filter(|_| upgraded);
    if let Some(accept) = accept.filter(|_| from != Version::Http2)
        && !accept.is_said_by(&head)
    {
        return Err(Download::Malformed("bad_websocket_accept"));
    }
    // Over HTTP/2 a success says that the tunnel is open (RFC 8441 section 5), and this one opens none.
    if facts.upgrade && facts.version == Version::Http2 && matches!(head.status, 200..=299) {
        return Err(Download::Malformed("websocket_not_switched"));
    }
    if gate.rejects(&head) {
        return Err(Download::Rejected);
    }
    if interim && !gate.progress.interim(head.status) {
        return Err(Download::Malformed("too_many_interim_responses"));
    }
    let to_client = head.body.towards(facts.version);
    let bare = to_client == ResponseBody::UntilClose;
    gate.progress.bare.set(bare);
    // Behind an early answer the rest of the request would have to be told from the next one, which
    // nobody reads on for.
    let client_keeps =
        facts.keep_alive && !cx.lease.is_draining() && !bare && gate.progress.taken.get();
    let known;
    let mut extra = smallvec::SmallVec::new();
    if !(interim || operations.is_empty()) {
        let names = head.fields.iter().map(|field| field.name);
        known = Response {
            status: head.status,
            flags: facts.injected,
            details: "via_upstream",
            from: Some((upstream, &head)),
        };
        let (dropped, added) = changes::operations(operations, names, &known);
        extra = added;
        head.drop = head.drop.union(dropped);
    }
    if let Some(accept) = accept.filter(|_| from == Version::Http2) {
        extra.push(("Sec-WebSocket-Accept", accept.as_bytes().to_vec().into()));
    }
    let undated = !(interim || upgraded || is_dated(&head, &extra));
    let date = undated.then(Date::now);
    let mut extra = action::lines(&extra);
    match client {
        Client::Http1(out) => {
            if let Some(date) = &date {
                extra.push(("date", date.bytes()));
            }
            let connection = match head.upgrade.filter(|_| upgraded) {
                Some(upgrade) => ConnectionOption::Upgrade(upgrade.protocols),
                None if interim || (client_keeps && facts.version == Version::Http11) => {
                    ConnectionOption::KeepAlive
                }
                None if client_keeps => ConnectionOption::Keep10,
                None => ConnectionOption::Close,
            };
            out.clear();
            write_response(out, &head, connection, facts.version, to_client, &extra);
        }
        Client::Http2(stream) => {
            let date = date.and_then(|date| date.value());
            let response = http2::outgoing_response(&head, to_client, &extra, date)
                .map_err(|refusal| Download::Malformed(refusal.reason.as_str()))?;
            let end = !interim
                && !upgraded
                && matches!(to_client, ResponseBody::None | ResponseBody::Length(0));
            match head.source {
                // Its fields are borrowed here: whoever owns them sends it.
                Some(_) => stream.begun.set(Some((response, end))),
                None => stream.send(response, end, HeaderMap::default),
            }
        }
    }
    Ok(Head {
        len: head.len,
        status: head.status,
        interim,
        upgraded,
        body: head.body,
        to_client,
        reusable: head.keep_alive && head.body != ResponseBody::UntilClose,
        client_keeps,
        grpc_status: match facts.grpc {
            Some(_) => head.values("grpc-status").next().map(grpc::status),
            None => None,
        },
    })
}
