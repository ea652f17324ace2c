//! Everything that documents call a service, whoever may see it.
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, HostPattern, KubeService, Meta, ServiceEntry, ServiceKind, ServicePort, World,
};
use std::{cmp::Reverse, sync::Arc};

/// One host of a Service or ServiceEntry.
pub(super) struct Service<'w> {
    pub(super) host: HostPattern,
    pub(super) meta: &'w Meta,
    pub(super) ports: &'w [ServicePort],
    pub(super) entry: Option<&'w Arc<ServiceEntry>>,
}

/// An ExternalName Service.
pub(super) struct Alias<'w> {
    pub(super) service: &'w Arc<KubeService>,
    /// As written, lower case.
    pub(super) target: &'w Arc<str>,
}

/// Services and aliases by host.
pub(super) struct Known<'w> {
    all: Vec<Service<'w>>,
    /// Places in `all`, oldest first; wildcards under their text.
    by_host: HashMap<Arc<str>, Vec<usize>>,
    wildcards: Vec<usize>,
    pub(super) aliases: HashMap<Arc<str>, Alias<'w>>,
    domain: Arc<str>,
}

impl<'w> Known<'w> {
    pub(super) fn build(world: &'w World, context: &ClientContext) -> Self {
        let domain = Arc::clone(&context.cluster_domain);
        let mut all = Vec::new();
        let mut aliases = HashMap::default();
        for service in world.services.values() {
            let host = service.host(&domain);
            if let ServiceKind::ExternalName { target } = &service.kind {
                aliases.insert(host, Alias { service, target });
                continue;
            }
            all.push(Service {
                host: HostPattern::Exact(host),
                meta: &service.meta,
                ports: &service.ports,
                entry: None,
            });
        }
        for entry in world.service_entries.values() {
            all.extend(entry.hosts.iter().map(|host| Service {
                host: host.clone(),
                meta: &entry.meta,
                ports: &entry.ports,
                entry: Some(entry),
            }));
        }
        all.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
        let mut by_host: HashMap<Arc<str>, Vec<usize>> = HashMap::default();
        let mut wildcards = Vec::new();
        for (index, one) in all.iter().enumerate() {
            by_host
                .entry(one.host.to_string().into())
                .or_default()
                .push(index);
            if one.host.is_wildcard() {
                wildcards.push(index);
            }
        }
        Self {
            all,
            by_host,
            wildcards,
            aliases,
            domain,
        }
    }

    /// In the order of age.
    pub(super) fn all(&self) -> &[Service<'w>] {
        &self.all
    }

    /// Those of exactly this host; wildcards by their text.
    pub(super) fn of(&self, host: &str) -> impl Iterator<Item = &Service<'w>> {
        let places = self.by_host.get(host).map_or(&[][..], Vec::as_slice);
        places.iter().filter_map(|&at| self.all.get(at))
    }

    /// Hosts that several documents have, each with its documents.
    pub(super) fn shared(&self) -> impl Iterator<Item = (&Arc<str>, Vec<&Service<'w>>)> {
        self.by_host
            .iter()
            .filter(|(_, places)| places.len() > 1)
            .map(|(host, places)| {
                (
                    host,
                    places.iter().filter_map(|&at| self.all.get(at)).collect(),
                )
            })
    }

    /// Services that a host of a VirtualService speaks for (VSB-6, VSB-7). `names`: server names,
    /// where a wildcard on either side counts (VS-S-2).
    pub(super) fn spoken_for(&self, host: &HostPattern, names: bool) -> Vec<&Service<'w>> {
        match host {
            HostPattern::Exact(name) => {
                let mut found: Vec<_> = self.of(name).collect();
                if names {
                    let wildcards = self.wildcards.iter().filter_map(|&at| self.all.get(at));
                    found.extend(wildcards.filter(|it| it.host.matches(name)));
                }
                found
            }
            wildcard => self
                .all
                .iter()
                .filter(|it| wildcard.covers(&it.host) || (names && it.host.covers(wildcard)))
                .collect(),
        }
    }

    /// Services whose wildcard takes this host too, the longest one first.
    pub(super) fn wider(&self, host: &HostPattern) -> impl Iterator<Item = &Service<'w>> {
        let wildcards = self.wildcards.iter().filter_map(|&at| self.all.get(at));
        let mut wider: Vec<_> = wildcards.filter(|it| it.host.covers(host)).collect();
        wider.sort_by_key(|it| Reverse(it.host.to_string().len()));
        wider.into_iter()
    }

    /// The full name that a host with dots was probably meant to be: `reviews.prod` and
    /// `reviews.prod.svc` are names for clients, not for documents (VSB-4, BE-1, ALS-14).
    pub(super) fn completed(&self, host: &str) -> Option<(String, &Meta)> {
        let short = host.strip_suffix(".svc").unwrap_or(host);
        let full = format!("{short}.svc.{}", self.domain);
        let found = self.of(&full).next().map(|it| it.meta);
        let alias = || self.aliases.get(full.as_str()).map(|it| &it.service.meta);
        let meta = found.or_else(alias)?;
        Some((full, meta))
    }

    /// Where a chain of aliases ends: the services of that host, or why there are none.
    pub(super) fn follow(&self, alias: &Alias<'w>) -> Result<(), End<'w>> {
        let mut target = alias.target;
        // A chain visits every alias at most once, so a longer walk is a loop.
        for _ in 0..=self.aliases.len() {
            if self.of(target).next().is_some() {
                return Ok(());
            }
            match self.aliases.get(target) {
                Some(next) => target = next.target,
                None => return Err(End::Unknown(target)),
            }
        }
        Err(End::Loop)
    }
}

/// Why an alias leads nowhere.
pub(super) enum End<'w> {
    /// To a host that no document has.
    Unknown(&'w Arc<str>),
    /// Back to itself.
    Loop,
}
