//! A balancer: fills the first endpoint before it asks the second one. Few warm endpoints instead
//! of many cold ones, for upstreams that are paid for while they are busy.
use pointsman_sdk::{Balancer, Candidates, Host};

/// The extension: DestinationRules with the label `pointsman.dev/balancer: first-available` send a
/// request to the first endpoint with less than `most` in flight.
pub fn register(host: &mut Host, most: u32) {
    host.balancer("first-available", move || FirstAvailable { most });
}

/// One per backend and shard. State would survive changes of the documents; this one needs none,
/// since requests in flight are counted for it.
struct FirstAvailable {
    most: u32,
}

impl Balancer for FirstAvailable {
    fn pick(&mut self, candidates: &dyn Candidates) -> Option<usize> {
        // Stands for a defect that some endpoint brings to light: it costs the connection of the
        // request that met it.
        let unlucky = (0..candidates.len()).any(|index| candidates.weight(index) == 13);
        assert!(!unlucky, "the balancer was told to panic");
        let usable = || (0..candidates.len()).filter(|&index| candidates.usable(index));
        usable()
            .find(|&index| candidates.active(index) < self.most)
            // All are full: the one with the least to do.
            .or_else(|| usable().min_by_key(|&index| candidates.active(index)))
    }
}

/// The DestinationRule that asks for it.
pub fn destination_rule(name: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, labels: {{pointsman.dev/balancer: first-available}}}}
spec: {{host: {name}.example}}
"
    )
}
