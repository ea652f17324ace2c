//! The four forms of a request target (RFC 9112 section 3.2).

use super::{Reason, host};

/// A target taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// From absolute-form and authority-form; it replaces the `Host` field (PS-82).
    pub(super) authority: Option<&'b str>,
    /// What routes match: begins with `/`, or is `*`, or is empty for CONNECT.
    pub(super) path: &'b str,
    pub(super) query: Option<&'b str>,
}

/// Takes the target of a `method` request apart.
pub(super) fn parse<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Reason> {
    if !is_visible(target.as_bytes()) {
        return Err(if target.contains('#') {
            Reason::FragmentInTarget
        } else {
            Reason::BadTarget
        });
    }
    if method == "CONNECT" {
        return match host::split(target.as_bytes()) {
            Some((_, Some(_))) => Ok(Target {
                authority: Some(target),
                path: "",
                query: None,
            }),
            _ => Err(Reason::BadTarget),
        };
    }
    if target.starts_with('/') {
        let (path, query) = split_query(target);
        return Ok(Target {
            authority: None,
            path,
            query,
        });
    }
    if target == "*" && method == "OPTIONS" {
        return Ok(Target {
            authority: None,
            path: target,
            query: None,
        });
    }
    absolute(method, target)
}

/// `http://authority/path?query`, any letter case of the scheme. Other schemes are refused: the
/// target would name something that this proxy does not serve.
fn absolute<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Reason> {
    let after = |scheme: &str| match target.split_at_checked(scheme.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(scheme) => Some(rest),
        _ => None,
    };
    let rest = after("http://")
        .or_else(|| after("https://"))
        .ok_or(Reason::BadTarget)?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if host::split(authority.as_bytes()).is_none() {
        return Err(Reason::BadHost);
    }
    let (path, query) = split_query(rest);
    let path = match path {
        // The last proxy turns this back into `*` (RFC 9112 section 3.2.4).
        "" if method == "OPTIONS" && query.is_none() => "*",
        "" => "/",
        path => path,
    };
    Ok(Target {
        authority: Some(authority),
        path,
        query,
    })
}

/// Splits an origin-form target at its first `?`.
#[inline]
#[must_use]
pub fn split_query(target: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'?', target.as_bytes()) {
        Some(at) => (target.get(..at).unwrap_or_default(), target.get(at + 1..)),
        None => (target, None),
    }
}

/// Whether `target` may be an origin-form target: begins with `/`, visible ASCII only, no `#`.
/// HTTP/2 checks `:path` with it, so that both protocols route on the same grammar.
#[must_use]
pub fn is_valid_path(target: &[u8]) -> bool {
    target.starts_with(b"/") && is_visible(target)
}

/// Visible ASCII without `#`. No early exit, so that the compiler can use wide registers.
#[inline]
fn is_visible(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |ok, &byte| {
        ok & (byte.wrapping_sub(0x21) <= 0x7e - 0x21) & (byte != b'#')
    })
}
