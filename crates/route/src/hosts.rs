//! Host names of one port: which virtual host takes a request (HST-1..22).
//!
//! A service's names are many, but nearly all follow from its full name, so only that one is
//! stored. A name that is not found is completed the way its client would complete it
//! (`web` -> `web.<client's namespace>.svc.<domain>`) and looked up once more. Storing every form
//! instead would take five keys for each of a hundred thousand services to save one lookup.
use crate::{
    gateway::names::{GatewayHost, ServerNames},
    rule::RuleList,
    shared::Shards,
};
use pointsman_model::{HostPattern, ObjectKey, Place, VirtualService};
use std::{net::IpAddr, sync::Arc};

/// Longest host that is looked up; DNS allows 253 characters. Longer ones match nothing.
const HOST_BYTES: usize = 255;

/// What takes the requests of one host on one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Full host of the service, or the literal (or wildcard) host of a VirtualService.
    pub host: Arc<str>,
    /// Port of the listener.
    pub port: u16,
    /// The service; `None` where only a VirtualService knows the host (VSB-10).
    pub service: Option<ObjectKey>,
    /// Where the service's port, or the VirtualService, is written.
    pub place: Place,
    /// The ordered rules; shared by all hosts the same VirtualService speaks for on this port.
    pub rules: Arc<RuleList>,
    /// The VirtualService in force; `None`: the default route (VSB-16).
    pub virtual_service: Option<Arc<VirtualService>>,
    /// What only hosts of gateways have.
    pub gateway: Option<Box<GatewayHost>>,
}

/// By which of its names a virtual host was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostForm {
    /// The full name (HST-1), with or without a trailing dot (HST-2), of the service or an alias.
    Full,
    /// `name.namespace.svc` (HST-3).
    Svc,
    /// `name.namespace` (HST-4).
    Namespaced,
    /// `name`, in the client's namespace (HST-5).
    Short,
    /// An address of the service (HST-7).
    Address,
    /// A host that only a VirtualService knows (VSB-10).
    Literal,
    /// A wildcard (HST-9, HST-12).
    Wildcard,
    /// The table has one host that takes every name (LIS-31), or `*` does on a gateway.
    Any,
}

impl HostForm {
    /// A few words for `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full name",
            Self::Svc => "name with namespace and svc",
            Self::Namespaced => "name with namespace",
            Self::Short => "short name",
            Self::Address => "address of the service",
            Self::Literal => "host of a VirtualService",
            Self::Wildcard => "wildcard",
            Self::Any => "every host: the address decided",
        }
    }
}

/// Values under wildcard suffixes, the longest first (HST-12, LIS-45).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SuffixMap<V> {
    by_suffix: Shards<Arc<str>, V>,
    /// Distinct lengths, descending. One lookup each: there are few.
    lengths: Vec<u16>,
}

impl<V> Default for SuffixMap<V> {
    fn default() -> Self {
        Self {
            by_suffix: Shards::default(),
            lengths: Vec::new(),
        }
    }
}

impl<V: Clone> SuffixMap<V> {
    /// Keeps the first value of a suffix; the rejected one comes back. Suffixes longer than any
    /// host that is looked up are of no use and vanish.
    pub(crate) fn insert(&mut self, suffix: &Arc<str>, value: V) -> Result<(), V> {
        self.by_suffix.insert_new(Arc::clone(suffix), value)?;
        if let Ok(length) = u16::try_from(suffix.len())
            && let Err(at) = self.lengths.binary_search_by(|own| length.cmp(own))
        {
            self.lengths.insert(at, length);
        }
        Ok(())
    }

    /// Another value of a suffix that has one.
    pub(crate) fn replace(&mut self, suffix: &Arc<str>, value: V) {
        self.by_suffix.insert(Arc::clone(suffix), value);
    }

    /// The longest suffix that leaves at least one character for the `*`.
    pub(crate) fn find(&self, name: &str) -> Option<&V> {
        self.lengths.iter().find_map(|&length| {
            let start = name.len().checked_sub(usize::from(length))?;
            if start == 0 {
                return None;
            }
            self.by_suffix.get(name.get(start..)?)
        })
    }

    pub(crate) fn get(&self, suffix: &str) -> Option<&V> {
        self.by_suffix.get(suffix)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.by_suffix.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_suffix.is_empty()
    }
}

/// The table shared by all HTTP services of one port.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Names {
    /// Hosts only VirtualServices know; they come before services (HST-20).
    pub(crate) literals: Shards<Arc<str>, Arc<VirtualHost>>,
    /// Services and their aliases by full name.
    pub(crate) services: Shards<Arc<str>, Arc<VirtualHost>>,
    /// Services by address (HST-7).
    pub(crate) addresses: Shards<IpAddr, Arc<VirtualHost>>,
    /// Wildcards.
    pub(crate) wildcards: SuffixMap<Arc<VirtualHost>>,
    /// `.<client's namespace>.svc.<domain>`, completing `name`.
    pub(crate) after_name: Arc<str>,
    /// `.svc.<domain>`, completing `name.namespace`.
    pub(crate) after_namespace: Arc<str>,
    /// `.<domain>`, completing `name.namespace.svc`.
    pub(crate) after_svc: Arc<str>,
}

/// Who takes which Host on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTable {
    pub(crate) port: u16,
    pub(crate) hosts: Hosts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// One virtual host for every name: an auto port on its own address (LIS-31, LIS-32).
    One(Arc<VirtualHost>),
    /// The shared table of a port.
    Shared(Box<Names>),
    /// Hosts of a gateway's servers.
    Servers(Box<ServerNames>),
}

impl HostTable {
    /// The port whose requests it routes.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The virtual host for an authority as received: without port, in any letter case. No
    /// allocation.
    pub fn find(&self, authority: &str) -> Option<(HostForm, &Arc<VirtualHost>)> {
        match &self.hosts {
            Hosts::One(host) => Some((HostForm::Any, host)),
            Hosts::Shared(names) => {
                let (name, bracketed) = without_port(authority);
                in_lower_case(name, |name| names.find(name, bracketed))
            }
            Hosts::Servers(names) => {
                let (name, _) = without_port(authority);
                in_lower_case(name, |name| names.find(name))
            }
        }
    }

    /// All virtual hosts with the name each is stored under, in no particular order. Not for the
    /// hot path.
    pub fn virtual_hosts(&self) -> Vec<(HostPattern, &Arc<VirtualHost>)> {
        match &self.hosts {
            Hosts::One(host) => vec![(HostPattern::Any, host)],
            Hosts::Servers(names) => names.all().collect(),
            Hosts::Shared(names) => names
                .literals
                .iter()
                .chain(names.services.iter())
                .map(|(name, host)| (HostPattern::Exact(Arc::clone(name)), host))
                .chain(
                    names
                        .wildcards
                        .values()
                        .map(|(suffix, host)| (HostPattern::Suffix(Arc::clone(suffix)), host)),
                )
                .collect(),
        }
    }

    /// Does the address alone decide (LIS-31, LIS-32)?
    pub(crate) fn takes_every_host(&self) -> bool {
        matches!(self.hosts, Hosts::One(_))
    }

    /// What clients may write to find each host, one for each wildcard; in no particular order.
    /// For comparing tables, not for the hot path.
    pub(crate) fn spellings(&self) -> Vec<String> {
        let names = match &self.hosts {
            Hosts::One(_) => return Vec::new(),
            Hosts::Servers(names) => return names.spellings(),
            Hosts::Shared(names) => names,
        };
        let mut made: Vec<String> = names.literals.keys().map(|it| it.to_string()).collect();
        for name in names.services.keys() {
            made.push(name.to_string());
            let completed = [&names.after_name, &names.after_namespace, &names.after_svc];
            let short = completed
                .iter()
                .filter_map(|rest| name.strip_suffix(&***rest));
            made.extend(short.map(str::to_owned));
        }
        made.extend(names.addresses.keys().map(IpAddr::to_string));
        for (suffix, _) in names.wildcards.values() {
            let mut name = format!("any{suffix}");
            while names
                .find(&name, false)
                .is_some_and(|it| it.0 != HostForm::Wildcard)
            {
                name.insert(0, 'x');
            }
            made.push(name);
        }
        made
    }
}

impl Names {
    /// To be called once it is filled: as little memory as it needs.
    pub(crate) fn fit(&mut self) {
        self.literals.fit();
        self.services.fit();
        self.addresses.fit();
        self.wildcards.by_suffix.fit();
    }

    fn find(&self, name: &str, bracketed: bool) -> Option<(HostForm, &Arc<VirtualHost>)> {
        if name.is_empty() {
            return None;
        }
        if !self.literals.is_empty()
            && let Some(host) = self.literals.get(name)
        {
            return Some((HostForm::Literal, host));
        }
        let undotted = name.strip_suffix('.').unwrap_or(name);
        if let Some(host) = self.services.get(undotted) {
            return Some((HostForm::Full, host));
        }
        // An address begins with a digit, or stood in brackets: other names are not parsed for it.
        if (bracketed || name.starts_with(|first: char| first.is_ascii_digit()))
            && let Ok(address) = name.parse::<IpAddr>()
            && (bracketed || address.is_ipv4())
            && let Some(host) = self.addresses.get(&address.to_canonical())
        {
            return Some((HostForm::Address, host));
        }
        // Only the full name has a variant with a trailing dot (HST-9b).
        if undotted.len() == name.len()
            && let Some(found) = self.find_completed(name)
        {
            return Some(found);
        }
        let host = self.wildcards.find(name)?;
        Some((HostForm::Wildcard, host))
    }

    fn find_completed(&self, name: &str) -> Option<(HostForm, &Arc<VirtualHost>)> {
        let mut labels = name.split('.');
        let (form, rest) = match (labels.next(), labels.next(), labels.next(), labels.next()) {
            (Some(_), None, ..) => (HostForm::Short, &self.after_name),
            (Some(_), Some(_), None, _) => (HostForm::Namespaced, &self.after_namespace),
            (Some(_), Some(_), Some("svc"), None) => (HostForm::Svc, &self.after_svc),
            _ => return None,
        };
        let mut completed = FixedText::<{ 2 * HOST_BYTES }>::default();
        completed.push(name)?;
        completed.push(rest)?;
        let host = self.services.get(completed.as_str()?)?;
        Some((form, host))
    }
}

/// The host of an authority, and whether it stood in brackets (HST-10). What follows the last
/// colon is only a port if it is all digits.
pub(crate) fn without_port(authority: &str) -> (&str, bool) {
    if let Some(rest) = authority.strip_prefix('[')
        && let Some((inside, after)) = rest.split_once(']')
    {
        let port = after.strip_prefix(':').unwrap_or(after);
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            return (inside, true);
        }
        return (authority, false);
    }
    let mut bytes = authority.bytes();
    match bytes.rposition(|byte| !byte.is_ascii_digit()) {
        Some(at) if authority.as_bytes().get(at) == Some(&b':') => {
            (authority.get(..at).unwrap_or(authority), false)
        }
        _ => (authority, false),
    }
}

/// Finds a host by its name in lower case, which most have as they come: those are not copied.
fn in_lower_case<T>(name: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    if name.len() > HOST_BYTES {
        return None;
    }
    // Without an end in the middle, so that many bytes are looked at together.
    let is_lower = name
        .bytes()
        .fold(true, |lower, byte| lower & !byte.is_ascii_uppercase());
    if is_lower {
        return find(name);
    }
    let mut folded = FixedText::<HOST_BYTES>::default();
    folded.push_lower(name)?;
    find(folded.as_str()?)
}

/// Text on the stack, with a bound.
pub(crate) struct FixedText<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for FixedText<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }
}

impl<const N: usize> FixedText<N> {
    /// Appends; `None` if it does not fit.
    fn push(&mut self, text: &str) -> Option<()> {
        let end = self.length.checked_add(text.len())?;
        self.bytes
            .get_mut(self.length..end)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Some(())
    }

    /// Appends in lower case; `None` if it does not fit.
    pub(crate) fn push_lower(&mut self, text: &str) -> Option<()> {
        let start = self.length;
        self.push(text)?;
        self.bytes
            .get_mut(start..self.length)?
            .make_ascii_lowercase();
        Some(())
    }

    /// `None` cannot happen: only whole strings are pushed. Checked, because the alternative is
    /// `unsafe`, and the check of a short ASCII text costs a few nanoseconds.
    pub(crate) fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..self.length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_authority_is_dropped() {
        assert_eq!(without_port("web:80"), ("web", false));
        assert_eq!(without_port("web:"), ("web", false));
        assert_eq!(without_port("web:x"), ("web:x", false));
        assert_eq!(without_port("[fd00::5]:80"), ("fd00::5", true));
        assert_eq!(without_port("[fd00::5]"), ("fd00::5", true));
        assert_eq!(without_port("[fd00::5"), ("[fd00:", false));
        assert_eq!(without_port(""), ("", false));
        assert_eq!(without_port(":80"), ("", false));
    }

    #[test]
    fn the_longest_suffix_wins_and_needs_a_character() {
        let mut map = SuffixMap::default();
        for suffix in [".example.com", ".b.example.com", ".com"] {
            map.insert(&suffix.into(), suffix).expect("first");
        }
        assert_eq!(map.insert(&".com".into(), "again"), Err("again"));
        assert_eq!(map.find("a.b.example.com"), Some(&".b.example.com"));
        assert_eq!(map.find("b.example.com"), Some(&".example.com"));
        assert_eq!(map.find(".example.com"), Some(&".com"));
        assert_eq!(map.find("x.org"), None);
        assert_eq!(map.find("日.com"), Some(&".com"));
    }
}
