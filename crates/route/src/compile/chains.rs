//! The chains of one service port for bytes: VirtualService `tls` and `tcp` rules, else everything
//! to the service (VS-S-1..14, VS-T-1..13).
use crate::rule::TcpRule;
use ipnet::IpNet;
use pointsman_model::{ClientContext, HostPattern, ProtocolClass, ServicePort};
use std::sync::Arc;

use super::{
    bindings::Bindings,
    findings::Findings,
    registry::Service,
    rules::{Compiler, RawRoute},
};

/// A chain with the criteria it was written with; the listener may add its own.
pub(crate) struct RawChain {
    /// Empty: no criterion of its own.
    pub(crate) subnets: Vec<IpNet>,
    /// Server names. Empty: no criterion.
    pub(crate) names: Vec<HostPattern>,
    pub(crate) rule: Arc<TcpRule>,
}

/// The chains of a port. `wildcard`: for a listener on all addresses, where a TLS port needs the
/// server name to be recognised (LIS-26, LIS-27).
pub(crate) fn raw_chains<'w>(
    service: &Service<'w>,
    port: &ServicePort,
    wildcard: bool,
    bindings: &Bindings<'w>,
    rules: &Compiler<'_, 'w>,
    context: &ClientContext,
    findings: &mut Findings,
) -> Vec<RawChain> {
    let tls = port.protocol.class() == ProtocolClass::Tls;
    let mut chains = Vec::new();
    let complete = if tls {
        tls_chains(service, port, bindings, rules, findings, &mut chains)
    } else {
        tcp_chains(service, port, bindings, rules, findings, &mut chains)
    };
    if !complete {
        chains.push(RawChain {
            subnets: Vec::new(),
            names: if tls && wildcard {
                server_names(service, context)
            } else {
                Vec::new()
            },
            rule: rules.default_bytes(service, port),
        });
    }
    chains
}

/// As soon as one item applies, the service's own chain is not made (VS-S-8).
fn tls_chains<'w>(
    service: &Service<'w>,
    port: &ServicePort,
    bindings: &Bindings<'w>,
    rules: &Compiler<'_, 'w>,
    findings: &mut Findings,
    chains: &mut Vec<RawChain>,
) -> bool {
    for speaker in bindings.raw_for(service) {
        for route in &speaker.tls {
            let mut made = None;
            for item in &route.matches {
                if !rules.applies_to_bytes(&item.client, port.number) {
                    continue;
                }
                let rule = made.get_or_insert_with(|| {
                    let written = RawRoute {
                        section: "tls",
                        index: route.index,
                        place: &route.place,
                        route: &route.route,
                    };
                    rules.bytes(speaker, &written, port.number, findings)
                });
                let any = item.sni_hosts.contains(&HostPattern::Any);
                chains.push(RawChain {
                    subnets: item.destination_subnets.clone(),
                    names: if any {
                        Vec::new()
                    } else {
                        item.sni_hosts.clone()
                    },
                    rule: Arc::clone(rule),
                });
            }
        }
    }
    !chains.is_empty()
}

/// True if a rule takes everything, so that nothing after it counts (VS-T-3).
fn tcp_chains<'w>(
    service: &Service<'w>,
    port: &ServicePort,
    bindings: &Bindings<'w>,
    rules: &Compiler<'_, 'w>,
    findings: &mut Findings,
    chains: &mut Vec<RawChain>,
) -> bool {
    for speaker in bindings.raw_for(service) {
        for route in &speaker.tcp {
            let applying: Vec<_> = route
                .matches
                .iter()
                .filter(|item| rules.applies_to_bytes(&item.client, port.number))
                .collect();
            if applying.is_empty() && !route.matches.is_empty() {
                continue;
            }
            let terminal = applying
                .iter()
                .any(|item| item.destination_subnets.is_empty())
                || route.matches.is_empty();
            let written = RawRoute {
                section: "tcp",
                index: route.index,
                place: &route.place,
                route: &route.route,
            };
            let rule = rules.bytes(speaker, &written, port.number, findings);
            let subnets = if terminal {
                Vec::new()
            } else {
                let lists = applying.iter().map(|item| &item.destination_subnets);
                lists.flatten().copied().collect()
            };
            chains.push(RawChain {
                subnets,
                names: Vec::new(),
                rule,
            });
            if terminal {
                return true;
            }
        }
    }
    false
}

/// The host, and every name of every alias (VS-S-9, VS-S-11, ALS-4).
fn server_names(service: &Service<'_>, context: &ClientContext) -> Vec<HostPattern> {
    let mut names = vec![service.pattern.clone()];
    let domain = format!(".svc.{}", context.cluster_domain);
    for alias in &service.aliases {
        names.push(HostPattern::Exact(Arc::clone(alias)));
        names.push(HostPattern::Exact(format!("{alias}.").into()));
        let Some(short) = alias.strip_suffix(domain.as_str()) else {
            continue;
        };
        names.push(HostPattern::Exact(format!("{short}.svc").into()));
        names.push(HostPattern::Exact(short.into()));
        if let Some((name, namespace)) = short.split_once('.')
            && *namespace == *context.namespace
        {
            names.push(HostPattern::Exact(name.into()));
        }
    }
    names
}
