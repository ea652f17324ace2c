//! Where traffic goes that nothing recognises, if the client's Sidecar names a proxy (LIS-67).
use crate::{
    hosts::VirtualHost,
    rule::{Action, Origin, Rule, RuleList, TcpRule},
    table::Unmatched,
};
use pointsman_model::{ClientContext, WeightedDestination, action::HeaderOps};
use std::sync::Arc;

use super::{findings::Findings, rules::Compiler};

impl Compiler<'_, '_> {
    /// `None`: it goes where it was going. A proxy that does not exist takes the traffic all the
    /// same, and fails it: falling back to the original destination would be a hole in a fence.
    pub(crate) fn unmatched(
        &self,
        context: &ClientContext,
        findings: &mut Findings,
    ) -> Option<Arc<Unmatched>> {
        let sidecar = context.sidecar.as_ref()?;
        let destination = sidecar.outbound.as_ref()?.egress_proxy.as_ref()?;
        let key = &sidecar.meta.key;
        let route = [WeightedDestination {
            destination: destination.clone(),
            weight: 1,
            headers: HeaderOps::default(),
        }];
        // Validation asks for a port; a hand-made document without one goes nowhere, visibly.
        let port = destination.port.unwrap_or_default();
        let split = self.destinations.split(&route, port, key, findings);
        let origin = Origin {
            object: key.clone(),
            rule: None,
            name: None,
            place: destination.place.clone(),
            label: format!("egress proxy of {}/{}", key.namespace, key.name).into(),
        };
        let rule = Rule {
            origin: origin.clone(),
            alternatives: Box::default(),
            action: Action::Forward(split.clone()),
            timeout: None,
            mirrors: Box::default(),
            retries: self.mesh_retries.clone(),
            effects: None,
            source: None,
        };
        Some(Arc::new(Unmatched {
            host: Arc::new(VirtualHost {
                host: "*".into(),
                port,
                service: None,
                place: destination.place.clone(),
                rules: Arc::new(RuleList::new(vec![rule])),
                virtual_service: None,
                gateway: None,
            }),
            bytes: Arc::new(TcpRule { origin, split }),
        }))
    }
}
