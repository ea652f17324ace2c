//! HTTP/2 frame by frame (RFC 9113), for what no library would send.
//!
//! Nothing of the `h2` crate is used here, which the gateway is built on: a fault that both ends
//! shared would be seen by neither.
//!
//! In the order bytes flow: `frame` is one frame, right or wrong; `hpack` with `huffman` is field
//! blocks; `peer` is a connection that sends and reads them; `client` asks and says what became of
//! it ([`Fate`]); `server` is an upstream that does what a script says.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use pointsman_testkit::frames::{Block, Fate, Frame, FrameClient, FrameUpstream, code};
//!
//! let upstream = FrameUpstream::start(|mut peer, _| async move {
//!     peer.accept(&[]).await?;
//!     let first = peer.request().await?;
//!     peer.answer(first.stream, 200, b"fine").await?;
//!     let second = peer.request().await?;
//!     peer.send(&[Frame::reset(second.stream, code::INTERNAL_ERROR)]).await
//! })
//! .await;
//! let mut client = FrameClient::begin(upstream.addr()).await.unwrap();
//! let ask = || Block::request("GET", "web", "/");
//! assert_eq!(client.ask(1, ask()).await, Fate::Status(200));
//! assert_eq!(client.ask(3, ask()).await, Fate::Reset(code::INTERNAL_ERROR));
//! # });
//! ```

mod client;
mod frame;
mod hpack;
mod huffman;
mod peer;
mod server;

pub use client::{Answer, Fate, FrameClient, Heard};
pub use frame::{Frame, PREFACE, code, encode_all, flag, kind, setting};
pub use hpack::{Block, Decoder, HpackError};
pub use peer::{Event, FrameError, Frames};
pub use server::{Asked, FramePeer, FrameUpstream};
