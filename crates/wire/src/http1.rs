//! Strict HTTP/1.x (RFC 9112): heads are parsed once, then written anew.
//!
//! [`parse_request`] and [`parse_response`] let `httparse` find the lines and then refuse whatever
//! it lets through that another parser could read in another way. The result points into the
//! received bytes. [`write_request`] and [`write_response`] build the head that is sent on from the
//! parsed form: framing fields and `Host` are always ours, hop-by-hop fields never pass, the other
//! fields keep their order and letter case.
//!
//! Read in this order: `limits`, `refusal`, `field` (what a field is to us), `target` and `host`,
//! `framing` and `connection` (what the fields say together), `request` and `response` (the one
//! pass over a head), `diagnose` (naming what `httparse` refused), `write` and `local`, then
//! `chunked` and `trailers` for bodies.
//!
//! ```
//! use pointsman_wire::http1::*;
//!
//! let received = b"GET http://shop/cart HTTP/1.1\r\nHost: other\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n";
//! let mut slots = field_slots();
//! let head = parse_request(received, &mut slots, &HeadLimits::default())?.expect("complete");
//! assert_eq!((head.host, head.path), (Some("shop"), "/cart"));
//!
//! let mut out = Vec::new();
//! write_request(&mut out, &head, &RequestRewrite::default(), head.body, &[]);
//! assert_eq!(out, b"GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n");
//! # Ok::<(), Refusal>(())
//! ```
//!
//! Choices where the RFC leaves room, or where this is stricter:
//!
//! | Matter | Here |
//! | --- | --- |
//! | HTTP/1.2 and above | 505; nobody sends it |
//! | Empty lines before a request | one CR LF is skipped, a second is refused |
//! | Content-Length with Transfer-Encoding | refused, never repaired |
//! | Equal Content-Length fields | merged; a list in one field is refused even when equal |
//! | Transfer codings | `chunked` alone; others 501 |
//! | Host | no user information, comma, empty port or zone identifier; name up to 255 bytes |
//! | Upgrade with a body, or given twice | ignored: served as a plain request |
//! | Blanks after a chunk size without an extension | refused |

mod chunked;
mod connection;
mod diagnose;
pub(crate) mod field;
mod field_set;
pub(crate) mod framing;
pub(crate) mod host;
mod limits;
mod local;
mod refusal;
mod request;
mod response;
mod target;
pub(crate) mod trailers;
mod write;

pub use chunked::{ChunkDecoder, ChunkEvent};
pub use connection::Upgrade;
pub use field::{Field, is_token, is_token_byte, is_value};
pub use field_set::FieldSet;
pub use framing::{BodyLength, ResponseBody};
pub use host::is_valid_host;
pub use limits::{
    ChunkLimits, FieldSlots, HeadLimits, MAX_CONNECTION_OPTIONS, MAX_FIELDS, MAX_HOST_NAME,
    MAX_METHOD, field_slots,
};
pub use local::{CONTINUE, LocalResponse, make_last, reason_phrase, write_local_response};
pub use refusal::{Reason, Refusal};
pub use request::{RequestHead, first_line_ends, head_may_be_complete, parse_request};
pub use response::{RequestKind, ResponseHead, parse_response};
pub use target::{is_valid_path, split_query};
pub use trailers::{Trailers, write_last_chunk};
pub use write::{
    ConnectionOption, LAST_CHUNK, RequestRewrite, chunk_header, chunk_request, write_chunk_header,
    write_request, write_response,
};

/// The version of a message, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0: no chunks, no persistent connection unless asked for.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2. Only [`http2`](crate::http2) reads and writes such messages: what the writers of this
    /// module put out for one is HTTP/1.1.
    Http2,
}

impl Version {
    /// As logs and rules name it: for HTTP/1 what stands on the first line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }

    fn from_minor(minor: Option<u8>) -> Self {
        if minor == Some(0) {
            Self::Http10
        } else {
            Self::Http11
        }
    }
}
