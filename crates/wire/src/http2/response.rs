//! Responses coming in.

use http::{HeaderMap, StatusCode};

use super::fields::{self, FieldSlots};
use crate::http1::field::Kind;
use crate::http1::framing::Framing;
use crate::http1::{
    BodyLength, FieldSet, HeadLimits, Reason, Refusal, RequestKind, ResponseBody, ResponseHead,
    Version, reason_phrase,
};

/// The response as the HTTP/1 codec would have read it; see [`http2`](super).
///
/// `request` is what it answers; [`RequestKind::Connect`] for an extended CONNECT too. `end_stream`
/// says that the stream ends with the head; otherwise a body without a length is
/// [`ResponseBody::Chunked`].
///
/// # Errors
///
/// [`Refusal`], always with status 502. Beside what HTTP/1 refuses: status 101, an interim response
/// that ends the stream (RFC 9113 sections 8.1 and 8.6), and a stream that ends before the length
/// the head tells.
pub fn response_head<'h, 'b: 'h>(
    status: StatusCode,
    map: &'b HeaderMap,
    end_stream: bool,
    slots: &'h mut FieldSlots<'b>,
    limits: &HeadLimits,
    request: RequestKind,
) -> Result<ResponseHead<'h>, Refusal> {
    read(status.as_u16(), map, end_stream, slots, limits, request).map_err(Refusal::response)
}

fn read<'h, 'b: 'h>(
    status: u16,
    map: &'b HeaderMap,
    end_stream: bool,
    slots: &'h mut FieldSlots<'b>,
    limits: &HeadLimits,
    request: RequestKind,
) -> Result<ResponseHead<'h>, Reason> {
    if status == 101 || (status < 200 && end_stream) {
        return Err(Reason::BadInterim);
    }
    let mut framing = Framing::default();
    let mut drop = FieldSet::EMPTY;
    let mut date = None;
    let size = fields::read(map, slots, limits, |index, kind, value| {
        match kind {
            Kind::ContentLength => framing.content_length(value)?,
            // Only requests may have it (RFC 9113 section 8.2.2).
            Kind::Te => return Err(Reason::ConnectionField),
            Kind::Date => {
                date = Some(index);
                return Ok(());
            }
            // `Host` and `Expect` mean nothing in a response.
            _ => return Ok(()),
        }
        drop.insert(index);
        Ok(())
    })?;
    let reason = reason_phrase(status);
    let len = "HTTP/1.1 200 \r\n".len() + reason.len() + size + "\r\n".len();
    if len > limits.max_bytes {
        return Err(Reason::HeadTooLarge);
    }
    let declared = framing.finish(Version::Http2)?;
    let bare =
        matches!(status, 100..=199 | 204) || (request == RequestKind::Connect && status / 100 == 2);
    let body = match declared {
        _ if bare || status == 304 || request == RequestKind::Head => ResponseBody::None,
        BodyLength::Length(1..) if end_stream => return Err(Reason::LengthWithoutBody),
        BodyLength::Length(length) => ResponseBody::Length(length),
        // An empty body, as opposed to none: HTTP/1 needs the length to be told.
        BodyLength::None if end_stream => ResponseBody::Length(0),
        BodyLength::None | BodyLength::Chunked => ResponseBody::Chunked,
    };
    Ok(ResponseHead {
        version: Version::Http2,
        status,
        reason,
        fields: slots,
        bytes: b"",
        len,
        body,
        declared: if bare { BodyLength::None } else { declared },
        keep_alive: true,
        upgrade: None,
        date,
        drop,
        source: Some(map),
    })
}
