//! Requests coming in.

use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri};

use super::fields::{self, FieldSlots};
use crate::http1::field::Kind;
use crate::http1::framing::Framing;
use crate::http1::host;
use crate::http1::{
    BodyLength, FieldSet, HeadLimits, MAX_METHOD, Reason, Refusal, RequestHead, Upgrade, Version,
    is_token, is_valid_host, is_valid_path, split_query,
};

/// Joins several `cookie` fields to one, as everything but HTTP/2 expects them (RFC 9113 section
/// 8.2.3). Do it before [`request_head`].
pub fn join_cookies(fields: &mut HeaderMap) {
    let mut crumbs = fields.get_all(COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let mut joined = Vec::new();
    // One of nothing would leave a blank at the end, which no value has.
    for crumb in fields.get_all(COOKIE).iter().filter(|it| !it.is_empty()) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Valid values joined by visible bytes are one.
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        fields.insert(COOKIE, joined);
    }
}

/// The request as the HTTP/1 codec would have read it; see [`http2`](super).
///
/// `protocol` is the `:protocol` of an extended CONNECT (RFC 8441). With `websocket` the request
/// reads as the GET with an upgrade that it stands for in HTTP/1 (RFC 8441 section 5). `end_stream`
/// says that the stream ends with the head; otherwise a body without a length is
/// [`BodyLength::Chunked`]. CONNECT of both kinds has no body: what follows is the tunnel's.
///
/// # Errors
///
/// [`Refusal`] with the status to answer the stream with.
pub fn request_head<'h, 'b: 'h>(
    request: &'b Parts,
    protocol: Option<&str>,
    end_stream: bool,
    slots: &'h mut FieldSlots<'b>,
    limits: &HeadLimits,
) -> Result<RequestHead<'h>, Refusal> {
    read(request, protocol, end_stream, slots, limits).map_err(Refusal::request)
}

fn read<'h, 'b: 'h>(
    request: &'b Parts,
    protocol: Option<&str>,
    end_stream: bool,
    slots: &'h mut FieldSlots<'b>,
    limits: &HeadLimits,
) -> Result<RequestHead<'h>, Reason> {
    let method = request.method.as_str();
    if method.len() > MAX_METHOD {
        return Err(Reason::MethodTooLong);
    }
    if !is_token(method.as_bytes()) {
        return Err(Reason::BadMethod);
    }
    let connect = method == "CONNECT";
    let websocket = match protocol {
        None => false,
        Some(protocol) if connect && protocol.eq_ignore_ascii_case("websocket") => true,
        Some(_) => return Err(Reason::UnknownProtocol),
    };
    let authority = authority(&request.uri)?;
    let target = if connect && !websocket {
        authority_form(&request.uri)?
    } else {
        origin_form(&request.uri, method, limits)?
    };

    let mut framing = Framing::default();
    let mut drop = FieldSet::EMPTY;
    let mut host_field = None;
    let (mut expects, mut te_trailers) = (false, false);
    let size = fields::read(&request.headers, slots, limits, |index, kind, value| {
        match kind {
            Kind::Host => {
                let value = text(value).filter(|value| is_valid_host(value.as_bytes()));
                if host_field.replace(value.ok_or(Reason::BadHost)?).is_some() {
                    return Err(Reason::DuplicateHost);
                }
            }
            Kind::ContentLength => framing.content_length(value)?,
            Kind::Te if value.eq_ignore_ascii_case(b"trailers") => te_trailers = true,
            Kind::Te => return Err(Reason::BadTe),
            Kind::Expect => {
                expects |= value.eq_ignore_ascii_case(b"100-continue");
                return Ok(()); // the backend answers (PS-83)
            }
            _ => return Ok(()),
        }
        drop.insert(index);
        Ok(())
    })?;
    let host = match (authority, host_field) {
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            return Err(Reason::AuthorityMismatch);
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(Reason::MissingHost),
    };
    let body = match (framing.finish(Version::Http2)?, end_stream) {
        (BodyLength::Length(1..), _) if connect => return Err(Reason::LengthWithoutBody),
        _ if connect => BodyLength::None,
        (BodyLength::Length(1..), true) => return Err(Reason::LengthWithoutBody),
        (BodyLength::None, false) => BodyLength::Chunked,
        (body, _) => body,
    };

    let method = if websocket { "GET" } else { method };
    let first_line = method.len() + target.len() + "  HTTP/1.1\r\n".len();
    let host_line = match host_field {
        Some(_) => 0, // among the fields
        None => "Host: \r\n".len() + host.len(),
    };
    let len = first_line + host_line + size + "\r\n".len();
    if len > limits.max_bytes {
        return Err(Reason::HeadTooLarge);
    }
    let (path, query) = if connect && !websocket {
        ("", None)
    } else {
        split_query(target)
    };
    let empty = matches!(body, BodyLength::None | BodyLength::Length(0));
    Ok(RequestHead {
        method,
        target,
        version: Version::Http2,
        fields: slots,
        bytes: b"",
        len,
        body,
        keep_alive: true,
        host: Some(host),
        path,
        query,
        expect_continue: expects && !empty,
        upgrade: websocket.then_some(Upgrade {
            protocols: "websocket",
        }),
        te_trailers,
        drop,
        source: Some(request),
    })
}

/// `:authority`, valid by [`is_valid_host`]: no user information (RFC 9113 section 8.3.1).
fn authority(uri: &Uri) -> Result<Option<&str>, Reason> {
    match uri.authority() {
        Some(authority) if is_valid_host(authority.as_str().as_bytes()) => {
            Ok(Some(authority.as_str()))
        }
        Some(_) => Err(Reason::BadHost),
        None => Ok(None),
    }
}

/// The target of CONNECT: an authority with a port, and nothing else (RFC 9113 section 8.5).
fn authority_form(uri: &Uri) -> Result<&str, Reason> {
    let target = uri.authority().ok_or(Reason::BadTarget)?.as_str();
    match host::split(target.as_bytes()) {
        Some((_, Some(_))) if uri.scheme().is_none() && uri.path().is_empty() => Ok(target),
        _ => Err(Reason::BadTarget),
    }
}

/// `:path`, with a look at `:scheme`.
fn origin_form<'b>(uri: &'b Uri, method: &str, limits: &HeadLimits) -> Result<&'b str, Reason> {
    match uri.scheme_str() {
        Some(scheme)
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {}
        None if uri.authority().is_none() => {} // `http` knows no scheme without an authority
        _ => return Err(Reason::BadScheme),
    }
    // A path that is missing shows as `/` in the whole and as nothing in the part.
    let target = match uri.path_and_query() {
        Some(target) if !uri.path().is_empty() => target.as_str(),
        _ => return Err(Reason::BadTarget),
    };
    if target.len() > limits.max_target {
        return Err(Reason::TargetTooLong);
    }
    if is_valid_path(target.as_bytes()) || (target == "*" && method == "OPTIONS") {
        Ok(target)
    } else {
        Err(Reason::BadTarget)
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}
