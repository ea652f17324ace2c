//! The ClientHello message itself (RFC 8446 section 4.1.2). Every length is checked against the
//! container it stands in, and nothing may be left over.

use super::{HelloError, ServerName};

const EXT_SERVER_NAME: u16 = 0;
const EXT_ALPN: u16 = 16;
const EXT_ENCRYPTED_HELLO: u16 = 0xfe0d;

/// What a ClientHello says that matters for routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name the client asks for, if it gave one that can be used. [`ClientHello::sni`] says
    /// why there is none.
    pub server_name: Option<ServerName>,
    /// Whether a name was sent at all, and whether it can be used.
    pub sni: Sni,
    /// The application protocols offered.
    pub alpn: Alpn,
    /// An Encrypted ClientHello (or GREASE of one) is present: the name is the public, outer one.
    pub encrypted_hello: bool,
}

/// What became of the server name extension, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sni {
    /// A usable name.
    Named,
    /// No server name extension.
    NoName,
    /// A name that is no DNS name: an IP literal, blanks, control or 8-bit bytes, too long.
    BadName,
}

/// The application protocols a client offers (RFC 7301), as far as anything decides on them; the
/// others are only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alpn {
    /// How many protocols were offered; 0 when the extension is absent.
    pub offered: u16,
    /// `h2`.
    pub h2: bool,
    /// `http/1.1`.
    pub http11: bool,
    /// Any of the mesh's own names: `istio`, `istio-peer-exchange`, `istio-http/1.0`,
    /// `istio-http/1.1`, `istio-h2` (PS-63).
    pub mesh: bool,
}

/// Reads a whole ClientHello body.
pub(super) fn read(body: &[u8]) -> Result<ClientHello, HelloError> {
    let mut body = Reader(body);
    body.take(2 + 32).ok_or(SHORT)?; // legacy version, random
    let session = body.list8().ok_or(SHORT)?;
    if session.0.len() > 32 {
        return Err(HelloError::Malformed("session id longer than 32 bytes"));
    }
    let suites = body.list16().ok_or(SHORT)?;
    if suites.0.len() < 2 || suites.0.len() % 2 != 0 {
        return Err(HelloError::Malformed(
            "cipher suites of an impossible length",
        ));
    }
    if body.list8().ok_or(SHORT)?.0.is_empty() {
        return Err(HelloError::Malformed("no compression method"));
    }
    let mut hello = ClientHello {
        server_name: None,
        sni: Sni::NoName,
        alpn: Alpn::default(),
        encrypted_hello: false,
    };
    if body.0.is_empty() {
        return Ok(hello); // a TLS 1.2 client without extensions
    }
    let extensions = body.list16().ok_or(SHORT)?;
    if !body.0.is_empty() {
        return Err(HelloError::Malformed("bytes after the extensions"));
    }
    read_extensions(extensions, &mut hello)?;
    Ok(hello)
}

const SHORT: HelloError = HelloError::Malformed("a length points past its container");

fn read_extensions(mut extensions: Reader<'_>, hello: &mut ClientHello) -> Result<(), HelloError> {
    let (mut named, mut offered) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.u16().ok_or(SHORT)?;
        let data = extensions.list16().ok_or(SHORT)?;
        match kind {
            EXT_SERVER_NAME => {
                if std::mem::replace(&mut named, true) {
                    return Err(HelloError::Malformed("two server name extensions"));
                }
                hello.server_name = ServerName::new(read_server_name(data)?);
                hello.sni = if hello.server_name.is_some() {
                    Sni::Named
                } else {
                    Sni::BadName
                };
            }
            EXT_ALPN => {
                if std::mem::replace(&mut offered, true) {
                    return Err(HelloError::Malformed("two ALPN extensions"));
                }
                hello.alpn = read_alpn(data)?;
            }
            EXT_ENCRYPTED_HELLO => hello.encrypted_hello = true,
            _ => {}
        }
    }
    Ok(())
}

/// The one host name of the list (RFC 6066 section 3). Names of other types are skipped; a second
/// host name is refused, because a server that takes the last one would see another name.
fn read_server_name(mut data: Reader<'_>) -> Result<&[u8], HelloError> {
    let mut list = data.list16().ok_or(SHORT)?;
    if !data.0.is_empty() {
        return Err(HelloError::Malformed("bytes after the server names"));
    }
    let mut host = None;
    while !list.0.is_empty() {
        let kind = list.take(1).ok_or(SHORT)?;
        let name = list.list16().ok_or(SHORT)?;
        if kind == [0] && host.replace(name.0).is_some() {
            return Err(HelloError::Malformed("two host names"));
        }
    }
    host.ok_or(HelloError::Malformed(
        "a server name extension without a host name",
    ))
}

fn read_alpn(mut data: Reader<'_>) -> Result<Alpn, HelloError> {
    let mut list = data.list16().ok_or(SHORT)?;
    if !data.0.is_empty() {
        return Err(HelloError::Malformed("bytes after the protocols"));
    }
    let mut alpn = Alpn::default();
    while !list.0.is_empty() {
        let protocol = list.list8().ok_or(SHORT)?.0;
        alpn.offered = alpn.offered.saturating_add(1);
        match protocol {
            b"" => return Err(HelloError::Malformed("an empty protocol name")),
            b"h2" => alpn.h2 = true,
            b"http/1.1" => alpn.http11 = true,
            b"istio"
            | b"istio-peer-exchange"
            | b"istio-http/1.0"
            | b"istio-http/1.1"
            | b"istio-h2" => {
                alpn.mesh = true;
            }
            _ => {}
        }
    }
    if alpn.offered == 0 {
        return Err(HelloError::Malformed("an empty protocol list"));
    }
    Ok(alpn)
}

/// Bytes not read yet.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let (&bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(bytes))
    }

    /// A vector with a one-byte length.
    fn list8(&mut self) -> Option<Self> {
        let [length] = *self.take(1)? else {
            return None;
        };
        self.take(usize::from(length)).map(Self)
    }

    /// A vector with a two-byte length.
    fn list16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Self)
    }
}
