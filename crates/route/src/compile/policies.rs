//! Which DestinationRule is in force for a service, and what policy follows (BE-11..27).
use crate::cluster::{BALANCER_LABEL, Policy};
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, DestinationRule, HostPattern, Subset, World,
    policy::{PolicyBlocks, TrafficPolicy, selects},
};
use std::sync::Arc;

use super::registry::Service;

/// All DestinationRules by namespace and host.
pub(crate) struct Rules<'w> {
    by_namespace: HashMap<&'w str, NamespaceRules<'w>>,
}

#[derive(Default)]
struct NamespaceRules<'w> {
    exact: HashMap<Arc<str>, Vec<&'w Arc<DestinationRule>>>,
    /// The longest wildcard first.
    wildcards: Vec<(HostPattern, Vec<&'w Arc<DestinationRule>>)>,
}

/// What is in force for one service.
#[derive(Default)]
pub(crate) struct InForce<'w> {
    /// The first top-level policy of the merged rules.
    pub(crate) policy: Option<&'w TrafficPolicy>,
    /// Subsets, a repeated name keeps the first (BE-17).
    pub(crate) subsets: Vec<&'w Subset>,
    /// The oldest of the merged rules.
    pub(crate) rule: Option<&'w Arc<DestinationRule>>,
}

impl<'w> Rules<'w> {
    pub(crate) fn build(world: &'w World, context: &ClientContext) -> Self {
        let mut by_namespace: HashMap<&str, NamespaceRules<'w>> = HashMap::default();
        let mut rules: Vec<_> = world.destination_rules.values().collect();
        rules.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
        for rule in rules {
            if let Some(selector) = &rule.workload_selector
                && (rule.meta.key.namespace != context.namespace
                    || !selects(selector, &context.labels))
            {
                continue; // speaks of other clients (BE-16)
            }
            let own = by_namespace.entry(&rule.meta.key.namespace).or_default();
            match &rule.host {
                HostPattern::Exact(host) => {
                    own.exact.entry(Arc::clone(host)).or_default().push(rule);
                }
                pattern => match own.wildcards.iter_mut().find(|(own, _)| own == pattern) {
                    Some((_, list)) => list.push(rule),
                    None => own.wildcards.push((pattern.clone(), vec![rule])),
                },
            }
        }
        for own in by_namespace.values_mut() {
            own.wildcards
                .sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
        }
        Self { by_namespace }
    }

    /// The client's namespace, the service's, the root: the first with any matching rule decides
    /// (BE-12..15).
    pub(crate) fn in_force(&self, service: &Service<'_>, context: &ClientContext) -> InForce<'w> {
        if self.by_namespace.is_empty() {
            return InForce::default();
        }
        let own = &*service.meta.key.namespace;
        let client = &*context.namespace;
        let root = &*context.root_namespace;
        if let Some(found) = self.in_namespace(client, service, |rule| {
            // BE-13: what the root namespace exports is not what its clients privately want.
            client != root || rule.meta.export_to.iter().any(|item| &**item == ".")
        }) {
            return found;
        }
        for namespace in [own, root] {
            let exported =
                |rule: &DestinationRule| rule.meta.visible_to(client, &[]) || namespace == client;
            if let Some(found) = self.in_namespace(namespace, service, exported) {
                return found;
            }
        }
        InForce::default()
    }

    /// Only rules of the most specific host are looked at, even if none of them may be used
    /// (BE-14). Those with the first one's selector and export list are merged with it (BE-17).
    fn in_namespace(
        &self,
        namespace: &str,
        service: &Service<'_>,
        usable: impl Fn(&DestinationRule) -> bool,
    ) -> Option<InForce<'w>> {
        let own = self.by_namespace.get(namespace)?;
        let list = own.exact.get(&service.host).or_else(|| {
            own.wildcards
                .iter()
                .find(|(pattern, _)| pattern.covers(&service.pattern))
                .map(|(_, list)| list)
        })?;
        let usable: Vec<&'w Arc<DestinationRule>> =
            list.iter().copied().filter(|rule| usable(rule)).collect();
        let first = *usable
            .iter()
            .find(|rule| rule.workload_selector.is_some())
            .or(usable.first())?;
        let mut found = InForce {
            rule: Some(first),
            ..InForce::default()
        };
        for rule in usable {
            if rule.workload_selector != first.workload_selector
                || rule.meta.export_to != first.meta.export_to
            {
                continue;
            }
            found.policy = found.policy.or(rule.policy.as_ref());
            for subset in &rule.subsets {
                if !found.subsets.iter().any(|own| own.name == subset.name) {
                    found.subsets.push(subset);
                }
            }
        }
        Some(found)
    }
}

impl InForce<'_> {
    /// The policy of one port, and of a subset of it (BE-22..25).
    pub(crate) fn resolve(&self, subset: Option<&Subset>, port: u16) -> Policy {
        let mut policy = Policy::default();
        let Some(rule) = self.rule else {
            return policy;
        };
        policy.origin = Some((rule.meta.key.clone(), rule.meta.place.clone()));
        policy.custom = rule.meta.labels.get(BALANCER_LABEL).cloned();
        if let Some(top) = self.policy {
            match port_level(top, port) {
                // Replaces the whole policy, unset blocks included (BE-22).
                Some(blocks) => take(&mut policy, blocks, true),
                None => {
                    take(&mut policy, &top.blocks, true);
                    take_rest(&mut policy, top);
                }
            }
        }
        if let Some(own) = subset.and_then(|subset| subset.policy.as_ref()) {
            match port_level(own, port) {
                Some(blocks) => take(&mut policy, blocks, true),
                None => {
                    take(&mut policy, &own.blocks, false);
                    take_rest(&mut policy, own);
                }
            }
        }
        policy
    }
}

fn port_level(policy: &TrafficPolicy, port: u16) -> Option<&PolicyBlocks> {
    let found = policy.ports.iter().find(|(number, _)| *number == port);
    found.map(|(_, blocks)| blocks)
}

/// Takes each block as a whole (BE-24). `unset_too`: a block that is not set goes back to its
/// built-in default.
fn take(policy: &mut Policy, blocks: &PolicyBlocks, unset_too: bool) {
    if unset_too || blocks.load_balancer.is_some() {
        let balancer = blocks.load_balancer.clone().unwrap_or_default();
        policy.algorithm = balancer.algorithm;
        policy.warmup = balancer.warmup;
    }
    if unset_too || blocks.connection_pool.is_some() {
        policy.pool = blocks.connection_pool.clone().unwrap_or_default();
    }
    if unset_too || blocks.outlier_detection.is_some() {
        policy.outlier = blocks.outlier_detection.clone();
    }
    if unset_too || blocks.tls.is_some() {
        policy.tls = blocks.tls.clone();
    }
}

fn take_rest(policy: &mut Policy, from: &TrafficPolicy) {
    policy.proxy_protocol = from.proxy_protocol.or(policy.proxy_protocol);
    policy.retry_budget = from.retry_budget.or(policy.retry_budget);
    if from.tunnel.is_some() {
        policy.tunnel = from.tunnel.clone();
    }
}
