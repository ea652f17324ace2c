//! EndpointSlices, Endpoints and Pods.
use super::{Context, service};
use crate::{
    codes,
    yaml::{Map, Node},
};
use pointsman_model::{
    EndpointSet, Meta, Pod, SliceEndpoint,
    endpoint::{EndpointGroup, Readiness},
};
use std::{net::IpAddr, sync::Arc};

/// The label that says to which Service a slice belongs.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(super) fn slice(meta: Meta, root: &Map, context: &mut Context<'_>) -> EndpointSet {
    let service = match meta.labels.get(SERVICE_NAME) {
        Some(name) => name.clone(),
        None => {
            let at = root.entry("metadata").map(|(key, _)| key.span);
            context.report.warning(
                codes::REQUIRED,
                at.unwrap_or_default(),
                format!("this EndpointSlice has no label {SERVICE_NAME}"),
                "belongs to no Service",
                "its endpoints are not used",
                "name the Service in the label",
            );
            "".into()
        }
    };
    let mut group = EndpointGroup {
        ports: ports(root),
        endpoints: Vec::new(),
    };
    // FQDN slices are left out (BE-114): nothing in the model resolves names of endpoints.
    if root.text("addressType") != Some("FQDN") {
        for item in root.list("endpoints") {
            let Some(map) = item.as_map() else { continue };
            let readiness = readiness(map.map("conditions"));
            of_family(root, map, context);
            for address in service::addresses(map.list("addresses"), context) {
                group
                    .endpoints
                    .push(endpoint(map, address, readiness, context));
            }
        }
    }
    EndpointSet {
        meta,
        service,
        groups: vec![group],
    }
}

/// The addresses of an endpoint are there, and of the family that the slice says.
fn of_family(root: &Map, endpoint: &Map, context: &mut Context<'_>) {
    let family = root.text("addressType").unwrap_or_default();
    if let Some((key, node)) = endpoint.entry("addresses")
        && node.items().is_empty()
    {
        context.report.error(
            codes::REQUIRED,
            key.span,
            "an endpoint has at least one address",
            "none is listed",
            "",
        );
    }
    for node in endpoint.list("addresses") {
        let text = node.as_text().unwrap_or_default();
        let Ok(address) = text.parse::<IpAddr>() else {
            continue; // told when it is read
        };
        if address.is_ipv4() != (family == "IPv4") {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("{text} is not an address of the family {family}"),
                "`addressType` says otherwise",
                "make one slice for each family",
            );
        }
    }
}

pub(super) fn endpoints(meta: Meta, root: &Map, context: &mut Context<'_>) -> EndpointSet {
    let mut groups = Vec::new();
    for subset in root.list("subsets").iter().filter_map(Node::as_map) {
        let mut group = EndpointGroup {
            ports: ports(subset),
            endpoints: Vec::new(),
        };
        for (field, readiness) in [
            ("addresses", Readiness::Ready),
            ("notReadyAddresses", Readiness::NotReady),
        ] {
            for map in subset.list(field).iter().filter_map(Node::as_map) {
                if let Some(address) = map.get("ip").and_then(|ip| service::address(ip, context)) {
                    group
                        .endpoints
                        .push(endpoint(map, address, readiness, context));
                }
            }
        }
        groups.push(group);
    }
    EndpointSet {
        service: meta.key.name.clone(),
        meta,
        groups,
    }
}

/// BE-113. `serving` matters only for persistent sessions, which are not kept here.
fn readiness(conditions: Option<&Map>) -> Readiness {
    let Some(conditions) = conditions else {
        return Readiness::Ready;
    };
    match (conditions.bool("ready"), conditions.bool("terminating")) {
        (None | Some(true), _) => Readiness::Ready,
        (Some(false), Some(false)) => Readiness::NotReady,
        (Some(false), None | Some(true)) => Readiness::Terminating,
    }
}

fn endpoint(
    map: &Map,
    address: IpAddr,
    readiness: Readiness,
    context: &Context<'_>,
) -> SliceEndpoint {
    let pod = map.map("targetRef").filter(|target| {
        target.text("kind") == Some("Pod")
            && target
                .filled("namespace")
                .is_none_or(|namespace| namespace == context.namespace())
    });
    SliceEndpoint {
        address,
        readiness,
        pod: pod.and_then(|target| Context::text(target, "name")),
        node: Context::text(map, "nodeName"),
        zone: Context::text(map, "zone"),
    }
}

/// Ports by name, the empty name for an unnamed one (BE-115). A port without a number means "all
/// ports" to Kubernetes and leads nowhere.
fn ports(map: &Map) -> Vec<(Arc<str>, u16)> {
    map.list("ports")
        .iter()
        .filter_map(Node::as_map)
        .filter_map(|port| {
            let name = port.text("name").unwrap_or_default();
            Some((name.into(), Context::port(port, "port")?))
        })
        .collect()
}

pub(super) fn pod(meta: Meta, root: &Map, spec: &Map, context: &mut Context<'_>) -> Pod {
    let empty = Map::default();
    let status = root.map("status").unwrap_or(&empty);
    // A finished Pod keeps its address in its status while Kubernetes may give it to another.
    let finished = matches!(status.text("phase"), Some("Succeeded" | "Failed"));
    let mut addresses: Vec<IpAddr> = Vec::new();
    if !finished {
        let listed = status.list("podIPs").iter();
        let listed: Vec<&Node> = listed.filter_map(|item| item.as_map()?.get("ip")).collect();
        let single = status
            .get("podIP")
            .filter(|node| node.as_text() != Some(""));
        addresses = if listed.is_empty() {
            service::addresses(single, context)
        } else {
            service::addresses(listed, context)
        };
    }
    Pod {
        meta,
        addresses,
        readiness: readiness_of_pod(root, status),
        node: Context::text(spec, "nodeName"),
        service_account: Context::text(spec, "serviceAccountName")
            .or_else(|| Context::text(spec, "serviceAccount")),
        host_network: spec.bool("hostNetwork") == Some(true),
    }
}

fn readiness_of_pod(root: &Map, status: &Map) -> Readiness {
    let deleted = root
        .map("metadata")
        .is_some_and(|meta| meta.get("deletionTimestamp").is_some());
    let conditions = status.list("conditions").iter().filter_map(Node::as_map);
    let mut ready = conditions.filter(|it| it.text("type") == Some("Ready"));
    match ready.next_back().and_then(|it| it.text("status")) {
        _ if deleted => Readiness::Terminating,
        Some("True") | None => Readiness::Ready,
        Some(_) => Readiness::NotReady,
    }
}
