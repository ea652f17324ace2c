//! HTTP/1: requests parsed strictly, routed one by one, written anew, streamed both ways.
//!
//! In the order a request travels: `serve` reads heads off a connection, `decide` parses and
//! routes one (no await in it), `exchange` finds a connection to an endpoint and replays what is
//! safe to replay, `upload` streams the request body, `download` the response, `local` makes the
//! replies that no upstream made.
mod decide;
mod download;
mod exchange;
mod fields;
mod local;
mod redirect;
mod rewrite;
mod serve;
mod upload;

use crate::context::Context;
use pointsman_wire::http1::{BodyLength, RequestKind, Version};
pub(crate) use serve::{refuse_http2, serve};
use std::time::Instant;

/// What must be remembered of a request once its head is written anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFacts {
    /// Bytes of the head in the client's buffer.
    pub(crate) head_len: usize,
    pub(crate) body: BodyLength,
    pub(crate) kind: RequestKind,
    /// The client can take another response on this connection.
    pub(crate) keep_alive: bool,
    pub(crate) version: Version,
    /// May be repeated without harm (RFC 9110 section 9.2.2).
    pub(crate) idempotent: bool,
    /// Asked for another protocol, and that wish was passed on.
    pub(crate) upgrade: bool,
    pub(crate) started: Instant,
}

impl RequestFacts {
    /// Is there a body with bytes in it?
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.body, BodyLength::None | BodyLength::Length(0))
    }

    /// Can the connection be kept behind an answer that was made without reading the body?
    pub(crate) fn keeps_unread(&self) -> bool {
        self.keep_alive && !self.has_body()
    }
}
