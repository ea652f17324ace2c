//! Balancers: choosing an endpoint.
use pointsman_balance::Candidates;

/// Chooses an endpoint of a backend, per request for HTTP and per connection for the rest.
///
/// One instance per backend and shard; it may keep state, which survives changes of the documents.
/// A DestinationRule asks for it by the label `pointsman.dev/balancer: NAME`. A panic ends that one
/// request's connection, and the next request finds a new instance.
pub trait Balancer {
    /// The index of a candidate for which `usable` holds, or `None`.
    fn pick(&mut self, candidates: &dyn Candidates) -> Option<usize>;
}
