//! Protocol code without I/O: sniffing, HTTP/1 heads, framing and chunks, HTTP/2 messages as
//! HTTP/1 reads them, TLS ClientHello.
//!
//! Every function takes bytes that somebody else read and says what they mean, or appends bytes
//! that somebody else will write. Nothing here owns a socket, a timer or a task, so all of it can
//! be fuzzed, replayed and measured without a runtime. Bytes from the network are hostile: nothing
//! panics on them, nothing grows without a named limit, and whatever two parsers could read in two
//! ways is refused instead of guessed.
//!
//! Read it in the order a connection meets it:
//!
//! 1. [`proxy_protocol`]: on listeners that ask for it, who the client really is.
//! 2. [`sniff`]: what do the first bytes say: TLS, HTTP/2, HTTP/1, or something else?
//! 3. [`tls`]: the ClientHello of a connection that is passed on or terminated.
//! 4. [`http1`]: heads in, heads out, body framing and chunks.
//! 5. [`http2`]: messages of HTTP/2 in the form of `http1`, and back.
//! 6. [`grpc`] and [`grpc_web`]: what HTTP fields and bodies mean to gRPC.
//! 7. [`path`]: the one path that routing, logs and backends see.
//! 8. [`forwarded`]: what is told of the client, and what the client may not tell.
#![forbid(unsafe_code)]

pub mod forwarded;
pub mod grpc;
pub mod grpc_web;
pub mod http1;
pub mod http2;
pub mod path;
pub mod proxy_protocol;
pub mod sniff;
pub mod tls;
