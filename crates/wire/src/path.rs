//! Path normalisation, applied once before matching, so that routing, logs and the backend see one
//! and the same path.
//!
//! The modes are those of Istio's mesh setting (PS-80). Nothing is percent-decoded beside what a
//! mode names, except that an escaped dot counts as a dot where it makes a dot segment, since
//! backends decode before they resolve. Every mode leaves alone what it made: normalising twice
//! changes nothing more.
use crate::http1::{Reason, Refusal};
use std::borrow::Cow;

/// How much is made equal (`pathNormalization.normalization` of Istio's MeshConfig, PS-80). Each
/// mode does what the one before does, and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Normalization {
    /// `NONE`: the path stays as it was sent.
    None,
    /// `BASE`: dot segments are resolved (RFC 3986 section 5.2.4) and `\` counts as `/`; repeated
    /// slashes are kept.
    #[default]
    Base,
    /// `MERGE_SLASHES`: repeated slashes become one, after dot segments are resolved.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: `%2f` and `%5c` become slashes before anything else.
    DecodeAndMergeSlashes,
}

/// The path as everybody downstream sees it. Borrowed where nothing had to change. Only paths that
/// begin with `/` are changed: not `*`, and not the empty path of CONNECT.
///
/// # Errors
/// 400 in every mode when a `%` is not followed by two hexadecimal digits or stands for NUL: such a
/// path means different things to different readers.
pub fn normalize(path: &str, mode: Normalization) -> Result<Cow<'_, str>, Refusal> {
    let bytes = path.as_bytes();
    // Most paths have nothing that any of this is about. Without an early end, so that many bytes
    // are compared at once.
    let special = |any, byte: &u8| any | matches!(byte, b'%' | b'\\' | b'.');
    if mode <= Normalization::Base && !bytes.iter().fold(false, special) {
        return Ok(Cow::Borrowed(path));
    }
    let escapes = memchr::memchr(b'%', bytes).is_some();
    if escapes && !escapes_are_sound(bytes) {
        return Err(Refusal::request(Reason::BadTarget));
    }
    if mode == Normalization::None || !path.starts_with('/') {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = Cow::Borrowed(path);
    if escapes && mode == Normalization::DecodeAndMergeSlashes {
        normal = then(normal, decode_slashes);
    }
    normal = then(normal, resolve_dots);
    // In this order as Envoy does it: `/a//../b` is `/a/b`, since the empty segment is a segment.
    if mode >= Normalization::MergeSlashes {
        normal = then(normal, merge_slashes);
    }
    Ok(normal)
}

/// One step after another; a step says `None` when nothing is to be done.
fn then<'p>(path: Cow<'p, str>, step: fn(&str) -> Option<String>) -> Cow<'p, str> {
    match step(&path) {
        Some(changed) => Cow::Owned(changed),
        None => path,
    }
}

fn decode_slashes(path: &str) -> Option<String> {
    let slash = |escape: &[u8]| {
        matches!(
            escape,
            [b'%', b'2', b'f' | b'F'] | [b'%', b'5', b'c' | b'C']
        )
    };
    if !path.as_bytes().windows(3).any(slash) {
        return None;
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest.as_bytes()) {
        let (before, after) = rest.split_at(at);
        decoded.push_str(before);
        let (escape, after) = after.split_at_checked(3).unwrap_or((after, ""));
        decoded.push_str(if slash(escape.as_bytes()) {
            "/"
        } else {
            escape
        });
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}

fn merge_slashes(path: &str) -> Option<String> {
    memchr::memmem::find(path.as_bytes(), b"//")?;
    let mut merged = String::with_capacity(path.len());
    for piece in path.split_inclusive('/') {
        if piece != "/" || merged.is_empty() {
            merged.push_str(piece);
        }
    }
    Some(merged)
}

fn resolve_dots(path: &str) -> Option<String> {
    if !may_have_dots(path.as_bytes()) {
        return None;
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
    Some(normal)
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
    use super::Normalization::{self, Base, DecodeAndMergeSlashes, MergeSlashes, None};
    use super::normalize;

    const MODES: [Normalization; 4] = [None, Base, MergeSlashes, DecodeAndMergeSlashes];

    /// PS-80.
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
            assert_eq!(normalize(path, Base).unwrap(), expected, "{path}");
            assert_eq!(normalize(path, None).unwrap(), path);
        }
    }

    /// PS-80: NONE, BASE, MERGE_SLASHES and DECODE_AND_MERGE_SLASHES, from left to right.
    #[test]
    fn modes_make_ever_more_equal() {
        for (path, expected) in [
            ("/a//b", ["/a//b", "/a//b", "/a/b", "/a/b"]),
            ("//", ["//", "//", "/", "/"]),
            ("///a///", ["///a///", "///a///", "/a/", "/a/"]),
            ("/a\\/b", ["/a\\/b", "/a//b", "/a/b", "/a/b"]),
            ("/a//../b", ["/a//../b", "/a/b", "/a/b", "/a/b"]),
            ("/a%2Fb", ["/a%2Fb", "/a%2Fb", "/a%2Fb", "/a/b"]),
            (
                "/a%5cb%2f",
                ["/a%5cb%2f", "/a%5cb%2f", "/a%5cb%2f", "/a/b/"],
            ),
            (
                "/a/%2f%2e%2e",
                ["/a/%2f%2e%2e", "/a/%2f%2e%2e", "/a/%2f%2e%2e", "/a/"],
            ),
            ("/a%252fb", ["/a%252fb", "/a%252fb", "/a%252fb", "/a%252fb"]),
            ("/%2541", ["/%2541", "/%2541", "/%2541", "/%2541"]),
            ("%2f", ["%2f", "%2f", "%2f", "%2f"]),
        ] {
            for (mode, expected) in MODES.into_iter().zip(expected) {
                assert_eq!(normalize(path, mode).unwrap(), expected, "{path} {mode:?}");
            }
        }
    }

    #[test]
    fn unsound_escapes_are_refused_in_every_mode() {
        for path in ["/%", "/%2", "/%zz", "/a%00b", "/%2e%2", "/%%2f", "*%00"] {
            for mode in MODES {
                assert_eq!(normalize(path, mode).unwrap_err().status, 400, "{path}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn normalizing_twice_changes_nothing_more(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "/", "\\", ".", "..", "a", "%2e", "%2E", "%2f", "%2F", "%5c", "%5C", "%25", "2f", "5c",
                ]),
                0..12,
            ),
        ) {
            let path = format!("/{}", pieces.concat());
            for mode in MODES {
                let once = normalize(&path, mode).unwrap();
                assert!(once.starts_with('/'));
                assert_eq!(normalize(&once, mode).unwrap(), once, "{path} {mode:?}");
                let segments = || once.split('/');
                if mode >= Base {
                    assert!(!segments().any(|it| super::dots(it).is_some()), "{path} {once}");
                    assert!(!once.contains('\\'));
                }
                if mode >= MergeSlashes {
                    assert!(!once.contains("//"), "{path} {once}");
                }
                if mode == DecodeAndMergeSlashes {
                    let lower = once.to_ascii_lowercase();
                    assert!(!lower.contains("%2f") && !lower.contains("%5c"), "{path} {once}");
                }
            }
        }
    }
}
