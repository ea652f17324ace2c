//! Our framing of responses against hyper's: both read the same bytes as a client does, of one response with the
//! interim ones before it.
//!
//! One-sided: what we pass on, hyper reads the same, from the interim heads to the last byte of the body; it ends
//! for the same reason and at the same byte, and where we would use the connection again, hyper would. Where hyper
//! refuses, we do. We may refuse what hyper accepts, and do: see docs/refusals.md.
//!
//! There is no list of exceptions. Two rules make the sides comparable:
//! - Of the trailers ours are some of hyper's: those that may be merged late (RFC 9110 section 6.5.1).
//! - A 101 is a tunnel if it names one protocol (RFC 9110 section 7.8). That it was asked for is for those to check
//!   who know the request, on both sides.

use std::cell::RefCell;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use hyper::body::Body;
use hyper::client::conn::http1::Builder;
use hyper::{HeaderMap, Method, Request};
use pointsman_wire::http1::{
    ChunkDecoder, ChunkEvent, ChunkLimits, HeadLimits, RequestKind, ResponseBody, field_slots,
    parse_response,
};

use super::in_memory::{Fields, Memory, Nothing, Peer, Seen, grouped};

/// Interim responses that are passed on for one request.
const MAX_INTERIM: usize = 32;

/// What somebody has read of a response.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    /// The status and the fields of each head, interim ones first.
    heads: Vec<(u16, Fields)>,
    body: Vec<u8>,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It says itself where it ends.
    Itself(Behind),
    /// With the connection, as it should.
    Connection,
    /// With the connection, too early.
    Cut,
    Refused,
}

#[derive(Debug, PartialEq, Eq)]
struct Behind {
    /// The first byte that is no part of it.
    at: usize,
    trailers: Fields,
    /// The connection can carry another request, if there is nothing behind.
    reusable: bool,
}

/// The first byte is the method that is answered, the second the size of the pieces that hyper gets.
pub fn responses_against_hyper(bytes: &[u8]) {
    let [method, size, bytes @ ..] = bytes else {
        return;
    };
    let method = [Method::GET, Method::HEAD, Method::CONNECT][usize::from(method % 3)].clone();
    let mut ours = ours(bytes, RequestKind::of(method.as_str()));
    if ours.end == End::Refused {
        return;
    }
    let mut theirs = theirs(bytes, usize::from(*size).max(1), method);
    if let (End::Itself(ours), End::Itself(theirs)) = (&mut ours.end, &mut theirs.end) {
        assert!(
            ours.trailers.iter().all(|it| theirs.trailers.contains(it)),
            "{ours:?} {theirs:?}"
        );
        theirs.trailers.clone_from(&ours.trailers);
        // One-sided too: hyper may keep what we close. With bytes behind neither does.
        ours.reusable &= ours.at == bytes.len();
        theirs.reusable &= ours.reusable;
    }
    assert_eq!(ours, theirs);
}

fn ours(bytes: &[u8], request: RequestKind) -> Read {
    let mut read = Read {
        heads: Vec::new(),
        body: Vec::new(),
        end: End::Refused,
    };
    read.end = read_on(bytes, request, &mut read).unwrap_or(End::Refused);
    read
}

/// `None`: refused.
fn read_on(bytes: &[u8], request: RequestKind, read: &mut Read) -> Option<End> {
    let mut at = 0;
    let (body, reusable) = loop {
        let mut slots = field_slots();
        let rest = &bytes[at..];
        let head = parse_response(rest, &mut slots, &HeadLimits::default(), request).ok()?;
        let Some(head) = head else {
            return Some(End::Cut);
        };
        if head.status == 101 && head.upgrade.is_none() {
            return None;
        }
        at += head.len;
        let fields = head.fields.iter();
        let fields = grouped(fields.map(|field| (field.name, field.value)));
        read.heads.push((head.status, fields));
        if !head.is_interim() {
            let tunnel =
                head.status == 101 || (request == RequestKind::Connect && head.status / 100 == 2);
            break (head.body, head.keep_alive && !tunnel);
        }
        if read.heads.len() > MAX_INTERIM {
            return None;
        }
    };
    let rest = &bytes[at..];
    let mut behind = Behind {
        at,
        trailers: Fields::new(),
        reusable,
    };
    match body {
        ResponseBody::None => {}
        ResponseBody::UntilClose => {
            read.body.extend_from_slice(rest);
            return Some(End::Connection);
        }
        ResponseBody::Length(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            read.body.extend_from_slice(&rest[..length.min(rest.len())]);
            if length > rest.len() {
                return Some(End::Cut);
            }
            behind.at += length;
        }
        ResponseBody::Chunked => {
            let mut decoder = ChunkDecoder::new(ChunkLimits::default());
            loop {
                let rest = &bytes[behind.at..];
                let (used, event) = decoder.decode(rest).ok()?;
                behind.at += used;
                match event {
                    ChunkEvent::Data(range) => read.body.extend_from_slice(&rest[range]),
                    ChunkEvent::NeedMore => return Some(End::Cut),
                    ChunkEvent::TrailersEnd => break,
                }
            }
            behind.trailers = grouped(decoder.trailers().map(|it| (it.name, it.value)));
        }
    }
    Some(End::Itself(behind))
}

/// What hyper's client makes of it: first while the server keeps the connection, then, if that is not the end of
/// the response, once it has closed it.
fn theirs(bytes: &[u8], piece: usize, method: Method) -> Read {
    let server = Seen::default();
    let mut cx = Context::from_waker(Waker::noop());
    let shaken = pin!(Builder::new().handshake(Memory::new(bytes, piece, &server))).poll(&mut cx);
    let Poll::Ready(Ok((mut sender, mut connection))) = shaken else {
        panic!("nothing is sent for it");
    };
    let mut request = Request::new(Nothing);
    *request.method_mut() = method;
    let interims = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&interims);
    hyper::ext::on_informational(&mut request, move |head| {
        let head = (head.status().as_u16(), fields(head.headers()));
        heard.lock().expect("one thread").push(head);
    });
    let response = sender.send_request(request);
    let passed = RefCell::new((Vec::new(), Vec::new()));
    let mut reading = pin!(async {
        let (head, mut body) = response.await?.into_parts();
        let head = (head.status.as_u16(), fields(&head.headers));
        passed.borrow_mut().0.push(head);
        let mut trailers = Fields::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame?.into_data() {
                Ok(data) => passed.borrow_mut().1.extend_from_slice(&data),
                Err(frame) => trailers = fields(frame.trailers_ref().expect("no other frame")),
            }
        }
        Ok::<_, hyper::Error>(trailers)
    });
    let mut open = true;
    // Memory never waits, so whoever gets nowhere in some rounds waits for the server: of the two here, each may
    // have to be asked again after the other.
    let mut until_quiet = || {
        let mut quiet = 0;
        while quiet < 4 {
            let before = (server.read.get(), passed.borrow().1.len());
            open = open && connection.poll_without_shutdown(&mut cx).is_pending();
            if let Poll::Ready(end) = reading.as_mut().poll(&mut cx) {
                return Some(end);
            }
            let moved = before != (server.read.get(), passed.borrow().1.len());
            quiet = if moved { 0 } else { quiet + 1 };
        }
        None
    };
    let (early, end) = match until_quiet() {
        Some(end) => (true, end),
        None => {
            server.peer.set(Peer::Closes);
            (false, until_quiet().expect("nothing more can come"))
        }
    };
    let reusable = open && sender.is_ready();
    let end = match end {
        Ok(trailers) if early => End::Itself(Behind {
            at: server.read.get() - connection.into_parts().read_buf.len(),
            trailers,
            reusable,
        }),
        Ok(_) => End::Connection,
        Err(error) if is_cut(&error) => End::Cut,
        Err(_) => End::Refused,
    };
    let (heads, body) = passed.take();
    let mut interims = interims.lock().expect("one thread");
    Read {
        heads: interims.drain(..).chain(heads).collect(),
        body,
        end,
    }
}

/// Ended before the message did; every other error is a refusal.
fn is_cut(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|it| it.downcast_ref());
    error.is_incomplete_message()
        || source.is_some_and(|it: &io::Error| it.kind() == io::ErrorKind::UnexpectedEof)
}

fn fields(fields: &HeaderMap) -> Fields {
    let fields = fields.iter();
    grouped(fields.map(|(name, value)| (name.as_str(), value.as_bytes())))
}
