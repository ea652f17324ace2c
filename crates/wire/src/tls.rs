//! The TLS ClientHello, read before anything answers it.
//!
//! The bytes are peeked, never consumed: whoever serves the connection afterwards (a tunnel or a
//! TLS server) reads the same bytes again, unchanged. Fragments over TCP segments and over TLS
//! records are put together up to [`MAX_CLIENT_HELLO`]; unknown extensions, GREASE values and
//! Encrypted ClientHello are skipped, so what is reported with ECH is the outer, public name.
//!
//! `record` finds the handshake message in the records, `hello` reads it, `server_name` decides
//! which names are usable.

mod hello;
mod record;
mod server_name;

pub use hello::{Alpn, ClientHello, Sni};
pub use server_name::ServerName;

use std::fmt;

/// The most bytes, record headers included, that a ClientHello may take.
pub const MAX_CLIENT_HELLO: usize = 65_536;

/// The most TLS records that a ClientHello may be spread over. Bounds the work of one call, so a
/// peer that sends records of one byte each costs no more than one that sends full ones.
pub const MAX_HELLO_RECORDS: usize = 256;

/// Why the bytes are not a ClientHello that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelloError {
    /// The connection does not speak TLS, or does not begin with a ClientHello.
    NotTls(&'static str),
    /// The ClientHello is, or says that it will be, larger than the limit.
    TooLarge {
        /// The limit in bytes, [`MAX_CLIENT_HELLO`].
        limit: usize,
    },
    /// TLS, but against its grammar (RFC 8446 section 4.1.2, RFC 6066, RFC 7301).
    Malformed(&'static str),
}

impl fmt::Display for HelloError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls(what) => write!(out, "not a TLS client: {what}"),
            Self::TooLarge { limit } => {
                write!(out, "the TLS ClientHello is larger than {limit} bytes")
            }
            Self::Malformed(what) => write!(out, "malformed TLS ClientHello: {what}"),
        }
    }
}

impl std::error::Error for HelloError {}

/// Reads the ClientHello at the start of `bytes`, a peeked prefix of the connection that starts at
/// its first byte. `Ok(None)` means that more bytes are needed.
///
/// May be called after every segment: while the message is incomplete only the record headers
/// (at most [`MAX_HELLO_RECORDS`]) are looked at.
///
/// # Errors
///
/// [`HelloError`] as soon as the bytes cannot become a readable ClientHello any more.
pub fn client_hello(bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    // Cut first, so that the answer does not depend on how many bytes one peek returned.
    let bytes = bytes.get(..MAX_CLIENT_HELLO).unwrap_or(bytes);
    match record::handshake_message(bytes)? {
        Some(message) => hello::read(&message).map(Some),
        None if bytes.len() == MAX_CLIENT_HELLO => Err(HelloError::TooLarge {
            limit: MAX_CLIENT_HELLO,
        }),
        None => Ok(None),
    }
}
