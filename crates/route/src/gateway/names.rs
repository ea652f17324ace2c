//! Which virtual host of a gateway takes a Host (GW-45, HST-10..17).
use crate::{
    hosts::{HostForm, SuffixMap, VirtualHost},
    rule::Origin,
};
use foldhash::HashMap;
use pointsman_model::{HostPattern, VirtualService};
use std::sync::Arc;

/// The hosts of the plain HTTP servers of a port, or of one HTTPS server (GW-37, GW-44). Only
/// literal names match: there is no client whose short names could be completed (GW-65).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerNames {
    /// Names the table across compilations: `http 0.0.0.0:8080`, or the server of HTTPS.
    pub(crate) label: Arc<str>,
    pub(crate) exact: HashMap<Arc<str>, Arc<VirtualHost>>,
    pub(crate) wildcards: SuffixMap<Arc<VirtualHost>>,
    /// `*`.
    pub(crate) any: Option<Arc<VirtualHost>>,
}

impl ServerNames {
    pub(crate) fn new(label: Arc<str>) -> Self {
        Self {
            label,
            exact: HashMap::default(),
            wildcards: SuffixMap::default(),
            any: None,
        }
    }

    /// The host of a name in lower case without its port: exact, longest wildcard, `*`. The choice
    /// is final (HST-15). An empty Host is nobody's but `*`'s (HST-17).
    pub(crate) fn find(&self, name: &str) -> Option<(HostForm, &Arc<VirtualHost>)> {
        if !name.is_empty() {
            if let Some(host) = self.exact.get(name) {
                return Some((HostForm::Literal, host));
            }
            if let Some(host) = self.wildcards.find(name) {
                return Some((HostForm::Wildcard, host));
            }
        }
        let host = self.any.as_ref()?;
        Some((HostForm::Any, host))
    }

    /// What clients may write to find each host, one for each wildcard; the host `*` is found by
    /// every other name.
    pub(crate) fn spellings(&self) -> Vec<String> {
        let mut made: Vec<String> = self.exact.keys().map(|it| it.to_string()).collect();
        for (suffix, _) in self.wildcards.values() {
            let mut name = format!("any{suffix}");
            while self.exact.contains_key(&*name) {
                name.insert(0, 'x');
            }
            made.push(name);
        }
        made
    }

    pub(crate) fn insert(&mut self, pattern: &HostPattern, host: Arc<VirtualHost>) {
        match pattern {
            HostPattern::Exact(name) => drop(self.exact.insert(Arc::clone(name), host)),
            HostPattern::Suffix(suffix) => drop(self.wildcards.insert(suffix, host)),
            HostPattern::Any => self.any = Some(host),
        }
    }

    pub(crate) fn get(&self, pattern: &HostPattern) -> Option<&Arc<VirtualHost>> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Suffix(suffix) => self.wildcards.get(suffix),
            HostPattern::Any => self.any.as_ref(),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (HostPattern, &Arc<VirtualHost>)> {
        let exact = self.exact.iter();
        let exact = exact.map(|(name, host)| (HostPattern::Exact(Arc::clone(name)), host));
        let wildcards = self.wildcards.values();
        let wildcards = wildcards.map(|(it, host)| (HostPattern::Suffix(Arc::clone(it)), host));
        let any = self.any.iter().map(|host| (HostPattern::Any, host));
        exact.chain(wildcards).chain(any)
    }
}

/// What only virtual hosts of gateways have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayHost {
    /// The server that sends plain requests for this host to HTTPS (GW-50).
    pub https_redirect: Option<Origin>,
    /// The VirtualServices whose rules are concatenated here, in their order (VS-H-121).
    pub virtual_services: Box<[Arc<VirtualService>]>,
}
