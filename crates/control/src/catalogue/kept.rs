//! What outlives a panic of the catalogue: everything that is known to be whole.
//!
//! The store is not here: it may have been left half-changed, and the sources can say it again.
use super::{
    CatalogueSpec, Progress, Status,
    compile::Outcome,
    delivery::Delivery,
    gauges::Gauges,
    journal::Journal,
    status::{Revision, SourceStatus},
};
use crate::message::{Resync, SourceStarted, WantNames};
use pointsman_dataplane::message::{InstallSnapshot, SnapshotActive};
use pointsman_model::{Finding, KnownNames};
use pointsman_route::Snapshot;
use pointsman_runtime::{Outlet, tell};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::watch;

pub(crate) struct Kept {
    shards: Vec<Outlet<InstallSnapshot>>,
    keep_snapshots: usize,
    keep_revisions: usize,
    /// In order of precedence, which therefore outlives a restart.
    sources: Vec<KnownSource>,
    /// Newest first. Holding them here means that a shard never drops the last reference: a big
    /// table is freed on this thread.
    snapshots: VecDeque<Arc<Snapshot>>,
    delivery: Delivery,
    revisions: VecDeque<Revision>,
    /// Of the last compilation.
    pub(crate) compile_findings: Vec<Finding>,
    pub(crate) shard_findings: BTreeMap<u16, Vec<Finding>>,
    pub(crate) names: NamesKept,
    compile_time: Duration,
    compilations: u64,
    compile_failures: u64,
    incarnations: u64,
    progress: watch::Sender<Progress>,
    pub(crate) gauges: Gauges,
    pub(crate) journal: Journal,
}

/// What was said to and by the one who looks names up.
#[derive(Default)]
pub(crate) struct NamesKept {
    wants: Option<Outlet<WantNames>>,
    wanted: Arc<BTreeSet<Arc<str>>>,
    pub(crate) known: Arc<KnownNames>,
    pub(crate) findings: Vec<Finding>,
}

impl NamesKept {
    /// Somebody looks names up from now on, and tells what fails. What was known stays known.
    pub(crate) fn started(&mut self, wants: Outlet<WantNames>) {
        self.findings.clear();
        self.wants = Some(wants);
        self.say();
    }

    /// The documents need these names.
    pub(crate) fn want(&mut self, wanted: BTreeSet<Arc<str>>) {
        if *self.wanted != wanted {
            if self.known.names().any(|name| !wanted.contains(name)) {
                Arc::make_mut(&mut self.known).retain(|name| wanted.contains(name));
            }
            self.wanted = Arc::new(wanted);
            self.say();
        }
    }

    /// Takes in what a name is now; false for one that nobody wants any more.
    pub(crate) fn learn(&mut self, name: Arc<str>, addresses: Arc<[IpAddr]>) -> bool {
        let wanted = self.wanted.contains(&name);
        if wanted {
            Arc::make_mut(&mut self.known).insert(name, addresses);
        }
        wanted
    }

    fn say(&self) {
        if let Some(wants) = &self.wants {
            let names = Arc::clone(&self.wanted);
            tell(wants, WantNames { names });
        }
    }
}

struct KnownSource {
    name: Arc<str>,
    /// By the configuration.
    named: bool,
    /// Did it ever say everything it knows?
    synced_once: bool,
    /// Where to ask for it.
    resync: Option<Outlet<Resync>>,
}

impl KnownSource {
    fn named(name: &Arc<str>) -> Self {
        Self {
            named: true,
            ..Self::unnamed(name)
        }
    }

    fn unnamed(name: &Arc<str>) -> Self {
        Self {
            name: Arc::clone(name),
            named: false,
            synced_once: false,
            resync: None,
        }
    }
}

impl Kept {
    pub(crate) fn new(spec: &CatalogueSpec, progress: watch::Sender<Progress>) -> Self {
        Self {
            shards: spec.shards.clone(),
            keep_snapshots: spec.settings.keep_snapshots,
            keep_revisions: spec.settings.keep_revisions,
            sources: spec.sources.iter().map(KnownSource::named).collect(),
            snapshots: VecDeque::new(),
            delivery: Delivery::new(spec.shards.len()),
            revisions: VecDeque::new(),
            compile_findings: Vec::new(),
            shard_findings: BTreeMap::new(),
            names: NamesKept::default(),
            compile_time: Duration::ZERO,
            compilations: 0,
            compile_failures: 0,
            incarnations: 0,
            progress,
            gauges: Gauges::new(spec.recorder.clone()),
            journal: Journal::default(),
        }
    }

    /// An incarnation begins. After a restart the sources are asked to say everything again, and
    /// shards whose answer was lost are sent the newest snapshot again.
    pub(crate) fn begin(&mut self) {
        self.incarnations += 1;
        if self.incarnations == 1 {
            return;
        }
        self.progress
            .send_modify(|progress| progress.synced = false);
        self.delivery.forget_sent();
        self.deliver();
        for resync in self.sources.iter().filter_map(|it| it.resync.as_ref()) {
            tell(resync, Resync);
        }
    }

    pub(crate) fn register(&mut self, started: SourceStarted) {
        let SourceStarted { source, resync } = started;
        self.known(&source).resync = Some(resync);
    }

    pub(crate) fn note_synced(&mut self, source: &Arc<str>) {
        self.known(source).synced_once = true;
    }

    fn known(&mut self, name: &Arc<str>) -> &mut KnownSource {
        let position = self.sources.iter().position(|it| it.name == *name);
        let position = position.unwrap_or_else(|| {
            self.sources.push(KnownSource::unnamed(name));
            self.sources.len() - 1
        });
        &mut self.sources[position]
    }

    pub(crate) fn source_names(&self) -> impl Iterator<Item = Arc<str>> {
        self.sources.iter().map(|it| Arc::clone(&it.name))
    }

    /// Sources an incarnation that begins now must hear of before it compiles: the ones the
    /// configuration names, and those whose documents serve and that can be asked for them.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = Arc<str>> {
        self.sources
            .iter()
            .filter(|it| it.named || (it.synced_once && it.resync.is_some()))
            .map(|it| Arc::clone(&it.name))
    }

    pub(crate) fn newest(&self) -> Option<&Arc<Snapshot>> {
        self.snapshots.front()
    }

    /// The number of the next snapshot. A compilation that changed nothing, or whose result was
    /// lost with the incarnation that wanted it, leaves it to the next: nobody saw it.
    pub(crate) fn next_generation(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.generation) + 1
    }

    /// A compilation ended. `seen` is when the first change in it came.
    pub(crate) fn compiled(&mut self, outcome: Outcome, seen: SystemTime, documents: usize) {
        self.compile_time = outcome.took;
        self.compilations += 1;
        self.compile_failures += u64::from(outcome.failed);
        self.gauges.compiled(outcome.took);
        if outcome.failed {
            // What the last good compilation found is still true of what serves.
            for finding in &outcome.findings {
                tracing::error!(%finding, effect = finding.effect, "compiling failed");
            }
            self.compile_findings
                .retain(|it| it.code != crate::codes::INTERNAL);
            self.compile_findings.extend(outcome.findings);
        } else {
            self.compile_findings = outcome.findings;
        }
        let Some(snapshot) = outcome.snapshot else {
            return;
        };
        let revision = Revision {
            generation: snapshot.generation,
            seen,
            compiled: SystemTime::now(),
            compile_time: outcome.took,
            active: None,
            documents,
        };
        tracing::info!(
            generation = revision.generation,
            documents,
            compile_time = ?outcome.took,
            "snapshot compiled"
        );
        self.gauges.revision(&revision);
        self.revisions.push_front(revision);
        self.revisions.truncate(self.keep_revisions);
        self.snapshots.push_front(snapshot);
        self.progress
            .send_modify(|progress| progress.compiled = revision.generation);
        self.deliver();
        self.notice_active();
    }

    /// Everything the sources know is compiled.
    pub(crate) fn synced(&mut self) {
        self.progress
            .send_if_modified(|progress| !std::mem::replace(&mut progress.synced, true));
    }

    /// A shard says what it serves.
    pub(crate) fn confirm(&mut self, active: SnapshotActive) {
        let Some(newest) = self.newest().cloned() else {
            return;
        };
        let resend = self.delivery.confirm(
            active.shard,
            active.generation,
            newest.generation,
            Instant::now(),
        );
        if resend {
            self.send(usize::from(active.shard), newest);
        }
        self.notice_active();
    }

    /// Frees snapshots that are neither among the latest nor in use by a shard or a connection.
    pub(crate) fn sweep(&mut self) {
        let mut position = 0;
        let keep = self.keep_snapshots.max(1);
        self.snapshots.retain(|snapshot| {
            position += 1;
            position <= keep || Arc::strong_count(snapshot) > 1
        });
    }

    fn deliver(&mut self) {
        let Some(newest) = self.newest().cloned() else {
            return;
        };
        for shard in self.delivery.wish(newest.generation, Instant::now()) {
            self.send(shard, Arc::clone(&newest));
        }
    }

    fn send(&self, shard: usize, snapshot: Arc<Snapshot>) {
        if let Some(outlet) = self.shards.get(shard) {
            tell(outlet, InstallSnapshot { snapshot });
        }
    }

    fn notice_active(&mut self) {
        let newest = self.newest().map_or(0, |snapshot| snapshot.generation);
        // Without shards (analysis, tests) whatever is compiled counts as served.
        let active = self.delivery.active_everywhere().unwrap_or(newest);
        let news = self
            .progress
            .send_if_modified(|progress| std::mem::replace(&mut progress.active, active) != active);
        if !news {
            return;
        }
        let now = SystemTime::now();
        for revision in &mut self.revisions {
            if revision.generation <= active && revision.active.is_none() {
                revision.active = Some(now);
            }
        }
        self.gauges.active(active, now);
        self.sweep();
    }

    /// Status; the caller knows the sources and the number of documents.
    pub(crate) fn status(&self, sources: Vec<SourceStatus>, documents: usize) -> Status {
        Status {
            progress: *self.progress.borrow(),
            sources,
            documents,
            shards: self.delivery.status(Instant::now()),
            revisions: self.revisions.clone(),
            held: self.snapshots.iter().map(|it| it.generation).collect(),
            compile_time: self.compile_time,
            compilations: self.compilations,
            compile_failures: self.compile_failures,
            restarts: self.incarnations.saturating_sub(1),
        }
    }
}
