//! WebSocket: `handshake` is what is said before (RFC 6455 section 4, RFC 8441 where a version changes), `tunnel` the bytes
//! after it. Nobody looks into them: what they mean is for both sides to know.
mod handshake;
mod tunnel;

pub(super) use handshake::{Accept, key};
pub(super) use tunnel::run;
