//! Documents read once, for commands that do not serve.
use crate::settings::Client;
use pointsman_control::{FilesSettings, Root, read_once};
use pointsman_model::{Finding, World};
use std::path::PathBuf;

/// What the `-f` arguments say.
pub(super) struct Documents {
    pub(super) world: World,
    pub(super) findings: Vec<Finding>,
    /// Texts that cannot be read a second time for excerpts: standard input.
    pub(super) texts: Vec<(String, String)>,
}

impl Documents {
    /// Reads files and folders.
    ///
    /// # Errors
    /// When a path does not exist: a typo must not look like an empty configuration.
    pub(super) fn read(files: &[PathBuf], client: &Client) -> anyhow::Result<Self> {
        for file in files {
            if file.as_os_str() != "-" && !file.exists() {
                anyhow::bail!("{}: no such file or folder", file.display());
            }
        }
        let roots: Vec<Root> = files.iter().map(|it| Root::parse(it.as_os_str())).collect();
        let read = read_once(
            &roots,
            &FilesSettings {
                default_namespace: client.namespace.as_str().into(),
                cluster_domain: client.cluster_domain.as_str().into(),
                ..FilesSettings::default()
            },
        );
        Ok(Self {
            world: read.objects.into_iter().collect(),
            findings: read.findings,
            texts: read.texts,
        })
    }
}
