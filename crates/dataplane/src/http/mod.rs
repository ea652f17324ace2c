//! HTTP: requests parsed strictly, routed one by one, written anew, streamed both ways.
//!
//! In the order a request travels: `serve` reads heads off a connection of HTTP/1, `http2` takes streams
//! off one of HTTP/2 (`age`: until when). `decide` reads one head and finds its rule, `routed` does what
//! that says (no await in either; `asked` is what the request itself may ask for), and `outgoing` writes the head
//! for the endpoint. What came of that is a `step`, which `handle` carries out for HTTP/1. `attempts` finds an
//! endpoint (`choosing`) and a connection to it (`connecting`), and tries again what is safe to try again (`again`;
//! `kept` is what is sent again, `try_time` how long one try may take). A try is `exchange` from HTTP/1
//! (`http1_request`) to HTTP/1, with `upload` for the body of the request, `response_head` and `download` for the
//! response, or `crossing` where a version changes or streams run on both sides, with `body` for both directions
//! (`grpc_web` in what coding); `progress` is how far it has come, `watched` for how long it is waited for,
//! `interim` what may come before the response. `client` writes the heads of responses, in which `changes` says what
//! the rule alters. How each of these ends is in `outcome`.
//!
//! `local` and `answer` make the replies that no upstream made, at what `date` (`grpc` in what shape to its clients).
//! `reply` sends them by HTTP/1, behind which `discard` reads what is left of the request, and `crate::linger` what
//! comes until a connection is closed; `answer_head` sends them to streams. `told` is what is recorded of requests.
//! After a 101 it is `websocket`. `mirror` sends copies, which nobody waits for.
mod again;
mod age;
mod answer;
mod answer_head;
mod asked;
mod attempts;
mod body;
mod changes;
mod choosing;
mod client;
mod connecting;
mod crossing;
mod date;
mod decide;
mod discard;
mod download;
mod exchange;
mod fields;
mod grpc;
mod grpc_web;
mod handle;
mod http1_request;
mod http2;
mod interim;
mod kept;
mod local;
mod mirror;
mod outcome;
mod outgoing;
mod progress;
mod reply;
mod response_head;
mod routed;
mod serve;
mod step;
mod told;
mod try_time;
mod upload;
mod watched;
mod websocket;

use crate::context::Context;
pub(crate) use date::Date;
pub(crate) use http2::serve as serve_http2;
use pointsman_telemetry::Flags;
use pointsman_wire::{
    grpc::Dialect,
    http1::{BodyLength, RequestKind, Version},
};
pub(crate) use serve::serve;
use std::time::Instant;

/// What must be remembered of a request once its head is written anew.
#[derive(Clone, Copy, Debug)]
struct RequestFacts {
    /// Bytes of the head in the client's buffer.
    head_len: usize,
    body: BodyLength,
    kind: RequestKind,
    /// The client can take another response on this connection.
    keep_alive: bool,
    version: Version,
    /// May be repeated without harm (RFC 9110 section 9.2.2).
    idempotent: bool,
    /// Asked for another protocol, and that wish was passed on.
    upgrade: bool,
    /// In which dialect of gRPC the client is answered, by us too (VS-H-144). gRPC-Web's from the moment
    /// that a backend is chosen to which it is translated (PS-4), and then it is.
    grpc: Option<Dialect>,
    /// The body is base64 of gRPC-Web, which is decoded on its way.
    asks_in_text: bool,
    /// The body is held back until it is asked for (RFC 9110 section 10.1.1).
    expects: bool,
    /// What a fault did to the request already: `DI`.
    injected: Flags,
    /// What limits its time is the deadline of the gRPC call itself.
    deadline: bool,
    started: Instant,
}

impl RequestFacts {
    /// Is there a body with bytes in it?
    fn has_body(&self) -> bool {
        !matches!(self.body, BodyLength::None | BodyLength::Length(0))
    }

    /// Can the connection be kept behind an answer that was made before the body was looked at? Up to `most`
    /// bytes of it are read and thrown away then (VS-H-51). A body that is held back may never come,
    /// or come after all: then only closing is safe.
    fn keeps_discarding(&self, most: u64) -> bool {
        self.keep_alive
            && match self.body {
                BodyLength::None => true,
                BodyLength::Length(length) => length == 0 || (length <= most && !self.expects),
                BodyLength::Chunked => !self.expects,
            }
    }
}
