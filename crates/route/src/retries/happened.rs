//! What one try came to.

/// What a try came to that may be a reason for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Connecting failed or took too long: nothing was sent.
    ConnectFailed,
    /// The endpoint says that it did not look at the request: an HTTP/2 stream refused
    /// (REFUSED_STREAM), or above the last one that a GOAWAY names (RFC 9113 section 8.7).
    Refused,
    /// The connection ended before any of the request was sent on it.
    ResetUnsent,
    /// The connection or stream ended, or broke its protocol, before there was a response; the
    /// endpoint may have acted.
    Reset,
    /// The response did not begin within `perTryTimeout`.
    TryTimeout,
    /// There is a response, of which nothing has gone to the client.
    Replied(Replied),
}

/// What counts of a response head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replied {
    /// Status.
    pub status: u16,
    /// `grpc-status` among the headers, as it is in a response without a body; one that comes in
    /// trailers comes too late.
    pub grpc_status: Option<u8>,
    /// `x-envoy-ratelimited` is there.
    pub rate_limited: bool,
}

impl Happened {
    /// Can nobody have acted on the request?
    pub fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::ConnectFailed | Self::Refused | Self::ResetUnsent
        )
    }
}

impl Replied {
    /// Reads a head, field by field; names in any case.
    pub fn new<'a>(status: u16, fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut reply = Self {
            status,
            ..Self::default()
        };
        for (name, value) in fields {
            // Told apart by length first: this runs for every field of every response.
            match name.len() {
                11 if name.eq_ignore_ascii_case("grpc-status") => {
                    reply.grpc_status = str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.trim().parse().ok());
                }
                19 if name.eq_ignore_ascii_case("x-envoy-ratelimited") => {
                    reply.rate_limited = true;
                }
                _ => {}
            }
        }
        reply
    }
}
