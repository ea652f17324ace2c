//! Discovery sources: where documents come from.
use pointsman_model::{Finding, Object, ObjectKey};
use std::sync::Arc;

/// An incremental change of what one source knows. Never the whole world.
///
/// Sender: a source. Receiver: the `Catalogue`. Rate: once per debounced change of the source.
/// Verb: `offer`; a source keeps what was refused and tries again, since changes must not be lost.
#[derive(Clone, Debug, Default, actix::Message)]
#[rtype(result = "()")]
pub struct SourceChange {
    /// Which source speaks: the name it was registered by. Of several sources that bring one key,
    /// the one earlier in order serves.
    pub source: Arc<str>,
    /// Documents that are new or different.
    pub upserts: Vec<Object>,
    /// Documents that are gone. A document that merely became invalid is not: its last good
    /// version keeps serving.
    pub deletes: Vec<ObjectKey>,
    /// All findings this source has now; replaces what it said before. `None`: unchanged.
    pub findings: Option<Vec<Finding>>,
    /// The source has said everything it knew at start: readiness may be announced.
    pub synced: bool,
}

impl SourceChange {
    /// True when it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty()
            && self.deletes.is_empty()
            && self.findings.is_none()
            && !self.synced
    }
}
