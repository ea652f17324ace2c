//! What a DestinationRule allows a backend's connections and requests (BE-60..76).
//!
//! A limit is one number for the whole process (BE-76), so it is counted across shards, by atomics,
//! but only where a limit is written: a backend without one has no [`PoolLimits`] and pays nothing.
use super::cluster_state::ClusterState;
use pointsman_model::policy::{ConnectionPool, RetryBudget, TcpKeepalive};
use pointsman_route::Policy;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The counts of all limited backends of the process.
///
/// By backend and `maxConnections`: when that changes, connections that are open count towards the
/// number they were opened under, until they serve nobody, and new ones towards the new one.
#[derive(Debug, Default)]
pub struct SharedCounts {
    counts: Mutex<HashMap<Key, Weak<Counts>>>,
    wanted: watch::Sender<()>,
}

/// A backend and its `maxConnections`.
type Key = (Arc<str>, Option<u32>);

#[derive(Debug)]
struct Counts {
    /// First come, first served.
    connections: Option<Arc<Semaphore>>,
    /// Requests that wait until they may open a connection.
    waiting: AtomicU32,
    /// Requests without a connection yet.
    pending: AtomicU32,
    /// Requests with one, or with a stream.
    requests: AtomicU32,
    repeating: AtomicU32,
}

/// The limits of one backend, and how much of them is used. Where nothing is written, `None`.
#[derive(Debug)]
pub(crate) struct PoolLimits {
    counts: Arc<Counts>,
    max_connections: Option<u32>,
    max_pending: Option<u32>,
    max_requests: Option<u32>,
    max_retries: Option<u32>,
    budget: Option<RetryBudget>,
}

/// A limit that leaves no room; its name in documents and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) &'static str);

/// One of a count, until dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Arc<Counts>,
    which: fn(&Counts) -> &AtomicU32,
}

impl Counted {
    fn new(counts: &Arc<Counts>, which: fn(&Counts) -> &AtomicU32) -> Self {
        which(counts).fetch_add(1, Ordering::Relaxed);
        Self {
            counts: counts.clone(),
            which,
        }
    }

    /// Unless there are `most` already.
    fn below(counts: &Arc<Counts>, which: fn(&Counts) -> &AtomicU32, most: u32) -> Option<Self> {
        let counted = which(counts).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now < most).then_some(now + 1)
        });
        counted.ok().map(|_| Self {
            counts: counts.clone(),
            which,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.which)(&self.counts).fetch_sub(1, Ordering::SeqCst);
    }
}

/// The right to have one connection open, until dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
    counts: Arc<Counts>,
}

impl ConnectionPermit {
    /// Requests, on any shard, that wait for such a right.
    pub(crate) fn wanted_by(&self) -> u32 {
        self.counts.waiting.load(Ordering::SeqCst)
    }
}

impl SharedCounts {
    /// Told whenever a request begins to wait for a connection: idle ones are to be closed.
    pub(crate) fn wanted(&self) -> watch::Receiver<()> {
        self.wanted.subscribe()
    }

    /// The limits that `policy` has for the backend, if any.
    pub(crate) fn limits(&self, backend: &Arc<str>, policy: &Policy) -> Option<PoolLimits> {
        let ConnectionPool {
            max_connections,
            max_pending_requests: max_pending,
            max_requests,
            max_retries,
            ..
        } = policy.pool;
        let budget = policy.retry_budget;
        let numbers = [max_connections, max_pending, max_requests, max_retries];
        if budget.is_none() && numbers.iter().all(Option::is_none) {
            return None;
        }
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (backend.clone(), max_connections);
        let counts = all.get(&key).and_then(Weak::upgrade);
        let counts = counts.unwrap_or_else(|| {
            let semaphore =
                |most: u32| Arc::new(Semaphore::new((most as usize).min(Semaphore::MAX_PERMITS)));
            let counts = Arc::new(Counts {
                connections: max_connections.map(semaphore),
                waiting: AtomicU32::new(0),
                pending: AtomicU32::new(0),
                requests: AtomicU32::new(0),
                repeating: AtomicU32::new(0),
            });
            all.retain(|_, counts| counts.strong_count() > 0);
            all.insert(key, Arc::downgrade(&counts));
            counts
        });
        Some(PoolLimits {
            counts,
            max_connections,
            max_pending,
            max_requests,
            max_retries,
            budget,
        })
    }
}

impl PoolLimits {
    /// Are its connections counted?
    pub(crate) fn counts_connections(&self) -> bool {
        self.max_connections.is_some()
    }

    /// A request has a connection, or a stream (BE-67). It is counted also where only a retry budget asks how many
    /// there are.
    pub(crate) fn request(&self) -> Result<Option<Counted>, Full> {
        let which: fn(&Counts) -> &AtomicU32 = |counts| &counts.requests;
        match (self.max_requests, self.budget) {
            (Some(most), _) => Counted::below(&self.counts, which, most)
                .map(Some)
                .ok_or(Full("http2MaxRequests")),
            (None, Some(_)) => Ok(Some(Counted::new(&self.counts, which))),
            (None, None) => Ok(None),
        }
    }

    /// Would one more have room now?
    pub(crate) fn has_place(&self) -> bool {
        self.max_requests
            .is_none_or(|most| self.counts.requests.load(Ordering::Relaxed) < most)
    }

    /// A request waits for a connection, be it one that is being opened (BE-66). Counted as
    /// [`Self::request`] is.
    pub(crate) fn pending(&self) -> Result<Option<Counted>, Full> {
        let which: fn(&Counts) -> &AtomicU32 = |counts| &counts.pending;
        match (self.max_pending, self.budget) {
            (Some(most), _) => Counted::below(&self.counts, which, most)
                .map(Some)
                .ok_or(Full("http1MaxPendingRequests")),
            (None, Some(_)) => Ok(Some(Counted::new(&self.counts, which))),
            (None, None) => Ok(None),
        }
    }

    /// The right to open a connection now (BE-60).
    pub(crate) fn connection(&self) -> Result<Option<ConnectionPermit>, Full> {
        let Some(connections) = &self.counts.connections else {
            return Ok(None);
        };
        match connections.clone().try_acquire_owned() {
            Ok(permit) => Ok(Some(self.permit(permit))),
            Err(_) => Err(Full("maxConnections")),
        }
    }

    /// Waits for that right, in the order of asking. Idle connections of other endpoints and shards
    /// make room meanwhile.
    pub(crate) async fn wait(&self, shared: &SharedCounts) -> Option<ConnectionPermit> {
        let connections = self.counts.connections.clone()?;
        let _waiting = Counted::new(&self.counts, |counts| &counts.waiting);
        shared.wanted.send_replace(());
        // Nobody closes it.
        let permit = connections.acquire_owned().await.ok()?;
        Some(self.permit(permit))
    }

    /// Is it the right to one of these connections? Not if their number has changed since.
    pub(crate) fn granted(&self, permit: &ConnectionPermit) -> bool {
        Arc::ptr_eq(&self.counts, &permit.counts)
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> ConnectionPermit {
        ConnectionPermit {
            _permit: permit,
            counts: self.counts.clone(),
        }
    }

    /// One more try of a request, counted until it ends (BE-69, BE-75); `Ok(None)`: nothing written
    /// limits them. A budget replaces the number.
    pub(crate) fn repetition(&self) -> Result<Option<Counted>, Full> {
        let (most, name) = match (self.budget, self.max_retries) {
            (Some(budget), _) => {
                let counts = [&self.counts.requests, &self.counts.pending];
                let requests = counts.map(|it| it.load(Ordering::Relaxed));
                let requests = requests.into_iter().fold(0, u32::saturating_add);
                (share(requests, budget), "retryBudget")
            }
            (None, Some(most)) => (most, "maxRetries"),
            (None, None) => return Ok(None),
        };
        Counted::below(&self.counts, |counts| &counts.repeating, most)
            .map(Some)
            .ok_or(Full(name))
    }
}

/// How many of `requests` may be repetitions.
pub(crate) fn share(requests: u32, budget: RetryBudget) -> u32 {
    let share = u64::from(requests) * u64::from(budget.percent) / 100;
    u32::try_from(share)
        .unwrap_or(u32::MAX)
        .max(budget.min_concurrency)
}

/// How long connections to a backend are used (BE-62, BE-63, BE-64, BE-68, BE-70).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// Without a request; `None`: as for all, zero: for ever.
    pub(crate) idle: Option<Duration>,
    /// In all; a request under way is not cut.
    pub(crate) total: Option<Duration>,
    /// Requests; 0: any number.
    pub(crate) requests: u32,
    /// Probes of whether the endpoint is still there (BE-62).
    pub(crate) probes: Option<TcpKeepalive>,
}

impl Lifetime {
    /// As nobody said otherwise.
    pub(crate) const ANY: Self = Self {
        idle: None,
        total: None,
        requests: 0,
        probes: None,
    };

    /// Of connections to a backend, or to where unmatched traffic goes.
    pub(crate) fn in_force(backend: Option<&ClusterState>) -> &Self {
        backend.map_or(&Self::ANY, |it| &it.lifetime)
    }

    /// As a policy has it.
    pub(crate) fn of(pool: &ConnectionPool) -> Self {
        Self {
            idle: pool.http_idle_timeout.or(pool.tcp_idle_timeout),
            total: pool.max_connection_duration,
            requests: pool.max_requests_per_connection.unwrap_or(0),
            probes: pool.tcp_keepalive,
        }
    }

    /// Does it say anything?
    pub(crate) fn is_limited(&self) -> bool {
        // Asked several times per request, so not by comparing everything with `ANY`.
        self.idle.is_some() || self.total.is_some() || self.requests > 0 || self.probes.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn limits(shared: &SharedCounts, pool: ConnectionPool) -> PoolLimits {
        let policy = Policy {
            pool,
            ..Policy::default()
        };
        shared.limits(&"web".into(), &policy).expect("limited")
    }

    fn connections(shared: &SharedCounts, most: u32) -> PoolLimits {
        let pool = ConnectionPool {
            max_connections: Some(most),
            ..ConnectionPool::default()
        };
        limits(shared, pool)
    }

    #[test]
    fn a_backend_without_limits_counts_nothing() {
        let shared = SharedCounts::default();
        assert!(shared.limits(&"web".into(), &Policy::default()).is_none());
    }

    #[test]
    fn every_shard_counts_the_same() {
        // BE-67, BE-76
        let shared = SharedCounts::default();
        let pool = ConnectionPool {
            max_requests: Some(2),
            ..ConnectionPool::default()
        };
        let (one, other) = (limits(&shared, pool.clone()), limits(&shared, pool));
        let first = one.request().expect("room");
        let _second = other.request().expect("room");
        assert_eq!(one.request().err(), Some(Full("http2MaxRequests")));
        drop(first);
        assert!(other.request().is_ok());
        assert!(one.connection().is_ok_and(|it| it.is_none()), "not limited");
    }

    #[tokio::test]
    async fn who_waits_for_a_connection_gets_it_in_turn() {
        // BE-60
        let shared = SharedCounts::default();
        let web = connections(&shared, 1);
        let mut wanted = shared.wanted();
        let permit = web.connection().expect("room").expect("counted");
        assert_eq!(web.connection().err(), Some(Full("maxConnections")));
        let mut first = Box::pin(web.wait(&shared));
        let mut second = Box::pin(web.wait(&shared));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(permit.wanted_by(), 2);
        assert!(wanted.has_changed().expect("open"));
        wanted.mark_unchanged();
        drop(permit);
        // Nobody gets in between.
        assert!(web.connection().is_err());
        assert!(second.as_mut().now_or_never().is_none());
        let permit = first.await.expect("counted");
        assert_eq!(permit.wanted_by(), 1);
        // Who gives up is not waited for.
        drop(second);
        assert_eq!(permit.wanted_by(), 0);
        drop(permit);
        assert!(web.connection().is_ok());
    }

    #[test]
    fn a_budget_is_a_share_of_the_requests() {
        // BE-75, BE-69
        let shared = SharedCounts::default();
        let mut policy = Policy::default();
        policy.pool.max_retries = Some(1);
        policy.retry_budget = Some(RetryBudget {
            percent: 50,
            min_concurrency: 2,
        });
        let web = shared.limits(&"web".into(), &policy).expect("limited");
        let two = [web.repetition(), web.repetition()];
        assert!(two.iter().all(Result::is_ok));
        assert_eq!(web.repetition().err(), Some(Full("retryBudget")));
        let requests: Vec<_> = (0..3)
            .flat_map(|_| [web.request(), web.pending()])
            .collect();
        assert!(web.repetition().is_ok());
        drop(requests);
        policy.retry_budget = None;
        let web = shared.limits(&"api".into(), &policy).expect("limited");
        let _one = web.repetition().expect("room");
        assert_eq!(web.repetition().err(), Some(Full("maxRetries")));
    }

    #[test]
    fn counts_survive_a_change_of_other_limits_and_go_with_their_backend() {
        let shared = SharedCounts::default();
        let web = connections(&shared, 1);
        let _held = web.connection().expect("room");
        let mut pool = ConnectionPool {
            max_connections: Some(1),
            max_requests: Some(9),
            ..ConnectionPool::default()
        };
        assert!(limits(&shared, pool.clone()).connection().is_err());
        pool.max_connections = Some(2);
        assert!(limits(&shared, pool).connection().is_ok());
        drop((web, _held));
        assert!(connections(&shared, 1).connection().is_ok());
    }
}
