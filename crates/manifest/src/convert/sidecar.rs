//! Sidecars.
use super::{Context, action};
use crate::{
    codes, form,
    yaml::{Map, Node, Span},
};
use foldhash::{HashMap, HashMapExt as _};
use pointsman_model::{
    HostPattern, Meta, OutboundPolicy, Sidecar,
    sidecar::{Egress, EgressHost, EgressNamespace, Outbound},
};

pub(super) fn sidecar(meta: Meta, spec: &Map, context: &mut Context<'_>) -> Sidecar {
    Sidecar {
        meta,
        workload_selector: spec
            .map("workloadSelector")
            .map(|selector| context.labels(selector.map("labels")))
            // An empty selector is none: it selects nobody in particular.
            .filter(|labels| !labels.is_empty()),
        egress: egress(spec, context),
        outbound: spec
            .entry("outboundTrafficPolicy")
            .and_then(|(key, node)| Some(outbound(key.span, node.as_map()?, context))),
    }
}

fn egress(spec: &Map, context: &mut Context<'_>) -> Vec<Egress> {
    let mut ports: HashMap<Option<u16>, Span> = HashMap::new();
    let mut egress = Vec::new();
    for node in spec.list("egress") {
        let Some(map) = node.as_map() else { continue };
        let port = map.map("port").and_then(|it| Context::port(it, "number"));
        if let Some(first) = ports.insert(port, node.start()) {
            let message = match port {
                Some(port) => format!("two items of `egress` have the port {port} (VIS-10)"),
                None => "two items of `egress` have no port (VIS-10)".to_owned(),
            };
            context.report.collision(
                codes::COMBINATION,
                node.start(),
                message,
                "again",
                (first, "the first one"),
                "put their hosts into one item",
            );
        } else if let Some(&plain) = ports.get(&None).filter(|_| port.is_some()) {
            context.report.collision(
                codes::COMBINATION,
                node.start(),
                "the item of `egress` without a port is the last one (VIS-10)",
                "after it",
                (plain, "has no port"),
                "move the item without a port to the end",
            );
        }
        let hosts = map.list("hosts");
        if hosts.is_empty()
            && let Some((key, _)) = map.entry("hosts")
        {
            context.report.error(
                codes::HOSTS,
                key.span,
                "an item of `egress` needs at least one host",
                "none is listed",
                "to list nothing write ~/*",
            );
        }
        egress.push(Egress {
            port,
            hosts: hosts
                .iter()
                .filter_map(|node| host(node, context))
                .collect(),
            place: context.report.place(node.start()),
        });
    }
    egress
}

/// `namespace/host`; a host is a full name, with a leading wildcard at most.
fn host(node: &Node, context: &mut Context<'_>) -> Option<EgressHost> {
    let text = node.as_text()?;
    let mut fault = |label: &str, help: &'static str| {
        let message = format!("{text:?} is not a namespace and a host (VIS-10)");
        context
            .report
            .error(codes::VALUE, node.span, message, label, help);
    };
    let Some((namespace, host)) = text.split_once('/') else {
        fault(
            "no namespace",
            "as in prod/*, ./api.default.svc.cluster.local or */*.example.com",
        );
        return None;
    };
    let namespace = match namespace {
        "*" => EgressNamespace::Any,
        "." => EgressNamespace::Own,
        "~" if host == "*" => EgressNamespace::Nowhere,
        "~" => {
            fault("~ means nowhere", "write ~/*");
            return None;
        }
        name if form::dns_name(name) => EgressNamespace::Named(name.into()),
        _ => {
            fault("not a namespace", "a namespace, *, . or ~");
            return None;
        }
    };
    if host != "*"
        && let Err(wrong) = form::host(host, true)
    {
        fault(&wrong.label(), "a full host name, or * for all");
        return None;
    }
    Some(EgressHost {
        namespace,
        host: HostPattern::new(host.strip_suffix('.').unwrap_or(host)),
    })
}

fn outbound(key: Span, map: &Map, context: &mut Context<'_>) -> Outbound {
    let policy = mode(key, map, context);
    let proxy = map.entry("egressProxy");
    if let Some((key, _)) = proxy.filter(|_| policy == OutboundPolicy::RegistryOnly) {
        context.report.error(
            codes::COMBINATION,
            key.span,
            "`egressProxy` needs `mode: ALLOW_ANY` (LIS-67)",
            "takes traffic that is refused",
            "write `mode: ALLOW_ANY`",
        );
    }
    let egress_proxy = proxy.and_then(|(_, node)| action::destination(node, context));
    if let Some((key, _)) = proxy
        && egress_proxy.as_ref().is_some_and(|it| it.port.is_none())
    {
        context.report.error(
            codes::REQUIRED,
            key.span,
            "`egressProxy` needs the field `port` (LIS-67)",
            "at which port?",
            "add `port: {number: }`",
        );
    }
    Outbound {
        policy,
        egress_proxy,
    }
}

/// `mode` of an outbound traffic policy. The block without it means the first word of the
/// published list, which is not what a client without the block gets.
pub(super) fn mode(key: Span, map: &Map, context: &mut Context<'_>) -> OutboundPolicy {
    match map.text("mode") {
        Some("ALLOW_ANY") => OutboundPolicy::AllowAny,
        Some("ALLOW_ANY_DYNAMIC_DNS") => {
            context.report.info(
                codes::NOT_SUPPORTED,
                key,
                "`mode: ALLOW_ANY_DYNAMIC_DNS` is not supported yet (LIS-65)",
                "hosts are not resolved",
                "ALLOW_ANY is used: requests to unknown hosts go to the address that was dialled",
            );
            OutboundPolicy::AllowAny
        }
        Some(_) => OutboundPolicy::RegistryOnly,
        None => {
            context.report.warning(
                codes::SURPRISE,
                key,
                "`outboundTrafficPolicy` without `mode` means REGISTRY_ONLY",
                "no mode",
                "traffic that nothing recognises is refused (LIS-65)",
                "write `mode: REGISTRY_ONLY` or `mode: ALLOW_ANY`",
            );
            OutboundPolicy::RegistryOnly
        }
    }
}
