//! Collecting findings, each once.
use pointsman_model::{Code, Finding, ObjectKey, Place};
use std::collections::HashSet;

pub(crate) const UNKNOWN_SUBSET: Code = Code(101);
pub(crate) const UNKNOWN_HOST: Code = Code(102);
pub(crate) const UNKNOWN_PORT: Code = Code(103);
pub(crate) const BAD_PATTERN: Code = Code(206);
pub(crate) const SHADOWED_RULE: Code = Code(207);
pub(crate) const SECOND_VIRTUAL_SERVICE: Code = Code(208);
pub(crate) const DELEGATE_LEFT_OUT: Code = Code(209);
pub(crate) const GUARDED_ENTRY: Code = Code(310);
pub(crate) const ADDRESS_TAKEN: Code = Code(311);
pub(crate) const SERVER_LEFT_OUT: Code = Code(330);
pub(crate) const SERVER_UNROUTED: Code = Code(331);
pub(crate) const SERVER_NAME_TAKEN: Code = Code(332);
pub(crate) const TLS_NOT_ENDED: Code = Code(333);

/// Findings so far. The same cause is met several times (a rule is compiled once per port), and
/// told once.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    seen: HashSet<(Code, Option<ObjectKey>, Option<Place>, String)>,
}

impl Findings {
    pub(crate) fn push(&mut self, finding: Finding) {
        let key = (
            finding.code,
            finding.object.clone(),
            finding.place.clone(),
            finding.message.clone(),
        );
        if self.seen.insert(key) {
            self.list.push(finding);
        }
    }

    /// Most serious first, then by place, so that equal documents give equal lists.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        self.list.sort_by(|a, b| {
            let own = (b.level, &a.place, a.code, &a.message, &a.object);
            own.cmp(&(a.level, &b.place, b.code, &b.message, &b.object))
        });
        self.list
    }
}
