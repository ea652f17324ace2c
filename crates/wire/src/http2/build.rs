//! Messages going out, built from the parsed form.
//!
//! All values, the path and the authority are copied into one buffer that the message then points
//! into: one allocation instead of one for each value. Names that `http` knows cost none. From
//! HTTP/2 to HTTP/2 not even that: names and values are shared, and where all of them go on as they
//! are, the map itself changes hands ([`Outgoing`]).

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, CONTENT_LENGTH, DATE, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::http1::field::{Kind, kind, trim};
use crate::http1::{
    BodyLength, ConnectionOption, Field, FieldSet, Reason, Refusal, RequestHead, RequestRewrite,
    ResponseBody, ResponseHead, is_token, is_value,
};

/// Builds what [`write_request`](crate::http1::write_request) writes, for an HTTP/2 endpoint.
///
/// `scheme` is `http` or `https`. A [`ConnectionOption::Upgrade`] to `websocket` becomes an
/// extended CONNECT (RFC 8441 section 5), for which the caller adds the protocol in the way of its
/// library; every other connection option means nothing here. Bytes of the target that an HTTP/2
/// library may refuse (`"<>` and a backtick) are percent-encoded.
///
/// A request without a host (HTTP/1.0) has no authority either, and says HTTP/1.1, by which `h2`
/// knows that it may lack one.
///
/// # Errors
///
/// When HTTP/2 cannot say it: a host with `%` in it, a target of 64 KiB.
pub fn to_request(
    head: &RequestHead<'_>,
    rewrite: &RequestRewrite<'_>,
    scheme: &str,
    body: BodyLength,
    extra: &[(&str, &[u8])],
) -> Result<Request<()>, Refusal> {
    let request = outgoing_request(head, rewrite, scheme, body, extra)?;
    let fields = || head.source.map(|source| source.headers.clone());
    Ok(request.with(|| fields().unwrap_or_default()))
}

/// The same, for those who have the fields of the head's [`source`](RequestHead::source) to give away.
/// Boxed where it is made: each hand that it goes through would copy it.
///
/// # Errors
///
/// As [`to_request`].
pub fn outgoing_request(
    head: &RequestHead<'_>,
    rewrite: &RequestRewrite<'_>,
    scheme: &str,
    body: BodyLength,
    extra: &[(&str, &[u8])],
) -> Result<Box<Outgoing<Request<()>>>, Refusal> {
    request(head, rewrite, scheme, body, extra).map_err(Refusal::request)
}

/// Builds what [`write_response`](crate::http1::write_response) writes, for an HTTP/2 client.
///
/// With [`ResponseBody::None`] the length that a HEAD or 304 answer tells is passed on, with
/// [`ResponseBody::Chunked`] the zero behind which trailers may follow. A 101
/// accepts the extended CONNECT of the client and becomes 200 (RFC 8441 section 5).
///
/// # Errors
///
/// When HTTP/2 cannot say it: a name of 64 KiB.
pub fn to_response(
    head: &ResponseHead<'_>,
    body: ResponseBody,
    extra: &[(&str, &[u8])],
) -> Result<Response<()>, Refusal> {
    let response = outgoing_response(head, body, extra, None)?;
    Ok(response.with(|| head.source.cloned().unwrap_or_default()))
}

/// The same, for those who have the fields of the head's [`source`](ResponseHead::source) to give
/// away. `date` is sent as it is, so that many responses can share it.
///
/// # Errors
///
/// As [`to_response`].
pub fn outgoing_response(
    head: &ResponseHead<'_>,
    body: ResponseBody,
    extra: &[(&str, &[u8])],
    date: Option<HeaderValue>,
) -> Result<Outgoing<Response<()>>, Refusal> {
    response(head, body, extra, date).map_err(Refusal::response)
}

/// A message that goes out.
///
/// Where all fields of the message it is made from go with it, they are not in it yet: whoever has
/// them gives them away with [`Outgoing::with`], and nothing is copied.
#[derive(Debug)]
#[must_use = "it may lack most of its fields"]
pub struct Outgoing<M> {
    message: M,
    /// What comes behind the fields that are still to come; `None`: the message is whole.
    behind: Option<Vec<(HeaderName, HeaderValue)>>,
}

impl<M: Message> Outgoing<M> {
    /// Does it lack the fields of the message it was made from?
    pub fn lacks_source(&self) -> bool {
        self.behind.is_some()
    }

    /// Gives it the fields it lacks, if it does: those that were in the
    /// [`source`](RequestHead::source) of its head.
    pub fn complete(&mut self, source: impl FnOnce() -> HeaderMap) {
        let Some(behind) = self.behind.take() else {
            return;
        };
        let mut map = source();
        for (name, value) in &mut map {
            mark(name, value);
        }
        for (name, value) in behind {
            // A map has room for thousands more than a head may have.
            let _ = map.try_append(name, value);
        }
        *self.message.fields() = map;
    }

    /// The message.
    pub fn message(&self) -> &M {
        &self.message
    }

    /// The same, to be changed: only once it is complete.
    pub fn message_mut(&mut self) -> &mut M {
        &mut self.message
    }

    /// The whole message.
    pub fn with(mut self, source: impl FnOnce() -> HeaderMap) -> M {
        self.complete(source);
        self.message
    }
}

/// What has fields.
pub trait Message {
    /// Its fields.
    fn fields(&mut self) -> &mut HeaderMap;
}

impl Message for Request<()> {
    fn fields(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }
}

impl Message for Response<()> {
    fn fields(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }
}

fn request(
    head: &RequestHead<'_>,
    rewrite: &RequestRewrite<'_>,
    scheme: &str,
    body: BodyLength,
    extra: &[(&str, &[u8])],
) -> Result<Box<Outgoing<Request<()>>>, Reason> {
    let websocket = matches!(rewrite.connection, ConnectionOption::Upgrade(protocols)
        if protocols.eq_ignore_ascii_case("websocket"));
    let tunnel = head.method == "CONNECT" && !websocket;
    let host = rewrite
        .host
        .filter(|host| is_value(host.as_bytes()))
        .or(head.host)
        .unwrap_or_default();
    let same = same_uri(head, rewrite, scheme, host);
    let mut fields = Fields {
        all: head.fields,
        source: head.source.map(|source| &source.headers),
        drop: head.drop,
        extra,
        without: websocket.then_some("sec-websocket-key"),
    };
    let mut told = Told {
        length: match body {
            BodyLength::Length(length) if !websocket => Some(length),
            _ => None,
        },
        te_trailers: head.te_trailers,
    };
    fields.keep(&mut told, rewrite.drop);

    let (mut text, mut target_end) = (BytesMut::new(), 0);
    if same.is_none() {
        text.reserve(head.len + 128);
        if !tunnel {
            put_target(&mut text, head, rewrite);
        }
        target_end = text.len();
        text.put_slice(host.as_bytes());
    }
    let used = text.len();
    let (mut target, mut built) = fields.build(text, used, told.len())?;
    told.write(&mut built)?;
    let uri = match same {
        Some(uri) => uri.clone(),
        None => {
            let host = target.split_off(target_end);
            new_uri(scheme, host, (!tunnel).then_some(target))?
        }
    };
    let mut outgoing = Box::new(Outgoing {
        message: Request::new(()),
        behind: None,
    });
    let request = &mut outgoing.message;
    *request.version_mut() = match uri.authority() {
        Some(_) => http::Version::HTTP_2,
        None => http::Version::HTTP_11,
    };
    *request.method_mut() = if websocket {
        Method::CONNECT
    } else {
        Method::from_bytes(head.method.as_bytes()).map_err(|_| Reason::BadMethod)?
    };
    *request.uri_mut() = uri;
    outgoing.behind = built.put(request);
    Ok(outgoing)
}

/// The URI of the request that came in, when nothing of it changes.
fn same_uri<'h>(
    head: &RequestHead<'h>,
    rewrite: &RequestRewrite<'_>,
    scheme: &str,
    host: &str,
) -> Option<&'h Uri> {
    let uri = &head.source?.uri;
    let target = uri.path_and_query()?.as_str();
    let path_and_query = head.path.len() + head.query.map_or(0, |query| query.len() + "?".len());
    let same = rewrite.target.is_none()
        && uri.scheme_str() == Some(scheme)
        && std::ptr::eq(uri.authority()?.as_str(), host)
        && target.as_ptr() == head.path.as_ptr()
        && target.len() == path_and_query;
    same.then_some(uri)
}

/// A URI of these parts; without a target for CONNECT.
fn new_uri(scheme: &str, host: Bytes, target: Option<Bytes>) -> Result<Uri, Reason> {
    let mut uri = http::uri::Parts::default();
    if !host.is_empty() {
        uri.authority = Some(Authority::from_maybe_shared(host).map_err(|_| Reason::BadHost)?);
    }
    if let Some(target) = target {
        uri.path_and_query = Some(path_and_query(target)?);
        uri.scheme = uri.authority.as_ref().map(|_| match scheme {
            "https" => Scheme::HTTPS,
            _ => Scheme::HTTP,
        });
    }
    Uri::from_parts(uri).map_err(|_| Reason::BadTarget)
}

fn response(
    head: &ResponseHead<'_>,
    body: ResponseBody,
    extra: &[(&str, &[u8])],
    date: Option<HeaderValue>,
) -> Result<Outgoing<Response<()>>, Reason> {
    let switched = head.status == 101;
    let mut fields = Fields {
        all: head.fields,
        source: head.source,
        drop: head.drop,
        extra,
        without: switched.then_some("sec-websocket-accept"),
    };
    let mut told = Told {
        length: match (body, head.declared) {
            // The end of the stream tells it, as it did where the response came from.
            (ResponseBody::Length(0), BodyLength::None) => None,
            // Chunked in spite of a length: until the stream ends, as trailers may follow.
            (ResponseBody::None | ResponseBody::Chunked, BodyLength::Length(length))
            | (ResponseBody::Length(length), _) => Some(length),
            _ => None,
        },
        te_trailers: false,
    };
    fields.keep(&mut told, FieldSet::EMPTY);
    let room = head.source.map_or(head.len, |_| 0);
    let more = told.len() + usize::from(date.is_some());
    let (_, mut built) = fields.build(BytesMut::with_capacity(room), 0, more)?;
    if let Some(date) = date {
        built.append(DATE, date)?;
    }
    told.write(&mut built)?;
    let status = if switched { 200 } else { head.status };
    let mut response = Response::new(());
    *response.version_mut() = http::Version::HTTP_2;
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Reason::BadStatusLine)?;
    Ok(Outgoing {
        behind: built.put(&mut response),
        message: response,
    })
}

/// What is said about the body, beside the fields that were received.
struct Told {
    length: Option<u64>,
    te_trailers: bool,
}

impl Told {
    /// Whether the field says it already, as we would; then it need not be said again.
    fn by(&mut self, field: &Field<'_>) -> bool {
        match (kind(field.name), self.length) {
            (Kind::ContentLength, Some(length)) => {
                let same = itoa::Buffer::new().format(length).as_bytes() == field.value;
                self.length = self.length.filter(|_| !same);
                same
            }
            (Kind::Te, _) => {
                let same = self.te_trailers && field.value == b"trailers";
                self.te_trailers &= !same;
                same
            }
            _ => false,
        }
    }

    /// How many fields it writes.
    fn len(&self) -> usize {
        usize::from(self.te_trailers) + usize::from(self.length.is_some())
    }

    fn write(self, built: &mut Built) -> Result<(), Reason> {
        if self.te_trailers {
            built.append(TE, HeaderValue::from_static("trailers"))?;
        }
        if let Some(length) = self.length {
            built.append(CONTENT_LENGTH, HeaderValue::from(length))?;
        }
        Ok(())
    }
}

/// The fields that were built.
enum Built {
    All(HeaderMap),
    /// What comes behind those of the source.
    Behind(Vec<(HeaderName, HeaderValue)>),
}

impl Built {
    fn append(&mut self, name: HeaderName, mut value: HeaderValue) -> Result<(), Reason> {
        mark(&name, &mut value);
        match self {
            Self::All(map) => map
                .try_append(name, value)
                .map(|_| ())
                .map_err(|_| Reason::TooManyFields),
            Self::Behind(fields) => {
                fields.push((name, value));
                Ok(())
            }
        }
    }

    /// Puts them into a message; returns those that come behind the fields it still lacks.
    fn put(self, message: &mut impl Message) -> Option<Vec<(HeaderName, HeaderValue)>> {
        match self {
            Self::All(map) => {
                *message.fields() = map;
                None
            }
            Self::Behind(fields) => Some(fields),
        }
    }
}

/// The fields of a message that goes out.
struct Fields<'a> {
    all: &'a [Field<'a>],
    /// What the first of `all`, or some of them, point into.
    source: Option<&'a HeaderMap>,
    drop: FieldSet,
    extra: &'a [(&'a str, &'a [u8])],
    /// A field that the HTTP/1 form of this message has and the HTTP/2 form has not.
    without: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Lets stay what would be written anew just as it is, and drops the `further` fields.
    fn keep(&mut self, told: &mut Told, further: FieldSet) {
        let mut drop = further;
        if !self.drop.is_empty() {
            for (index, field) in self.all.iter().enumerate() {
                if self.drop.contains(index) && (further.contains(index) || !told.by(field)) {
                    drop.insert(index);
                }
            }
        }
        self.drop = drop;
    }

    /// The fields, which point into `text`, behind the first `used` bytes, which are returned, and
    /// into the source. So many `more` will be appended.
    fn build(
        &self,
        mut text: BytesMut,
        used: usize,
        more: usize,
    ) -> Result<(Bytes, Built), Reason> {
        let whole = self.whole_source();
        let start = whole.map_or(0, HeaderMap::len);
        let copies = self.source.is_none();
        let mut count = more;
        for field in self.received(start) {
            if copies {
                text.put_slice(field.value);
            }
            count += 1;
        }
        for (_, value) in self.added() {
            text.put_slice(value);
            count += 1;
        }
        let mut text = text.freeze();
        let before = text.split_to(used.min(text.len()));
        let mut copied = |value: &[u8]| {
            let value = text.split_to(value.len().min(text.len()));
            HeaderValue::from_maybe_shared(value).map_err(|_| Reason::BadFieldValue)
        };
        let mut built = match whole {
            Some(_) => Built::Behind(Vec::with_capacity(count)),
            None => {
                let map = HeaderMap::try_with_capacity(count);
                Built::All(map.map_err(|_| Reason::TooManyFields)?)
            }
        };
        // The fields are in the order of the source, with others in between.
        let mut sources = self.source.filter(|_| whole.is_none()).map(HeaderMap::iter);
        for field in self.received(start) {
            let source = sources
                .as_mut()
                .and_then(|sources| sources.find(|source| is_from(field, *source)));
            match source {
                Some((name, value)) => built.append(name.clone(), value.clone())?,
                None if copies => built.append(name(field.name)?, copied(field.value)?)?,
                None => {
                    built.append(name(field.name)?, made(field.value)?)?;
                }
            }
        }
        for (added, value) in self.added() {
            built.append(name(added)?, copied(value)?)?;
        }
        Ok((before, built))
    }

    /// The source, when all of it passes, before everything else.
    fn whole_source(&self) -> Option<&'a HeaderMap> {
        let map = self.source.filter(|_| self.without.is_none())?;
        let first = self.all.get(..map.len())?;
        let passes =
            |(index, (field, source))| !self.drop.contains(index) && is_from(field, source);
        first.iter().zip(map).enumerate().all(passes).then_some(map)
    }

    /// The fields that are sent on of those from `start` on.
    fn received(&self, start: usize) -> impl Iterator<Item = &'a Field<'a>> {
        let passes = move |index: &usize| !self.drop.contains(*index);
        (start..)
            .zip(self.all.get(start..).unwrap_or_default())
            .filter(move |(index, field)| passes(index) && self.may_be_sent(field.name))
            .map(|(_, field)| field)
    }

    /// The extra fields. Whoever computed one, it must not break the message.
    fn added(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.extra
            .iter()
            .map(|(name, value)| (*name, trim(value)))
            .filter(|(name, value)| {
                is_token(name.as_bytes())
                    && is_value(value)
                    && matches!(kind(name), Kind::Other | Kind::Expect | Kind::Date)
                    && self.may_be_sent(name)
            })
    }

    fn may_be_sent(&self, name: &str) -> bool {
        self.without
            .is_none_or(|without| !name.eq_ignore_ascii_case(without))
    }
}

/// Whether the field was read from this name and value. Names that `http` knows have no address of
/// their own.
fn is_from(field: &Field<'_>, (name, value): (&HeaderName, &HeaderValue)) -> bool {
    std::ptr::eq(field.value, value.as_bytes()) && field.name == name.as_str()
}

/// Marks a value that the next message will hardly have again.
///
/// Such a value is sent as a literal that goes into no table (RFC 7541 section 6.2.3; `http` knows it
/// as sensitive). In the tables of both sides it would only push out what does come again, and the
/// library's encoder compares each new one with all that it has of the name: fifty, for ids.
fn mark(name: &HeaderName, value: &mut HeaderValue) {
    let name = name.as_str();
    let differs = match name.as_bytes() {
        [b'x', b'-', b'r', ..] => name == "x-request-id",
        [b'x', b'-', b'b', ..] => name.starts_with("x-b3-"),
        [b't', b'r', b'a', ..] => matches!(name, "traceparent" | "tracestate"),
        [b'g', b'r', b'p', ..] => name == "grpc-timeout",
        [b'b', ..] => name == "b3",
        _ => false,
    };
    if differs {
        value.set_sensitive(true);
    }
}

/// The name of a field that is not the source's: for most messages those that are made here or are
/// usual, which need not be checked and lowered each time.
fn name(name: &str) -> Result<HeaderName, Reason> {
    static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let usual = match name {
        "x-request-id" => REQUEST_ID.clone(),
        "x-forwarded-proto" => PROTO.clone(),
        // Of requests, as clients of HTTP/1 spell them.
        "Accept" => header::ACCEPT,
        "Accept-Encoding" => header::ACCEPT_ENCODING,
        "Accept-Language" => header::ACCEPT_LANGUAGE,
        "Authorization" => header::AUTHORIZATION,
        "Cookie" => header::COOKIE,
        "Referer" => header::REFERER,
        "User-Agent" => header::USER_AGENT,
        // Of responses, as servers do.
        "Cache-Control" => header::CACHE_CONTROL,
        "Content-Encoding" => header::CONTENT_ENCODING,
        "Content-Length" => header::CONTENT_LENGTH,
        "Content-Type" => header::CONTENT_TYPE,
        "Date" => header::DATE,
        "ETag" => header::ETAG,
        "Last-Modified" => header::LAST_MODIFIED,
        "Location" => header::LOCATION,
        "Server" => header::SERVER,
        "Set-Cookie" => header::SET_COOKIE,
        "Vary" => header::VARY,
        // Of both, as many write them today.
        "content-length" => header::CONTENT_LENGTH,
        "content-type" => header::CONTENT_TYPE,
        "date" => header::DATE,
        "server" => header::SERVER,
        _ => return HeaderName::from_bytes(name.as_bytes()).map_err(|_| Reason::BadFieldName),
    };
    Ok(usual)
}

/// Its value. A scheme is no copy.
fn made(value: &[u8]) -> Result<HeaderValue, Reason> {
    match value {
        b"http" => Ok(HeaderValue::from_static("http")),
        b"https" => Ok(HeaderValue::from_static("https")),
        _ => HeaderValue::from_bytes(value).map_err(|_| Reason::BadFieldValue),
    }
}

/// The target that is sent. Of a rewritten one the bytes that may not stand in it are encoded:
/// `http` would take a `#` as the end, and 8-bit bytes.
fn put_target(out: &mut BytesMut, head: &RequestHead<'_>, rewrite: &RequestRewrite<'_>) {
    match rewrite.target {
        Some(target) => put_encoded(out, target.as_bytes(), |byte| {
            byte.is_ascii_graphic() && byte != b'#'
        }),
        None => {
            out.put_slice(head.path.as_bytes());
            if let Some(query) = head.query {
                out.put_u8(b'?');
                out.put_slice(query.as_bytes());
            }
        }
    }
}

/// `http` refuses a few visible bytes, not the same ones in path and query.
fn path_and_query(target: Bytes) -> Result<PathAndQuery, Reason> {
    if target.len() > 0xfff0 {
        return Err(Reason::TargetTooLong);
    }
    if let Ok(target) = PathAndQuery::from_maybe_shared(target.clone()) {
        return Ok(target);
    }
    let mut encoded = BytesMut::with_capacity(target.len() + 32);
    put_encoded(&mut encoded, &target, |byte| {
        !matches!(byte, b'"' | b'<' | b'>' | b'`')
    });
    PathAndQuery::from_maybe_shared(encoded.freeze()).map_err(|_| Reason::BadTarget)
}

fn put_encoded(out: &mut BytesMut, text: &[u8], stays: impl Fn(u8) -> bool) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    for &byte in text {
        if stays(byte) {
            out.put_u8(byte);
        } else {
            out.put_slice(&[
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_what_they_are_read_as() {
        for usual in [
            "x-request-id",
            "x-forwarded-proto",
            "Accept",
            "Accept-Encoding",
            "Accept-Language",
            "Authorization",
            "Cookie",
            "Referer",
            "User-Agent",
            "Cache-Control",
            "Content-Encoding",
            "Content-Length",
            "Content-Type",
            "Date",
            "ETag",
            "Last-Modified",
            "Location",
            "Server",
            "Set-Cookie",
            "Vary",
            "content-length",
            "content-type",
            "date",
            "server",
            "X-Other",
        ] {
            let read = HeaderName::from_bytes(usual.as_bytes()).expect("a token");
            assert_eq!(name(usual), Ok(read));
        }
    }
}
