//! Which names of documents must be looked up in DNS.
use pointsman_model::{
    ProtocolClass, Resolution, ServiceEntry, World, context::EntryCapture, policy::selects,
    service_entry::EntryAddress,
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// The names whose addresses the tables of a world depend on.
///
/// Endpoints of the DNS resolutions, the WorkloadEntries they select (BE-112) among them, or the hosts of
/// entries without endpoints (BE-94, BE-95); and
/// for the swallow guard everything an entry without addresses can be known by: its clients reach
/// it at what they resolved its host to.
pub fn names_wanted(world: &World, capture: EntryCapture) -> BTreeSet<Arc<str>> {
    let mut wanted = BTreeSet::new();
    let mut want = |name: &Arc<str>| {
        if name.parse::<IpAddr>().is_err() {
            wanted.insert(Arc::clone(name));
        }
    };
    let workloads = world.workload_entries.values();
    let named: Vec<_> = workloads
        .filter_map(|workload| match &workload.endpoint.address {
            EntryAddress::Name(name) => Some((workload, name)),
            EntryAddress::Ip(_) | EntryAddress::Unix(_) => None,
        })
        .collect();
    for entry in world.service_entries.values() {
        let dns = matches!(
            entry.resolution,
            Resolution::Dns | Resolution::DnsRoundRobin
        );
        let guarded = is_guarded(entry, capture);
        let own_endpoints = !entry.endpoints.is_empty() || entry.workload_selector.is_some();
        if (dns && !own_endpoints) || guarded {
            entry
                .hosts
                .iter()
                .filter_map(|host| host.exact())
                .for_each(&mut want);
        }
        if dns || guarded {
            for endpoint in &entry.endpoints {
                if let EntryAddress::Name(name) = &endpoint.address {
                    want(name);
                }
            }
        }
        if dns && let Some(selector) = &entry.workload_selector {
            let namespace = &entry.meta.key.namespace;
            let picked = named.iter().filter(|(workload, _)| {
                workload.meta.key.namespace == *namespace && selects(selector, workload.labels())
            });
            picked.for_each(|(_, name)| want(name));
        }
    }
    wanted
}

/// Does the entry take bytes of a port wherever they go, so that the guard must narrow it (LIS-27)?
fn is_guarded(entry: &ServiceEntry, capture: EntryCapture) -> bool {
    capture == EntryCapture::Resolved
        && entry.addresses.is_empty()
        && entry.ports.iter().any(|port| {
            let class = port.protocol.class();
            class == ProtocolClass::Tcp || class == ProtocolClass::Auto
        })
}
