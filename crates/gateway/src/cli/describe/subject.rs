//! What the words on the command line mean.
use super::Known;
use crate::cli::args::DescribeKind;
use anyhow::bail;
use pointsman_model::{
    DestinationRule, Gateway, HostPattern, Meta, ServiceKind, VirtualService, host::complete,
};
use std::sync::Arc;

/// What is described.
pub(super) enum Subject<'w> {
    /// By its full name; Services and ServiceEntries are described by their hosts.
    Host(HostPattern),
    VirtualService(&'w Arc<VirtualService>),
    DestinationRule(&'w Arc<DestinationRule>),
    Gateway(&'w Arc<Gateway>),
}

impl<'w> Subject<'w> {
    /// # Errors
    /// There is no such thing: with what is probably meant.
    pub(super) fn find(known: &Known<'w>, kind: DescribeKind, name: &str) -> anyhow::Result<Self> {
        let world = known.world;
        Ok(match kind {
            DescribeKind::Host => Self::Host(host(known, name)?),
            DescribeKind::Service => {
                let services = world.services.values();
                match named(known, name, services.map(|it| (&it.meta, it))) {
                    Ok(service) => {
                        let domain = &known.table.context().cluster_domain;
                        Self::Host(HostPattern::Exact(behind(known, service.host(domain))))
                    }
                    Err(error) => match host(known, name) {
                        Ok(host) => Self::Host(host),
                        Err(_) => return Err(error),
                    },
                }
            }
            DescribeKind::Serviceentry => {
                let entries = world.service_entries.values();
                let entry = named(known, name, entries.map(|it| (&it.meta, it)))?;
                match entry.hosts.first() {
                    Some(host) => Self::Host(host.clone()),
                    None => bail!("ServiceEntry {name} has no host"),
                }
            }
            DescribeKind::Virtualservice => {
                let all = world.virtual_services.values();
                Self::VirtualService(named(known, name, all.map(|it| (&it.meta, it)))?)
            }
            DescribeKind::Destinationrule => {
                let all = world.destination_rules.values();
                Self::DestinationRule(named(known, name, all.map(|it| (&it.meta, it)))?)
            }
            DescribeKind::Gateway => {
                let all = world.gateways.values();
                Self::Gateway(named(known, name, all.map(|it| (&it.meta, it)))?)
            }
        })
    }
}

/// `NAME`, `NAME.NAMESPACE` or `NAMESPACE/NAME`; a bare name is of the client's namespace, or the
/// only one there is.
fn named<'w, T>(
    known: &Known<'w>,
    name: &str,
    all: impl Iterator<Item = (&'w Meta, &'w T)>,
) -> anyhow::Result<&'w T> {
    let all: Vec<(&Meta, &T)> = all.collect();
    let own = &known.table.context().namespace;
    let is = |meta: &Meta, namespace: &str, name: &str| {
        *meta.key.namespace == *namespace && *meta.key.name == *name
    };
    let written = |meta: &Meta| match name.split_once('/') {
        Some((namespace, name)) => is(meta, namespace, name),
        None => {
            is(meta, own, name)
                || name
                    .rsplit_once('.')
                    .is_some_and(|(name, namespace)| is(meta, namespace, name))
        }
    };
    if let Some((_, found)) = all.iter().find(|(meta, _)| written(meta)) {
        return Ok(found);
    }
    let elsewhere: Vec<_> = all
        .iter()
        .filter(|(meta, _)| *meta.key.name == *name)
        .collect();
    if let [(_, found)] = elsewhere.as_slice() {
        return Ok(found);
    }
    let names: Vec<String> = all
        .iter()
        .map(|(meta, _)| format!("{}.{}", meta.key.name, meta.key.namespace))
        .collect();
    let short = all.iter().map(|(meta, _)| &*meta.key.name);
    let near = pointsman_manifest::near(name, names.iter().map(String::as_str).chain(short));
    match (elsewhere.as_slice(), near) {
        ([_, ..], _) => {
            let several = elsewhere.iter().map(|(meta, _)| &*meta.key.namespace);
            let several: Vec<&str> = several.collect();
            bail!("{name} is in several namespaces: {}", several.join(", "))
        }
        (_, Some(near)) => bail!("there is no {name}: did you mean {near}?"),
        _ => bail!("there is no {name}"),
    }
}

/// An alias is described as what it stands for; a ring of aliases as the one that was asked for.
fn behind(known: &Known<'_>, host: Arc<str>) -> Arc<str> {
    let domain = &known.table.context().cluster_domain;
    let services = &known.world.services;
    let mut at = Arc::clone(&host);
    for _ in 0..=services.len() {
        let alias = services.values().find_map(|it| match &it.kind {
            ServiceKind::ExternalName { target } if it.host(domain) == at => Some(target),
            _ => None,
        });
        match alias {
            Some(target) => at = Arc::clone(target),
            None => return at,
        }
    }
    host
}

/// A host as its clients write it.
fn host(known: &Known<'_>, name: &str) -> anyhow::Result<HostPattern> {
    let context = known.table.context();
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let full = match name.split('.').count() {
        2 if !name.starts_with('*') => format!("{name}.svc.{}", context.cluster_domain),
        3 if name.ends_with(".svc") => format!("{name}.{}", context.cluster_domain),
        _ => complete(&name, &context.namespace, &context.cluster_domain).to_string(),
    };
    let world = known.world;
    let services = world.services.values();
    let services = services.map(|it| HostPattern::Exact(it.host(&context.cluster_domain)));
    let entries = world
        .service_entries
        .values()
        .flat_map(|it| it.hosts.iter().cloned());
    let spoken = world
        .virtual_services
        .values()
        .flat_map(|it| it.hosts.iter().cloned());
    let hosts: Vec<HostPattern> = services.chain(entries).chain(spoken).collect();
    for candidate in [&name, &full] {
        let candidate = HostPattern::new(candidate);
        if hosts.contains(&candidate) {
            return Ok(candidate);
        }
    }
    // A host under a wildcard is described as that.
    let wanted = HostPattern::new(&name);
    let covering = hosts
        .iter()
        .filter(|own| own.is_wildcard() && own.covers(&wanted));
    if let Some(found) = covering.max_by_key(|own| own.specificity()) {
        return Ok(found.clone());
    }
    let texts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    match pointsman_manifest::near(&full, texts.iter().map(String::as_str)) {
        Some(near) => bail!("no document knows the host {name}: did you mean {near}?"),
        None => bail!("no document knows the host {name}"),
    }
}
