//! What a catalogue is made of.
use super::{Catalogue, Progress, compile::Compiler, kept::Kept};
use pointsman_dataplane::message::InstallSnapshot;
use pointsman_route::{Contexts, Table};
use pointsman_runtime::{ActorSpec, Outlet, Seat};
use pointsman_telemetry::Recorder;
use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Settings of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueSettings {
    /// How long changes are gathered before they are compiled, counted from the first. 20 ms.
    pub gather: Duration,
    /// How long the first snapshot waits for sources that have not said everything yet. After
    /// that, what is known is served. A catalogue that was restarted waits without end, since
    /// what served before still does. 10 s.
    pub patience: Duration,
    /// How many of the latest snapshots are kept in memory although nobody uses them. 2.
    pub keep_snapshots: usize,
    /// How many generations' times are remembered for the status. 32.
    pub keep_revisions: usize,
}

impl Default for CatalogueSettings {
    fn default() -> Self {
        Self {
            gather: Duration::from_millis(20),
            patience: Duration::from_secs(10),
            keep_snapshots: 2,
            keep_revisions: 32,
        }
    }
}

/// What a catalogue is made of. `Send`, to be taken to the control thread.
#[derive(Clone)]
pub struct CatalogueSpec {
    /// In whose eyes the documents are read.
    pub contexts: Contexts,
    /// Each shard's replica, by index.
    pub shards: Vec<Outlet<InstallSnapshot>>,
    /// Names of sources in order of precedence. The first snapshot waits for them (see
    /// [`CatalogueSettings::patience`]); sources that are not named here come after, in the order
    /// in which they speak up.
    pub sources: Vec<Arc<str>>,
    /// Settings.
    pub settings: CatalogueSettings,
    /// Where `pointsman_config_*` go.
    pub recorder: Option<Recorder>,
    /// Makes tables; [`CatalogueSpec::new`] sets the real one.
    pub compiler: Compiler,
}

impl CatalogueSpec {
    /// A catalogue with default settings, no named sources and no metrics.
    pub fn new(contexts: Contexts, shards: Vec<Outlet<InstallSnapshot>>) -> Self {
        Self {
            contexts,
            shards,
            sources: Vec::new(),
            settings: CatalogueSettings::default(),
            recorder: None,
            compiler: Arc::new(Table::compile),
        }
    }
}

/// Describes the catalogue, to be started on the control thread, and tells how far it has come.
///
/// Shards and catalogue know each other, so the links come first: `Link::reserve("catalogue", n)`
/// gives a link for replicas and sources, and the `seat` for here. `n` bounds the changes of
/// sources that wait, 64 is plenty; a source whose change finds no room tries again.
///
/// The receiver outlives restarts; it ends when the catalogue is given up.
pub fn catalogue(
    seat: Seat<Catalogue>,
    spec: CatalogueSpec,
) -> (ActorSpec<Catalogue>, watch::Receiver<Progress>) {
    let (progress, receiver) = watch::channel(Progress::default());
    let kept = Rc::new(RefCell::new(Kept::new(&spec, progress)));
    let spec = Rc::new(spec);
    let actor = ActorSpec::seated(seat, move |_, _| {
        Catalogue::new(Rc::clone(&spec), Rc::clone(&kept))
    });
    (actor, receiver)
}
