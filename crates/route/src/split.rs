//! Weighted destinations of one rule.
use crate::cluster::ClusterId;
use pointsman_model::{Destination, action::HeaderOps};
use std::{fmt, sync::Arc};

/// What a destination names that does not exist: 503 NC, or the connection is closed (VS-H-126,
/// VS-T-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// No visible service of that host (BE-3).
    Host,
    /// The service has no such port (BE-7).
    Port,
    /// No DestinationRule in force defines the subset (BE-8).
    Subset,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host is unknown",
            Self::Port => "the service has no such port",
            Self::Subset => "the subset is not defined",
        })
    }
}

/// One destination of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Relative weight; without meaning when the target is alone.
    pub weight: u32,
    /// The cluster, or what is missing.
    pub cluster: Result<ClusterId, Missing>,
    /// The destination as the rule names it. A default route names its own service.
    pub destination: Destination,
    /// `headers` of this destination (VS-H-101, VS-H-102).
    pub headers: Arc<HeaderOps>,
}

/// The destinations of a rule, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    targets: Box<[Target]>,
    total: u64,
}

impl Split {
    /// Takes `first` and `rest` as written: of several, those of weight 0 are dropped; if that
    /// would leave none, the first one takes everything (VS-H-61, VS-T-10).
    pub fn new(first: Target, rest: Vec<Target>) -> Self {
        let mut targets = Vec::with_capacity(1 + rest.len());
        targets.push(first);
        targets.extend(rest);
        if targets.len() > 1 {
            if targets.iter().any(|target| target.weight > 0) {
                targets.retain(|target| target.weight > 0);
            } else {
                targets.truncate(1);
            }
        }
        let total = targets.iter().map(|target| u64::from(target.weight)).sum();
        Self {
            targets: targets.into_boxed_slice(),
            total,
        }
    }

    /// The target for one request or connection. `draw` is a uniformly random number; a single
    /// target ignores it.
    pub fn pick(&self, draw: u32) -> &Target {
        let mut point = (u64::from(draw) * self.total) >> 32;
        for target in &self.targets {
            let weight = u64::from(target.weight);
            if point < weight {
                return target;
            }
            point -= weight;
        }
        // Only a single target of weight 0 comes here; `new` never leaves the list empty.
        &self.targets[0]
    }

    /// All targets that can be picked, in written order.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Sum of all weights.
    pub fn total_weight(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_model::Place;

    fn target(weight: u32) -> Target {
        Target {
            weight,
            cluster: Err(Missing::Host),
            destination: Destination {
                host: weight.to_string().into(),
                subset: None,
                port: None,
                place: Place::nowhere(),
            },
            headers: Arc::default(),
        }
    }

    fn split(weights: &[u32]) -> Split {
        let mut targets = weights.iter().map(|&weight| target(weight));
        Split::new(targets.next().expect("one"), targets.collect())
    }

    #[test]
    fn draws_fall_in_proportion() {
        let split = split(&[1, 3]);
        let steps = 4000_u64;
        let first = (0..steps)
            .filter(|step| split.pick(((step << 32) / steps) as u32).weight == 1)
            .count();
        assert_eq!(first, 1000);
        assert_eq!(split.pick(0).weight, 1);
        assert_eq!(split.pick(u32::MAX).weight, 3);
    }

    #[test]
    fn zero_weights_are_dropped_unless_alone() {
        assert_eq!(split(&[0, 100]).targets().len(), 1);
        assert_eq!(split(&[0]).pick(7).weight, 0);
        assert_eq!(split(&[0, 0]).targets().len(), 1);
    }
}
