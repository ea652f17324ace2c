//! Host names and host patterns.
use std::{fmt, sync::Arc};

/// A host as documents write it: a literal name, a leading-wildcard pattern, or everything.
///
/// Always lower case (HST-10, VSB-5). `Suffix` keeps the text after the `*`, dot included.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `reviews.default.svc.cluster.local`, also IP addresses as text.
    Exact(Arc<str>),
    /// `*.example.com`, kept as `.example.com`. The `*` stands for one or more characters and may
    /// span labels (HST-12, LIS-45).
    Suffix(Arc<str>),
    /// `*`.
    Any,
}

impl HostPattern {
    /// Reads a pattern; letter case is folded.
    pub fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some("") => Self::Any,
            Some(rest) => Self::Suffix(rest.into()),
            None => Self::Exact(text.as_str().into()),
        }
    }

    /// Does the pattern take this literal, already lower-cased name?
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(own) => **own == *name,
            Self::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(&**suffix),
            Self::Any => true,
        }
    }

    /// Does every name that `other` takes belong to `self` too? Decides overlap inside one
    /// VirtualService (VSB-18) and the intersection with gateway hosts (GW-63).
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Suffix(own), Self::Suffix(inner)) => inner.ends_with(&**own),
            (Self::Exact(_), Self::Suffix(_)) => false,
        }
    }

    /// True for everything but a literal name.
    pub fn is_wildcard(&self) -> bool {
        !matches!(self, Self::Exact(_))
    }

    /// The literal name, if it is one.
    pub fn exact(&self) -> Option<&Arc<str>> {
        match self {
            Self::Exact(name) => Some(name),
            _ => None,
        }
    }

    /// Sorts most specific first: literal, then longer wildcard, then `*`.
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Exact(name) => (2, name.len()),
            Self::Suffix(suffix) => (1, suffix.len()),
            Self::Any => (0, 0),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Completes a short name: one without any dot belongs to `namespace`; one with a dot, a wildcard
/// or an address is final (VSB-4, BE-1, BE-11). The result is lower case.
pub fn complete(host: &str, namespace: &str, cluster_domain: &str) -> Arc<str> {
    let host = host.to_ascii_lowercase();
    if host.contains(['.', '*', ':']) || host.is_empty() {
        host.into()
    } else {
        format!("{host}.{namespace}.svc.{cluster_domain}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_needs_at_least_one_character() {
        let pattern = HostPattern::new("*.Example.com");
        assert!(pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com"));
        assert!(!pattern.matches(".example.com"));
    }

    #[test]
    fn covering_is_by_suffix() {
        let wide = HostPattern::new("*.com");
        assert!(wide.covers(&HostPattern::new("*.foo.com")));
        assert!(!HostPattern::new("*.foo.com").covers(&wide));
        assert!(HostPattern::Any.covers(&wide));
    }

    #[test]
    fn only_dotless_names_are_completed() {
        assert_eq!(
            &*complete("Reviews", "prod", "cluster.local"),
            "reviews.prod.svc.cluster.local"
        );
        assert_eq!(
            &*complete("reviews.prod", "x", "cluster.local"),
            "reviews.prod"
        );
        assert_eq!(&*complete("*", "x", "cluster.local"), "*");
    }
}
