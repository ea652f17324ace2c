//! Request heads.

use super::connection::Connection;
use super::field::{Field, Kind, kind, list};
use super::framing::Framing;
use super::limits::{FieldSlots, HeadLimits, MAX_FIELDS, MAX_METHOD};
use super::{BodyLength, FieldSet, Reason, Refusal, Upgrade, Version, diagnose, host, target};

/// A request head that parsed strictly, pointing into the received bytes.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'h> {
    /// A token of at most 32 bytes, in the letter case sent.
    pub method: &'h str,
    /// The target as sent.
    pub target: &'h str,
    /// The version it came in.
    pub version: Version,
    /// All fields as sent, in order.
    pub fields: &'h [Field<'h>],
    /// The received bytes that the fields point into; empty where they point into others (HTTP/2).
    pub bytes: &'h [u8],
    /// Bytes of the head, a tolerated empty line before it and the final empty line included. From
    /// HTTP/2 the bytes it would have in HTTP/1.1.
    pub len: usize,
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the client keeps the connection open after this request.
    pub keep_alive: bool,
    /// The authority of an absolute-form or CONNECT target, else the `Host` field: the one value
    /// that routing sees and that is sent on (PS-82). Valid by [`is_valid_host`]; may be empty.
    /// `None` only in HTTP/1.0.
    ///
    /// [`is_valid_host`]: super::is_valid_host
    pub host: Option<&'h str>,
    /// Begins with `/`; `*` for OPTIONS; empty for CONNECT. Visible ASCII without `#`, not decoded
    /// and not normalised.
    pub path: &'h str,
    /// What follows the first `?`.
    pub query: Option<&'h str>,
    /// The client waits for `100 Continue` before it sends the body (HTTP/1.1 with a body only).
    pub expect_continue: bool,
    /// The protocols asked for, when `Connection` says `upgrade` in a body-less HTTP/1.1 request
    /// with exactly one well-formed `Upgrade` field. Otherwise the wish is ignored, which every
    /// server may do, and the fields are dropped.
    pub upgrade: Option<Upgrade<'h>>,
    /// The client takes trailers (`TE: trailers`).
    pub te_trailers: bool,
    /// The fields that are not sent on: `Host` and the framing fields, which are written anew, and
    /// those for this hop only.
    pub drop: FieldSet,
    /// The HTTP/2 request that this was read from. What is not changed on the way to an HTTP/2
    /// endpoint is shared with it instead of copied.
    pub source: Option<&'h http::request::Parts>,
}

/// Parses the request head at the start of `bytes`; `Ok(None)` when it is incomplete.
///
/// One empty line before the head is skipped (RFC 9112 section 2.2: old clients send one after a
/// body); more are refused, so that a peer cannot keep a connection busy with them. Parsing starts
/// over on every call; see [`head_may_be_complete`] for heads that arrive in many pieces.
///
/// # Errors
///
/// [`Refusal`] with the status to answer before closing, as soon as the bytes cannot become an
/// acceptable head: also when an incomplete head is already over a limit.
pub fn parse_request<'h, 'b: 'h>(
    bytes: &'b [u8],
    slots: &'h mut FieldSlots<'b>,
    limits: &HeadLimits,
) -> Result<Option<RequestHead<'h>>, Refusal> {
    parse(bytes, slots, limits).map_err(Refusal::request)
}

/// Whether a complete head may be in `bytes`, of which the first `scanned` were looked at before
/// without success. With it a head that arrives byte by byte costs one pass over its bytes and one
/// parse, instead of one parse per byte.
///
/// Parse the first bytes of a connection anyway, so that garbage is refused at once, and parse when
/// `bytes` reaches [`HeadLimits::max_bytes`] whatever this says: only [`parse_request`] refuses a head
/// that is too large.
///
/// It answers `true` for line ends that [`parse_request`] then refuses (a line that begins with CR ends
/// the head or is wrong), never `false` for a head that is complete. An empty line before the head, alone, is no head.
#[must_use]
pub fn head_may_be_complete(bytes: &[u8], scanned: usize) -> bool {
    // An end of head may straddle the old and the new bytes by up to two bytes.
    let start = scanned.saturating_sub(2).min(bytes.len());
    let fresh = bytes.get(start..).unwrap_or_default();
    memchr::memchr_iter(b'\n', fresh)
        .any(|at| matches!(fresh.get(at + 1..), Some([b'\n', ..] | [b'\r', _, ..])))
}

/// Does the first line end in `bytes` behind the first `scanned` of them? A head that arrives in pieces
/// is parsed then too: what is wrong with its request line is known, and may be all that ever comes
/// (HTTP/0.9 has no more). An empty line before it is not taken for it.
#[must_use]
pub fn first_line_ends(bytes: &[u8], scanned: usize) -> bool {
    let fresh = bytes.get(scanned.max(2)..).unwrap_or_default();
    memchr::memchr(b'\n', fresh).is_some()
}

fn parse<'h, 'b: 'h>(
    bytes: &'b [u8],
    slots: &'h mut FieldSlots<'b>,
    limits: &HeadLimits,
) -> Result<Option<RequestHead<'h>>, Reason> {
    let (skipped, bytes) = match bytes {
        [b'\r', b'\n', rest @ ..] => (2, rest),
        [b'\r'] => return Ok(None),
        _ => (0, bytes),
    };
    match bytes {
        [b'\r', ..] if skipped > 0 => return Err(Reason::LeadingBlankLines),
        [b'\r', ..] => return Err(Reason::BareCr),
        [b'\n', ..] => return Err(Reason::BareLf),
        _ => {}
    }
    let slots = slots
        .get_mut(..limits.max_fields.min(MAX_FIELDS))
        .unwrap_or_default();
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return incomplete(bytes, skipped, limits).map(|()| None),
        Err(error) => return Err(diagnose::request(bytes, error)),
    };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Reason::BadRequestLine); // complete heads have both
    };
    if target.len() > limits.max_target {
        return Err(Reason::TargetTooLong);
    }
    if skipped + len > limits.max_bytes {
        return Err(Reason::HeadTooLarge);
    }
    if method.len() > MAX_METHOD {
        return Err(Reason::MethodTooLong);
    }
    if !diagnose::ends_lines_with_crlf(bytes.get(..len).unwrap_or(bytes), parsed.headers) {
        return Err(Reason::BareLf);
    }
    let version = Version::from_minor(parsed.version);
    let mut head = interpret(method, target, version, parsed.headers)?;
    head.bytes = bytes;
    head.len = skipped + len;
    Ok(Some(head))
}

/// Limits on a head whose end is not in sight. Method and target are looked at first, so that a client
/// with an endless one learns what is too long. A skipped empty line counts: a buffer of `max_bytes`
/// that is full must come to a verdict.
fn incomplete(bytes: &[u8], skipped: usize, limits: &HeadLimits) -> Result<(), Reason> {
    const AROUND: usize = MAX_METHOD + " ".len() + " HTTP/1.1\r".len();
    if let Some(method) = bytes.get(..=MAX_METHOD)
        && !method.contains(&b' ')
    {
        return Err(Reason::MethodTooLong);
    }
    let longest_line = limits.max_target.saturating_add(AROUND);
    if let Some(line) = bytes.get(..=longest_line)
        && memchr::memchr(b'\n', line).is_none()
    {
        return Err(Reason::TargetTooLong);
    }
    if skipped + bytes.len() >= limits.max_bytes {
        Err(Reason::HeadTooLarge)
    } else {
        Ok(())
    }
}

/// The one pass over the fields.
fn interpret<'h>(
    method: &'h str,
    target: &'h str,
    version: Version,
    fields: &'h [Field<'h>],
) -> Result<RequestHead<'h>, Reason> {
    let parts = target::parse(method, target)?;
    let mut framing = Framing::default();
    let mut connection = Connection::default();
    let mut drop = FieldSet::EMPTY;
    let mut host = None;
    let mut upgrade = None;
    let mut upgrades = 0;
    let (mut expects, mut te_trailers) = (false, false);
    for (index, field) in fields.iter().enumerate() {
        match kind(field.name) {
            Kind::Other | Kind::Date => continue,
            Kind::Host => {
                let value = valid_host(field.value)?;
                if host.replace(value).is_some() {
                    return Err(Reason::DuplicateHost);
                }
            }
            Kind::ContentLength => framing.content_length(field.value)?,
            Kind::TransferEncoding => framing.transfer_encoding(field.value)?,
            Kind::Connection => connection.read(field.value)?,
            Kind::Te => {
                te_trailers |=
                    list(field.value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
            }
            Kind::Upgrade => {
                upgrades += 1;
                upgrade = Upgrade::new(field.value);
            }
            Kind::Expect => {
                expects |= field.value.eq_ignore_ascii_case(b"100-continue");
                // An HTTP/1.0 client does not know interim responses (RFC 9110 section 10.1.1);
                // for the others the backend answers (PS-83).
                if version == Version::Http11 {
                    continue;
                }
            }
            Kind::Hop => {}
        }
        drop.insert(index);
    }
    if host.is_none() && version == Version::Http11 {
        return Err(Reason::MissingHost);
    }
    let body = framing.finish(version)?;
    connection.drop_named(fields, &mut drop);
    let empty = matches!(body, BodyLength::None | BodyLength::Length(0));
    Ok(RequestHead {
        method,
        target,
        version,
        fields,
        bytes: b"",
        len: 0, // the caller knows both
        body,
        keep_alive: connection.persists(version),
        host: parts.authority.or(host),
        path: parts.path,
        query: parts.query,
        expect_continue: expects && version == Version::Http11 && !empty,
        upgrade: upgrade.filter(|_| upgrades == 1 && empty && connection.upgrades(version)),
        te_trailers: te_trailers && version == Version::Http11,
        drop,
        source: None,
    })
}

fn valid_host(value: &[u8]) -> Result<&str, Reason> {
    if !host::is_valid_host(value) {
        return Err(Reason::BadHost);
    }
    std::str::from_utf8(value).map_err(|_| Reason::BadHost)
}

impl<'h> RequestHead<'h> {
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
