//! Development only: everything a test needs around a gateway, on loopback and port 0.
//!
//! Nothing here depends on another Pointsman crate, so every crate may use it in its tests, and a
//! test never trusts the code under test to check itself: the heads, bodies and framing seen by an
//! upstream or a client are read by this crate's own small parser.
//!
//! How to read it, in the order bytes flow:
//!
//! | module | holds |
//! | --- | --- |
//! | [`loopback`] | distinct `127.x.y.z` addresses and free ports, so that tests run side by side |
//! | [`wait`] | deadlines instead of sleeps: [`eventually`], [`within`] |
//! | [`message`] | the strict HTTP/1 reader shared by upstreams and clients |
//! | [`http`] | [`HttpUpstream`]: an upstream that follows a script ([`Reply`]) and remembers what it saw |
//! | [`tcp`] | [`TcpUpstream`]: echo, server-first, half-close, reset, source, sink, one that never accepts |
//! | [`tls`] | (feature `tls`) a TLS echo upstream with a fresh certificate, and its client |
//! | [`raw_http`] | [`RawHttp`]: a client that sends exactly the bytes it is given |
//! | [`http2`] | [`Http2Upstream`]: the same over HTTP/2, and gRPC; [`Http2Client`]: requests, bodies, trailers, resets |
//! | [`frames`] | HTTP/2 frame by frame: a client that sends any frame, and an upstream that does |
//! | [`process`] | children killed on drop, and the CPU time of a process tree |
//!
//! Upstreams stop, and close their connections, when dropped. Tests call these functions to fail
//! loudly, so a broken environment (no free port, no `/proc`) panics with a sentence.
#![forbid(unsafe_code)]

pub mod frames;
pub mod http;
pub mod http2;
pub mod loopback;
pub mod message;
pub mod process;
pub mod raw_http;
mod serve;
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
pub mod wait;

pub use http::{HttpUpstream, Reply, Seen};
pub use http2::{
    Http2Client, Http2Error, Http2Reply, Http2Request, Http2Response, Http2Seen, Http2Stream,
    Http2Upstream, grpc,
};
pub use loopback::{free_port, fresh_ip};
pub use process::{Child, cpu_time};
pub use raw_http::{RawHttp, Response};
pub use tcp::TcpUpstream;
#[cfg(feature = "tls")]
pub use tls::{TlsUpstream, client_hello};
pub use wait::{eventually, wait_for_port, within};
