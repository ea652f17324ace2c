//! Which names a ClientHello may ask for.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Deref;

/// The longest name, in bytes; longer ones have crashed other proxies when used as an upstream SNI.
const MAX_NAME: usize = 255;
/// The longest label, in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// A server name as routes compare it: lower case, no trailing dot, letters, digits, `-`, `_` and
/// single dots only, 1 to 255 bytes, never an IP literal (RFC 6066 section 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Box<str>);

impl ServerName {
    /// Normalises `name`; `None` when it is not a usable DNS name.
    ///
    /// Underscores are let through although host names have none: mesh-internal names such as
    /// `outbound_.9080_._.reviews.default.svc.cluster.local` depend on them.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.len() > MAX_NAME {
            return None;
        }
        let usable = |label: &[u8]| {
            (1..=MAX_LABEL).contains(&label.len())
                && label
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if !name.split(|&byte| byte == b'.').all(usable) {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?;
        if name.parse::<Ipv4Addr>().is_ok() {
            return None;
        }
        let mut name = Box::<str>::from(name);
        name.make_ascii_lowercase();
        Some(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for ServerName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ServerName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
