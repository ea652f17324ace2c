//! Learning early that something changed. Only a hint: what changed is found by looking, and
//! polling finds what no event told.
use super::scan::Scan;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;

/// Watches folders, never files: a watch on a file is lost when an editor renames a new one over
/// it, and a mounted ConfigMap changes by one rename of a hidden link in the folder.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    interest: Arc<Mutex<Interest>>,
    /// Watched folders, and which folder it was: one removed and made again under the same name
    /// needs a new watch.
    armed: HashMap<PathBuf, (u64, u64)>,
    /// Said once, not on every look.
    complained: bool,
}

#[derive(Default)]
struct Interest {
    folders: HashSet<PathBuf>,
    paths: HashSet<PathBuf>,
}

impl Interest {
    fn concerns(&self, event: &Event) -> bool {
        if matches!(event.kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
        {
            return false; // mostly our own reading, which would otherwise wake us for ever
        }
        event.paths.is_empty()
            || event.paths.iter().any(|path| {
                self.paths.contains(path)
                    || self.folders.contains(path)
                    || path.parent().is_some_and(|it| self.folders.contains(it))
            })
    }
}

impl Watch {
    /// Wakes `wake` when something of interest happened. One permit, however many events: they
    /// are not queued, so a storm of them costs no memory.
    pub(super) fn new(wake: Arc<Notify>) -> notify::Result<Self> {
        let interest = Arc::new(Mutex::new(Interest::default()));
        let shared = Arc::clone(&interest);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let concerns = event.map_or(true, |event| {
                let interest = shared.lock().unwrap_or_else(PoisonError::into_inner);
                event.need_rescan() || interest.concerns(&event)
            });
            if concerns {
                wake.notify_one();
            }
        })?;
        Ok(Self {
            watcher,
            interest,
            armed: HashMap::new(),
            complained: false,
        })
    }

    /// Watches what `scan` saw, and no longer what it did not. True when a folder is newly
    /// watched: what happened in it before that is known only to those who look again.
    pub(super) fn arm(&mut self, scan: &Scan) -> bool {
        let mut wanted = scan.folders.clone();
        let mut paths = HashSet::new();
        for (folder, step) in scan.paths.iter().filter_map(|path| way_to(path)) {
            paths.insert(folder.join(step));
            paths.insert(folder.clone());
            wanted.insert(folder);
        }
        {
            let mut interest = self.interest.lock().unwrap_or_else(PoisonError::into_inner);
            interest.folders.clone_from(&scan.folders);
            interest.paths = paths;
        }
        let gone: Vec<_> = self
            .armed
            .keys()
            .filter(|folder| !wanted.contains(*folder))
            .cloned()
            .collect();
        for folder in gone {
            self.armed.remove(&folder);
            // Fails where the folder itself is gone, which has ended the watch already.
            let _ = self.watcher.unwatch(&folder);
        }
        let mut news = false;
        for folder in wanted {
            news |= self.watch(folder);
        }
        news
    }

    fn watch(&mut self, folder: PathBuf) -> bool {
        let Ok(found) = fs::metadata(&folder) else {
            return false;
        };
        let identity = (found.dev(), found.ino());
        if self.armed.get(&folder) == Some(&identity) {
            return false;
        }
        if self.armed.remove(&folder).is_some() {
            let _ = self.watcher.unwatch(&folder);
        }
        match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.armed.insert(folder, identity);
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(folder = %folder.display(), %error,
                        "folder cannot be watched; changes are found by polling");
                }
                false
            }
        }
    }
}

/// The folder in which something must happen for `path` to appear or vanish, without links in it,
/// and the name there. For a path that does not exist it is the lowest folder above that does.
///
/// Without links, because two names of one folder are one watch, which reports only one of them.
fn way_to(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir())?;
    let step = path.strip_prefix(folder).ok()?.iter().next()?;
    Some((folder.canonicalize().ok()?, step.into()))
}
