//! Which files there are, and in which order they count.
use super::FilesSettings;
use crate::codes;
use pointsman_model::{Finding, Level, Place};
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// One `-f` argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// `-`: standard input, read once.
    Stdin,
    /// A file of whatever name, or a folder of `.yaml`, `.yml` and `.json` files, where
    /// `NAME.test.yaml` are cases for `pointsman test` and no manifests. It need not exist yet. A pipe (`<(kustomize build)`) is read once, like standard input.
    Path(PathBuf),
}

impl Root {
    /// What the argument means.
    pub fn parse(argument: &OsStr) -> Self {
        if argument == "-" {
            Self::Stdin
        } else {
            Self::Path(argument.into())
        }
    }

    /// The name in findings: the path as given, `-` for standard input.
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Stdin => "-".into(),
            Self::Path(path) => path.to_string_lossy().into(),
        }
    }

    /// Can it be read only once?
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::Stdin => true,
            Self::Path(path) => fs::metadata(path).is_ok_and(|found| {
                let kind = found.file_type();
                kind.is_fifo() || kind.is_socket() || kind.is_char_device()
            }),
        }
    }
}

/// What distinguishes two states of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Was the file touched so shortly before `now` that a further write could leave the same
    /// stamp? File systems count time in steps of up to 2 s, so an equal stamp proves nothing
    /// until that has passed. A clock that runs ahead only costs reading the file again.
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        let (seconds, _) = self.modified.max(self.changed);
        let Ok(seconds) = u64::try_from(seconds) else {
            return false;
        };
        let touched = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        now.duration_since(touched)
            .map_or(true, |age| age < Duration::from_secs(3))
    }
}

/// A file to read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) name: Arc<str>,
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

/// All files at one moment.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Regular files in file order: the order of the roots, within a folder the order of names.
    pub(super) files: Vec<Found>,
    /// What could not be looked into. A file below one of these is not known to be gone.
    pub(super) blind: Vec<PathBuf>,
    /// Folders of which every entry matters.
    pub(super) folders: HashSet<PathBuf>,
    /// Single paths that matter, in folders of which most entries do not.
    pub(super) paths: HashSet<PathBuf>,
    /// What people should know.
    pub(super) findings: Vec<Finding>,
}

/// Looks at all roots. Streams are left out: they have no state to look at.
pub(super) fn scan(roots: &[Root], settings: &FilesSettings) -> Scan {
    let mut walk = Walk {
        settings,
        scan: Scan::default(),
        seen: HashSet::new(),
        full: false,
    };
    for root in roots {
        if let Root::Path(path) = root
            && !root.is_stream()
        {
            walk.root(path);
        }
    }
    walk.scan
}

struct Walk<'s> {
    settings: &'s FilesSettings,
    scan: Scan,
    /// Device and inode of what was visited: the loop guard, and the reason why a file that two
    /// roots or links lead to is read once instead of contradicting itself.
    seen: HashSet<(u64, u64)>,
    full: bool,
}

impl Walk<'_> {
    fn root(&mut self, path: &Path) {
        self.watch_name(path);
        let found = match fs::metadata(path) {
            Ok(found) => found,
            // Somebody wants documents from there: a folder that is unmounted, or renamed by
            // mistake, does not say that they are to go.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.scan.blind.push(path.into());
                self.scan.findings.push(
                    Finding::new(
                        codes::NOTHING_THERE,
                        Level::Error,
                        format!("there is nothing at {}", path.display()),
                    )
                    .at(&Place::new(path.to_string_lossy(), 0, 0))
                    .effect("what was read from it before keeps serving; it is taken up when it appears")
                    .help(
                        "check the path, relative paths begin where the process was started; \
                         to remove its documents, leave the folder and delete the files in it",
                    ),
                );
                return;
            }
            Err(error) => return self.unreadable(path, &error),
        };
        if !found.is_dir() {
            return self.file(path, &found);
        }
        let before = (self.scan.files.len(), self.scan.blind.len());
        self.folder(path, &found, 0);
        if (self.scan.files.len(), self.scan.blind.len()) == before && !self.full {
            self.scan.findings.push(
                Finding::new(
                    codes::NOTHING_THERE,
                    Level::Warning,
                    format!("folder {} holds no manifest", path.display()),
                )
                .at(&Place::new(path.to_string_lossy(), 0, 0))
                .effect("no document is served from it; files are taken up when they appear")
                .help(
                    "manifests end in .yaml, .yml or .json; names that begin with a dot, or end in .test.yaml, are skipped",
                ),
            );
        }
    }

    fn folder(&mut self, path: &Path, found: &Metadata, depth: usize) {
        if !self.seen.insert((found.dev(), found.ino())) {
            return;
        }
        if depth > self.settings.max_depth {
            let error = io::Error::other(format!(
                "folders are nested more than {} deep (max_depth)",
                self.settings.max_depth
            ));
            return self.unreadable(path, &error);
        }
        let entries = match entries(path) {
            Ok(entries) => entries,
            // It went away since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unreadable(path, &error),
        };
        if let Ok(real) = path.canonicalize() {
            self.scan.folders.insert(real);
        }
        for entry in entries {
            match fs::metadata(&entry) {
                Ok(found) if found.is_dir() => self.folder(&entry, &found, depth + 1),
                Ok(found) if found.is_file() && is_manifest(&entry) => self.file(&entry, &found),
                Ok(_) => {}
                // A dangling link, or gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(&entry, &error),
            }
        }
    }

    fn file(&mut self, path: &Path, found: &Metadata) {
        if !self.seen.insert((found.dev(), found.ino())) {
            return;
        }
        if self.scan.files.len() >= self.settings.max_files {
            if !self.full {
                self.full = true;
                // Everything is blind: which files the limit leaves out depends on the others.
                self.scan.blind.push(PathBuf::new());
                let limit = self.settings.max_files;
                self.scan.findings.push(
                    Finding::new(
                        codes::UNREADABLE,
                        Level::Error,
                        format!("there are more than {limit} files (max_files)"),
                    )
                    .at(&Place::new(path.to_string_lossy(), 0, 0))
                    .effect("this file and those after it are not read")
                    .help("raise max_files, or put several documents into one file"),
                );
            }
            return;
        }
        if path.is_symlink()
            && let Ok(real) = path.canonicalize()
        {
            self.scan.paths.insert(real);
        }
        self.scan.files.push(Found {
            name: path.to_string_lossy().into(),
            path: path.into(),
            stamp: Stamp::of(found),
        });
    }

    /// A root may vanish and come back, alone or with the folders above it.
    fn watch_name(&mut self, path: &Path) {
        if let Ok(absolute) = std::path::absolute(path) {
            self.scan.paths.insert(absolute);
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.scan.blind.push(path.into());
        self.scan.findings.push(unreadable(
            &path.to_string_lossy(),
            &error.to_string(),
            "what it held keeps serving as last read",
        ));
    }
}

/// The finding about a file or folder that is there and cannot be read.
pub(super) fn unreadable(name: &str, cause: &str, effect: &str) -> Finding {
    Finding::new(
        codes::UNREADABLE,
        Level::Error,
        format!("{name} cannot be read: {cause}"),
    )
    .at(&Place::new(name, 0, 0))
    .effect(effect)
    .help("it is tried again on the next change, and every few seconds")
}

/// What a folder holds, by name, without what is hidden: `..data` and its like in a mounted
/// ConfigMap, and the scratch files of editors.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The cases of `pointsman test` may lie beside what they test: they are lists, no documents.
fn is_manifest(path: &Path) -> bool {
    let cases = path
        .file_stem()
        .is_some_and(|stem| stem.as_encoded_bytes().ends_with(b".test"));
    !cases
        && path.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        })
}
