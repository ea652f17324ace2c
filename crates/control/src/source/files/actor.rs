//! The actor that drives the files source.
use super::{FilesSettings, Root, look::Looker, state::State, stream::Streams, watch::Watch};
use crate::message::{Resync, SourceStarted};
use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use pointsman_model::ObjectKey;
use pointsman_runtime::{ActorSpec, Link, Offered, Outlet, offer, tell};
use pointsman_sdk::SourceChange;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};

/// Wait before a change the catalogue had no room for is offered again.
const RETRY: Duration = Duration::from_millis(20);

/// What the files source is made of.
#[derive(Clone, Debug)]
pub struct Files {
    /// Name of the source, in findings and status; `files` unless there are several.
    pub name: Arc<str>,
    /// The `-f` arguments in order. The same document in two files: the first serves.
    pub roots: Vec<Root>,
    /// Settings.
    pub settings: FilesSettings,
    /// The catalogue.
    pub started: Outlet<SourceStarted>,
    /// The catalogue.
    pub changes: Outlet<SourceChange>,
}

/// Describes the files source, to be started on the control thread. Begins to read standard input
/// and pipes at once, where they are among the roots.
pub fn files(files: Files) -> ActorSpec<FileSource> {
    let wake = Arc::new(Notify::new());
    let max_bytes = files.settings.max_file_bytes;
    let streams = Arc::new(Streams::open(&files.roots, max_bytes, &wake));
    // Resync is told at most once per restart of the catalogue; nothing else comes in.
    ActorSpec::new("files", 4, move |_, me: &Link<FileSource>| FileSource {
        files: files.clone(),
        streams: Arc::clone(&streams),
        signal: Arc::new(Signal {
            wake: Arc::clone(&wake),
            resync: AtomicBool::new(false),
        }),
        me: me.outlet(),
    })
}

/// Reads files and tells the catalogue what they say. One writer of that: the task it runs.
pub struct FileSource {
    files: Files,
    streams: Arc<Streams>,
    signal: Arc<Signal>,
    me: Outlet<Resync>,
}

/// What wakes the task.
struct Signal {
    wake: Arc<Notify>,
    resync: AtomicBool,
}

impl Actor for FileSource {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let task = Task {
            files: self.files.clone(),
            streams: Arc::clone(&self.streams),
            signal: Arc::clone(&self.signal),
            me: self.me.clone(),
        };
        // In the context rather than a task of its own: it ends with the actor, and when it
        // panics the overseer makes both anew.
        ctx.spawn(task.run().into_actor(self));
    }
}

impl Handler<Resync> for FileSource {
    type Result = ();

    fn handle(&mut self, _: Resync, _: &mut Self::Context) {
        self.signal.resync.store(true, Ordering::Release);
        self.signal.wake.notify_one();
    }
}

/// The look-wait-look loop.
struct Task {
    files: Files,
    streams: Arc<Streams>,
    signal: Arc<Signal>,
    me: Outlet<Resync>,
}

/// The part that blocks on the file system; travels to a blocking thread for each look.
struct Work {
    looker: Looker,
    state: State,
}

impl Task {
    async fn run(self) {
        let settings = self.files.settings.clone();
        let mut work = self.work();
        self.announce();
        loop {
            let (back, change, again) = look(work).await;
            work = back;
            if !change.deletes.is_empty() {
                log_gone(&change.deletes);
            }
            // A restarted catalogue gets everything, and the change is part of that.
            let change = if self.signal.resync.swap(false, Ordering::AcqRel) {
                self.announce();
                work.state.everything()
            } else {
                change
            };
            if !change.is_empty() && !self.deliver(change).await {
                return;
            }
            self.pause(&settings, again).await;
        }
    }

    fn work(&self) -> Work {
        let Files {
            name,
            roots,
            settings,
            ..
        } = &self.files;
        let watch = settings
            .watch
            .then(|| Watch::new(Arc::clone(&self.signal.wake)))
            .transpose()
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "files cannot be watched; changes are found by polling");
                None
            });
        let streams = Arc::clone(&self.streams);
        Work {
            looker: Looker::new(roots.clone(), settings.clone(), streams, watch),
            state: State::new(Arc::clone(name)),
        }
    }

    fn announce(&self) {
        tell(
            &self.files.started,
            SourceStarted {
                source: Arc::clone(&self.files.name),
                resync: self.me.clone(),
            },
        );
    }

    /// Offers until there is room. False when the catalogue is gone for good.
    async fn deliver(&self, mut change: SourceChange) -> bool {
        loop {
            match offer(&self.files.changes, change) {
                Ok(()) => return true,
                Err(Offered::Full(back)) => change = back,
                Err(Offered::Dead(_)) => {
                    tracing::error!("the catalogue is gone; files are no longer read");
                    return false;
                }
            }
            sleep(RETRY).await;
        }
    }

    /// Waits until there is a reason to look: quiet after an event, or the time to poll.
    async fn pause(&self, settings: &FilesSettings, again: bool) {
        let first = if again { settings.quiet } else { settings.poll };
        if timeout(first, self.signal.wake.notified()).await.is_err() {
            return;
        }
        let latest = Instant::now() + settings.at_most;
        loop {
            let quiet = (Instant::now() + settings.quiet).min(latest);
            let more = timeout_at(quiet, self.signal.wake.notified()).await;
            if more.is_err() || Instant::now() >= latest {
                return;
            }
        }
    }
}

/// Nobody should have to guess why requests are not routed any more.
fn log_gone(keys: &[ObjectKey]) {
    const NAMED: usize = 5;
    let mut names: Vec<String> = keys.iter().take(NAMED).map(ToString::to_string).collect();
    if let Some(more) = keys.len().checked_sub(NAMED + 1) {
        names.push(format!("{} more", more + 1));
    }
    tracing::info!(
        count = keys.len(),
        "no longer in the files: {}",
        names.join(", ")
    );
}

async fn look(mut work: Work) -> (Work, SourceChange, bool) {
    let looked = tokio::task::spawn_blocking(move || {
        let look = work.looker.look();
        let outcome = work.state.apply(look);
        (work, outcome.change, outcome.again)
    });
    match looked.await {
        Ok(looked) => looked,
        Err(error) => match error.try_into_panic() {
            // The state is lost; the overseer makes the actor anew.
            Ok(payload) => std::panic::resume_unwind(payload),
            // The runtime is ending.
            Err(_) => std::future::pending().await,
        },
    }
}
