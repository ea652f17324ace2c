//! VirtualServices.
use super::{
    Context, action,
    condition::{self, Gateways},
    host_set::HostSet,
    http,
};
use crate::{
    codes,
    yaml::{Map, Node, Span},
};
use pointsman_model::{
    HostPattern, Meta, VirtualService, WeightedDestination,
    virtual_service::{TcpRoute, TlsRoute},
};
use std::sync::Arc;

pub(super) fn virtual_service(meta: Meta, spec: &Map, context: &mut Context<'_>) -> VirtualService {
    let names: Vec<Arc<str>> = Gateways::read(spec, context)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let gateways = Gateways::new(&names);
    let (hosts, host_set) = hosts(spec, gateways.has_mesh(), context);
    let is_delegate = hosts.is_empty();
    let gateways = if is_delegate {
        gateways.of_delegate()
    } else {
        gateways
    };
    sections(spec, is_delegate, context);
    let http = numbered(spec, "http", |node, index| {
        http::rule(node, index, is_delegate, &gateways, context)
    });
    let tls = numbered(spec, "tls", |node, index| {
        let map = node.as_map()?;
        let matches: Vec<_> = map
            .list("match")
            .iter()
            .map(|node| condition::tls(node, &host_set, &gateways, context))
            .collect();
        if let Some((key, _)) = map.entry("match")
            && matches.is_empty()
        {
            context.report.error(
                codes::ACTION,
                key.span,
                "a TLS rule needs a match (VS-S-4)",
                "no SNI name",
                "list `sniHosts`",
            );
        }
        Some(TlsRoute {
            index,
            matches,
            route: route(node, map, context),
            place: context.report.place(node.start()),
        })
    });
    let tcp = numbered(spec, "tcp", |node, index| {
        let map = node.as_map()?;
        Some(TcpRoute {
            index,
            matches: map
                .list("match")
                .iter()
                .map(|node| condition::tcp(node, &gateways, context))
                .collect(),
            route: route(node, map, context),
            place: context.report.place(node.start()),
        })
    });
    VirtualService {
        meta,
        hosts,
        gateways: names,
        http,
        tls,
        tcp,
    }
}

fn numbered<T>(spec: &Map, field: &str, mut read: impl FnMut(&Node, u32) -> Option<T>) -> Vec<T> {
    (0..)
        .zip(spec.list(field))
        .filter_map(|(index, node)| read(node, index))
        .collect()
}

fn route(node: &Node, map: &Map, context: &mut Context<'_>) -> Vec<WeightedDestination> {
    match map.entry("route") {
        Some((key, list)) if !list.items().is_empty() => action::destinations(key, list, context),
        _ => {
            context.report.error(
                codes::ACTION,
                node.start(),
                "this rule does nothing (VS-H-160)",
                "no route",
                "add `route`",
            );
            Vec::new()
        }
    }
}

/// VS-H-161; a delegate has `http` alone (VS-H-110).
fn sections(spec: &Map, is_delegate: bool, context: &mut Context<'_>) {
    let filled = |field: &str| !spec.list(field).is_empty();
    let start = spec.entries.first().map(|(key, _)| key.span);
    if !["http", "tls", "tcp"].iter().any(|field| filled(field)) {
        context.report.error(
            codes::EMPTY,
            start.unwrap_or_default(),
            "a VirtualService needs `http`, `tls` or `tcp` (VS-H-161)",
            "no rules",
            "",
        );
    }
    if !is_delegate {
        return;
    }
    for field in ["gateways", "tls", "tcp"] {
        if let Some((key, _)) = spec.entry(field)
            && filled(field)
        {
            context.report.error(
                codes::EMPTY,
                key.span,
                format!("a VirtualService with `{field}` needs `hosts` (VS-H-161)"),
                "whose traffic?",
                "without hosts it is a delegate, which has `http` alone (VS-H-110)",
            );
        }
    }
}

/// Completed hosts, none twice, none inside another (VSB-18, VS-H-162).
fn hosts(spec: &Map, on_mesh: bool, context: &mut Context<'_>) -> (Vec<HostPattern>, HostSet) {
    let mut hosts: Vec<(HostPattern, Span)> = Vec::new();
    let mut set = HostSet::default();
    for node in spec.list("hosts") {
        let Some(host) = context.host(node, true) else {
            // Stands in for the wrong name, so that the document is not taken for a delegate.
            hosts.push((HostPattern::Any, node.span));
            continue;
        };
        if host == HostPattern::Any && on_mesh {
            context.report.error(
                codes::HOSTS,
                node.span,
                "the host `*` is for gateways only (VSB-18)",
                "everything there is",
                "name the hosts, or list the gateways this is for",
            );
        }
        match set.insert(&host, node.span) {
            Some(first) => context.report.collision(
                codes::HOSTS,
                node.span,
                format!("the host {host} is listed twice (VS-H-162)"),
                "again",
                (first, "the first one"),
                "",
            ),
            None => hosts.push((host, node.span)),
        }
    }
    for (host, span) in &hosts {
        if let Some((wider, at)) = set.covering(host, false) {
            context.report.collision(
                codes::HOSTS,
                *span,
                format!("the host {host} is already covered by {wider} (VS-H-162)"),
                "covered",
                (at, "by this one"),
                "rules for the narrower host belong into a VirtualService of its own",
            );
        }
    }
    (hosts.into_iter().map(|(host, _)| host).collect(), set)
}
