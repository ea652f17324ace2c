//! Trailer fields between the versions. What [`ChunkDecoder`] keeps is what passes here too.
//!
//! [`ChunkDecoder`]: crate::http1::ChunkDecoder

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http1::field::trim;
use crate::http1::trailers::may_be_trailer;
use crate::http1::{ChunkLimits, Field, Reason, is_token, is_value, write_last_chunk};

/// Trailers of a chunked body for an HTTP/2 stream. Fields that may not be trailers are left out.
#[must_use]
pub fn trailers_to_map<'d>(trailers: impl Iterator<Item = Field<'d>>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for field in trailers.filter(|field| may_be_trailer(field.name)) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.as_bytes()),
            HeaderValue::from_bytes(field.value),
        ) && map.try_append(name, value).is_err()
        {
            break; // thousands; what read them has stricter limits
        }
    }
    map
}

/// Takes out of the trailers of an HTTP/2 stream what may not be a trailer or is no valid field.
///
/// # Errors
///
/// Over the limits that trailers of chunked bodies have.
pub fn retain_trailers(map: &mut HeaderMap, limits: &ChunkLimits) -> Result<(), Reason> {
    if map.len() > limits.max_trailer_fields {
        return Err(Reason::TooManyTrailers);
    }
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 2;
    if map.iter().map(size).sum::<usize>() > limits.max_trailer_bytes {
        return Err(Reason::TrailersTooLarge);
    }
    let passes =
        |name: &HeaderName| is_token(name.as_str().as_bytes()) && may_be_trailer(name.as_str());
    let bad: Vec<HeaderName> = map.keys().filter(|name| !passes(name)).cloned().collect();
    for name in bad {
        map.remove(name);
    }
    Ok(())
}

/// Appends the last chunk of an HTTP/1 body with the trailers of an HTTP/2 stream. Fields that may
/// not be trailers are left out.
pub fn write_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    let fields = trailers.iter().map(|(name, value)| Field {
        name: name.as_str(),
        value: trim(value.as_bytes()),
    });
    write_last_chunk(
        out,
        fields.filter(|field| may_be_trailer(field.name) && is_value(field.value)),
    );
}
