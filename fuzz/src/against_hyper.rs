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
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Method, Request, Response, Uri};
use pointsman_wire::http1::{
    BodyLength, ChunkDecoder, ChunkEvent, ChunkLimits, HeadLimits, RequestHead, field_slots,
    parse_request,
};

/// A request that somebody read to its end.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    method: String,
    target: String,
    /// Names in small letters, each with its values in order. Without the lengths: hyper keeps one of
    /// equal ones, and what they say is in `body`.
    fields: Vec<(String, Vec<Vec<u8>>)>,
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
            fields: grouped(head.fields.iter().map(|field| (field.name, field.value))),
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

fn grouped<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut groups: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
    for (name, value) in fields {
        let name = name.to_ascii_lowercase();
        match groups.iter_mut().find(|(own, _)| *own == name) {
            Some((_, values)) => values.push(value.to_vec()),
            None => groups.push((name, vec![value.to_vec()])),
        }
    }
    groups.retain(|(name, _)| name != "content-length");
    groups.sort();
    groups
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
    let io = Memory {
        input: bytes.to_vec(),
        at: 0,
        piece,
    };
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
        fields: grouped(fields.map(|(name, value)| (name.as_str(), value.as_bytes()))),
        body: bytes,
    })
}

/// A client that has said all it will say.
struct Memory {
    input: Vec<u8>,
    at: usize,
    piece: usize,
}

impl hyper::rt::Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let left = &self.input[self.at..];
        let length = left.len().min(self.piece).min(buffer.remaining());
        buffer.put_slice(&left[..length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// An empty body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
