//! Response heads: the rules of requests, and no tolerance before the first line.

use super::connection::Connection;
use super::field::{Field, Kind, kind};
use super::framing::Framing;
use super::limits::{FieldSlots, HeadLimits, MAX_FIELDS};
use super::{BodyLength, FieldSet, Reason, Refusal, ResponseBody, Upgrade, Version, diagnose};

/// What the response answers, as far as its framing depends on it (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// HEAD: never a body.
    Head,
    /// CONNECT: a 2xx turns the connection into a tunnel.
    Connect,
    /// Anything else.
    Other,
}

impl RequestKind {
    /// The kind of a request with this method. Methods are compared with their letter case.
    #[must_use]
    pub fn of(method: &str) -> Self {
        match method {
            "HEAD" => Self::Head,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// A response head that parsed strictly, pointing into the received bytes.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'h> {
    /// The version it came in.
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase; empty when there is none or when it has 8-bit bytes.
    pub reason: &'h str,
    /// All fields as sent, in order.
    pub fields: &'h [Field<'h>],
    /// As in [`RequestHead::bytes`](super::RequestHead::bytes).
    pub bytes: &'h [u8],
    /// Bytes of the head, the final empty line included. From HTTP/2 the bytes it would have in
    /// HTTP/1.1.
    pub len: usize,
    /// How the body is delimited on the connection it came from.
    pub body: ResponseBody,
    /// What the framing fields say, although there may be no body: the length a HEAD or 304 answer
    /// tells. Always `None` for 1xx, 204 and an accepted CONNECT, which may not have such fields.
    pub declared: BodyLength,
    /// Whether the connection can carry another response after this one, as far as the head says.
    pub keep_alive: bool,
    /// The protocol switched to, for a 101 with `Connection: upgrade` and one `Upgrade` field. That
    /// the client asked for it is for the caller to check.
    pub upgrade: Option<Upgrade<'h>>,
    /// Which field says when the response was made (RFC 9110 section 6.6.1).
    pub date: Option<usize>,
    /// The fields that are not sent on: the framing fields, which are written anew, and those for
    /// this hop only.
    pub drop: FieldSet,
    /// The fields of the HTTP/2 response that this was read from, as
    /// [`RequestHead::source`](super::RequestHead::source).
    pub source: Option<&'h http::HeaderMap>,
}

/// Parses the response head at the start of `bytes`; `Ok(None)` when it is incomplete.
///
/// Nothing may stand before the status line, not even an empty line: those would be bytes that
/// belong to no response.
///
/// # Errors
///
/// [`Refusal`], always with status 502, as soon as the bytes cannot become an acceptable head.
pub fn parse_response<'h, 'b: 'h>(
    bytes: &'b [u8],
    slots: &'h mut FieldSlots<'b>,
    limits: &HeadLimits,
    request: RequestKind,
) -> Result<Option<ResponseHead<'h>>, Refusal> {
    parse(bytes, slots, limits, request).map_err(Refusal::response)
}

fn parse<'h, 'b: 'h>(
    bytes: &'b [u8],
    slots: &'h mut FieldSlots<'b>,
    limits: &HeadLimits,
    request: RequestKind,
) -> Result<Option<ResponseHead<'h>>, Reason> {
    if let [b'\r' | b'\n', ..] = bytes {
        return Err(Reason::BadStatusLine);
    }
    let slots = slots
        .get_mut(..limits.max_fields.min(MAX_FIELDS))
        .unwrap_or_default();
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let len = match config.parse_response_with_uninit_headers(&mut parsed, bytes, slots) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() >= limits.max_bytes => {
            return Err(Reason::HeadTooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(diagnose::response(bytes, error)),
    };
    if len > limits.max_bytes {
        return Err(Reason::HeadTooLarge);
    }
    if !diagnose::ends_lines_with_crlf(bytes.get(..len).unwrap_or(bytes), parsed.headers) {
        return Err(Reason::BareLf);
    }
    let status = parsed
        .code
        .filter(|status| *status >= 100)
        .ok_or(Reason::BadStatusLine)?;
    let version = Version::from_minor(parsed.version);
    let mut head = interpret(version, status, parsed.headers, request)?;
    head.reason = parsed.reason.unwrap_or_default();
    head.bytes = bytes;
    head.len = len;
    Ok(Some(head))
}

/// The one pass over the fields.
fn interpret<'h>(
    version: Version,
    status: u16,
    fields: &'h [Field<'h>],
    request: RequestKind,
) -> Result<ResponseHead<'h>, Reason> {
    let mut framing = Framing::default();
    let mut connection = Connection::default();
    let mut drop = FieldSet::EMPTY;
    let mut upgrade = None;
    let mut upgrades = 0;
    let mut date = None;
    for (index, field) in fields.iter().enumerate() {
        match kind(field.name) {
            // `Host` and `Expect` mean nothing in a response.
            Kind::Other | Kind::Host | Kind::Expect => continue,
            Kind::Date => {
                date = Some(index);
                continue;
            }
            Kind::ContentLength => framing.content_length(field.value)?,
            Kind::TransferEncoding => framing.transfer_encoding(field.value)?,
            Kind::Connection => connection.read(field.value)?,
            Kind::Upgrade => {
                upgrades += 1;
                upgrade = Upgrade::new(field.value);
            }
            Kind::Te | Kind::Hop => {}
        }
        drop.insert(index);
    }
    let declared = framing.finish(version)?;
    connection.drop_named(fields, &mut drop);
    let bare =
        matches!(status, 100..=199 | 204) || (request == RequestKind::Connect && status / 100 == 2);
    let body = match declared {
        _ if bare || status == 304 || request == RequestKind::Head => ResponseBody::None,
        BodyLength::Chunked => ResponseBody::Chunked,
        BodyLength::Length(length) => ResponseBody::Length(length),
        BodyLength::None => ResponseBody::UntilClose,
    };
    Ok(ResponseHead {
        version,
        status,
        reason: "",
        fields,
        bytes: b"",
        len: 0, // the caller knows both
        body,
        declared: if bare { BodyLength::None } else { declared },
        keep_alive: connection.persists(version) && body != ResponseBody::UntilClose,
        upgrade: upgrade.filter(|_| status == 101 && upgrades == 1 && connection.upgrades(version)),
        date,
        drop,
        source: None,
    })
}

impl<'h> ResponseHead<'h> {
    /// Whether another response to the same request follows (1xx other than 101).
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        matches!(self.status, 100..=199) && self.status != 101
    }

    /// The fields that are sent on.
    pub fn forwarded(&self) -> impl Iterator<Item = &'h Field<'h>> {
        let drop = self.drop;
        self.fields
            .iter()
            .enumerate()
            .filter(move |(index, _)| !drop.contains(*index))
            .map(|(_, field)| field)
    }

    /// The values of the fields called `name` (any letter case), in order.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'h [u8]> + use<'h, 'n> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }
}
