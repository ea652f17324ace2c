//! Settings of the files source.
use std::{sync::Arc, time::Duration};

/// Settings of the files source. The defaults suit a folder on a local disk and a mounted
/// ConfigMap alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSettings {
    /// How long nothing must change before the files are read; also how long a document must be
    /// gone before it is deleted. 50 ms.
    pub quiet: Duration,
    /// The longest wait for that quiet while changes keep coming. 500 ms.
    pub at_most: Duration,
    /// How often the files are compared without any event: network file systems tell none, and
    /// any may be lost. Costs one `stat` per file. 2 s.
    pub poll: Duration,
    /// Are events of the operating system used? Without them, polling alone. True.
    pub watch: bool,
    /// Largest file, in bytes; a larger one is not read. 16 MiB.
    pub max_file_bytes: u64,
    /// Most files; those beyond are not read. 20,000.
    pub max_files: usize,
    /// Deepest nesting of folders; deeper ones are not read. 32.
    pub max_depth: usize,
    /// Namespace of documents that name none. `default`.
    pub default_namespace: Arc<str>,
    /// Completes short host names. `cluster.local`.
    pub cluster_domain: Arc<str>,
}

impl Default for FilesSettings {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(50),
            at_most: Duration::from_millis(500),
            poll: Duration::from_secs(2),
            watch: true,
            max_file_bytes: 16 << 20,
            max_files: 20_000,
            max_depth: 32,
            default_namespace: "default".into(),
            cluster_domain: "cluster.local".into(),
        }
    }
}
