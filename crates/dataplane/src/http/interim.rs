//! Interim heads (1xx): what an endpoint says before its response (RFC 9110 section 15.2).
use super::{Context, client::Client, download::Download, progress::Progress};
use crate::stream;
use h2::{RecvStream, client::ResponseFuture};
use pointsman_telemetry::Flags;
use pointsman_wire::http1::Version;
use std::{cell::Cell, future::poll_fn, pin::Pin, task::Poll};

/// More for one request are a flood.
const MOST: u32 = 32;

/// Those for one request so far.
#[derive(Debug, Default)]
pub(super) struct Interims(Cell<u32>);

impl Interims {
    /// One more has come; `false`: it is one too many.
    #[must_use]
    pub(super) fn another(&self) -> bool {
        self.0.set(self.0.get() + 1);
        self.0.get() <= MOST
    }

    pub(super) fn number(&self) -> u32 {
        self.0.get()
    }
}

/// Has the client take an interim head that was [passed on](super::client::pass_head). One of HTTP/2 has it
/// already.
pub(super) async fn send(
    cx: &Context<'_>,
    client: &Client<'_>,
    version: Version,
    progress: &Progress,
) -> Result<(), Download> {
    let Client::Http1(out) = client else {
        return Ok(());
    };
    // HTTP/1.0 knows none.
    if version == Version::Http10 {
        return Ok(());
    }
    // While it is under way only a cut is possible; between two heads a reply is.
    progress.answering.set(true);
    let written = stream::write_watched(cx.client, out, &progress.unwritten).await;
    progress.answering.set(false);
    written.map_err(|_| Download::Cut(Flags::DC))
}

/// The next head of an HTTP/2 endpoint, and what follows it if it is that of the response.
pub(super) async fn next_http2(
    response: &mut ResponseFuture,
) -> Result<(http::Response<()>, Option<RecvStream>), h2::Error> {
    poll_fn(|cx| match response.poll_informational(cx) {
        Poll::Ready(Some(interim)) => Poll::Ready(interim.map(|head| (head, None))),
        // There is none, or its end is at hand.
        Poll::Ready(None) => Pin::new(&mut *response).poll(cx).map_ok(|response| {
            let (parts, body) = response.into_parts();
            (http::Response::from_parts(parts, ()), Some(body))
        }),
        // Then there is no response either, and who comes is told to this task.
        Poll::Pending => Poll::Pending,
    })
    .await
}
