//! Compiling a part of a world into a copy of the previous table.
use crate::{
    cluster::{Cluster, ClusterId, EndpointAddress},
    hosts::{HostTable, Hosts, Names, VirtualHost},
    shared::Chunks,
    table::{HttpTableId, Table},
};
use foldhash::{HashMap, HashSet};
use pointsman_model::{ClientContext, Finding, ObjectKey, ProtocolClass};
use std::{net::IpAddr, sync::Arc};

use super::{
    super::{
        backends::Backends,
        bindings::{self, Bindings},
        delegates,
        findings::{Findings, UNKNOWN_HOST},
        hosts::{Builder, Known, OwnNames, http_ports},
        registry::{Placement, Registry, Service},
        rules::Compiler,
        shadows,
    },
    reach::Part,
};

/// What came of a part.
pub(super) struct Patched {
    /// Without what it was made of.
    pub(super) table: Table,
    pub(super) findings: Arc<[Finding]>,
    pub(super) changed: bool,
}

/// `None` where the part turns out to reach further than itself.
pub(super) fn patch(
    part: &Part,
    context: &ClientContext,
    previous: &Table,
    findings_before: &Arc<[Finding]>,
) -> Option<Patched> {
    let hosts: HashSet<&Arc<str>> = part
        .speakers
        .values()
        .flatten()
        .flat_map(|speaker| &speaker.hosts)
        .filter_map(|host| host.exact())
        .collect();
    let before = Before::of(previous, &Registry::build(&part.world, context), &hosts);
    let known = Known::of_hosts(before.all());
    let mut findings = Findings::default();
    let speakers = delegates::speakers(&part.world, context, &known, &mut findings);
    let registry = Registry::build(&part.world, context);
    let (backends, clusters) =
        Backends::part(&registry, &part.world, context, previous, &part.hosts)?;
    if clusters
        .iter()
        .any(|(id, cluster)| moves_listeners(*id, cluster, &registry, previous))
    {
        return None;
    }
    let mut changed = !clusters.is_empty();
    let mut table = previous.clone();
    table.clusters.replace(clusters);
    if part.speakers.is_empty() {
        return Some(Patched {
            table,
            findings: Arc::clone(findings_before),
            changed,
        });
    }
    let ordered = bindings::ordered(&speakers, context);
    let bindings = Bindings::build(ordered, &mut findings);
    let mut rules = Compiler::new(
        &registry,
        &backends,
        &part.world,
        context,
        Some(previous),
        &known,
    );
    for speaker in bindings.all() {
        rules.validate(speaker, &mut findings);
        shadows::report(speaker, &mut findings);
    }
    let mut builder = Builder::new(&registry, &bindings, context, &known);
    let mut tables = HostTables::of(previous);
    for served in &before.services {
        let service = registry.get(served.service)?;
        let port = service.port(served.port)?;
        let host = builder.virtual_host(served.service, port, &mut rules, &mut findings)?;
        if Arc::ptr_eq(&host, served.host) {
            continue;
        }
        match &mut tables.open(served.table)?.hosts {
            Hosts::One(own) => *own = host,
            Hosts::Servers(_) => return None, // of a gateway
            Hosts::Shared(shared) => rename(shared, service, context, served.host, &host),
        }
    }
    // Hosts that are no service. Whatever the part's own tables would be, they go into those that
    // there are.
    let mut shared: HashMap<u16, (HttpTableId, Names)> = HashMap::default();
    for port in &before.ports {
        if let Some(id) = shared_table(previous, *port) {
            shared.insert(*port, (id, Names::default()));
        }
    }
    for speaker in bindings.all() {
        if !speaker.http.is_empty() {
            builder.add_literals(speaker, &mut shared, &mut rules, &mut findings);
        }
    }
    for (id, made) in shared.into_values() {
        for host in &hosts {
            tables.set_literal(id, host, made.literals.get(&***host))?;
        }
    }
    for (source, pattern) in rules.into_patterns() {
        let _ = table.patterns.insert_new(source, pattern);
    }
    changed |= !tables.open.is_empty();
    tables.finish(&mut table.http_tables);
    Some(Patched {
        table,
        findings: told(part, findings, findings_before)?,
        changed,
    })
}

/// Copies of host tables in which something is another.
struct HostTables<'t> {
    previous: &'t Table,
    open: HashMap<HttpTableId, HostTable>,
}

impl<'t> HostTables<'t> {
    fn of(previous: &'t Table) -> Self {
        Self {
            previous,
            open: HashMap::default(),
        }
    }

    fn open(&mut self, id: HttpTableId) -> Option<&mut HostTable> {
        let own = self.previous.http_table(id)?;
        let open = self.open.entry(id);
        Some(open.or_insert_with(|| HostTable::clone(own)))
    }

    /// What only VirtualServices know a host as; `None`: nothing any more.
    fn set_literal(
        &mut self,
        id: HttpTableId,
        host: &Arc<str>,
        made: Option<&Arc<VirtualHost>>,
    ) -> Option<()> {
        let before = match &self.previous.http_table(id)?.hosts {
            Hosts::Shared(names) => names.literals.get(host),
            _ => return None,
        };
        if before == made {
            return Some(());
        }
        match (&mut self.open(id)?.hosts, made) {
            (Hosts::Shared(names), Some(made)) => {
                names.literals.insert(Arc::clone(host), Arc::clone(made));
            }
            (Hosts::Shared(names), None) => drop(names.literals.remove(host)),
            _ => return None,
        }
        Some(())
    }

    fn finish(self, all: &mut Chunks<Arc<HostTable>>) {
        let open = self.open.into_iter();
        all.replace(open.map(|(id, table)| (id.0 as usize, Arc::new(table))));
    }
}

/// Do listeners come or go with the endpoints of a headless service (LIS-21)?
fn moves_listeners(
    id: ClusterId,
    cluster: &Cluster,
    registry: &Registry<'_>,
    previous: &Table,
) -> bool {
    let service = registry
        .exact(&cluster.name.host)
        .and_then(|index| registry.get(index));
    let listens = cluster.protocol.class() != ProtocolClass::Http
        && service.is_some_and(|service| service.placement == Placement::PerEndpoint);
    let addresses = |cluster: &Cluster| -> HashSet<IpAddr> {
        let endpoints = cluster.endpoints.iter();
        let sockets = endpoints.filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Socket(address) => Some(address.ip()),
            _ => None,
        });
        sockets.collect()
    };
    listens && addresses(cluster) != addresses(previous.cluster(id))
}

/// A virtual host of a service in the previous table.
struct Served<'t> {
    /// Position in the part's registry.
    service: usize,
    port: u16,
    table: HttpTableId,
    host: &'t Arc<VirtualHost>,
}

/// What the previous table has for the hosts that are compiled anew.
struct Before<'t> {
    services: Vec<Served<'t>>,
    literals: Vec<&'t Arc<VirtualHost>>,
    /// Ports on which there can be hosts that are no service (VSB-8, VSB-10).
    ports: HashSet<u16>,
}

impl<'t> Before<'t> {
    fn of(previous: &'t Table, registry: &Registry<'_>, hosts: &HashSet<&Arc<str>>) -> Self {
        let mut made = Self {
            services: Vec::new(),
            literals: Vec::new(),
            ports: HashSet::from_iter([80]),
        };
        for host in hosts {
            let found = registry
                .exact(host)
                .and_then(|index| Some((index, registry.get(index)?)));
            let Some((index, service)) = found else {
                continue;
            };
            for port in http_ports(service) {
                made.ports.insert(port.number);
                let own = tables_of(previous, service, port.number);
                made.services
                    .extend(own.into_iter().map(|(table, host)| Served {
                        service: index,
                        port: port.number,
                        table,
                        host,
                    }));
            }
        }
        for port in &made.ports {
            let table = shared_table(previous, *port).and_then(|id| previous.http_table(id));
            if let Some(Hosts::Shared(names)) = table.map(|table| &table.hosts) {
                let literals = hosts.iter().filter_map(|host| names.literals.get(&***host));
                made.literals.extend(literals);
            }
        }
        made
    }

    fn all(&self) -> impl Iterator<Item = &'t Arc<VirtualHost>> {
        let services = self.services.iter().map(|served| served.host);
        services.chain(self.literals.iter().copied())
    }
}

/// The table that all HTTP services of a port share.
fn shared_table(table: &Table, port: u16) -> Option<HttpTableId> {
    let listener = table.listener_at(*table.by_port.get(&port)?)?;
    listener.http
}

/// Where a service's virtual host of a port is: in the shared table, and in one of its own (LIS-31).
fn tables_of<'t>(
    table: &'t Table,
    service: &Service<'_>,
    port: u16,
) -> Vec<(HttpTableId, &'t Arc<VirtualHost>)> {
    let mut found = Vec::new();
    let shared = shared_table(table, port).and_then(|id| Some((id, table.http_table(id)?)));
    if let Some((id, shared)) = shared
        && let Hosts::Shared(names) = &shared.hosts
        && let Some(host) = names.services.get(&*service.host)
    {
        found.push((id, host));
    }
    let cluster = table.cluster_by_name(&pointsman_model::ClusterName {
        host: Arc::clone(&service.host),
        port,
        subset: None,
    });
    let endpoints = cluster
        .into_iter()
        .flat_map(|(_, cluster)| cluster.endpoints.iter())
        .filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Socket(address) => Some(address.ip()),
            _ => None,
        });
    for address in service.vips.iter().copied().chain(endpoints) {
        let id = table.by_address.get(&(address, port));
        let id = id.and_then(|id| table.listener_at(*id)?.http);
        let own = id.and_then(|id| Some((id, table.http_table(id)?)));
        if let Some((id, own)) = own
            && let Hosts::One(host) = &own.hosts
            && host.host == service.host
            && host.port == port
            && found.iter().all(|(other, _)| *other != id)
        {
            found.push((id, host));
        }
    }
    found
}

/// Another virtual host under all names that the former one has.
fn rename(
    shared: &mut Names,
    service: &Service<'_>,
    context: &ClientContext,
    former: &Arc<VirtualHost>,
    host: &Arc<VirtualHost>,
) {
    let names = OwnNames::of(service, context);
    for name in names.literal.iter().chain(&service.aliases) {
        if let Some(own) = shared.services.get(name)
            && Arc::ptr_eq(own, former)
        {
            shared.services.insert(Arc::clone(name), Arc::clone(host));
        }
    }
    for address in &names.addresses {
        if let Some(own) = shared.addresses.get(address)
            && Arc::ptr_eq(own, former)
        {
            shared.addresses.insert(*address, Arc::clone(host));
        }
    }
    for suffix in &names.suffixes {
        if let Some(own) = shared.wildcards.get(suffix)
            && Arc::ptr_eq(own, former)
        {
            shared.wildcards.replace(suffix, Arc::clone(host));
        }
    }
}

/// The findings of before, but those of the VirtualServices that were asked anew from now.
fn told(part: &Part, fresh: Findings, before: &Arc<[Finding]>) -> Option<Arc<[Finding]>> {
    let is_asked = |finding: &Finding| {
        let object: Option<&ObjectKey> = finding.object.as_ref();
        object.is_some_and(|key| part.speakers.contains_key(key))
    };
    let fresh = fresh.finish();
    // What to do about an unknown host is said by looking at all services.
    if fresh
        .iter()
        .any(|finding| !is_asked(finding) || finding.code == UNKNOWN_HOST)
    {
        return None;
    }
    if before.iter().filter(|finding| is_asked(finding)).eq(&fresh) {
        return Some(Arc::clone(before));
    }
    let mut all = Findings::default();
    let others = before.iter().filter(|finding| !is_asked(finding)).cloned();
    others.chain(fresh).for_each(|finding| all.push(finding));
    Some(all.finish().into())
}
