//! Which rules of VirtualServices send traffic to a host.
use pointsman_model::{HttpAction, Place, VirtualService, World};
use std::sync::Arc;

/// One reference.
pub(super) struct Reference<'w> {
    pub(super) service: &'w Arc<VirtualService>,
    /// `default/reviews#1`, `default/reviews.tcp#0`.
    pub(super) rule: String,
    /// `route`, or `mirror`.
    pub(super) how: &'static str,
    pub(super) host: &'w str,
    pub(super) subset: Option<&'w str>,
    pub(super) port: Option<u16>,
    pub(super) weight: Option<u32>,
    pub(super) place: &'w Place,
}

/// Every destination and mirror of every rule.
pub(super) fn all(world: &World) -> Vec<Reference<'_>> {
    let mut made = Vec::new();
    for service in world.virtual_services.values() {
        let key = &service.meta.key;
        let name = format!("{}/{}", key.namespace, key.name);
        for rule in &service.http {
            let label = format!("{name}{}", rule.number());
            if let HttpAction::Route(route) = &rule.action {
                for target in route {
                    let weight = (route.len() > 1).then_some(target.weight);
                    made.push(reference(
                        service,
                        &label,
                        "route",
                        &target.destination,
                        weight,
                    ));
                }
            }
            for mirror in &rule.mirrors {
                made.push(reference(
                    service,
                    &label,
                    "mirror",
                    &mirror.destination,
                    None,
                ));
            }
        }
        let tls = service
            .tls
            .iter()
            .map(|rule| ("tls", rule.index, &rule.route));
        let tcp = service
            .tcp
            .iter()
            .map(|rule| ("tcp", rule.index, &rule.route));
        for (list, index, route) in tls.chain(tcp) {
            let label = format!("{name}.{list}#{index}");
            for target in route {
                let weight = (route.len() > 1).then_some(target.weight);
                made.push(reference(
                    service,
                    &label,
                    "route",
                    &target.destination,
                    weight,
                ));
            }
        }
    }
    made
}

fn reference<'w>(
    service: &'w Arc<VirtualService>,
    rule: &str,
    how: &'static str,
    destination: &'w pointsman_model::Destination,
    weight: Option<u32>,
) -> Reference<'w> {
    Reference {
        service,
        rule: rule.to_owned(),
        how,
        host: &destination.host,
        subset: destination.subset.as_deref(),
        port: destination.port,
        weight,
        place: &destination.place,
    }
}
