//! The PROXY protocol, versions 1 and 2: a load balancer in front tells who the client is and which
//! address it dialled.
//!
//! The header is believed, so it may only be read on listeners that ask for it, and only from peers
//! that are trusted: any client could send one. On such a listener it is required; a connection that
//! begins with anything else is refused, not served with the balancer's own address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most bytes a header may take, vendor fields (TLVs) included. Version 2 could announce 65551.
pub const MAX_HEADER: usize = 4_096;

/// The longest version 1 line, CR LF included.
const MAX_LINE: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the header; the connection proper begins after them.
    pub len: usize,
    /// Who connected to whom. `None` when the balancer does not say (`UNKNOWN`, `LOCAL`, Unix
    /// sockets): the addresses of the connection itself hold then.
    pub addresses: Option<Addresses>,
}

/// The two ends of the connection that the balancer accepted, always of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client dialled: the original destination.
    pub destination: SocketAddr,
}

/// Why the bytes are not a usable header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The connection does not begin with a PROXY header.
    NotProxy,
    /// The header announces more bytes than the limit.
    TooLarge {
        /// The limit in bytes, [`MAX_HEADER`].
        limit: usize,
    },
    /// A PROXY header against its grammar.
    Malformed(&'static str),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotProxy => out.write_str("the connection does not begin with a PROXY header"),
            Self::TooLarge { limit } => {
                write!(out, "the PROXY header is larger than {limit} bytes")
            }
            Self::Malformed(what) => write!(out, "malformed PROXY header: {what}"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// Reads the header at the start of `bytes`; `Ok(None)` when it is incomplete.
///
/// # Errors
///
/// [`HeaderError`] as soon as the bytes cannot become a header any more.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let begins = |with: &[u8]| bytes.starts_with(with) || with.starts_with(bytes);
    if begins(b"PROXY ") {
        read_line(bytes)
    } else if begins(SIGNATURE) {
        read_binary(bytes)
    } else {
        Err(HeaderError::NotProxy)
    }
}

/// Version 1: `PROXY TCP4 source destination port port CR LF`.
fn read_line(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let window = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', window) else {
        if window.len() == MAX_LINE {
            return Err(HeaderError::Malformed("no line end within 107 bytes"));
        }
        return Ok(None);
    };
    let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or(HeaderError::Malformed(
        "the line is not text that ends in CR LF",
    ))?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default();
    let addresses = match word() {
        "UNKNOWN" => None, // what follows is to be ignored
        family @ ("TCP4" | "TCP6") => {
            let address = |word: &str| -> Option<IpAddr> {
                match family {
                    "TCP4" => word.parse().ok().map(IpAddr::V4),
                    _ => word.parse().ok().map(IpAddr::V6),
                }
            };
            let wrong = HeaderError::Malformed("not two addresses and two ports");
            let (source, destination) = (address(word()), address(word()));
            let (from, to) = (port(word()), port(word()));
            match (source, destination, from, to, words.next()) {
                (Some(source), Some(destination), Some(from), Some(to), None) => Some(Addresses {
                    source: SocketAddr::new(source, from),
                    destination: SocketAddr::new(destination, to),
                }),
                _ => return Err(wrong),
            }
        }
        _ => return Err(HeaderError::Malformed("unknown address family")),
    };
    Ok(Some(Header {
        len: end + 1,
        addresses,
    }))
}

/// 0 to 65535 without sign or leading zero.
fn port(word: &str) -> Option<u16> {
    let plain = word == "0" || !word.starts_with(['0', '+']);
    word.parse().ok().filter(|_| plain)
}

/// Version 2: signature, version and command, family, length, addresses, TLVs.
fn read_binary(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some((&[.., command, family, high, low], rest)) = bytes.split_first_chunk::<16>() else {
        return match bytes.get(12) {
            Some(command) if command >> 4 != 2 => Err(HeaderError::Malformed("unknown version")),
            _ => Ok(None),
        };
    };
    if command >> 4 != 2 {
        return Err(HeaderError::Malformed("unknown version"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if 16 + length > MAX_HEADER {
        return Err(HeaderError::TooLarge { limit: MAX_HEADER });
    }
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let addresses = match (command & 15, family) {
        (0, _) => None, // LOCAL: the balancer's own health check
        (1, 0x11) => Some(read_v4(body)?),
        (1, 0x21) => Some(read_v6(body)?),
        (1, 0x00 | 0x31) => None, // unspecified, Unix stream
        (1, _) => return Err(HeaderError::Malformed("not a stream")),
        _ => return Err(HeaderError::Malformed("unknown command")),
    };
    Ok(Some(Header {
        len: 16 + length,
        addresses,
    }))
}

const SHORT: HeaderError = HeaderError::Malformed("shorter than its addresses");

fn read_v4(body: &[u8]) -> Result<Addresses, HeaderError> {
    let (source, body) = body.split_first_chunk::<4>().ok_or(SHORT)?;
    let (destination, body) = body.split_first_chunk::<4>().ok_or(SHORT)?;
    read_ports(
        Ipv4Addr::from(*source).into(),
        Ipv4Addr::from(*destination).into(),
        body,
    )
}

fn read_v6(body: &[u8]) -> Result<Addresses, HeaderError> {
    let (source, body) = body.split_first_chunk::<16>().ok_or(SHORT)?;
    let (destination, body) = body.split_first_chunk::<16>().ok_or(SHORT)?;
    read_ports(
        Ipv6Addr::from(*source).into(),
        Ipv6Addr::from(*destination).into(),
        body,
    )
}

/// The ports, and that the TLVs after them fill the header exactly. Their content is not used.
fn read_ports(source: IpAddr, destination: IpAddr, body: &[u8]) -> Result<Addresses, HeaderError> {
    let (&[a, b, c, d], mut fields) = body.split_first_chunk::<4>().ok_or(SHORT)?;
    while !fields.is_empty() {
        let tail = fields
            .split_first_chunk::<3>()
            .and_then(|(&[_, high, low], rest)| {
                rest.get(usize::from(u16::from_be_bytes([high, low]))..)
            });
        fields = tail.ok_or(HeaderError::Malformed("a TLV points past the header"))?;
    }
    Ok(Addresses {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    })
}
