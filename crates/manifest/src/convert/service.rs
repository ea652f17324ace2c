//! Kubernetes Services.
use super::Context;
use crate::{
    codes, form,
    yaml::{Map, Node},
};
use foldhash::{HashMap, HashMapExt as _};
use pointsman_model::{KubeService, Meta, Protocol, ServiceKind, ServicePort};
use std::{net::IpAddr, sync::Arc};

pub(super) fn service(
    meta: Meta,
    root: &Map,
    spec: &Map,
    context: &mut Context<'_>,
) -> KubeService {
    let ingress = root
        .map("status")
        .and_then(|status| status.map("loadBalancer"))
        .map_or(&[][..], |balancer| balancer.list("ingress"));
    let mut external_addresses = addresses(spec.list("externalIPs"), context);
    external_addresses.extend(
        ingress
            .iter()
            .filter_map(|item| item.as_map()?.text("ip")?.parse::<IpAddr>().ok()),
    );
    let kind = kind(spec, context);
    let ports = ports(spec, &kind, context);
    KubeService {
        meta,
        kind,
        ports,
        selector: context.labels(spec.map("selector")),
        internal_traffic_local: spec.text("internalTrafficPolicy") == Some("Local"),
        external_addresses,
    }
}

fn kind(spec: &Map, context: &mut Context<'_>) -> ServiceKind {
    if spec.text("type") == Some("ExternalName") {
        let Some(node) = spec.get("externalName") else {
            let at = spec.entry("type").map(|(key, _)| key.span);
            context.report.error(
                codes::REQUIRED,
                at.unwrap_or_default(),
                "a Service of type ExternalName needs the field `externalName`",
                "an alias without a target",
                "name the target",
            );
            return ServiceKind::Headless;
        };
        let text = node.as_text().unwrap_or_default();
        if let Err(fault) = form::host(text, false) {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("{text:?} is not a host name"),
                fault.label(),
                "",
            );
        }
        // Taken literally, never completed (ALS-14).
        return ServiceKind::ExternalName {
            target: text.to_ascii_lowercase().into(),
        };
    }
    let assigned = |text: &str| !text.is_empty() && text != "None";
    let first = spec.get("clusterIP");
    let all = spec.list("clusterIPs");
    if first.and_then(Node::as_text) == Some("None")
        || all.first().and_then(Node::as_text) == Some("None")
    {
        return ServiceKind::Headless;
    }
    let nodes = if all.is_empty() {
        first.map_or(&[][..], std::slice::from_ref)
    } else {
        all
    };
    let nodes = nodes
        .iter()
        .filter(|node| node.as_text().is_some_and(assigned));
    let addresses = addresses(nodes, context);
    families(spec, &addresses, context);
    ServiceKind::ClusterIp { addresses }
}

/// At most one address of each family, the first being `clusterIP`.
fn families(spec: &Map, addresses: &[IpAddr], context: &mut Context<'_>) {
    let Some((key, node)) = spec.entry("clusterIPs") else {
        return;
    };
    let fault = match addresses {
        [] | [_] => None,
        [first, second] if first.is_ipv4() != second.is_ipv4() => None,
        _ => Some("there is at most one address of each family"),
    };
    let written = spec.filled("clusterIP");
    let first = node.items().first().and_then(Node::as_text);
    let differs = written.is_some() && first.is_some() && written != first;
    let fault = fault.or(differs.then_some("the first one is the same as `clusterIP`"));
    if let Some(fault) = fault {
        context.report.error(
            codes::COMBINATION,
            key.span,
            format!("of `clusterIPs` {fault}"),
            "Kubernetes refuses this",
            "",
        );
    }
}

/// IP addresses, each checked.
pub(super) fn addresses<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    context: &mut Context<'_>,
) -> Vec<IpAddr> {
    nodes
        .into_iter()
        .filter_map(|node| address(node, context))
        .collect()
}

pub(super) fn address(node: &Node, context: &mut Context<'_>) -> Option<IpAddr> {
    let text = node.as_text()?;
    let address = text.parse().ok();
    if address.is_none() {
        context.report.error(
            codes::VALUE,
            node.span,
            format!("{text:?} is not an IP address"),
            "expected an address as in 10.0.0.1 or fd00::1",
            "",
        );
    }
    address
}

fn ports(spec: &Map, kind: &ServiceKind, context: &mut Context<'_>) -> Vec<ServicePort> {
    let items = spec.list("ports");
    let mut names = HashMap::new();
    let mut numbers = HashMap::new();
    let mut ports = Vec::with_capacity(items.len());
    for item in items {
        let Some(map) = item.as_map() else { continue };
        let Some(number) = Context::port(map, "port") else {
            continue;
        };
        let name = match map.get("name") {
            Some(node) if node.as_text() != Some("") => port_name(node, context),
            _ => "".into(),
        };
        // The API server refuses this, so it comes from files only. One port
        // without a name is as distinct as any name is, and can be joined.
        if name.is_empty() && items.len() > 1 {
            context.report.warning(
                codes::PORTS,
                item.start(),
                format!("port {number} has no name"),
                "of several ports, each needs one",
                "works here; Kubernetes refuses the Service",
                "endpoints are joined to ports by name; the name also declares the protocol, as in http-web",
            );
        }
        let l4 = map.filled("protocol").unwrap_or("TCP");
        if let Some(first) = names.insert(name.clone(), item.start()) {
            context.report.collision(
                codes::PORTS,
                item.start(),
                if name.is_empty() {
                    "two ports have no name".to_owned()
                } else {
                    format!("two ports have the name {name:?}")
                },
                "again",
                (first, "the first one"),
                "",
            );
        }
        if let Some(first) = numbers.insert((number, l4.to_owned()), item.start()) {
            context.report.collision(
                codes::PORTS,
                item.start(),
                format!("port {number} is there twice for {l4}"),
                "again",
                (first, "the first one"),
                "",
            );
        }
        let protocol = Protocol::of_service_port(l4, map.filled("appProtocol"), &name, number);
        ports.push(ServicePort {
            target: target(map, context),
            target_name: map.filled("targetPort").map(Into::into),
            node_port: node_port(map, context),
            name,
            number,
            protocol,
            place: context.report.place(item.start()),
        });
    }
    if items.is_empty() && matches!(kind, ServiceKind::ClusterIp { .. }) {
        context.report.error(
            codes::REQUIRED,
            spec.entries
                .first()
                .map(|(key, _)| key.span)
                .unwrap_or_default(),
            "a Service needs the field `ports`",
            "no port clients could dial",
            "only headless Services and aliases have none",
        );
    }
    ports
}

/// The name of a port declares its protocol whatever its letters' case (PS-25), so one that
/// Kubernetes would refuse for its form is no reason to serve nothing.
fn port_name(node: &Node, context: &mut Context<'_>) -> Arc<str> {
    let text = node.as_text().unwrap_or_default();
    if !form::dns_name(text) {
        context.report.warning(
            codes::VALUE,
            node.span,
            format!("{text:?} is not a name of a port"),
            "lower case letters, digits and -, at most 63",
            "works here; Kubernetes refuses the Service",
            "",
        );
    }
    text.into()
}

/// 0 stands for one that is not assigned yet.
fn node_port(map: &Map, context: &mut Context<'_>) -> Option<u16> {
    let number = map.int("nodePort")?;
    let port = u16::try_from(number).ok();
    if port.is_none() {
        let at = map.get("nodePort").map(|node| node.span);
        context.report.error(
            codes::VALUE,
            at.unwrap_or_default(),
            format!("`nodePort` cannot be {number}"),
            "a port is a number from 1 to 65535",
            "",
        );
    }
    port.filter(|&port| port > 0)
}

/// A number, or the name of a container port, which only the endpoints can resolve.
fn target(map: &Map, context: &mut Context<'_>) -> Option<u16> {
    let node = map.get("targetPort")?;
    if let Some(name) = node.as_text()
        && !form::port_name(name)
    {
        context.report.error(
            codes::VALUE,
            node.span,
            format!("{name:?} is not the name of a container's port"),
            "lower case letters, digits and single -, at most 15, with a letter",
            match name.parse::<u16>() {
                Ok(_) => "remove the quotes: a number is a port, a text the name of one",
                Err(_) => "",
            },
        );
    }
    let number = node.as_int()?;
    let port = u16::try_from(number).ok().filter(|&port| port > 0);
    if port.is_none() {
        context.report.error(
            codes::VALUE,
            node.span,
            format!("`targetPort` cannot be {number}"),
            "a port is a number from 1 to 65535",
            "",
        );
    }
    port
}
