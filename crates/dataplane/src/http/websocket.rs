//! WebSocket where a version changes (RFC 8441): the handshake of HTTP/1 (RFC 6455 section 4) on one
//! side, extended CONNECT on the other.
//!
//! From HTTP/1 to HTTP/1 the handshake passes as it is.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pointsman_route::Fields as _;
use pointsman_wire::http1::RequestHead;
use sha1::{Digest as _, Sha1};

/// What an HTTP/1 client is to be told, carried with its request: an endpoint of HTTP/2 does not say it.
#[derive(Clone, Debug)]
pub(super) struct Accept(String);

impl Accept {
    /// The answer to the key in a request's head (RFC 6455 section 4.2.2); `None` where there is no key.
    pub(super) fn of(head: &RequestHead<'_>) -> Option<Self> {
        let mut accept = None;
        super::fields::HeadFields(head).each("sec-websocket-key", &mut |key| {
            let mut hash = Sha1::new();
            hash.update(key);
            hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
            accept = Some(Self(STANDARD.encode(hash.finalize())));
        });
        accept
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A key for an endpoint of HTTP/1 where the client's version has none. It is no secret: it tells a
/// WebSocket server from one that repeats what it is sent (RFC 6455 section 1.3).
pub(super) fn key(random: u128) -> String {
    STANDARD.encode(random.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_wire::http1::{HeadLimits, field_slots, parse_request};

    /// The example of RFC 6455 section 1.3.
    #[test]
    fn a_key_is_answered_as_the_rfc_says() {
        let request = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut slots = field_slots();
        let head = parse_request(request, &mut slots, &HeadLimits::default());
        let head = head.expect("well formed").expect("complete");
        let accept = Accept::of(&head).expect("there is a key");
        assert_eq!(accept.as_bytes(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key(0).len(), 24);
    }
}
