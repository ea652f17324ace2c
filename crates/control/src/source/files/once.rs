//! Reading without following: for commands that look at documents and end.
use super::{FilesSettings, Root, look::Looker, state::State, stream::Streams};
use pointsman_model::{Finding, Object};
use std::sync::Arc;

/// What files say at one moment.
#[derive(Clone, Debug, Default)]
pub struct Once {
    /// Valid documents; of those that are in several files, the first.
    pub objects: Vec<Object>,
    /// What a gateway would report about the same files.
    pub findings: Vec<Finding>,
    /// Name and text of standard input and pipes, which cannot be read again for excerpts.
    pub texts: Vec<(String, String)>,
}

/// Reads all `roots` by the rules of the files source. Blocks until streams among them end.
pub fn read_once(roots: &[Root], settings: &FilesSettings) -> Once {
    let streams = Arc::new(Streams::read(roots, settings.max_file_bytes));
    let texts = streams
        .texts()
        .filter_map(|(name, text)| Some((name.to_string(), text?.as_ref().ok()?.clone())))
        .collect();
    let mut looker = Looker::new(roots.to_vec(), settings.clone(), streams, None);
    let mut state = State::new("files".into());
    state.apply(looker.look());
    let everything = state.everything();
    Once {
        objects: everything.upserts,
        findings: everything.findings.unwrap_or_default(),
        texts,
    }
}
