//! Worlds of any size, shared by the benchmarks of routing and of swapping. Each uses a part.
#![allow(dead_code, reason = "each benchmark uses a part")]

use pointsman_model::endpoint::{EndpointGroup, Readiness};
use pointsman_model::matches::{ClientMatch, HttpMatch, StringMatch};
use pointsman_model::object::Labels;
use pointsman_model::{
    Destination, EndpointSet, HttpAction, HttpRoute, KubeService, Meta, Object, ObjectKey, Place,
    Protocol, ServiceKind, ServicePort, SliceEndpoint, VirtualService, WeightedDestination, World,
};
use pointsman_model::{HostPattern, Kind};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The port all services are on.
pub(crate) const PORT: u16 = 80;

/// `services` HTTP services on one port, each with an address and one endpoint of its own.
pub(crate) fn world(services: u32) -> World {
    (0..services)
        .flat_map(|number| {
            [
                service(number),
                endpoint(number, Ipv4Addr::new(10, 0, 0, 1)),
            ]
        })
        .collect()
}

/// The host of service `number`.
pub(crate) fn host(number: u32) -> Arc<str> {
    format!("s{number}.bench.svc.cluster.local").into()
}

/// The address of service `number`.
pub(crate) fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number).into()
}

pub(crate) fn service(number: u32) -> Object {
    let port = ServicePort {
        name: "http".into(),
        number: PORT,
        protocol: Protocol::Http,
        target: Some(8080),
        target_name: None,
        node_port: None,
        place: Place::nowhere(),
    };
    Object::Service(Arc::new(KubeService {
        meta: meta(Kind::Service, &format!("s{number}")),
        kind: ServiceKind::ClusterIp {
            addresses: vec![address(number)],
        },
        ports: vec![port],
        selector: Labels::new(),
        internal_traffic_local: false,
        external_addresses: Vec::new(),
    }))
}

/// The one EndpointSlice of service `number`, with one endpoint.
pub(crate) fn endpoint(number: u32, address: Ipv4Addr) -> Object {
    endpoints(number, [address])
}

/// The one EndpointSlice of service `number`.
pub(crate) fn endpoints(number: u32, addresses: impl IntoIterator<Item = Ipv4Addr>) -> Object {
    let endpoint = |address: Ipv4Addr| SliceEndpoint {
        address: address.into(),
        readiness: Readiness::Ready,
        pod: None,
        node: None,
        zone: None,
    };
    Object::Endpoints(Arc::new(EndpointSet {
        meta: meta(Kind::EndpointSlice, &format!("s{number}-1")),
        service: format!("s{number}").into(),
        groups: vec![EndpointGroup {
            ports: vec![("http".into(), 8080)],
            endpoints: addresses.into_iter().map(endpoint).collect(),
        }],
    }))
}

/// A VirtualService for service 0: `rules` rules, rule `n` for the paths under `/area-n/`.
pub(crate) fn rules(rules: u32) -> Object {
    let http = (0..rules).map(|index| HttpRoute {
        name: None,
        index,
        delegated: None,
        matches: vec![under(&format!("/area-{index}/"))],
        action: HttpAction::Route(vec![WeightedDestination {
            destination: Destination {
                host: host(0),
                subset: None,
                port: Some(PORT),
                place: Place::nowhere(),
            },
            weight: 1,
            headers: Default::default(),
        }]),
        rewrite: None,
        headers: Default::default(),
        timeout: None,
        retries: None,
        fault: None,
        mirrors: Vec::new(),
        cors: None,
        place: Place::nowhere(),
    });
    Object::VirtualService(Arc::new(VirtualService {
        meta: meta(Kind::VirtualService, "rules"),
        hosts: vec![HostPattern::new(&host(0))],
        gateways: Vec::new(),
        http: http.collect(),
        tls: Vec::new(),
        tcp: Vec::new(),
    }))
}

pub(crate) fn under(prefix: &str) -> HttpMatch {
    HttpMatch {
        name: None,
        uri: Some(StringMatch::Prefix(prefix.into())),
        ignore_uri_case: false,
        scheme: None,
        method: None,
        authority: None,
        headers: Vec::new(),
        without_headers: Vec::new(),
        query: Vec::new(),
        client: ClientMatch::default(),
        place: Place::nowhere(),
    }
}

pub(crate) fn meta(kind: Kind, name: &str) -> Meta {
    Meta {
        key: ObjectKey {
            kind,
            namespace: "bench".into(),
            name: name.into(),
        },
        created: None,
        labels: Labels::new(),
        export_to: Vec::new(),
        place: Place::nowhere(),
    }
}
