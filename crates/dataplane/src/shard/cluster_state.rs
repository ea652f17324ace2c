//! A backend as a shard uses it: the compiled cluster, the state of its endpoints, whose turn it is.
use super::{
    endpoint_state::{EndpointState, InFlight},
    http2_pool::ConnectionLimits,
    pool_limits::{Lifetime, PoolLimits},
};
use crate::{extension::CustomBalancer, settings::Settings};
use pointsman_balance::{Algorithm, Candidates};
use pointsman_route::{Cluster, ClusterKind, EndpointAddress, Health};
use pointsman_telemetry::ClusterStats;
use smallvec::SmallVec;
use std::{
    cell::{Cell, OnceCell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

/// Endpoints already tried for one request.
pub type Tried = SmallVec<[*const EndpointState; 4]>;

/// One backend on one shard.
///
/// Made on first use after a swap; takes over the balancer (whose turn it is), the statistics and
/// the endpoint states of its predecessor, so that a change of one endpoint forgets nothing about
/// the others.
pub struct ClusterState {
    /// The compiled cluster.
    pub cluster: Arc<Cluster>,
    /// Counters of this backend.
    pub stats: Rc<ClusterStats>,
    pub(crate) endpoints: Box<[Member]>,
    pub(crate) algorithm: Rc<Algorithm>,
    /// An extension's balancer, asked instead of `algorithm`.
    custom: Option<Rc<CustomBalancer>>,
    equal_weights: bool,
    /// What its connections and requests may be; `None` for most backends.
    pub(crate) limits: Option<Rc<PoolLimits>>,
    /// How long its connections are used.
    pub(crate) lifetime: Lifetime,
    /// Made on first use, as most backends speak HTTP/1.
    http2: OnceCell<Box<ConnectionLimits>>,
    /// Requests of this shard that are sent again, after something was sent, where no limit is
    /// written.
    pub(crate) repeating: Rc<Cell<u32>>,
}

/// One endpoint of one backend.
pub(crate) struct Member {
    pub(crate) state: Rc<EndpointState>,
    pub(crate) weight: u32,
    pub(crate) ready: bool,
}

/// Where a backend sends that has no choice of its own: the client has dialled it (BE-92, BE-123).
pub(crate) enum Dialled {
    /// The endpoint the client dialled, at the port it really listens on.
    Endpoint(Rc<EndpointState>),
    /// The dialled address itself (BE-124).
    Address(SocketAddr),
    /// The client reached us by Host at an address of our own. Any endpoint will do: that is what
    /// the client's resolver would have chosen from.
    Any,
    /// The dialled address is this gateway, and nothing says where else to go.
    Ourselves,
}

impl ClusterState {
    /// Where a client that dialled `original` goes; `None` for a backend that chooses itself.
    pub(crate) fn dialled(&self, original: SocketAddr, original_is_self: bool) -> Option<Dialled> {
        let ClusterKind::OriginalDestination { port } = self.cluster.kind else {
            return None;
        };
        let member = self
            .endpoints
            .iter()
            .find_map(|member| match member.state.address {
                EndpointAddress::Socket(address) if address.ip() == original.ip() => {
                    Some((member, address))
                }
                _ => None,
            });
        Some(match member {
            Some((_, address)) if original_is_self && address == original => Dialled::Ourselves,
            Some((member, _)) => Dialled::Endpoint(member.state.clone()),
            None if original_is_self && self.endpoints.is_empty() => Dialled::Ourselves,
            None if original_is_self => Dialled::Any,
            None => Dialled::Address(SocketAddr::new(
                original.ip(),
                port.unwrap_or(original.port()),
            )),
        })
    }

    /// `endpoint` finds or makes the state of an address, `balancer` makes what the policy names;
    /// `predecessor` is the same backend in an earlier generation.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        predecessor: Option<&Self>,
        limits: Option<PoolLimits>,
        stats: impl FnOnce() -> Rc<ClusterStats>,
        endpoint: impl Fn(&pointsman_route::EndpointAddress) -> Rc<EndpointState>,
        balancer: impl FnOnce(&Arc<str>) -> Option<CustomBalancer>,
    ) -> Self {
        let endpoints: Box<[Member]> = cluster
            .endpoints
            .iter()
            .map(|it| Member {
                state: endpoint(&it.address),
                weight: it.weight.max(1),
                ready: it.health == Health::Ready,
            })
            .collect();
        let equal_weights = endpoints
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.weight == b.weight));
        let algorithm = predecessor
            .filter(|old| old.cluster.policy.algorithm == cluster.policy.algorithm)
            .map_or_else(
                || Rc::new(Algorithm::of(&cluster.policy.algorithm)),
                |old| old.algorithm.clone(),
            );
        let custom = match predecessor {
            Some(old) if old.cluster.policy.custom == cluster.policy.custom => old.custom.clone(),
            _ => cluster
                .policy
                .custom
                .as_ref()
                .and_then(balancer)
                .map(Rc::new),
        };
        Self {
            limits: limits.map(Rc::new),
            lifetime: Lifetime::of(&cluster.policy.pool),
            http2: OnceCell::new(),
            repeating: predecessor.map_or_else(Rc::default, |old| old.repeating.clone()),
            stats: predecessor.map_or_else(stats, |old| old.stats.clone()),
            cluster,
            endpoints,
            algorithm,
            custom,
            equal_weights,
        }
    }

    /// What holds for its connections of HTTP/2.
    pub(crate) fn http2_limits(&self, settings: &Settings) -> &ConnectionLimits {
        let policy = Some(&self.cluster.policy.pool);
        self.http2
            .get_or_init(|| Box::new(ConnectionLimits::of(policy, settings)))
    }

    /// Requests in flight to its endpoints from this shard, also those of other backends that have
    /// the same endpoints.
    pub(crate) fn active(&self) -> u32 {
        let active = self.endpoints.iter().map(|member| member.state.active());
        active.fold(0, u32::saturating_add)
    }

    /// Chooses an endpoint that is ready and not in `tried`.
    pub(crate) fn pick(&self, tried: &Tried, random: &RefCell<fastrand::Rng>) -> Option<InFlight> {
        let candidates = Untried {
            cluster: self,
            tried,
        };
        let index = match &self.custom {
            None => self.algorithm.pick(&candidates, random),
            Some(custom) => custom.pick(&candidates),
        }?;
        self.endpoints.get(index).map(|member| member.state.enter())
    }
}

struct Untried<'a> {
    cluster: &'a ClusterState,
    tried: &'a Tried,
}

impl Candidates for Untried<'_> {
    fn len(&self) -> usize {
        self.cluster.endpoints.len()
    }

    fn usable(&self, index: usize) -> bool {
        self.cluster.endpoints.get(index).is_some_and(|member| {
            member.ready
                && (self.tried.is_empty() || !self.tried.contains(&Rc::as_ptr(&member.state)))
        })
    }

    fn active(&self, index: usize) -> u32 {
        self.cluster
            .endpoints
            .get(index)
            .map_or(0, |member| member.state.active())
    }

    fn weight(&self, index: usize) -> u32 {
        self.cluster
            .endpoints
            .get(index)
            .map_or(1, |member| member.weight)
    }

    fn equal_weights(&self) -> bool {
        self.cluster.equal_weights
    }
}
