//! The handshake of HTTP/1 (RFC 6455 section 4) on one side, extended CONNECT on the other (RFC 8441). From
//! HTTP/1 to HTTP/1 it passes as it is.
use crate::http::fields::HeadFields;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pointsman_route::Fields as _;
use pointsman_wire::http1::{RequestHead, ResponseHead};
use sha1::{Digest as _, Sha1};

/// What answers a key. An HTTP/1 client is to be told it, and an endpoint of HTTP/2 does not say it; an
/// endpoint of HTTP/1 has to say it, and a client of HTTP/2 does not look for it.
#[derive(Clone, Debug)]
pub(in crate::http) struct Accept(Box<str>);

impl Accept {
    /// The answer to the key in a request's head (RFC 6455 section 4.2.2); `None` where there is no key.
    pub(in crate::http) fn of(head: &RequestHead<'_>) -> Option<Self> {
        let mut accept = None;
        HeadFields(head).each("sec-websocket-key", &mut |key| {
            accept = Some(Self::to(key));
        });
        accept
    }

    /// The answer to this key.
    pub(in crate::http) fn to(key: &[u8]) -> Self {
        let mut hash = Sha1::new();
        hash.update(key);
        hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        Self(STANDARD.encode(hash.finalize()).into())
    }

    /// Is it what a switch says, once? If not, whoever switched has not read the request that it
    /// answers, and may be no WebSocket server at all (RFC 6455 section 4.1).
    pub(in crate::http) fn is_said_by(&self, head: &ResponseHead<'_>) -> bool {
        let mut said = head.values("sec-websocket-accept");
        said.next() == Some(self.as_bytes()) && said.next().is_none()
    }

    pub(in crate::http) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A key for an endpoint of HTTP/1 where the client's version has none. It is no secret: it tells a
/// WebSocket server from one that repeats what it is sent (RFC 6455 section 1.3).
pub(in crate::http) fn key(random: u128) -> String {
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
