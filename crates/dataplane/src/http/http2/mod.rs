//! Clients that speak HTTP/2 by prior knowledge (PS-61): every stream is a request of its own,
//! routed, balanced and recorded by itself.
//!
//! `serve` is the life of a connection, over a `socket` that it shares with its streams and that
//! shows [`floods`](crate::floods) what goes over it, and `goodbye` its end; `workers` are the tasks that serve
//! them, `stream` is one request, and `request` how it is tried. Frames, HPACK and flow control are the `h2` crate's, on the shard's own thread.
mod goodbye;
mod request;
mod serve;
mod socket;
mod stream;
mod workers;

pub(crate) use serve::serve;
