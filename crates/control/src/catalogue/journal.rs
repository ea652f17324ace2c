//! Findings in the log: each once, when it appears.
use crate::codes;
use pointsman_model::{Finding, Level};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Most findings logged for one change; the others are counted. All are in the status.
const MOST: usize = 50;

/// Remembers what was said. Digests suffice: at worst a finding goes unlogged.
#[derive(Default)]
pub(crate) struct Journal {
    said: HashSet<u64>,
}

impl Journal {
    /// Logs what is new among all findings there are now. Returns how many were new.
    pub(crate) fn note(&mut self, findings: &[Finding]) -> usize {
        let mut now = HashSet::with_capacity(findings.len());
        let mut news = 0;
        for finding in findings {
            // Failures of our own are logged where they happen.
            if matches!(finding.code, codes::INTERNAL | codes::WAITING) {
                continue;
            }
            let digest = digest(finding);
            if !now.insert(digest) || self.said.contains(&digest) {
                continue;
            }
            news += 1;
            if news <= MOST {
                log(finding);
            }
        }
        if news > MOST {
            tracing::warn!(more = news - MOST, "further findings are not logged");
        }
        // What is gone and comes back is news again.
        self.said = now;
        news
    }
}

fn log(finding: &Finding) {
    let (effect, help) = (&*finding.effect, &*finding.help);
    match finding.level {
        Level::Error => tracing::error!(effect, help, "{finding}"),
        Level::Warning => tracing::warn!(effect, help, "{finding}"),
        Level::Info => tracing::debug!(effect, help, "{finding}"),
    }
}

fn digest(finding: &Finding) -> u64 {
    let mut hasher = DefaultHasher::new();
    (finding.code, finding.level, &finding.object, &finding.place).hash(&mut hasher);
    (&finding.message, &finding.effect).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_model::Code;

    #[test]
    fn each_finding_is_news_once() {
        let one = Finding::new(Code(4), Level::Warning, "one");
        let two = Finding::new(Code(4), Level::Warning, "two");
        let mut journal = Journal::default();
        assert_eq!(journal.note(&[one.clone(), one.clone()]), 1);
        assert_eq!(journal.note(&[one.clone(), two.clone()]), 1);
        assert_eq!(journal.note(&[two.clone(), one.clone()]), 0);
        assert_eq!(journal.note(std::slice::from_ref(&two)), 0);
        assert_eq!(journal.note(&[two, one]), 1);
    }
}
