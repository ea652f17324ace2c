//! Messages going out, built from the parsed form.
//!
//! All values, the path and the authority are copied into one buffer that the message then points
//! into: one allocation instead of one for each value. Names that `http` knows cost none. From
//! HTTP/2 to HTTP/2 not even that: names and values are shared.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TE};
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
    request(head, None, rewrite, scheme, body, extra).map_err(Refusal::request)
}

/// As [`to_request`], for a head that [`request_head`](super::request_head) made of `fields`: the
/// fields that pass are shared with the request that came in, not copied.
///
/// # Errors
///
/// As [`to_request`].
pub fn forward_request(
    head: &RequestHead<'_>,
    fields: &HeaderMap,
    rewrite: &RequestRewrite<'_>,
    scheme: &str,
    body: BodyLength,
    extra: &[(&str, &[u8])],
) -> Result<Request<()>, Refusal> {
    request(head, Some(fields), rewrite, scheme, body, extra).map_err(Refusal::request)
}

/// Builds what [`write_response`](crate::http1::write_response) writes, for an HTTP/2 client.
///
/// With [`ResponseBody::None`] the length that a HEAD or 304 answer tells is passed on. A 101
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
    response(head, None, body, extra).map_err(Refusal::response)
}

/// As [`to_response`], for a head that [`response_head`](super::response_head) made of `fields`,
/// which are shared.
///
/// # Errors
///
/// As [`to_response`].
pub fn forward_response(
    head: &ResponseHead<'_>,
    fields: &HeaderMap,
    body: ResponseBody,
    extra: &[(&str, &[u8])],
) -> Result<Response<()>, Refusal> {
    response(head, Some(fields), body, extra).map_err(Refusal::response)
}

fn request(
    head: &RequestHead<'_>,
    shared: Option<&HeaderMap>,
    rewrite: &RequestRewrite<'_>,
    scheme: &str,
    body: BodyLength,
    extra: &[(&str, &[u8])],
) -> Result<Request<()>, Reason> {
    let websocket = matches!(rewrite.connection, ConnectionOption::Upgrade(protocols)
        if protocols.eq_ignore_ascii_case("websocket"));
    let fields = Fields {
        all: head.fields,
        shared: shared.filter(|map| map.len() == head.fields.len()),
        drop: head.drop.union(rewrite.drop),
        extra,
        without: websocket.then_some("sec-websocket-key"),
    };
    let host = rewrite
        .host
        .filter(|host| is_value(host.as_bytes()))
        .or(head.host)
        .unwrap_or_default();
    let tunnel = head.method == "CONNECT" && !websocket;

    let mut text = BytesMut::with_capacity(head.len + 128);
    if !tunnel {
        put_target(&mut text, head, rewrite);
    }
    let target_end = text.len();
    text.put_slice(host.as_bytes());
    let (mut text, mut map) = fields.build(text, target_end + host.len())?;
    let host = text.split_off(target_end);
    let target = text;
    if head.te_trailers {
        append(&mut map, TE, HeaderValue::from_static("trailers"))?;
    }
    if let (BodyLength::Length(length), false) = (body, websocket) {
        append(&mut map, CONTENT_LENGTH, HeaderValue::from(length))?;
    }

    let mut uri = http::uri::Parts::default();
    if !host.is_empty() {
        uri.authority = Some(Authority::from_maybe_shared(host).map_err(|_| Reason::BadHost)?);
    }
    if !tunnel {
        uri.path_and_query = Some(path_and_query(target)?);
        uri.scheme = uri.authority.as_ref().map(|_| match scheme {
            "https" => Scheme::HTTPS,
            _ => Scheme::HTTP,
        });
    }
    let mut request = Request::new(());
    *request.version_mut() = match uri.authority {
        Some(_) => http::Version::HTTP_2,
        None => http::Version::HTTP_11,
    };
    *request.method_mut() = if websocket {
        Method::CONNECT
    } else {
        Method::from_bytes(head.method.as_bytes()).map_err(|_| Reason::BadMethod)?
    };
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Reason::BadTarget)?;
    *request.headers_mut() = map;
    Ok(request)
}

fn response(
    head: &ResponseHead<'_>,
    shared: Option<&HeaderMap>,
    body: ResponseBody,
    extra: &[(&str, &[u8])],
) -> Result<Response<()>, Reason> {
    let switched = head.status == 101;
    let fields = Fields {
        all: head.fields,
        shared: shared.filter(|map| map.len() == head.fields.len()),
        drop: head.drop,
        extra,
        without: switched.then_some("sec-websocket-accept"),
    };
    let (_, mut map) = fields.build(BytesMut::with_capacity(head.len), 0)?;
    match (body, head.declared) {
        // The end of the stream tells it, as it did where the response came from.
        (ResponseBody::Length(0), BodyLength::None) => {}
        (ResponseBody::None, BodyLength::Length(length)) | (ResponseBody::Length(length), _) => {
            append(&mut map, CONTENT_LENGTH, HeaderValue::from(length))?;
        }
        _ => {}
    }
    let status = if switched { 200 } else { head.status };
    let mut response = Response::new(());
    *response.version_mut() = http::Version::HTTP_2;
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Reason::BadStatusLine)?;
    *response.headers_mut() = map;
    Ok(response)
}

/// The fields of a message that goes out.
struct Fields<'a> {
    all: &'a [Field<'a>],
    /// What `all` points into, field by field.
    shared: Option<&'a HeaderMap>,
    drop: FieldSet,
    extra: &'a [(&'a str, &'a [u8])],
    /// A field that the HTTP/1 form of this message has and the HTTP/2 form has not.
    without: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Whether the received field at `index` is sent on.
    fn passes(&self, index: usize, name: &str) -> bool {
        !self.drop.contains(index) && self.may_be_sent(name)
    }

    fn may_be_sent(&self, name: &str) -> bool {
        self.without
            .is_none_or(|without| !name.eq_ignore_ascii_case(without))
    }

    /// The fields of which the value is copied: those received unless they are shared, then the
    /// extra ones. Whoever computed an extra field, it must not break the message.
    fn copied(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let received = match self.shared {
            Some(_) => &[],
            None => self.all,
        };
        let received = received
            .iter()
            .enumerate()
            .filter(|(index, field)| self.passes(*index, field.name))
            .map(|(_, field)| (field.name, field.value));
        let extra = self
            .extra
            .iter()
            .map(|(name, value)| (*name, trim(value)))
            .filter(|(name, value)| {
                is_token(name.as_bytes())
                    && is_value(value)
                    && matches!(kind(name), Kind::Other | Kind::Expect)
                    && self.may_be_sent(name)
            });
        received.chain(extra)
    }

    /// The fields as a map that points into `text`, behind the first `used` bytes, which are
    /// returned. There is room for two more fields.
    fn build(&self, mut text: BytesMut, used: usize) -> Result<(Bytes, HeaderMap), Reason> {
        let mut count = 2 + self.shared.map_or(0, HeaderMap::len);
        for (_, value) in self.copied() {
            text.put_slice(value);
            count += 1;
        }
        let mut values = text.freeze();
        let text = values.split_to(used.min(values.len()));
        let mut map = HeaderMap::try_with_capacity(count).map_err(|_| Reason::TooManyFields)?;
        let shared = self.shared.into_iter().flatten().enumerate();
        for (_, (name, value)) in
            shared.filter(|(index, (name, _))| self.passes(*index, name.as_str()))
        {
            append(&mut map, name.clone(), value.clone())?;
        }
        for (name, value) in self.copied() {
            let value = values.split_to(value.len().min(values.len()));
            append(
                &mut map,
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| Reason::BadFieldName)?,
                HeaderValue::from_maybe_shared(value).map_err(|_| Reason::BadFieldValue)?,
            )?;
        }
        Ok((text, map))
    }
}

fn append(map: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<(), Reason> {
    map.try_append(name, value)
        .map(|_| ())
        .map_err(|_| Reason::TooManyFields)
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
