//! The catalogue's actor.
use super::{
    CatalogueSpec, Status,
    compile::{Job, Outcome},
    kept::Kept,
    status::SourceStatus,
    store::{Effect, Store},
};
use crate::{
    codes,
    message::{GetFindings, GetSnapshot, GetStatus, NamesChanged, NamesStarted, SourceStarted},
};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, WrapFuture};
use pointsman_dataplane::message::{ShardFindings, SnapshotActive};
use pointsman_model::{Finding, Level};
use pointsman_route::{Contexts, Snapshot, names_wanted};
use pointsman_sdk::SourceChange;
use std::{
    cell::RefCell,
    collections::HashSet,
    mem,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How often old snapshots are looked at: whether the last connection that used them is gone.
const SWEEP: Duration = Duration::from_secs(1);

/// Merges what all sources say, compiles it and has every shard serve it. The one writer of the
/// store, the generation numbers, and what is kept over restarts.
pub struct Catalogue {
    spec: Rc<CatalogueSpec>,
    contexts: Arc<Contexts>,
    kept: Rc<RefCell<Kept>>,
    store: Store,
    work: Work,
    /// When the first change came that is not in a compilation yet.
    seen: Option<SystemTime>,
    /// Sources without which nothing is compiled.
    awaited: HashSet<Arc<str>>,
    /// Compile although sources are missing.
    impatient: bool,
    /// Of the last time they were asked for; `None` once they changed.
    findings: Option<Arc<Vec<Finding>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Idle,
    /// Gathering further changes until a timer fires.
    Gathering,
    /// One compilation at a time; changes meanwhile wait for the next.
    Compiling,
}

impl Catalogue {
    pub(crate) fn new(spec: Rc<CatalogueSpec>, kept: Rc<RefCell<Kept>>) -> Self {
        let contexts = Arc::new(spec.contexts.clone());
        let mut store = Store::knowing(kept.borrow().source_names());
        store.set_names(&kept.borrow().names.known);
        let awaited = kept.borrow().awaited().collect();
        Self {
            spec,
            contexts,
            kept,
            store,
            work: Work::Idle,
            seen: None,
            awaited,
            impatient: false,
            findings: None,
        }
    }

    /// Sees to it that what changed is compiled, soon.
    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if self.work != Work::Idle || self.seen.is_none() || self.is_waiting() {
            return;
        }
        self.work = Work::Gathering;
        ctx.run_later(self.spec.settings.gather, |this, ctx| this.compile(ctx));
    }

    /// A world with a source missing would take that source's routes away. A source that spoke
    /// up only after this incarnation began has none to take.
    fn is_waiting(&self) -> bool {
        let awaited = |source: &Arc<str>| self.awaited.contains(source);
        !self.impatient && self.store.unsynced().any(awaited)
    }

    fn compile(&mut self, ctx: &mut Context<Self>) {
        // A source may have begun to speak since the timer was set.
        self.work = Work::Idle;
        if self.is_waiting() {
            return;
        }
        let Some(seen) = self.seen.take() else {
            return;
        };
        self.work = Work::Compiling;
        let whole = self.store.unsynced().next().is_none();
        let documents = self.store.world().len();
        let wanted = names_wanted(self.store.world(), self.contexts.mesh.entry_capture);
        let mut kept = self.kept.borrow_mut();
        kept.names.want(wanted);
        self.store.set_names(&kept.names.known);
        let job = Job {
            world: Arc::clone(self.store.world()),
            contexts: Arc::clone(&self.contexts),
            previous: kept.newest().cloned(),
            generation: kept.next_generation(),
            compiler: Arc::clone(&self.spec.compiler),
        };
        // Not here: the control thread answers people and scrapes meanwhile.
        drop(kept);
        let compiling = tokio::task::spawn_blocking(move || job.run());
        ctx.spawn(compiling.into_actor(self).map(move |outcome, this, ctx| {
            this.work = Work::Idle;
            // An error means that the runtime is ending: panics are caught within.
            if let Ok(outcome) = outcome {
                this.compiled(outcome, seen, documents, whole);
            }
            this.schedule(ctx);
        }));
    }

    fn compiled(&mut self, outcome: Outcome, seen: SystemTime, documents: usize, whole: bool) {
        let failed = outcome.failed;
        let mut kept = self.kept.borrow_mut();
        kept.compiled(outcome, seen, documents);
        if whole && !failed {
            kept.synced();
        }
        drop(kept);
        self.findings_changed();
    }

    fn findings_changed(&mut self) {
        self.findings = None;
        let findings = self.all_findings();
        let mut kept = self.kept.borrow_mut();
        kept.gauges.findings(&findings);
        kept.journal.note(&findings);
    }

    /// Of the sources, of the compiler, of the process, of the shards; each once, although all
    /// shards meet the same obstacle.
    fn all_findings(&mut self) -> Arc<Vec<Finding>> {
        if let Some(findings) = &self.findings {
            return Arc::clone(findings);
        }
        let kept = self.kept.borrow();
        let mut findings = self.store.findings();
        findings.extend_from_slice(&kept.compile_findings);
        findings.extend_from_slice(&kept.names.findings);
        findings.extend(self.store.unsynced().map(|source| waiting_for(source)));
        let mut of_shards: Vec<&Finding> = Vec::new();
        for finding in kept.shard_findings.values().flatten() {
            if !of_shards.contains(&finding) {
                of_shards.push(finding);
            }
        }
        findings.extend(of_shards.into_iter().cloned());
        let findings = Arc::new(findings);
        self.findings = Some(Arc::clone(&findings));
        findings
    }
}

fn waiting_for(source: &str) -> Finding {
    Finding::new(
        codes::WAITING,
        Level::Warning,
        format!("source {source} has not said everything it knows yet"),
    )
    .effect("its documents may be missing; a restarted catalogue waits for it and changes nothing")
    .help("see the log for what it waits for")
}

impl Actor for Catalogue {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let first = {
            let mut kept = self.kept.borrow_mut();
            kept.begin();
            kept.newest().is_none()
        };
        if first {
            ctx.run_later(self.spec.settings.patience, |this, ctx| {
                this.impatient = true;
                this.schedule(ctx);
            });
        }
        ctx.run_interval(SWEEP, |this, _| this.kept.borrow_mut().sweep());
    }
}

impl Handler<SourceStarted> for Catalogue {
    type Result = ();

    fn handle(&mut self, started: SourceStarted, _: &mut Self::Context) {
        let source = Arc::clone(&started.source);
        self.kept.borrow_mut().register(started);
        self.store.begin(&source);
        self.findings = None;
    }
}

impl Handler<SourceChange> for Catalogue {
    type Result = ();

    fn handle(&mut self, change: SourceChange, ctx: &mut Self::Context) {
        let synced = change.synced;
        if synced {
            self.kept.borrow_mut().note_synced(&change.source);
        }
        let effect: Effect = self.store.apply(change);
        // The first snapshot is made even of nothing: it is what readiness waits for.
        if effect.world || synced {
            self.seen.get_or_insert_with(SystemTime::now);
        }
        if effect.findings || synced {
            self.findings_changed();
        }
        self.schedule(ctx);
    }
}

impl Handler<NamesStarted> for Catalogue {
    type Result = ();

    fn handle(&mut self, started: NamesStarted, _: &mut Self::Context) {
        self.kept.borrow_mut().names.started(started.wants);
        self.findings_changed();
    }
}

impl Handler<NamesChanged> for Catalogue {
    type Result = ();

    fn handle(&mut self, changed: NamesChanged, ctx: &mut Self::Context) {
        let mut kept = self.kept.borrow_mut();
        let mut learnt = false;
        for (name, addresses) in changed.names {
            learnt |= kept.names.learn(name, addresses);
        }
        if learnt {
            self.store.set_names(&kept.names.known);
            self.seen.get_or_insert_with(SystemTime::now);
        }
        let findings = changed.findings.is_some();
        if let Some(findings) = changed.findings {
            kept.names.findings = findings;
        }
        drop(kept);
        if findings {
            self.findings_changed();
        }
        self.schedule(ctx);
    }
}

impl Handler<SnapshotActive> for Catalogue {
    type Result = ();

    fn handle(&mut self, active: SnapshotActive, _: &mut Self::Context) {
        self.kept.borrow_mut().confirm(active);
    }
}

impl Handler<ShardFindings> for Catalogue {
    type Result = ();

    fn handle(&mut self, told: ShardFindings, _: &mut Self::Context) {
        let before = {
            let mut kept = self.kept.borrow_mut();
            let of_shard = kept.shard_findings.entry(told.shard).or_default();
            mem::replace(of_shard, told.findings.clone())
        };
        if before != told.findings {
            self.findings_changed();
        }
    }
}

impl Handler<GetFindings> for Catalogue {
    type Result = Arc<Vec<Finding>>;

    fn handle(&mut self, _: GetFindings, _: &mut Self::Context) -> Self::Result {
        self.all_findings()
    }
}

impl Handler<GetStatus> for Catalogue {
    type Result = MessageResult<GetStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        let sources = self
            .store
            .sources()
            .map(|(name, documents, synced)| SourceStatus {
                name: Arc::clone(name),
                documents,
                synced,
            })
            .collect();
        let documents = self.store.world().len();
        let status: Status = self.kept.borrow().status(sources, documents);
        MessageResult(status)
    }
}

impl Handler<GetSnapshot> for Catalogue {
    type Result = Option<Arc<Snapshot>>;

    fn handle(&mut self, _: GetSnapshot, _: &mut Self::Context) -> Self::Result {
        self.kept.borrow().newest().cloned()
    }
}
