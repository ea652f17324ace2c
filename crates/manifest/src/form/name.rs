//! Names: of objects, labels, hosts, headers.

/// Why a host is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameFault {
    /// Empty, or with an empty part between dots.
    Empty,
    /// More than 253 characters, or a part of more than 63.
    Long,
    /// A `*` that is not the first character (VSB-4 allows a leading one only).
    Wildcard,
    /// A scheme, path or port was written along.
    Url,
    /// Any other character that a host name cannot have.
    Character(char),
    /// A part that begins or ends with a hyphen.
    Hyphen,
    /// The last of several parts is a number: neither a name nor an address.
    Number,
}

impl NameFault {
    /// A few words for the underline.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Empty => "a host name has no empty parts".into(),
            Self::Long => "a host name has at most 253 characters, 63 between two dots".into(),
            Self::Wildcard => "`*` may only be its first character".into(),
            Self::Url => "a host alone, without scheme, path or port".into(),
            Self::Character(c) => format!("{c:?} cannot be part of a host name"),
            Self::Hyphen => "each part begins and ends with a letter or digit".into(),
            Self::Number => "the last part of a name is not a number".into(),
        }
    }
}

/// A host as documents write it: a name (RFC 1123 section 2.1), an IP address, or with `wildcard` a
/// name that begins with `*`. One dot at the end is allowed. Underscores are for the server names
/// that proxies of a mesh make for each other, `outbound_.80_.v1_.reviews.default`, and for no other.
pub(crate) fn host(text: &str, wildcard: bool) -> Result<(), NameFault> {
    if text.parse::<std::net::IpAddr>().is_ok() || (wildcard && text == "*") {
        return Ok(());
    }
    let name = match text.strip_prefix('*') {
        Some(rest) if wildcard => rest.strip_prefix('.').unwrap_or(rest),
        _ => text,
    };
    if text.contains('/') || text.contains(':') {
        return Err(NameFault::Url);
    }
    if name.contains('*') {
        return Err(NameFault::Wildcard);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 {
        return Err(NameFault::Long);
    }
    let made_by_proxies = text.starts_with("outbound_.");
    let joined = text.starts_with('*') && !text.starts_with("*.");
    for (index, part) in name.split('.').enumerate() {
        if part.is_empty() {
            return Err(NameFault::Empty);
        }
        if part.len() > 63 {
            return Err(NameFault::Long);
        }
        let bad = part
            .chars()
            .find(|&c| !(c.is_ascii_alphanumeric() || c == '-' || (c == '_' && made_by_proxies)));
        if let Some(bad) = bad {
            return Err(NameFault::Character(bad));
        }
        // `*-x.example.com` goes on where the `*` ends.
        let goes_on = joined && index == 0;
        if (part.starts_with('-') && !goes_on) || part.ends_with('-') {
            return Err(NameFault::Hyphen);
        }
    }
    let last = name.rsplit_once('.').map(|(_, last)| last);
    if last.is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(NameFault::Number);
    }
    Ok(())
}

/// A DNS label (RFC 1123): namespaces, port names, subsets, Services.
pub(crate) fn name(text: &str) -> bool {
    text.len() <= 63 && label(text)
}

/// The name of a container's port (IANA service name, RFC 6335 section 5.1).
pub(crate) fn port_name(text: &str) -> bool {
    text.len() <= 15
        && label(text)
        && !text.contains("--")
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// DNS labels with dots between: names of most objects.
pub(crate) fn subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(label)
}

fn label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A label key: an optional DNS subdomain and `/`, then a name.
pub(crate) fn label_key(text: &str) -> bool {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            if !subdomain(prefix) {
                return false;
            }
            name
        }
        None => text,
    };
    !name.is_empty() && label_value(name)
}

/// A label value: empty, or at most 63 letters, digits, `-`, `_`, `.`, with a letter or digit at
/// both ends.
pub(crate) fn label_value(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// A header name (RFC 9110 section 5.6.2), or a pseudo header such as `:authority`.
pub(crate) fn header_name(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for text in [
            "reviews",
            "a.b.c.",
            "10.0.0.1",
            "fd00::1",
            "outbound_.80_._.reviews.default",
            "1.example",
            "A.example",
        ] {
            assert_eq!(host(text, false), Ok(()), "{text}");
        }
        for text in ["*", "*.example.com", "*-x.example.com"] {
            assert_eq!(host(text, true), Ok(()), "{text}");
            assert!(host(text, false).is_err(), "{text}");
        }
        for (text, fault) in [
            ("", NameFault::Empty),
            ("a..b", NameFault::Empty),
            ("*.", NameFault::Empty),
            ("a.*.b", NameFault::Wildcard),
            ("http://a", NameFault::Url),
            ("a:80", NameFault::Url),
            ("a b", NameFault::Character(' ')),
            ("ä", NameFault::Character('ä')),
            ("_srv.x", NameFault::Character('_')),
            ("a-.b", NameFault::Hyphen),
            ("-a", NameFault::Hyphen),
            ("*.-a", NameFault::Hyphen),
            ("10.0.0", NameFault::Number),
            ("10.0.0.256", NameFault::Number),
        ] {
            assert_eq!(host(text, true), Err(fault), "{text}");
        }
    }

    #[test]
    fn labels() {
        assert!(label_key("app.kubernetes.io/name") && label_key("app"));
        assert!(!label_key("/x") && !label_key("x/") && !label_key(""));
        assert!(label_value("") && label_value("v1.2_3-x"));
        assert!(!label_value("-x") && !label_value("a b"));
        assert!(name("v1") && !name("V1") && !name("a.b") && subdomain("a.b"));
        assert!(header_name("x-user") && header_name(":authority"));
        assert!(!header_name("") && !header_name(":") && !header_name("a b"));
    }
}
