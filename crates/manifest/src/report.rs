//! Collects the findings of one document.
use crate::yaml::Span;
use pointsman_model::{Code, Finding, Level, ObjectKey, Place};
use std::{borrow::Cow, sync::Arc};

/// What an error means for traffic: the same for every rule of validation, because Kubernetes'
/// admission would have refused the whole document too.
const SET_ASIDE: &str =
    "the document is set aside; if an earlier version of it was good, that one keeps serving";

/// Findings of one document, in the order they were found.
#[derive(Debug)]
pub(crate) struct Report {
    file: Arc<str>,
    /// The document, once it could be named.
    pub(crate) object: Option<ObjectKey>,
    findings: Vec<Finding>,
    /// How many findings may still be kept: what is written about a hostile text is bounded too.
    room: usize,
    failed: bool,
    /// Is the document of another shape than its schema says?
    distrusted: bool,
}

impl Report {
    /// A report on a document of `file` that keeps at most `room` findings.
    pub(crate) fn new(file: &Arc<str>, room: usize) -> Self {
        Self {
            file: file.clone(),
            object: None,
            findings: Vec::new(),
            room,
            failed: false,
            distrusted: false,
        }
    }

    /// True when further findings are dropped: then composing them is wasted.
    pub(crate) fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Has an error been raised? Then the document is set aside.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// Further checks would only find consequences of an error.
    pub(crate) fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// Has it been distrusted?
    pub(crate) fn distrusted(&self) -> bool {
        self.distrusted
    }

    /// Counts as failed for a reason that was told elsewhere.
    pub(crate) fn taint(&mut self) {
        self.failed = true;
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        Place {
            file: self.file.clone(),
            line: span.line,
            column: span.column,
        }
    }

    /// An error: the document is set aside.
    pub(crate) fn error(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<Cow<'static, str>>,
    ) {
        self.failed = true;
        let finding = Finding::new(code, Level::Error, message)
            .effect(SET_ASIDE)
            .help(help);
        self.push(finding, span, label);
    }

    /// An error with the place it collides with.
    pub(crate) fn collision(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        other: (Span, &str),
        help: impl Into<Cow<'static, str>>,
    ) {
        self.failed = true;
        let place = self.place(other.0);
        let finding = Finding::new(code, Level::Error, message)
            .effect(SET_ASIDE)
            .help(help)
            .related(&place, other.1);
        self.push(finding, span, label);
    }

    /// A warning: it applies, but probably not as meant.
    pub(crate) fn warning(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        effect: impl Into<String>,
        help: impl Into<Cow<'static, str>>,
    ) {
        let finding = Finding::new(code, Level::Warning, message)
            .effect(effect)
            .help(help);
        self.push(finding, span, label);
    }

    /// Worth knowing.
    pub(crate) fn info(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        effect: impl Into<String>,
    ) {
        let finding = Finding::new(code, Level::Info, message).effect(effect);
        self.push(finding, span, label);
    }

    fn push(&mut self, finding: Finding, span: Span, label: impl Into<String>) {
        if self.is_full() {
            return;
        }
        self.room -= 1;
        let place = (span.line > 0).then(|| self.place(span));
        let mut finding = finding.label(span.width, label);
        finding.place = place;
        self.findings.push(finding);
    }

    /// Hands the findings over in the order of the text, each with the name of the document.
    pub(crate) fn finish(mut self, into: &mut Vec<Finding>) {
        let place = |finding: &Finding| {
            let place = finding.place.as_ref();
            place.map(|place| (place.line, place.column))
        };
        self.findings.sort_by_key(place);
        for finding in &mut self.findings {
            finding.object.clone_from(&self.object);
        }
        into.append(&mut self.findings);
    }
}

/// The candidate a misspelt word most likely means: the same but for letter case, or few letters off.
pub fn near<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no slips of the pen, and comparing them costs the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| {
            let distance = if candidate.eq_ignore_ascii_case(word) {
                0
            } else {
                strsim::damerau_levenshtein(word, candidate)
            };
            (distance, candidate)
        })
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}
