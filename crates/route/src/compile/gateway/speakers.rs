//! Which VirtualServices are bound to which Gateway (GW-60..62), in the order that concatenates
//! their rules (VS-H-121).
use foldhash::HashMap;
use pointsman_model::VirtualService;
use std::sync::Arc;

use super::servers::{Served, intersection};
use crate::compile::rules::{Side, applies_to_bytes};

/// Those that the gateway may see, by the Gateway they name.
pub(super) struct Speakers<'w> {
    by_gateway: HashMap<Arc<str>, Vec<&'w Arc<VirtualService>>>,
}

impl<'w> Speakers<'w> {
    /// `ordered`: delegates' rules in place, in the order of VSB-3.
    pub(super) fn new(ordered: &[&'w Arc<VirtualService>]) -> Self {
        let mut by_gateway: HashMap<Arc<str>, Vec<_>> = HashMap::default();
        for service in ordered {
            for (at, name) in service.gateways.iter().enumerate() {
                if service.gateways.iter().position(|own| own == name) == Some(at) {
                    let list = by_gateway.entry(Arc::clone(name)).or_default();
                    list.push(*service);
                }
            }
        }
        Self { by_gateway }
    }

    pub(super) fn of(&self, gateway: &str) -> &[&'w Arc<VirtualService>] {
        self.by_gateway.get(gateway).map_or(&[], Vec::as_slice)
    }

    /// Those of which a host overlaps with one of the server (GW-63, GW-64).
    pub(super) fn overlapping<'s>(
        &'s self,
        served: &'s Served<'w>,
    ) -> impl Iterator<Item = &'w Arc<VirtualService>> + 's {
        self.of(&served.name).iter().copied().filter(|service| {
            let namespace = &service.meta.key.namespace;
            !intersection(&served.server.hosts, &service.hosts, namespace).is_empty()
        })
    }

    /// Does no VirtualService speak in the section that the server asks for (GW-70)?
    pub(super) fn has_nothing_for(&self, served: &Served<'w>) -> bool {
        use pointsman_model::{ProtocolClass, gateway::ServerTlsMode};
        let server = served.server;
        if server.redirects_to_https() {
            return false;
        }
        let mode = server.tls.as_ref().map(|tls| tls.mode);
        let side = served.side();
        let tcp = |service: &VirtualService| {
            service.tcp.iter().any(|route| {
                let applies = |one: &pointsman_model::matches::TcpMatch| {
                    applies_to_bytes(&one.client, server.port, side)
                };
                route.matches.is_empty() || route.matches.iter().any(applies)
            })
        };
        let tls = |service: &VirtualService| {
            service.tls.iter().any(|route| {
                let mut matches = route.matches.iter();
                matches.any(|one| applies_to_bytes(&one.client, server.port, side))
            })
        };
        let speaks = |service: &&Arc<VirtualService>| match (server.protocol.class(), mode) {
            (ProtocolClass::Tls, Some(ServerTlsMode::AutoPassthrough)) => true,
            (ProtocolClass::Tls, Some(ServerTlsMode::Passthrough) | None) => tls(service),
            (ProtocolClass::Tls, Some(_)) if served.is_https() => !service.http.is_empty(),
            (ProtocolClass::Http, _) => !service.http.is_empty(),
            _ => tcp(service),
        };
        mode != Some(ServerTlsMode::AutoPassthrough)
            && !self.overlapping(served).any(|it| speaks(&it))
    }
}

impl Served<'_> {
    /// In whose eyes the static parts of matches are read (VS-H-11, GW-66).
    pub(super) fn side(&self) -> Side<'_> {
        Side::Gateway {
            name: &self.name,
            labels: self.labels,
        }
    }
}
