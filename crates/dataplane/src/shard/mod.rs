//! What everything on one shard shares. Lives on one thread, behind `Rc`, without a lock.
pub mod buffers;
pub mod cluster_state;
pub mod endpoint_state;
pub(crate) mod http2_pool;
pub mod lookups;
pub(crate) mod ourselves;
pub(crate) mod pool_limits;
pub mod registry;
pub(crate) mod upstream;
pub mod view;

use crate::{
    access::Ring, capture::Capture, extension::Extensions, message::InstallSnapshot,
    settings::Settings, tunnel::Moved,
};
use buffers::Buffers;
use cluster_state::ClusterState;
use endpoint_state::EndpointState;
use http2_pool::ConnectionLimits;
use lookups::{Lookup, Lookups};
use ourselves::Ourselves;
use pointsman_route::{Cluster, ClusterId, EndpointAddress, Snapshot, Table, Via};
use pointsman_runtime::Watch;
use pointsman_telemetry::{ClusterLabels, ClusterStats, SourceLabels};
use pointsman_wire::http1::Reason;
pub use pool_limits::SharedCounts;
use registry::Registry;
use slab::Slab;
use std::{
    borrow::Cow,
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use view::{View, Views};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// By backend, its `maxConnections` and address: connections count towards the number they were opened
/// under.
type CountedEndpoints = Map<(Arc<str>, u32, EndpointAddress), Rc<EndpointState>>;

/// One shard's state.
///
/// Writers: the `Replica` actor swaps the view, the `Balancer` actor prunes endpoint states and
/// pools, the `Meter` actor drains the statistics. Connection tasks read, and count.
pub struct Shard {
    /// Which shard.
    pub index: u16,
    /// Process settings, fixed at start.
    pub settings: Settings,
    /// How traffic comes in.
    pub capture: Capture,
    /// Each connection holds a guard of it, so that a drain knows when it is done.
    pub drain: Watch,
    /// Free buffers.
    pub buffers: Rc<Buffers>,
    /// Addresses that are this gateway itself.
    pub(crate) ourselves: Ourselves,
    /// Names that are looked up when they are connected to.
    pub(crate) lookups: Lookups,
    /// Open connections.
    pub registry: Rc<Registry>,
    /// Accepted connections whose tasks have not begun; atomic only to travel in a message.
    pub(crate) arriving: Arc<AtomicU32>,
    /// Randomness for balancing and weights; not for secrets.
    pub random: RefCell<fastrand::Rng>,
    hostname: OnceCell<Box<str>>,
    /// Copies of requests that are being sent.
    pub(crate) mirrors: Cell<u32>,
    /// Bytes of bodies that copies have of requests which are not complete.
    pub(crate) mirrored: Cell<usize>,
    /// Counters that belong to no backend.
    pub counts: Counts,
    /// What extensions registered.
    pub extensions: Extensions,
    /// Records of requests and connections; `None` when nobody wants them.
    pub(crate) access: Option<Ring>,
    /// Unmatched traffic.
    pub passthrough: Rc<ClusterStats>,
    /// What holds for connections of HTTP/2 to where unmatched traffic goes.
    pub(crate) passthrough_http2: ConnectionLimits,
    /// Refused unmatched traffic.
    pub blackhole: Rc<ClusterStats>,
    /// Requests that rules answer by themselves.
    pub local: Rc<ClusterStats>,
    source: Arc<SourceLabels>,
    live: RefCell<Slab<Rc<Live>>>,
    views: RefCell<Views>,
    clusters: RefCell<Map<Arc<str>, Remembered>>,
    endpoints: RefCell<Map<EndpointAddress, Rc<EndpointState>>>,
    /// The endpoints of backends whose connections are counted.
    counted: RefCell<CountedEndpoints>,
    /// Limits that hold for all shards together.
    pub(crate) shared: Arc<SharedCounts>,
}

/// What all shards of a process have in common.
#[derive(Clone)]
pub struct Common {
    /// Process settings, fixed at start.
    pub settings: Settings,
    /// How traffic comes in.
    pub capture: Capture,
    /// Who calls, in metrics.
    pub source: Arc<SourceLabels>,
    /// Limits that hold for all shards together.
    pub shared: Arc<SharedCounts>,
}

/// A backend's state, kept while it is used and a while longer.
struct Remembered {
    state: Rc<ClusterState>,
    unused_for: u8,
}

/// Sweeps without use after which a backend's state is forgotten (ten minutes).
const FORGET_AFTER: u8 = 60;

/// How often pools and states are swept.
pub const SWEEP: Duration = Duration::from_secs(10);

/// Counters of one shard, drained by the `Meter`.
#[derive(Debug, Default)]
pub struct Counts {
    /// Detection outcomes: HTTP/1, HTTP/2 preface, TLS, TCP, server first, undecided.
    pub detected: [Cell<u64>; 6],
    /// How long each detection took, in seconds.
    pub detection_seconds: RefCell<Vec<f64>>,
    /// Passthrough connections that would have reached ourselves.
    pub self_connects: Cell<u64>,
    self_connect_said: Seldom,
    descriptors_said: Seldom,
    no_http2_said: Seldom,
    /// Copies of requests, by what became of them.
    pub mirrors: RefCell<HashMap<&'static str, u64>>,
    /// Messages refused for what they said, by reason.
    pub refused: RefCell<HashMap<&'static str, u64>>,
    /// Wishes for another try, by what became of them.
    pub retries: RefCell<HashMap<&'static str, u64>>,
    /// Limits hit, by the name of the setting.
    pub limits: RefCell<HashMap<&'static str, u64>>,
}

/// Lets a line into the log once a second.
#[derive(Debug, Default)]
struct Seldom(Cell<Option<Instant>>);

impl Seldom {
    fn may_speak(&self) -> bool {
        let now = Instant::now();
        let last = self.0.get();
        let may = last.is_none_or(|last| now.saturating_duration_since(last) >= SELDOM);
        if may {
            self.0.set(Some(now));
        }
        may
    }
}

/// How often a line that clients can cause is logged.
const SELDOM: Duration = Duration::from_secs(1);

impl Counts {
    /// Counts a connection that would have been one to ourselves, and says so in the log: once a
    /// second at most, since any client can cause it.
    pub(crate) fn self_connect(&self, why: &dyn std::fmt::Display) {
        self.self_connects.set(self.self_connects.get() + 1);
        if self.self_connect_said.may_speak() {
            tracing::info!(%why, "refused: it would connect to this gateway itself");
        }
    }

    /// Counts an accept that failed for want of descriptors or memory, and says so now and then.
    pub(crate) fn out_of_descriptors(&self, error: &std::io::Error) {
        self.limit("descriptors");
        if self.descriptors_said.may_speak() {
            tracing::warn!(%error, "accepting pauses: out of descriptors or memory");
        }
    }

    /// Says in the log now and then that a connection was made on which nobody spoke HTTP/2: most often a
    /// port that says it by its name, and a server that does not speak it.
    pub(crate) fn no_http2(&self, endpoint: &EndpointAddress, error: &dyn std::fmt::Display) {
        if self.no_http2_said.may_speak() {
            tracing::warn!(%endpoint, %error, "an endpoint was to speak HTTP/2 and did not");
        }
    }

    /// Counts a refused message.
    pub fn refuse(&self, reason: &'static str) {
        *self.refused.borrow_mut().entry(reason).or_default() += 1;
    }

    /// Counts a refused request or response, and the limit that it is over.
    pub fn refuse_for(&self, reason: Reason) {
        self.refuse(reason.as_str());
        match reason {
            Reason::HeadTooLarge => self.limit("limits.head_bytes"),
            Reason::TooManyFields => self.limit("limits.fields"),
            Reason::TargetTooLong => self.limit("limits.target_bytes"),
            _ => {}
        }
    }

    /// Counts a copy of a request.
    pub fn mirror(&self, outcome: &'static str) {
        *self.mirrors.borrow_mut().entry(outcome).or_default() += 1;
    }

    /// Counts a wish for another try.
    pub fn retry(&self, outcome: &'static str) {
        *self.retries.borrow_mut().entry(outcome).or_default() += 1;
    }

    /// Counts a limit that was hit.
    pub fn limit(&self, name: &'static str) {
        *self.limits.borrow_mut().entry(name).or_default() += 1;
    }
}

/// A running tunnel.
struct Live {
    bytes: Moved,
    /// Sent and received bytes already counted.
    told: Cell<(u64, u64)>,
    stats: Rc<ClusterStats>,
}

impl Live {
    fn settle(&self) {
        let now = (self.bytes.sent.get(), self.bytes.received.get());
        let told = self.told.replace(now);
        if now != told {
            self.stats.tcp_bytes(now.0 - told.0, now.1 - told.1);
        }
    }
}

/// Membership of a running tunnel; what it carried is counted to the last byte when dropped.
pub(crate) struct LiveTunnel {
    shard: Rc<Shard>,
    live: Rc<Live>,
    key: usize,
}

impl LiveTunnel {
    /// The byte counts the tunnel writes.
    pub(crate) fn bytes(&self) -> &Moved {
        &self.live.bytes
    }

    /// It counts elsewhere, and has come this far.
    pub(crate) fn follow(&self, moved: &Moved) {
        self.live.bytes.received.set(moved.received.get());
        self.live.bytes.sent.set(moved.sent.get());
    }
}

impl Drop for LiveTunnel {
    fn drop(&mut self) {
        self.live.settle();
        self.shard.live.borrow_mut().try_remove(self.key);
    }
}

/// Replies that rules make are nobody's traffic.
const LOCAL: ClusterLabels = ClusterLabels {
    service_host: Cow::Borrowed("unknown"),
    service_name: Cow::Borrowed("unknown"),
    service_namespace: Cow::Borrowed("unknown"),
};

fn labels(cluster: &Cluster) -> ClusterLabels {
    ClusterLabels {
        service_host: cluster.name.host.to_string().into(),
        service_name: cluster.service_name().to_string().into(),
        service_namespace: cluster.service.namespace.to_string().into(),
    }
}

impl Shard {
    /// A shard that serves `snapshot`, and looks up by `lookup` what names nobody knows yet.
    pub fn new(
        index: u16,
        common: Common,
        snapshot: Arc<Snapshot>,
        extensions: Extensions,
        lookup: Lookup,
        drain: Watch,
    ) -> Rc<Self> {
        let Common {
            settings,
            capture,
            source,
            shared,
        } = common;
        let stats = |labels| Rc::new(ClusterStats::new(source.clone(), labels));
        let access = extensions.has_sinks().then(|| {
            Ring::new(
                settings.limits.access_log_ring,
                settings.limits.access_log_bytes,
            )
        });
        let passthrough_http2 = ConnectionLimits::of(None, &settings);
        Rc::new(Self {
            index,
            settings,
            capture,
            drain,
            buffers: Rc::default(),
            ourselves: Ourselves::default(),
            lookups: Lookups::new(lookup),
            registry: Rc::new(Registry::new()),
            arriving: Arc::default(),
            random: RefCell::new(fastrand::Rng::new()),
            hostname: OnceCell::new(),
            mirrors: Cell::default(),
            mirrored: Cell::default(),
            counts: Counts::default(),
            extensions,
            access,
            passthrough: stats(ClusterLabels::PASSTHROUGH),
            passthrough_http2,
            blackhole: stats(ClusterLabels::BLACK_HOLE),
            local: stats(LOCAL),
            live: RefCell::default(),
            views: RefCell::new(Views::new(snapshot)),
            clusters: RefCell::default(),
            endpoints: RefCell::default(),
            counted: RefCell::default(),
            shared,
            source,
        })
    }

    /// Are there as many client connections as there may be?
    pub(crate) fn is_full(&self) -> bool {
        let arriving = self.arriving.load(Ordering::Relaxed) as usize;
        self.registry.len() + arriving >= self.settings.limits.connections as usize
    }

    /// The view to begin a request or a connection with, for a client that came by this door.
    pub fn view(&self, via: Via, client: IpAddr) -> Rc<View> {
        self.views.borrow().of(via, client).clone()
    }

    /// The snapshot that is served.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.views.borrow().snapshot().clone()
    }

    /// Serves from another snapshot from now on: one assignment, no await.
    pub(crate) fn install(&self, message: &InstallSnapshot) {
        *self.views.borrow_mut() = Views::new(message.snapshot.clone());
        self.retire();
    }

    /// Connections that count towards a number which their backend has no more are not kept: beside those
    /// of the new number they would be too many (BE-60).
    fn retire(&self) {
        let snapshot = self.snapshot();
        let tables = snapshot.tables.all();
        let clusters = self.clusters.borrow();
        for ((backend, most, _), state) in self.counted.borrow().iter() {
            let name = clusters.get(backend).map(|it| &it.state.cluster.name);
            let is_in_force = |table: &Arc<Table>| {
                let found = name.and_then(|name| table.cluster_by_name(name));
                found.is_some_and(|(_, it)| it.policy.pool.max_connections == Some(*most))
            };
            state.retire(!tables.iter().any(is_in_force));
        }
    }

    /// The name of this machine; empty if the kernel does not tell.
    pub(crate) fn hostname(&self) -> &str {
        self.hostname.get_or_init(|| {
            let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
            read.unwrap_or_default().trim().into()
        })
    }

    /// The state of a backend in a view.
    pub fn cluster(&self, view: &View, id: ClusterId) -> Option<Rc<ClusterState>> {
        let slot = view.slot(id)?;
        Some(slot.get_or_init(|| self.remember(view.table(), id)).clone())
    }

    fn remember(&self, table: &Table, id: ClusterId) -> Rc<ClusterState> {
        let cluster = table.cluster(id);
        let mut clusters = self.clusters.borrow_mut();
        let old = clusters.get(&cluster.label);
        if let Some(old) = old.filter(|old| Arc::ptr_eq(&old.state.cluster, cluster)) {
            return old.state.clone();
        }
        let limits = self.shared.limits(&cluster.label, &cluster.policy);
        let counted = cluster.policy.pool.max_connections;
        let state = Rc::new(ClusterState::new(
            cluster.clone(),
            old.map(|old| &*old.state),
            limits,
            || Rc::new(ClusterStats::new(self.source.clone(), labels(cluster))),
            |address| match counted {
                None => self.endpoint(address),
                Some(most) => self.counted_endpoint(&cluster.label, most, address),
            },
            |name| self.extensions.balancer(name, &cluster.label),
        ));
        clusters.insert(
            cluster.label.clone(),
            Remembered {
                state: state.clone(),
                unused_for: 0,
            },
        );
        state
    }

    /// The state of an endpoint address.
    pub fn endpoint(&self, address: &EndpointAddress) -> Rc<EndpointState> {
        self.endpoints
            .borrow_mut()
            .entry(address.clone())
            .or_insert_with(|| Rc::new(EndpointState::new(address.clone())))
            .clone()
    }

    /// The same of a backend whose connections are counted.
    fn counted_endpoint(
        &self,
        backend: &Arc<str>,
        most: u32,
        address: &EndpointAddress,
    ) -> Rc<EndpointState> {
        let mut counted = self.counted.borrow_mut();
        let state = counted
            .entry((backend.clone(), most, address.clone()))
            .or_insert_with(|| Rc::new(EndpointState::new(address.clone())));
        state.retire(false);
        state.clone()
    }

    /// Closes idle connections that keep requests, here or on other shards, from opening one.
    pub(crate) fn make_room(&self) {
        for state in self.counted.borrow().values() {
            state.make_room();
        }
    }

    /// The state of a plain socket address, for passthrough.
    pub(crate) fn original(&self, address: SocketAddr) -> Rc<EndpointState> {
        self.endpoint(&EndpointAddress::Socket(address))
    }

    /// Closes stale idle connections and forgets backends and endpoints nobody has used for long.
    pub(crate) fn sweep(&self, now: Instant) {
        self.clusters.borrow_mut().retain(|_, remembered| {
            let state = &remembered.state;
            // A tunnel counts for its backend to its end, and may hold nothing else of it.
            if Rc::strong_count(state) > 1 || Rc::strong_count(&state.stats) > 1 {
                remembered.unused_for = 0;
            } else {
                remembered.unused_for = remembered.unused_for.saturating_add(1);
            }
            remembered.unused_for < FORGET_AFTER
        });
        let limit = self.settings.timeouts.upstream_idle.0;
        let used = |state: &Rc<EndpointState>| {
            state.prune(now, limit, self.settings.timeouts.write.0);
            Rc::strong_count(state) > 1 || state.pooled() > 0
        };
        self.endpoints.borrow_mut().retain(|_, state| used(state));
        self.counted.borrow_mut().retain(|_, state| used(state));
    }

    /// Registers a tunnel whose bytes are to be counted while it runs.
    pub(crate) fn live(self: &Rc<Self>, stats: &Rc<ClusterStats>) -> LiveTunnel {
        let live = Rc::new(Live {
            bytes: Moved::default(),
            told: Cell::new((0, 0)),
            stats: stats.clone(),
        });
        let key = self.live.borrow_mut().insert(live.clone());
        LiveTunnel {
            shard: self.clone(),
            live,
            key,
        }
    }

    /// Adds what running tunnels have carried since the last call to their statistics.
    pub(crate) fn settle_live(&self) {
        for (_, live) in self.live.borrow().iter() {
            live.settle();
        }
    }

    /// Hands every set of statistics to `drain`.
    pub(crate) fn each_stats(&self, mut drain: impl FnMut(&ClusterStats)) {
        drain(&self.passthrough);
        drain(&self.blackhole);
        drain(&self.local);
        for remembered in self.clusters.borrow().values() {
            drain(&remembered.state.stats);
        }
    }

    /// Endpoint states, for inspection.
    pub fn endpoints(&self) -> Vec<Rc<EndpointState>> {
        let endpoints = self.endpoints.borrow();
        let counted = self.counted.borrow();
        endpoints
            .values()
            .chain(counted.values())
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_remembered_for_as_long_as_something_is_counted() {
        let shard = http2_pool::tests::shard();
        let views = Views::new(Arc::new(Snapshot {
            generation: 1,
            tables: view::tests::table(&["web"], None).into(),
        }));
        let view = views.of(Via::Mesh, [127, 0, 0, 1].into());
        let name = &view.table().clusters().next().expect("one").name;
        let (id, _) = view.table().cluster_by_name(name).expect("it");
        let stats = shard.cluster(view, id).expect("it").stats.clone();
        // The documents have changed.
        drop(views);
        let sweep = || (0..=FORGET_AFTER).for_each(|_| shard.sweep(Instant::now()));
        let is_told = |stats: *const ClusterStats| {
            let mut told = false;
            shard.each_stats(|it| told |= std::ptr::eq(it, stats));
            told
        };
        sweep();
        assert!(is_told(&*stats));
        let counted = Rc::as_ptr(&stats);
        drop(stats);
        sweep();
        assert!(!is_told(counted));
    }
}
