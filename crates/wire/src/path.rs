//! Path normalisation, applied once before matching, so that routing, logs and the backend see one
//! and the same path.
//!
//! The modes are those of Istio's mesh setting (PS-80). What backends take for one path becomes one
//! before rules see it: a rule about a path would not hold for its other spellings. Every mode leaves
//! alone what it made: normalising twice changes nothing more.
use crate::http1::{Reason, Refusal};
use std::borrow::Cow;

/// How much is made equal (`pathNormalization.normalization` of Istio's MeshConfig, PS-80). Each
/// mode does what the one before does, and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Normalization {
    /// `NONE`: the path stays as it was sent.
    None,
    /// `BASE`: unreserved characters are decoded (RFC 3986 section 6.2.2.2), characters that no
    /// path has are escaped, `\` counts as `/`, and dot segments are resolved (section 5.2.4), with
    /// parameters too (`..;x`); repeated slashes are kept.
    #[default]
    Base,
    /// `MERGE_SLASHES`: repeated slashes become one, after dot segments are resolved.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: `%2f` and `%5c` become slashes before anything else.
    DecodeAndMergeSlashes,
}

/// Visible ASCII that no path has unescaped (RFC 3986 section 3.3), as Envoy has it: `[` and `]`
/// stay. A pattern, so that the look at every path is one.
macro_rules! forbidden {
    () => {
        b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}'
    };
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
    let special = |any, byte: &u8| any | matches!(byte, b'%' | b'\\' | b'.' | forbidden!());
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
    normal = then(normal, settle_escapes);
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

/// Unreserved characters as themselves, and forbidden ones escaped. All other escapes stay as they
/// are written: they may mean something else than what they stand for.
fn settle_escapes(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let unreserved = memchr::memchr_iter(b'%', bytes).any(|at| {
        let escape = bytes.get(at..).unwrap_or_default();
        unescape(escape).is_some()
    });
    if !unreserved && !bytes.iter().any(|byte| matches!(byte, forbidden!())) {
        return None;
    }
    let mut settled = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest
        .bytes()
        .position(|byte| matches!(byte, b'%' | forbidden!()))
    {
        let (before, after) = rest.split_at(at);
        settled.push_str(before);
        let len = if after.starts_with('%') { 3 } else { 1 };
        let (one, after) = after.split_at_checked(len).unwrap_or((after, ""));
        match (unescape(one.as_bytes()), one.as_bytes()) {
            (Some(unreserved), _) => settled.push(char::from(unreserved)),
            (None, [forbidden]) => push_escape(&mut settled, *forbidden),
            (None, _) => settled.push_str(one),
        }
        rest = after;
    }
    settled.push_str(rest);
    Some(settled)
}

/// The unreserved character (RFC 3986 section 2.3) that the escape at the beginning stands for.
fn unescape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')).then_some(byte)
}

fn push_escape(path: &mut String, byte: u8) {
    path.push('%');
    for digit in [byte >> 4, byte & 0xf] {
        path.extend(char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()));
    }
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

/// A cheap look that is right for almost every path: no `/.`, no backslash.
fn may_have_dots(bytes: &[u8]) -> bool {
    memchr::memchr(b'\\', bytes).is_some() || memchr::memmem::find(bytes, b"/.").is_some()
}

/// Is the segment one or two dots? Its parameters do not count: servers that know them drop them
/// before they resolve (`/public/..;/admin`).
fn dots(segment: &str) -> Option<usize> {
    match segment.split(';').next() {
        Some(".") => Some(1),
        Some("..") => Some(2),
        _ => None,
    }
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
            // With parameters.
            ("/a/..;/b", "/b"),
            ("/a/.;x/b", "/a/b"),
            ("/a/..;x=1", "/"),
            ("/a/.;..;/b", "/a/b"),
            // Envoy leaves `/a/..;/b` of it, of which it makes `/b`.
            ("/a/%2e%2e;/b", "/b"),
            ("/a;x/..b;/...;/;/", "/a;x/..b;/...;/;/"),
            ("/a/..%3b/b", "/a/..%3b/b"),
            ("/a%2fb", "/a%2fb"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normalize(path, Base).unwrap(), expected, "{path}");
            assert_eq!(normalize(path, None).unwrap(), path);
        }
    }

    /// PS-80, RFC 3986 section 6.2.2.2: what is unreserved has one spelling, and so has what must be
    /// escaped.
    #[test]
    fn escapes_are_as_they_must_be() {
        for (path, expected) in [
            ("/%61dmin", "/admin"),
            ("/%41%5A%7a%30%39%2D%2e%5f%7E", "/AZz09-._~"),
            ("/x%2Eyml", "/x.yml"),
            ("/\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D"),
            ("/%22%3c%3C", "/%22%3c%3C"),
            (
                "/%2a%2A%3b%25%20%23%3f%c3%a9%7f%0a%5B%40%60",
                "/%2a%2A%3b%25%20%23%3f%c3%a9%7f%0a%5B%40%60",
            ),
            ("/!$&'()*+,;=:@[]", "/!$&'()*+,;=:@[]"),
            ("/%2561", "/%2561"),
            ("/%252e%252e/a", "/%252e%252e/a"),
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
                ["/a/%2f%2e%2e", "/a/%2f..", "/a/%2f..", "/a/"],
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
                    ";", "%3b", "%61", "%25", "61", "<", "%3C", "|",
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
                    assert!(!once.contains(['<', '|']) && !once.contains("%61"), "{path} {once}");
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
