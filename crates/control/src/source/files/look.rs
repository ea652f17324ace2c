//! One look at the roots: what is there, and the contents of what changed since the last look.
use super::{
    FilesSettings, Root,
    read::{self, Content},
    scan::{self, Found, Stamp},
    stream::Streams,
    watch::Watch,
};
use pointsman_model::Finding;
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    hash::{DefaultHasher, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// What a file says, or why it cannot be read.
pub(super) type Read = Result<Content, Box<Finding>>;

/// What a look saw.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// When.
    pub(super) at: Option<SystemTime>,
    /// Names of the files that are there, in file order.
    pub(super) order: Vec<Arc<str>>,
    /// Contents of those that are new or different, or why they cannot be read.
    pub(super) read: Vec<(Arc<str>, Read)>,
    /// What could not be looked into: a file below is not known to be gone.
    pub(super) blind: Vec<PathBuf>,
    /// About the roots.
    pub(super) findings: Vec<Finding>,
    /// Are streams still being read?
    pub(super) waiting: bool,
}

impl Look {
    /// Could `name` be there, only out of sight?
    pub(super) fn may_hide(&self, name: &str) -> bool {
        let name = Path::new(name);
        self.blind.iter().any(|blind| name.starts_with(blind))
    }
}

/// Remembers what was read.
pub(super) struct Looker {
    roots: Vec<Root>,
    settings: FilesSettings,
    streams: Arc<Streams>,
    watch: Option<Watch>,
    known: HashMap<Arc<str>, Known>,
}

/// A file as it was read last.
struct Known {
    stamp: Option<Stamp>,
    /// Could it have changed without its stamp changing?
    fresh: bool,
    digest: u64,
}

impl Looker {
    pub(super) fn new(
        roots: Vec<Root>,
        settings: FilesSettings,
        streams: Arc<Streams>,
        watch: Option<Watch>,
    ) -> Self {
        Self {
            roots,
            settings,
            streams,
            watch,
            known: HashMap::new(),
        }
    }

    /// Looks. Blocks on the file system.
    pub(super) fn look(&mut self) -> Look {
        let now = SystemTime::now();
        let mut scan = scan::scan(&self.roots, &self.settings);
        if let Some(watch) = &mut self.watch {
            // What changes between the scan and a new watch is told by neither. Each round watches
            // what the one before found, so a few are enough for any tree that stands still.
            let mut rounds = 0;
            while watch.arm(&scan) && rounds < 3 {
                scan = scan::scan(&self.roots, &self.settings);
                rounds += 1;
            }
        }
        let mut look = Look {
            at: Some(now),
            blind: scan.blind,
            findings: scan.findings,
            ..Look::default()
        };
        let streams = Arc::clone(&self.streams);
        for (name, text) in streams.texts() {
            look.order.push(Arc::clone(name));
            match text {
                None => look.waiting = true,
                Some(text) if !self.known.contains_key(name) => {
                    let content = self.content(name, None, false, text.as_ref());
                    look.read.extend(content.map(|it| (Arc::clone(name), it)));
                }
                Some(_) => {}
            }
        }
        for file in &scan.files {
            look.order.push(Arc::clone(&file.name));
            let content = self.file(file, now);
            look.read
                .extend(content.map(|it| (Arc::clone(&file.name), it)));
        }
        // What is gone is forgotten, so that it is read when it comes back.
        let there: HashSet<&Arc<str>> = look.order.iter().collect();
        self.known.retain(|name, _| there.contains(name));
        look
    }

    fn file(&mut self, file: &Found, now: SystemTime) -> Option<Read> {
        if let Some(known) = self.known.get(&file.name)
            && known.stamp == Some(file.stamp)
            && !known.fresh
        {
            return None;
        }
        let text =
            File::open(&file.path).and_then(|open| read::text(open, self.settings.max_file_bytes));
        let fresh = file.stamp.is_fresh(now);
        self.content(&file.name, Some(file.stamp), fresh, text.as_ref())
    }

    fn content(
        &mut self,
        name: &Arc<str>,
        stamp: Option<Stamp>,
        fresh: bool,
        text: Result<&String, &io::Error>,
    ) -> Option<Read> {
        let digest = match text {
            Ok(text) => digest(text.as_bytes()),
            Err(error) => digest(error.to_string().as_bytes()).wrapping_add(1),
        };
        let known = Known {
            stamp,
            // An error may go away without the file changing.
            fresh: fresh || text.is_err(),
            digest,
        };
        let before = self.known.insert(Arc::clone(name), known);
        if before.is_some_and(|before| before.digest == digest) {
            return None;
        }
        Some(match text {
            Ok(text) => read::parse(
                name,
                text,
                &self.settings.default_namespace,
                &self.settings.cluster_domain,
            ),
            Err(error) => Err(Box::new(scan::unreadable(
                name,
                &error.to_string(),
                "what it held keeps serving as last read",
            ))),
        })
    }
}

/// Enough to tell that a file changed; nobody gains from making two versions collide.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
