//! Path normalisation, applied once before matching, so that routing, logs and the backend see one
//! and the same path.
//!
//! Mode BASE of Istio's mesh setting (PS-80): dot segments are resolved (RFC 3986 section 5.2.4)
//! and `\` counts as `/`; repeated slashes are kept. Nothing is percent-decoded, except that an
//! escaped dot counts as a dot where it makes a dot segment, since backends decode before they
//! resolve.
use crate::http1::{Reason, Refusal};
use std::borrow::Cow;

/// The path as everybody downstream sees it. Borrowed where nothing had to change.
///
/// # Errors
/// 400 when a `%` is not followed by two hexadecimal digits or stands for NUL: such a path means
/// different things to different readers.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, Refusal> {
    let bytes = path.as_bytes();
    if memchr::memchr(b'%', bytes).is_some() && !escapes_are_sound(bytes) {
        return Err(Refusal::request(Reason::BadTarget));
    }
    if !path.starts_with('/') || !may_have_dots(bytes) {
        return Ok(Cow::Borrowed(path));
    }
    let unified = path.replace('\\', "/");
    let mut out: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in unified.split('/').skip(1) {
        ends_in_directory = true;
        match dots(segment) {
            Some(1) => {}
            Some(_) => {
                out.pop();
            }
            None => {
                out.push(segment);
                ends_in_directory = false;
            }
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &out {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_in_directory || normal.is_empty() {
        normal.push('/');
    }
    Ok(Cow::Owned(normal))
}

/// A cheap look that is right for almost every path: no `/.`, no `/%2e`, no backslash.
fn may_have_dots(bytes: &[u8]) -> bool {
    memchr::memchr(b'\\', bytes).is_some()
        || memchr::memchr_iter(b'/', bytes).any(|at| {
            matches!(
                bytes.get(at + 1..),
                Some([b'.', ..] | [b'%', b'2', b'e' | b'E', ..])
            )
        })
}

/// Is the segment one or two dots, escaped or not?
fn dots(segment: &str) -> Option<usize> {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').or_else(|| {
            rest.strip_prefix("%2e")
                .or_else(|| rest.strip_prefix("%2E"))
        })?;
        count += 1;
    }
    (1..=2).contains(&count).then_some(count)
}

fn escapes_are_sound(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes).all(|at| {
        matches!(
            bytes.get(at + 1..at + 3),
            Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()
                && !(*high == b'0' && *low == b'0')
        )
    })
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn dot_segments_are_resolved_and_slashes_kept() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/./a/../a", "/a"),
            ("/a//b", "/a//b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a\\..\\b", "/b"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%2fb", "/a%2fb"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normalize(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn unsound_escapes_are_refused() {
        for path in ["/%", "/%2", "/%zz", "/a%00b", "/%2e%2"] {
            assert_eq!(normalize(path).unwrap_err().status, 400, "{path}");
        }
    }

    #[test]
    fn normalizing_twice_changes_nothing_more() {
        for path in [
            "/a/./b//../c",
            "/x/../../y/.",
            "/%2e/..//z",
            "\\/..",
            "/a/b/../..",
        ] {
            if let Ok(once) = normalize(path) {
                assert_eq!(normalize(&once).unwrap(), once, "{path}");
            }
        }
    }
}
