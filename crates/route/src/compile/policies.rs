//! Which DestinationRule is in force for a service, and what policy follows (BE-11..27).
use crate::cluster::{BALANCER_LABEL, Policy};
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, DestinationRule, HostPattern, Subset, World,
    policy::{PolicyBlocks, TrafficPolicy, selects},
};
use std::{collections::BTreeSet, sync::Arc};

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
        let client = &*context.namespace;
        let root = &*context.root_namespace;
        let owner = &*service.meta.key.namespace;
        // What the client's own namespace says counts whatever its export, except in the root: what
        // that exports is not what clients there privately want (BE-13).
        let private = |rule: &DestinationRule| client != root || is_private(rule, context);
        let exported = |rule: &DestinationRule| context.sees(&rule.meta);
        self.in_namespace(client, service, context, private)
            .or_else(|| self.in_namespace(owner, service, context, exported))
            .or_else(|| self.in_namespace(root, service, context, exported))
            .unwrap_or_default()
    }

    /// Only rules of the most specific host are looked at, even if none of them may be used
    /// (BE-14). Those with the first one's selector and export list are merged with it (BE-17).
    fn in_namespace(
        &self,
        namespace: &str,
        service: &Service<'_>,
        context: &ClientContext,
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
        let exports = exports(first, context);
        let mut found = InForce {
            rule: Some(first),
            ..InForce::default()
        };
        for rule in usable {
            if rule.workload_selector != first.workload_selector
                || self::exports(rule, context) != exports
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

/// The namespaces a rule is exported to, as a set: `.` is its own by name (VIS-6), and a rule for
/// selected workloads never leaves it (BE-16).
fn exports<'r>(rule: &'r DestinationRule, context: &'r ClientContext) -> BTreeSet<&'r str> {
    let own = &*rule.meta.key.namespace;
    if rule.workload_selector.is_some() {
        return BTreeSet::from([own]);
    }
    let list = context.export_defaults.list(&rule.meta);
    if list.is_empty() {
        return BTreeSet::from(["*"]);
    }
    let named = |item: &'r Arc<str>| if &**item == "." { own } else { &**item };
    list.iter().map(named).collect()
}

fn is_private(rule: &DestinationRule, context: &ClientContext) -> bool {
    exports(rule, context) == BTreeSet::from([&*rule.meta.key.namespace])
}

impl InForce<'_> {
    /// The policy of one port, and of a subset of it (BE-22..26).
    pub(crate) fn resolve(
        &self,
        subset: Option<&Subset>,
        port: u16,
        context: &ClientContext,
    ) -> Policy {
        let mut policy = Policy::default();
        let mut blocks = PolicyBlocks::default();
        if let Some(rule) = self.rule {
            policy.origin = Some((rule.meta.key.clone(), rule.meta.place.clone()));
            policy.custom = rule.meta.labels.get(BALANCER_LABEL).cloned();
        }
        if let Some(top) = self.policy {
            match port_level(top, port) {
                // Replaces the whole policy, unset blocks included (BE-22).
                Some(own) => blocks = own.clone(),
                None => {
                    blocks = top.blocks.clone();
                    take_rest(&mut policy, top);
                }
            }
        }
        if let Some(own) = subset.and_then(|subset| subset.policy.as_ref()) {
            match port_level(own, port) {
                Some(own) => blocks = own.clone(),
                None => {
                    override_blocks(&mut blocks, &own.blocks);
                    take_rest(&mut policy, own);
                }
            }
        }
        let mesh = &context.default_policy;
        let balancer = blocks.load_balancer.unwrap_or_default();
        policy.algorithm = balancer.algorithm;
        policy.warmup = balancer.warmup;
        let pool = blocks.connection_pool.as_ref();
        let pool = pool.or(mesh.connection_pool.as_ref());
        policy.pool = pool.cloned().unwrap_or_default();
        // Not a block: it is there for every pool that does not say how long (BE-61).
        let limit = &mut policy.pool.connect_timeout;
        *limit = limit.or(context.connect_timeout);
        policy.mesh_h2_upgrade = context.h2_upgrade;
        // What the mesh says is the ground that a pool builds on (BE-62).
        let probes = &mut policy.pool.tcp_keepalive;
        *probes = match (*probes, context.tcp_keepalive) {
            (Some(own), Some(mesh)) => Some(own.over(mesh)),
            (own, mesh) => own.or(mesh),
        };
        let outlier = blocks.outlier_detection.as_ref();
        policy.outlier = outlier.or(mesh.outlier_detection.as_ref()).cloned();
        policy.tls = blocks.tls;
        policy
    }
}

fn port_level(policy: &TrafficPolicy, port: u16) -> Option<&PolicyBlocks> {
    let found = policy.ports.iter().find(|(number, _)| *number == port);
    found.map(|(_, blocks)| blocks)
}

/// Each block that is set replaces the one below as a whole (BE-23, BE-24).
fn override_blocks(blocks: &mut PolicyBlocks, own: &PolicyBlocks) {
    fn take<T: Clone>(slot: &mut Option<T>, own: &Option<T>) {
        if own.is_some() {
            slot.clone_from(own);
        }
    }
    take(&mut blocks.load_balancer, &own.load_balancer);
    take(&mut blocks.connection_pool, &own.connection_pool);
    take(&mut blocks.outlier_detection, &own.outlier_detection);
    take(&mut blocks.tls, &own.tls);
}

fn take_rest(policy: &mut Policy, from: &TrafficPolicy) {
    policy.proxy_protocol = from.proxy_protocol.or(policy.proxy_protocol);
    policy.retry_budget = from.retry_budget.or(policy.retry_budget);
    if from.tunnel.is_some() {
        policy.tunnel = from.tunnel.clone();
    }
}
