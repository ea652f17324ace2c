//! What an embedding program calls.
use crate::{Running, Settings, assemble};
use pointsman_control::Root;
use pointsman_sdk::Host;

/// The way in: [`Gateway::builder`].
#[derive(Debug)]
pub struct Gateway;

impl Gateway {
    /// A gateway with default settings, no documents and no extensions.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// A gateway in the making.
#[derive(Default)]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) roots: Vec<Root>,
    pub(crate) host: Host,
}

impl Builder {
    /// Process settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// A file or folder of documents, or `-` for standard input; may be called repeatedly.
    pub fn manifests(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.roots.push(Root::parse(path.into().as_os_str()));
        self
    }

    /// Lets an extension register what it brings.
    pub fn extend(mut self, extension: impl FnOnce(&mut Host)) -> Self {
        extension(&mut self.host);
        self
    }

    /// Starts everything. To be called inside [`pointsman_runtime::run`].
    ///
    /// # Errors
    /// When threads cannot be started or the admin address cannot be bound. Never because of a
    /// document.
    pub async fn start(self) -> anyhow::Result<Running> {
        assemble::assemble(self).await
    }
}
