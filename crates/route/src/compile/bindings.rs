//! Which VirtualService speaks for which host (VSB-1..18, VS-S-2, VS-T-2).
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, Finding, HostPattern, Level, VirtualService,
    matches::{ClientMatch, HttpMatch},
};
use smallvec::SmallVec;
use std::sync::Arc;

use super::{
    findings::{Findings, SECOND_VIRTUAL_SERVICE},
    registry::Service,
};

/// Who speaks for which host, among the VirtualServices that this client may see.
pub(crate) struct Bindings<'w> {
    /// In the order of VSB-3.
    ordered: Vec<&'w Arc<VirtualService>>,
    /// Those that name a host, whatever their sections, in order. Keys are hosts as text, wildcards
    /// included.
    by_host: HashMap<Arc<str>, SmallVec<[usize; 2]>>,
    /// Each with the first that names it; the longest wildcard first.
    wildcards: Vec<(HostPattern, usize)>,
    /// Those with `tls` or `tcp` rules, of which all apply.
    raw_exact: HashMap<Arc<str>, Vec<usize>>,
    raw_wildcards: Vec<(HostPattern, usize)>,
}

/// In the order of VSB-3.
pub(crate) fn ordered<'w>(
    speakers: &'w [Arc<VirtualService>],
    context: &ClientContext,
) -> Vec<&'w Arc<VirtualService>> {
    let mut ordered: Vec<_> = speakers.iter().collect();
    ordered.sort_by_key(|service| (export_rank(service, context), service.meta.age_key()));
    ordered
}

impl<'w> Bindings<'w> {
    /// Takes them in order.
    pub(crate) fn build(ordered: Vec<&'w Arc<VirtualService>>, findings: &mut Findings) -> Self {
        let mut made = Self {
            ordered: Vec::new(),
            by_host: HashMap::default(),
            wildcards: Vec::new(),
            raw_exact: HashMap::default(),
            raw_wildcards: Vec::new(),
        };
        for (index, service) in ordered.iter().copied().enumerate() {
            for host in &service.hosts {
                made.bind(host, index, &ordered, findings);
                // A section that is not there binds nothing (VS-T-9).
                if !service.tls.is_empty() || !service.tcp.is_empty() {
                    match host {
                        HostPattern::Exact(name) => {
                            let list = made.raw_exact.entry(Arc::clone(name)).or_default();
                            list.push(index);
                        }
                        pattern => made.raw_wildcards.push((pattern.clone(), index)),
                    }
                }
            }
        }
        made.wildcards
            .sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
        made.ordered = ordered;
        made
    }

    /// Of those with http rules the first in order has the host, wherever one of its rules can apply (VSB-9).
    fn bind(
        &mut self,
        host: &HostPattern,
        index: usize,
        ordered: &[&'w Arc<VirtualService>],
        findings: &mut Findings,
    ) {
        let named = self.by_host.entry(text_of(host)).or_default();
        if let Some(second) = ordered.get(index).filter(|it| !it.http.is_empty()) {
            let mut earlier = named.iter().filter_map(|at| ordered.get(*at));
            let first = if host.is_wildcard() {
                earlier.next() // the only one, whatever its sections
            } else {
                let mut with_rules = earlier.filter(|it| !it.http.is_empty());
                // One that leaves nothing has it before those behind that leave something.
                let whole = with_rules.clone().find(|it| !leaves_some(it));
                whole.or_else(|| with_rules.next())
            };
            if let Some(first) = first {
                findings.push(second_speaker(host, first, second));
            }
        }
        if named.is_empty() && host.is_wildcard() {
            self.wildcards.push((host.clone(), index));
        }
        named.push(index);
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'w Arc<VirtualService>> {
        self.ordered.iter().copied()
    }

    /// Those whose http rules a service may have; the first with one that can apply has it (VSB-9). All of
    /// its exact host, else the first of the longest wildcard (VSB-7). Whoever names the exact host keeps
    /// wildcards away, without http rules too (VSB-14).
    pub(crate) fn http_for(
        &self,
        service: &Service<'_>,
    ) -> impl Iterator<Item = &'w Arc<VirtualService>> {
        let exact = service.pattern.exact();
        let named = exact.and_then(|name| self.by_host.get(name));
        let covers = |(pattern, _): &&(HostPattern, usize)| pattern.covers(&service.pattern);
        let wildcard = match named {
            Some(_) => None,
            None => self.wildcards.iter().find(covers),
        };
        let all = named.into_iter().flatten();
        all.chain(wildcard.map(|(_, index)| index))
            .filter_map(|index| self.ordered.get(*index).copied())
    }

    /// All whose `tls` and `tcp` rules speak of a service, in order (VS-S-3).
    pub(crate) fn raw_for(&self, service: &Service<'_>) -> Vec<&'w Arc<VirtualService>> {
        if self.raw_exact.is_empty() && self.raw_wildcards.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<usize> = self
            .raw_wildcards
            .iter()
            .filter(|(pattern, _)| {
                // Wildcards on either side count (VS-S-2).
                pattern.covers(&service.pattern) || service.pattern.covers(pattern)
            })
            .map(|(_, index)| *index)
            .collect();
        if service.pattern.is_wildcard() {
            for (name, list) in &self.raw_exact {
                if service.pattern.matches(name) {
                    found.extend(list);
                }
            }
        } else if let Some(list) = self.raw_exact.get(&service.host) {
            found.extend(list);
        }
        found.sort_unstable();
        found.dedup();
        found
            .into_iter()
            .filter_map(|index| self.ordered.get(index).copied())
            .collect()
    }
}

/// Can the next one have the host where no rule of this one can apply? Which ports and clients that
/// is depends on more than one host.
fn leaves_some(service: &VirtualService) -> bool {
    let restricted = |it: &HttpMatch| it.client != ClientMatch::default();
    let mut rules = service.http.iter();
    rules.all(|rule| !rule.matches.is_empty() && rule.matches.iter().all(restricted))
}

fn second_speaker(host: &HostPattern, first: &VirtualService, second: &VirtualService) -> Finding {
    let (level, asked) = match (leaves_some(first), host.is_wildcard()) {
        (false, _) => (Level::Warning, "never asked for this host"),
        // Where it covers none, the next one can have it (VSB-7, VSB-10).
        (true, true) => (
            Level::Warning,
            "never asked for the services that it covers",
        ),
        (true, false) => (
            Level::Info,
            "asked only for ports and clients to which no rule of the first can apply",
        ),
    };
    let (first, second) = (&first.meta, &second.meta);
    let taken = format!("host {host} already belongs to {}", first.key);
    Finding::new(SECOND_VIRTUAL_SERVICE, level, taken)
        .of(&second.key)
        .at(&second.place)
        .effect(format!("the http rules of {} are {asked}", second.key))
        .help("put the rules into one VirtualService, or give them different hosts")
        .related(
            &first.place,
            "this one is older, or private to the namespace",
        )
}

fn text_of(host: &HostPattern) -> Arc<str> {
    match host {
        HostPattern::Exact(name) => Arc::clone(name),
        pattern => pattern.to_string().into(),
    }
}

/// Private to the client's namespace, then exported to it by name, then public (VSB-3).
fn export_rank(service: &VirtualService, context: &ClientContext) -> u8 {
    let client = &*context.namespace;
    let export = context.export_defaults.list(&service.meta);
    let own = &*service.meta.key.namespace == client;
    if own
        && export
            .iter()
            .any(|item| &**item == "." || &**item == client)
    {
        0
    } else if export.iter().any(|item| &**item == client) {
        1
    } else {
        2
    }
}
