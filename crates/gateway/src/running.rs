//! A started gateway.
use pointsman_admin::{Admin, Health, Method, Reply, State};
use pointsman_control::{Catalogue, GetFindings, GetStatus, Progress, Status};
use pointsman_dataplane::{
    ShardHandle,
    access::{Settled, SinkHost},
    actor::{acceptor::StopAccepting, meter::Flush},
};
use pointsman_model::Finding;
use pointsman_runtime::{AskError, Drain, Link, Place, Shards, ask, tell};
use pointsman_telemetry::{Recorder, names};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long the control plane may take to answer a person.
const ASK: Duration = Duration::from_secs(5);
/// How long the last records may take to be written where the drain time is over.
const SETTLE: Duration = Duration::from_secs(1);
/// How long a sink has to say that it is done where another took all of the time.
const LEAST: Duration = Duration::from_millis(100);
/// How long what is cut may take to end and to be recorded.
const CUT: Duration = Duration::from_millis(500);
/// How often process-wide gauges are refreshed.
const GAUGES: Duration = Duration::from_secs(1);

/// A gateway that runs until it is drained or dropped.
pub struct Running {
    /// Where metrics and health are served.
    pub admin: SocketAddr,
    pub(crate) shards: Shards,
    pub(crate) handles: Vec<ShardHandle>,
    pub(crate) sinks: Vec<Link<SinkHost>>,
    pub(crate) drain: Drain,
    pub(crate) health: Arc<Health>,
    pub(crate) catalogue: Link<Catalogue>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) recorder: Recorder,
    pub(crate) drain_time: Duration,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut when the time was over.
    pub cut: usize,
}

impl Running {
    /// Waits until the documents known at start are served by every shard.
    pub async fn ready(&mut self) {
        // An error means that the catalogue was given up: what is served stays what it is.
        let _ = self.progress.wait_for(Progress::is_ready).await;
        self.health.advance(State::Live);
    }

    /// How far the catalogue has come: compiled and active generations.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// The catalogue, for sources of an embedding program.
    pub fn catalogue(&self) -> &Link<Catalogue> {
        &self.catalogue
    }

    /// The metrics.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Everything that is to be said about the documents now.
    ///
    /// # Errors
    /// When the catalogue does not answer.
    pub async fn findings(&self) -> Result<Arc<Vec<Finding>>, AskError> {
        ask(&self.catalogue, GetFindings, ASK).await
    }

    /// Sources, generations, shards.
    ///
    /// # Errors
    /// When the catalogue does not answer.
    pub async fn status(&self) -> Result<Status, AskError> {
        ask(&self.catalogue, GetStatus, ASK).await
    }

    /// The last records of the access log reach their sinks, if those take them by `end`. A sink that
    /// blocks or is gone is not waited for longer: false, and what is lost is said.
    async fn settle(&self, end: Instant) -> bool {
        self.flush().await;
        let mut late = Vec::new();
        for sink in &self.sinks {
            let left = end.saturating_duration_since(Instant::now()).max(LEAST);
            if ask(sink, Settled, left).await.is_err() {
                late.push(sink.name());
            }
        }
        if !late.is_empty() {
            let records = self.flush().await;
            tracing::warn!(
                sinks = ?late,
                records,
                "the drain time is over: access log records that were not taken are lost"
            );
        }
        late.is_empty()
    }

    /// Hands on what is recorded. How many records the sinks have not dealt with.
    async fn flush(&self) -> usize {
        let mut records = 0;
        for handle in &self.handles {
            records += ask(&handle.flush, Flush, SETTLE).await.unwrap_or(0);
        }
        records
    }

    /// Waits until no shard accepts any more and all whom the kernel had connected are known to the drain.
    async fn stop_accepting(&self) {
        let stop = |handle: &ShardHandle| {
            let (acceptor, limit) = (handle.stop_accepting.clone(), self.drain_time);
            actix::spawn(async move {
                if ask(&acceptor, StopAccepting, limit).await.is_err() {
                    // A question that is not answered in time is taken back.
                    tell(&acceptor, StopAccepting);
                }
            })
        };
        let stopping: Vec<_> = self.handles.iter().map(stop).collect();
        for stopping in stopping {
            let _ = stopping.await;
        }
    }

    /// Stops accepting, lets requests in flight finish within the drain time, then ends.
    pub async fn drain(self) -> Drained {
        self.health.advance(State::Draining);
        let end = Instant::now() + self.drain_time;
        self.drain.begin();
        self.stop_accepting().await;
        let left = end.saturating_duration_since(Instant::now());
        let cut = self.drain.drain(left).await;
        if cut > 0 {
            self.drain.cut(CUT).await;
        }
        let settled = self.settle(end.max(Instant::now() + SETTLE)).await;
        let stopped = self.shards.stop(Duration::from_secs(2)).await;
        // A sink that blocks holds the control thread, which has been said.
        let expected = |place: &Place| !settled && *place == Place::Control;
        if !stopped.panicked.is_empty() || !stopped.stuck.iter().all(expected) {
            tracing::error!(stuck = ?stopped.stuck, panicked = ?stopped.panicked, "unclean end");
        }
        Drained { cut }
    }
}

/// Adds the pages that need the catalogue.
pub(crate) fn pages(admin: &mut Admin, catalogue: &Link<Catalogue>) {
    let link = catalogue.clone();
    admin.route(
        Method::GET,
        "/api/v1/findings",
        "what is to be said about the documents, as JSON",
        move |_| {
            let link = link.clone();
            async move {
                match ask(&link, GetFindings, ASK).await {
                    Ok(findings) => {
                        let rows: Vec<_> = findings
                            .iter()
                            .map(crate::cli::output::finding_json)
                            .collect();
                        Reply::json(&serde_json::Value::from(rows))
                    }
                    Err(error) => Reply::text(
                        pointsman_admin::StatusCode::SERVICE_UNAVAILABLE,
                        format!("the catalogue did not answer: {error}\n"),
                    ),
                }
            }
        },
    );
}

/// Counters that the runtime keeps, as metrics: restarts, refusals, event loop lag.
pub(crate) async fn process_gauges(recorder: Recorder) {
    let mut told: HashMap<(&'static str, &'static str), u64> = HashMap::new();
    let mut tick = tokio::time::interval(GAUGES);
    loop {
        tick.tick().await;
        let stats = pointsman_runtime::stats();
        for actor in &stats.actors {
            for (family, now) in [
                (&names::ACTOR_RESTARTS, actor.restarts),
                (&names::MAILBOX_REFUSED, actor.refusals),
            ] {
                let before = told.entry((family.name, actor.name)).or_default();
                // Register the series even at zero: an alert on it must find it.
                recorder
                    .counter(family, [actor.name])
                    .increment(now.saturating_sub(*before));
                *before = now;
            }
        }
        for lag in &stats.lag {
            recorder
                .gauge(&names::EVENT_LOOP_LAG, [&*lag.place.to_string()])
                .set(lag.max_micros as f64 / 1e6);
        }
    }
}
