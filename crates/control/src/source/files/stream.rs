//! What can be read only once: standard input and pipes.
use super::{Root, read};
use std::{
    fs::File,
    io,
    sync::{Arc, OnceLock},
    thread,
};
use tokio::sync::Notify;

/// Texts of the streams among the roots, as they come in. Outlives the actor: a stream cannot be
/// read again.
pub(super) struct Streams {
    streams: Vec<(Arc<str>, Slot)>,
}

/// Empty while the stream is being read.
type Slot = Arc<OnceLock<io::Result<String>>>;

impl Streams {
    /// Begins to read. On threads of their own, since a reader may wait for its writer for ever:
    /// a blocking task of the runtime would then hold up the end of the process.
    pub(super) fn open(roots: &[Root], max_bytes: u64, wake: &Arc<Notify>) -> Self {
        Self::each(roots, |root| {
            let slot = Slot::default();
            let (root, filled, wake) = (root.clone(), Arc::clone(&slot), Arc::clone(wake));
            let fill = move || {
                let _ = filled.set(text(&root, max_bytes));
                wake.notify_one();
            };
            if let Err(error) = thread::Builder::new().name("read-once".into()).spawn(fill) {
                let _ = slot.set(Err(error));
            }
            slot
        })
    }

    /// Reads on this thread, until all of them end.
    pub(super) fn read(roots: &[Root], max_bytes: u64) -> Self {
        Self::each(roots, |root| {
            Arc::new(OnceLock::from(text(root, max_bytes)))
        })
    }

    /// A slot for each stream. One given twice is read once.
    fn each(roots: &[Root], mut begin: impl FnMut(&Root) -> Slot) -> Self {
        let mut streams: Vec<(Arc<str>, Slot)> = Vec::new();
        for root in roots.iter().filter(|root| root.is_stream()) {
            let name = root.name();
            if streams.iter().all(|(known, _)| *known != name) {
                streams.push((name, begin(root)));
            }
        }
        Self { streams }
    }

    /// Names, each with its text or why there is none; nothing while it is still being read.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&Arc<str>, Option<&io::Result<String>>)> {
        self.streams.iter().map(|(name, slot)| (name, slot.get()))
    }
}

fn text(root: &Root, max_bytes: u64) -> io::Result<String> {
    match root {
        Root::Stdin => read::text(io::stdin(), max_bytes),
        Root::Path(path) => read::text(File::open(path)?, max_bytes),
    }
}
