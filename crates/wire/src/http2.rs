//! Messages of HTTP/2 (RFC 9113) in the form of [`http1`](crate::http1), and back.
//!
//! A library reads and writes the frames and hands over `http` types. Here they become
//! [`RequestHead`] and [`ResponseHead`], the views that routing, rewriting and checks read, under
//! the rules of HTTP/1: whoever passes here may be written to an HTTP/1 connection as it stands
//! (RFC 9113 section 10.3). What HTTP/1 refuses is refused with the same word.
//!
//! Read in this order: `fields` (what one field may be), `request` and `response` (messages coming
//! in), `build` (messages going out), `trailers`; then `watch`, which looks at frames.
//!
//! ```
//! use pointsman_wire::http1::{HeadLimits, RequestRewrite, write_request};
//! use pointsman_wire::http2;
//!
//! let request = http::Request::get("http://shop/cart").header("accept", "*/*").body(())?;
//! let (parts, ()) = request.into_parts();
//! let mut slots = http2::field_slots();
//! let head = http2::request_head(&parts, None, true, &mut slots, &HeadLimits::default())?;
//! assert_eq!((head.host, head.path), (Some("shop"), "/cart"));
//!
//! let mut out = Vec::new();
//! write_request(&mut out, &head, &RequestRewrite::default(), head.body, &[]);
//! assert_eq!(out, b"GET /cart HTTP/1.1\r\nHost: shop\r\naccept: */*\r\n\r\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What the library (`h2` with `http`) decides before, so that it is not visible here: malformed
//! pseudo-fields and most connection-specific fields end the stream with PROTOCOL_ERROR; a fragment
//! in `:path` is cut off; without `:authority` the scheme is lost.
//!
//! [`RequestHead`]: crate::http1::RequestHead
//! [`ResponseHead`]: crate::http1::ResponseHead

mod build;
mod fields;
mod request;
mod response;
mod trailers;
mod watch;

pub use build::{Message, Outgoing, outgoing_request, outgoing_response, to_request, to_response};
pub use fields::{FieldSlots, field_slots};
pub use request::{join_cookies, request_head};
pub use response::response_head;
pub use trailers::{retain_trailers, trailers_to_map, write_trailers};
pub use watch::{Budget, Flood, FloodLimits, FrameWatch, blames_receiver};
