//! Bodies that cross from one version of HTTP to another, or from stream to stream: pieces of bytes
//! out of a [`Source`] into a [`Sink`].
//!
//! From HTTP/1 to HTTP/1 bytes go from socket to socket instead (`upload`, `download`), without
//! becoming pieces. At most one piece is on its way, and the source is told that it may send more
//! only when the sink has taken it: so a slow reader on one side stops the writer on the other.
mod grpc_web;
mod http1;
mod http2;

pub(super) use grpc_web::WebSource;
pub(super) use http1::{Framing, Http1Sink, Http1Source};
pub(super) use http2::{Http2Sink, Http2Source, reason_of};

use super::{
    grpc,
    kept::{Again as Kind, Pieces},
    mirror::Copies,
};
use crate::tunnel::Side;
use bytes::Bytes;
use futures_util::{FutureExt, TryFutureExt};
use h2::Reason;
use http::HeaderMap;
use pointsman_wire::http1::Refusal;
use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::pin,
    task::{Context, Poll},
};
use tokio::task::coop::consume_budget;

/// The next of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes; `true` with the last ones, where that is known.
    Data(Bytes, bool),
    /// The end, with the trailers if there are any.
    End(Option<HeaderMap>),
}

/// Why there is no more of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Broken {
    /// The sender has ended its side in the middle.
    Ended,
    /// The sender is gone.
    Gone,
    /// The sender has reset the stream.
    Reset(Reason),
    /// The sender broke the protocol; with which code others are told of it.
    Protocol(Reason),
    /// The framing is wrong.
    Framing(Refusal),
}

impl Broken {
    /// What a read has brought that was to bring more of a body.
    pub(super) fn unless_read(read: io::Result<usize>) -> Result<usize, Self> {
        match read {
            Ok(0) => Err(Self::Ended),
            Ok(read) => Ok(read),
            Err(_) => Err(Self::Gone),
        }
    }
}

/// Where a body comes from.
pub(super) enum Source<'a> {
    /// There is none.
    Empty,
    Http1(Http1Source<'a>),
    Http2(Http2Source),
    Web(Box<WebSource<'a>>),
}

impl Source<'_> {
    /// The next piece.
    pub(super) async fn next(&mut self) -> Result<Piece, Broken> {
        match self {
            Self::Empty => Ok(Piece::End(None)),
            Self::Http1(source) => source.next().await,
            Self::Http2(source) => source.next().await,
            Self::Web(source) => source.next().await,
        }
    }

    /// Has an HTTP/1 client sent bytes already?
    pub(super) fn is_early(&self) -> bool {
        matches!(self, Self::Http1(source) if source.is_early())
    }

    /// Takes over what small pieces come while the receiver keeps one waiting, or is not there yet.
    pub(super) fn poll_gather(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http2(source) => source.poll_gather(cx),
            Self::Web(source) => source.poll_gather(cx),
            Self::Empty | Self::Http1(_) => {}
        }
    }

    /// Throws away what comes of a body that nobody takes any more, as far as its sender may go. That of
    /// HTTP/1 stays in its socket.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) {
        if let Self::Http2(source) = self {
            source.poll_discard(cx);
        }
    }

    /// This many bytes have left us: their sender may send as many more. Returns how many bytes of the
    /// client's they are.
    pub(super) fn delivered(&mut self, bytes: usize) -> usize {
        match self {
            Self::Http2(source) => source.delivered(bytes),
            Self::Web(source) => return source.delivered(bytes),
            Self::Empty | Self::Http1(_) => {}
        }
        bytes
    }
}

/// Waits before anything of a body is taken. `gather` takes over what small pieces of it come
/// meanwhile ([`Source::poll_gather`]): a connection whose streams leave too many small frames lying
/// is ended as a flood.
pub(super) async fn gathering<T>(
    mut gather: impl FnMut(&mut Context<'_>),
    wait: impl Future<Output = T>,
) -> T {
    let mut wait = pin!(wait);
    poll_fn(|cx| {
        let done = wait.as_mut().poll(cx);
        if done.is_pending() {
            gather(cx);
        }
        done
    })
    .await
}

/// Where a body goes.
pub(super) enum Sink<'a> {
    Http1(Http1Sink<'a>),
    Http2(Http2Sink<'a>),
}

/// The receiver takes no more, or the bytes are not what was announced to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

impl From<Closed> for Cut {
    fn from(Closed: Closed) -> Self {
        Self::Sink
    }
}

impl Sink<'_> {
    /// Sends a piece; with `last` nothing comes after it.
    pub(super) async fn data(&mut self, bytes: Bytes, last: bool) -> Result<(), Closed> {
        match self {
            Self::Http1(sink) => sink.data(&bytes, last).await,
            Self::Http2(sink) => sink.data(bytes, last).await,
        }
    }

    /// Ends the body.
    pub(super) async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Closed> {
        match self {
            Self::Http1(sink) => sink.end(trailers.as_ref()).await,
            Self::Http2(sink) => sink.end(trailers),
        }
    }

    /// Sends what is kept back: the head.
    async fn flush(&mut self) -> Result<(), Closed> {
        match self {
            Self::Http1(sink) => sink.flush().await,
            Self::Http2(_) => Ok(()),
        }
    }

    /// Does the receiver of a response have all that it can be told?
    fn is_full(&self) -> bool {
        match self {
            Self::Http1(sink) => sink.is_full(),
            Self::Http2(_) => false,
        }
    }

    /// Has the receiver said that it wants no more? Whoever waits for a piece asks it.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(_) => Poll::Pending,
            Self::Http2(sink) => sink.poll_closed(cx),
        }
    }
}

/// Which side ended a body before its end. Bodies that are not in pieces end so too.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Source(Broken),
    /// It may have said why: who takes no more of a request may have answered already.
    Sink,
}

impl From<Broken> for Cut {
    fn from(broken: Broken) -> Self {
        Self::Source(broken)
    }
}

impl From<Refusal> for Cut {
    fn from(framing: Refusal) -> Self {
        Self::Source(Broken::Framing(framing))
    }
}

/// Of a body that is spliced.
impl From<Side> for Cut {
    fn from(side: Side) -> Self {
        match side {
            Side::From => Self::Source(Broken::Gone),
            Side::To => Self::Sink,
        }
    }
}

/// Who keeps account of the pieces that pass.
#[derive(Clone, Copy)]
pub(super) struct Accounts<'a> {
    /// Mirrors.
    pub(super) copies: Option<&'a Copies>,
    /// Another try.
    pub(super) kept: Option<&'a Pieces>,
    /// Bytes delivered, as the client sends or gets them.
    pub(super) moved: &'a Cell<u64>,
    /// What trailers say of a call of gRPC.
    pub(super) grpc_status: Option<&'a Cell<Option<u8>>>,
    /// Whom it concerns that the last piece was taken.
    pub(super) complete: Option<&'a Cell<bool>>,
}

impl<'a> Accounts<'a> {
    /// Bytes are counted, and nothing else.
    pub(super) fn of(moved: &'a Cell<u64>) -> Self {
        Self {
            copies: None,
            kept: None,
            moved,
            grpc_status: None,
            complete: None,
        }
    }

    /// In the same breath as the source gives it up: between that and here nothing may end the
    /// exchange, or the piece is lost to the next try.
    fn taken(&self, piece: Result<Piece, Broken>) -> Result<Piece, Cut> {
        let piece = piece?;
        if let Some(kept) = self.kept {
            kept.add(&piece);
        }
        if let (Some(complete), Piece::Data(_, true) | Piece::End(_)) = (self.complete, &piece) {
            complete.set(true);
        }
        match &piece {
            Piece::Data(bytes, _) => {
                if let Some(copies) = self.copies {
                    copies.piece(bytes);
                }
            }
            Piece::End(Some(trailers)) => self.trailed(trailers),
            Piece::End(None) => {}
        }
        Ok(piece)
    }

    fn trailed(&self, trailers: &HeaderMap) {
        if let Some(copies) = self.copies {
            copies.trailed(trailers);
        }
        if let Some(told) = self.grpc_status
            && let Some(status) = trailers.get("grpc-status")
        {
            told.set(Some(grpc::status(status.as_bytes())));
        }
    }

    fn delivered(&self, source: &mut Source<'_>, bytes: usize) {
        let moved = source.delivered(bytes) as u64;
        self.moved.set(self.moved.get() + moved);
        if let Some(kept) = self.kept {
            kept.delivered(bytes);
        }
    }
}

/// How far a body came without waiting for anybody.
pub(super) enum Begun {
    /// To its end.
    Done,
    /// This piece was taken, and is to be sent.
    Taken(Piece),
    /// Nothing of it is here yet.
    Waits,
    /// What an earlier try has taken comes first.
    Again,
}

/// Sends a body to a stream if it is here whole and the stream has room: that is most bodies, and
/// spares them the future that [`carry`] is.
pub(super) fn begin(
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    accounts: &Accounts<'_>,
) -> Result<Begun, Cut> {
    if accounts.kept.is_some_and(|kept| !kept.is_empty()) {
        return Ok(Begun::Again);
    }
    let Some(piece) = source.next().now_or_never() else {
        return Ok(Begun::Waits);
    };
    let piece = accounts.taken(piece)?;
    let Sink::Http2(sink) = sink else {
        return Ok(Begun::Taken(piece));
    };
    let sent = match piece {
        Piece::Data(bytes, true) => {
            let length = bytes.len();
            let sent = sink.all(bytes);
            if let Ok(None) = sent {
                accounts.delivered(source, length);
            }
            sent.map(|left| left.map(|bytes| Piece::Data(bytes, true)))
        }
        Piece::End(trailers) => sink.end(trailers).map(|()| None),
        piece @ Piece::Data(_, false) => Ok(Some(piece)),
    };
    Ok(sent?.map_or(Begun::Done, Begun::Taken))
}

/// Carries a body to its end from where it has [begun](begin), or until its receiver has all that it can
/// be told.
pub(super) async fn carry(
    begun: Begun,
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    accounts: Accounts<'_>,
) -> Result<(), Cut> {
    // What is there already goes out with the head; what is not must not hold the head up.
    let mut ready = match begun {
        Begun::Done => return Ok(()),
        Begun::Taken(piece) => Some(piece),
        Begun::Waits => None,
        Begun::Again => {
            if again(source, sink, &accounts).await? {
                return Ok(());
            }
            let next = source.next().now_or_never();
            next.map(|piece| accounts.taken(piece)).transpose()?
        }
    };
    if ready.is_none() {
        let flushed = gathering(|cx| source.poll_gather(cx), sink.flush());
        flushed.await?;
        if sink.is_full() {
            return Ok(());
        }
    }
    loop {
        // Sides that are always ready must not keep the thread to themselves.
        consume_budget().await;
        let piece = match ready.take() {
            Some(piece) => piece,
            None => {
                let mut next = pin!(source.next());
                let next = poll_fn(|cx| match sink.poll_closed(cx) {
                    Poll::Ready(()) => Poll::Ready(Err(Cut::Sink)),
                    Poll::Pending => next.as_mut().poll(cx).map(Ok),
                });
                accounts.taken(next.await?)?
            }
        };
        match piece {
            Piece::Data(bytes, last) => {
                let length = bytes.len();
                send(source, sink, bytes, last).await?;
                accounts.delivered(source, length);
                if last || sink.is_full() {
                    return Ok(());
                }
            }
            Piece::End(trailers) => {
                return Ok(sink.end(trailers).await?);
            }
        }
    }
}

/// Sends a piece, and takes over what small ones come meanwhile.
fn send<'s>(
    source: &'s mut Source<'_>,
    sink: &'s mut Sink<'_>,
    bytes: Bytes,
    last: bool,
) -> impl Future<Output = Result<(), Cut>> + 's {
    let sent = gathering(|cx| source.poll_gather(cx), sink.data(bytes, last));
    sent.map_err(Cut::from)
}

/// Sends what an earlier try has taken; `true`: that was all.
async fn again(
    source: &mut Source<'_>,
    sink: &mut Sink<'_>,
    accounts: &Accounts<'_>,
) -> Result<bool, Cut> {
    for piece in accounts.kept.map(Pieces::again).unwrap_or_default() {
        match piece {
            Kind::Data(bytes, last, delivered) => {
                let length = bytes.len();
                send(source, sink, bytes, last).await?;
                if !delivered {
                    accounts.delivered(source, length);
                }
                if last {
                    return Ok(true);
                }
            }
            Kind::End(trailers) => {
                sink.end(trailers).await?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}
