//! Our framing of requests against hyper's: both read the same bytes as a server does, request by request.
//!
//! One-sided: what we accept whole, hyper accepts with the same method, target, fields and body, and
//! finds the next request at the same byte. We may refuse what hyper accepts, and do: see docs/refusals.md.
//! What is left out of the comparison is in [`not_comparable`].
//!
//! hyper finds lines with the same `httparse` as we do, so this is about what is made of them: which
//! fields frame a body, and where it ends.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Waker};

use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response, Uri};
use pointsman_wire::http1::{
    BodyLength, ChunkDecoder, ChunkEvent, ChunkLimits, HeadLimits, RequestHead, field_slots,
    parse_request,
};

use super::in_memory::{Fields, Memory, Nothing, Peer, Seen, grouped};

/// A request that somebody read to its end.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    method: String,
    target: String,
    /// Without the lengths: hyper keeps one of equal ones, and what they say is in `body`.
    fields: Fields,
    body: Vec<u8>,
}

/// What we made of the bytes.
#[derive(Debug)]
struct Ours {
    requests: Vec<Read>,
    /// We wait for the rest of a request.
    waiting: bool,
    /// The last of them says nothing about what follows.
    last_says_little: bool,
}

/// The first byte is the size of the pieces that hyper gets.
pub fn against_hyper(bytes: &[u8]) {
    let Some((&size, bytes)) = bytes.split_first() else {
        return;
    };
    let ours = ours(bytes);
    let theirs = theirs(bytes, usize::from(size).max(1));
    for (number, request) in ours.requests.iter().enumerate() {
        assert_eq!(Some(request), theirs.get(number), "request {number}");
    }
    if ours.waiting && !ours.last_says_little {
        assert_eq!(
            ours.requests.len(),
            theirs.len(),
            "we wait for more: {theirs:?}"
        );
    }
}

fn ours(mut bytes: &[u8]) -> Ours {
    let mut ours = Ours {
        requests: Vec::new(),
        waiting: false,
        last_says_little: false,
    };
    let limits = HeadLimits::default();
    loop {
        let mut slots = field_slots();
        let head = match parse_request(bytes, &mut slots, &limits) {
            Ok(Some(head)) => head,
            Ok(None) => {
                ours.waiting = true;
                return ours;
            }
            Err(_) => return ours,
        };
        if not_comparable(&head) {
            return ours;
        }
        let rest = &bytes[head.len..];
        let (body, rest) = match body(head.body, rest) {
            Some(Ok(body)) => body,
            Some(Err(())) => return ours,
            None => {
                ours.waiting = true;
                return ours;
            }
        };
        ours.requests.push(Read {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            fields: without_lengths(grouped(
                head.fields.iter().map(|field| (field.name, field.value)),
            )),
            body,
        });
        if !head.keep_alive {
            return ours;
        }
        bytes = rest;
    }
}

/// What hyper reads in another way, on purpose.
fn not_comparable(head: &RequestHead<'_>) -> bool {
    // `Uri` knows fewer bytes than RFC 3986 lets through unharmed, and writes some forms anew.
    let uri = head.target.parse::<Uri>();
    let written = uri.is_ok_and(|uri| format!("{uri}") == head.target);
    // A tunnel or another protocol may follow.
    !written || head.method == "CONNECT" || head.upgrade.is_some()
}

/// The body and what follows it; `None`: not all of it is there.
#[allow(clippy::type_complexity, reason = "used once")]
fn body(length: BodyLength, bytes: &[u8]) -> Option<Result<(Vec<u8>, &[u8]), ()>> {
    let length = match length {
        BodyLength::None => 0,
        BodyLength::Length(length) => usize::try_from(length).ok()?,
        BodyLength::Chunked => {
            let mut decoder = ChunkDecoder::new(ChunkLimits::default());
            let (mut body, mut at) = (Vec::new(), 0);
            loop {
                let rest = &bytes[at..];
                let Ok((consumed, event)) = decoder.decode(rest) else {
                    return Some(Err(()));
                };
                at += consumed;
                match event {
                    ChunkEvent::Data(range) => body.extend_from_slice(&rest[range]),
                    ChunkEvent::TrailersEnd => return Some(Ok((body, &bytes[at..]))),
                    ChunkEvent::NeedMore => return None,
                }
            }
        }
    };
    let (body, rest) = bytes.split_at_checked(length)?;
    Some(Ok((body.to_vec(), rest)))
}

/// Without the lengths, as [`Read::fields`] says.
fn without_lengths(mut fields: Fields) -> Fields {
    fields.retain(|(name, _)| name != "content-length");
    fields
}

/// The requests that hyper's server read whole, before it answered or closed.
fn theirs(bytes: &[u8], piece: usize) -> Vec<Read> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let method = request.method().clone();
            if let Some(read) = whole(request).await {
                seen.borrow_mut().push(read);
            }
            let mut response = Response::new(Nothing);
            if method == Method::CONNECT {
                *response.status_mut() = hyper::StatusCode::METHOD_NOT_ALLOWED;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let client = Seen::default();
    client.peer.set(Peer::Closes);
    let io = Memory::new(bytes, piece, &client);
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(io, service)
    );
    let mut cx = Context::from_waker(Waker::noop());
    // Memory is always ready, so every poll gets somewhere; the bound is for what this overlooks.
    for _ in 0..bytes.len() + 1000 {
        if connection.as_mut().poll(&mut cx).is_ready() {
            break;
        }
    }
    seen.take()
}

async fn whole(request: Request<Incoming>) -> Option<Read> {
    let (parts, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    let fields = parts.headers.iter();
    Some(Read {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        fields: without_lengths(grouped(
            fields.map(|(name, value)| (name.as_str(), value.as_bytes())),
        )),
        body: bytes,
    })
}
