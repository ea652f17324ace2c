//! Host tables: the names of every port's services, and who takes them (HST-1..22, VSB-4..18).
use crate::{
    hosts::{HostTable, Hosts, Names, VirtualHost},
    rule::RuleList,
    table::{HttpTableId, Table},
};
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, HostPattern, ObjectKey, ProtocolClass, ServicePort, VirtualService,
};
use smallvec::SmallVec;
use std::{net::IpAddr, sync::Arc};

use super::{
    bindings::Bindings,
    findings::Findings,
    registry::{Registry, Service},
    rules::Compiler,
};

/// Parts of the previous table, by what they are for.
#[derive(Default)]
pub(crate) struct Known<'p> {
    hosts: HashMap<(&'p str, u16), &'p Arc<VirtualHost>>,
    rules: HashMap<(&'p ObjectKey, u16), &'p Arc<RuleList>>,
    speakers: HashMap<&'p ObjectKey, &'p Arc<VirtualService>>,
    shared: HashMap<u16, &'p Arc<HostTable>>,
    single: HashMap<(&'p str, u16), &'p Arc<HostTable>>,
    servers: HashMap<&'p str, &'p Arc<HostTable>>,
}

impl<'p> Known<'p> {
    pub(crate) fn of(previous: Option<&'p Table>) -> Self {
        let mut known = Self::default();
        for table in previous.into_iter().flat_map(Table::http_tables) {
            match &table.hosts {
                Hosts::One(host) => {
                    known.single.insert((&host.host, table.port), table);
                    known.add(host);
                }
                Hosts::Servers(names) => {
                    known.servers.insert(&names.label, table);
                    let gateways = names.all().filter_map(|(_, host)| host.gateway.as_ref());
                    for service in gateways.flat_map(|own| &own.virtual_services) {
                        known.speakers.insert(&service.meta.key, service);
                    }
                }
                Hosts::Shared(names) => {
                    known.shared.insert(table.port, table);
                    let wildcards = names.wildcards.values().map(|(_, host)| host);
                    for host in names
                        .literals
                        .values()
                        .chain(names.services.values())
                        .chain(wildcards)
                    {
                        known.add(host);
                    }
                }
            }
        }
        known
    }

    /// Of some hosts only.
    pub(super) fn of_hosts(hosts: impl Iterator<Item = &'p Arc<VirtualHost>>) -> Self {
        let mut known = Self::default();
        hosts.for_each(|host| known.add(host));
        known
    }

    fn add(&mut self, host: &'p Arc<VirtualHost>) {
        self.hosts.insert((&host.host, host.port), host);
        if let Some(service) = &host.virtual_service {
            self.rules
                .insert((&service.meta.key, host.port), &host.rules);
            self.speakers.insert(&service.meta.key, service);
        }
    }

    /// The same VirtualService as before, if it is equal. Every rule holds its VirtualService, and
    /// comparing a thousand rules of one must not compare it a thousand times.
    pub(crate) fn speaker(&self, service: Arc<VirtualService>) -> Arc<VirtualService> {
        match self.speakers.get(&service.meta.key) {
            Some(known) if **known == service => Arc::clone(known),
            _ => service,
        }
    }

    /// The table of a gateway's servers.
    pub(crate) fn servers(&self, label: &str) -> Option<&'p Arc<HostTable>> {
        self.servers.get(label).copied()
    }

    pub(crate) fn rules(&self, service: &ObjectKey, port: u16) -> Option<&'p Arc<RuleList>> {
        self.rules.get(&(service, port)).copied()
    }
}

/// Collects the tables that listeners ask for.
pub(crate) struct Builder<'a, 'w> {
    registry: &'a Registry<'w>,
    bindings: &'a Bindings<'w>,
    context: &'a ClientContext,
    known: &'a Known<'a>,
    tables: Vec<Arc<HostTable>>,
    /// Shared tables under construction, by port, with their places in `tables`.
    shared: HashMap<u16, (HttpTableId, Names)>,
    hosts: HashMap<(usize, u16), Arc<VirtualHost>>,
    nothing: Arc<HostTable>,
}

impl<'a, 'w> Builder<'a, 'w> {
    pub(crate) fn new(
        registry: &'a Registry<'w>,
        bindings: &'a Bindings<'w>,
        context: &'a ClientContext,
        known: &'a Known<'a>,
    ) -> Self {
        Self {
            registry,
            bindings,
            context,
            known,
            tables: Vec::new(),
            shared: HashMap::default(),
            hosts: HashMap::default(),
            nothing: Arc::new(HostTable {
                port: 0,
                hosts: Hosts::Shared(Box::default()),
            }),
        }
    }

    /// The shared table of a port; filled later.
    pub(crate) fn shared(&mut self, port: u16) -> HttpTableId {
        if let Some((id, _)) = self.shared.get(&port) {
            return *id;
        }
        let domain = &self.context.cluster_domain;
        let names = Names {
            after_name: format!(".{}.svc.{domain}", self.context.namespace).into(),
            after_namespace: format!(".svc.{domain}").into(),
            after_svc: format!(".{domain}").into(),
            ..Names::default()
        };
        let id = self.push(Arc::clone(&self.nothing));
        self.shared.insert(port, (id, names));
        id
    }

    /// The table of an auto port on its own address (LIS-31).
    pub(crate) fn single(
        &mut self,
        service: usize,
        port: &ServicePort,
        rules: &mut Compiler<'_, 'w>,
        findings: &mut Findings,
    ) -> Option<HttpTableId> {
        let host = self.virtual_host(service, port, rules, findings)?;
        let known = self.known.single.get(&(&*host.host, port.number)).copied();
        let made = HostTable {
            port: port.number,
            hosts: Hosts::One(host),
        };
        let made = super::share(known, made);
        Some(self.push(made))
    }

    fn push(&mut self, table: Arc<HostTable>) -> HttpTableId {
        self.tables.push(table);
        HttpTableId((self.tables.len() - 1) as u32)
    }

    /// The virtual host of a service on one of its ports.
    pub(super) fn virtual_host(
        &mut self,
        index: usize,
        port: &ServicePort,
        rules: &mut Compiler<'_, 'w>,
        findings: &mut Findings,
    ) -> Option<Arc<VirtualHost>> {
        if let Some(host) = self.hosts.get(&(index, port.number)) {
            return Some(Arc::clone(host));
        }
        let service = self.registry.get(index)?;
        let bound = self.bindings.http_for(service).find_map(|speaker| {
            let list = rules.http(speaker, port.number, findings)?;
            Some((Arc::clone(speaker), list))
        });
        let (virtual_service, list) = match bound {
            Some((speaker, list)) => (Some(speaker), list),
            None => {
                let default = rules.default_rule(service, port);
                (None, Arc::new(RuleList::new(vec![default])))
            }
        };
        let made = VirtualHost {
            host: Arc::clone(&service.host),
            port: port.number,
            service: Some(service.meta.key.clone()),
            place: port.place.clone(),
            rules: list,
            virtual_service,
            gateway: None,
        };
        let known = self
            .known
            .hosts
            .get(&(&*service.host, port.number))
            .copied();
        let host = super::share(known, made);
        self.hosts.insert((index, port.number), Arc::clone(&host));
        Some(host)
    }

    /// Fills the shared tables, VirtualService hosts first (HST-20).
    pub(crate) fn fill(&mut self, rules: &mut Compiler<'_, 'w>, findings: &mut Findings) {
        let mut shared = std::mem::take(&mut self.shared);
        for speaker in self.bindings.all() {
            if !speaker.http.is_empty() {
                self.add_literals(speaker, &mut shared, rules, findings);
            }
        }
        let registry = self.registry;
        for (index, service) in registry.services.iter().enumerate() {
            for port in http_ports(service) {
                if shared.contains_key(&port.number)
                    && let Some(host) = self.virtual_host(index, port, rules, findings)
                    && let Some((_, names)) = shared.get_mut(&port.number)
                {
                    add_names(names, service, &host, self.context);
                }
            }
        }
        // After all full names: an alias displaces none of them (HST-20, HST-21).
        for (index, service) in registry.services.iter().enumerate() {
            for port in http_ports(service) {
                if !service.aliases.is_empty()
                    && let Some((_, names)) = shared.get_mut(&port.number)
                    && let Some(host) = self.hosts.get(&(index, port.number))
                {
                    for alias in &service.aliases {
                        let _ = names
                            .services
                            .insert_new(Arc::clone(alias), Arc::clone(host));
                    }
                }
            }
        }
        for (port, (id, mut names)) in shared {
            names.fit();
            let made = HostTable {
                port,
                hosts: Hosts::Shared(Box::new(names)),
            };
            let made = super::share(self.known.shared.get(&port).copied(), made);
            if let Some(slot) = self.tables.get_mut(id.0 as usize) {
                *slot = made;
            }
        }
    }

    /// Hosts that are no service: on port 80, and on ports of a service that the same
    /// VirtualService speaks for (VSB-8, VSB-10). The first that has something to say on a port
    /// keeps the host there (VSB-9, HST-20).
    pub(super) fn add_literals(
        &self,
        speaker: &Arc<VirtualService>,
        shared: &mut HashMap<u16, (HttpTableId, Names)>,
        rules: &mut Compiler<'_, 'w>,
        findings: &mut Findings,
    ) {
        let unknown: Vec<&HostPattern> = speaker
            .hosts
            .iter()
            .filter(|host| match host {
                HostPattern::Exact(name) => self.registry.exact(name).is_none(),
                pattern => self.registry.exact(&pattern.to_string()).is_none(),
            })
            .collect();
        if unknown.is_empty() {
            return;
        }
        let mut ports = vec![80];
        for host in &speaker.hosts {
            let service = host.exact().and_then(|name| self.registry.exact(name));
            if let Some(service) = service.and_then(|index| self.registry.get(index)) {
                ports.extend(http_ports(service).map(|port| port.number));
            }
        }
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            let Some((_, names)) = shared.get_mut(&port) else {
                continue; // nothing listens for it (VSB-11)
            };
            let Some(list) = rules.http(speaker, port, findings) else {
                continue;
            };
            for host in &unknown {
                if host.is_wildcard() && self.covers_a_service(host, port) {
                    continue; // its rules went to that service (VSB-8)
                }
                let text: Arc<str> = host.to_string().into();
                let made = VirtualHost {
                    host: Arc::clone(&text),
                    port,
                    service: None,
                    place: speaker.meta.place.clone(),
                    rules: Arc::clone(&list),
                    virtual_service: Some(Arc::clone(speaker)),
                    gateway: None,
                };
                let known = self.known.hosts.get(&(&*text, port)).copied();
                let made = super::share(known, made);
                match host {
                    HostPattern::Exact(name) => {
                        let _ = names.literals.insert_new(Arc::clone(name), made);
                    }
                    HostPattern::Suffix(suffix) => drop(names.wildcards.insert(suffix, made)),
                    // Refused for the mesh by validation (VSB-18).
                    HostPattern::Any => {}
                }
            }
        }
    }

    fn covers_a_service(&self, host: &HostPattern, port: u16) -> bool {
        self.registry.services.iter().any(|service| {
            host.covers(&service.pattern) && http_ports(service).any(|own| own.number == port)
        })
    }

    pub(crate) fn finish(self) -> Vec<Arc<HostTable>> {
        self.tables
    }
}

/// Ports on which requests can come.
pub(super) fn http_ports<'s>(service: &'s Service<'_>) -> impl Iterator<Item = &'s ServicePort> {
    service.ports.iter().copied().filter(|port| {
        matches!(
            port.protocol.class(),
            ProtocolClass::Http | ProtocolClass::Auto
        )
    })
}

/// The names under which a service is in a shared table, beside its aliases (HST-1..9); short forms
/// follow from the full name at lookup. The first service has a name.
#[derive(Default)]
pub(super) struct OwnNames {
    pub(super) literal: Option<Arc<str>>,
    pub(super) addresses: SmallVec<[IpAddr; 1]>,
    /// Behind the `*` of wildcards.
    pub(super) suffixes: Vec<Arc<str>>,
}

impl OwnNames {
    pub(super) fn of(service: &Service<'_>, context: &ClientContext) -> Self {
        let mut made = Self {
            addresses: service.vips.clone(),
            ..Self::default()
        };
        match &service.pattern {
            HostPattern::Exact(name) => made.literal = Some(Arc::clone(name)),
            HostPattern::Suffix(suffix) => made.add_full_suffix(suffix),
            HostPattern::Any => {}
        }
        if service.is_headless() {
            let key = &service.meta.key;
            let (name, namespace) = (key.name.to_ascii_lowercase(), &key.namespace);
            made.add_full_suffix(&format!(".{}", service.host));
            let short = format!(".{name}.{namespace}");
            made.suffixes.push(format!("{short}.svc").into());
            made.suffixes.push(short.into());
            if *namespace == context.namespace {
                made.suffixes.push(format!(".{name}").into());
            }
        }
        made
    }

    /// Full names have a variant with a trailing dot (HST-2).
    fn add_full_suffix(&mut self, suffix: &str) {
        self.suffixes.push(suffix.into());
        self.suffixes.push(format!("{suffix}.").into());
    }
}

fn add_names(
    names: &mut Names,
    service: &Service<'_>,
    host: &Arc<VirtualHost>,
    context: &ClientContext,
) {
    let own = OwnNames::of(service, context);
    if let Some(name) = own.literal {
        let _ = names.services.insert_new(name, Arc::clone(host));
    }
    for address in own.addresses {
        let _ = names.addresses.insert_new(address, Arc::clone(host));
    }
    for suffix in &own.suffixes {
        let _ = names.wildcards.insert(suffix, Arc::clone(host));
    }
}
