//! One text to its documents.
use crate::{
    Limits, codes,
    convert::{self, Context},
    kinds::{self, Identity},
    report::Report,
    schema,
    yaml::{self, Lines, Node, Problem, Span, Value},
};
use pointsman_model::{Finding, Object, ObjectKey, Place};
use std::sync::Arc;

/// A text and what is needed to understand it.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// Path as people know it, or `-`.
    pub file: Arc<str>,
    /// YAML or JSON, any number of documents. A byte order mark and CRLF are fine.
    pub text: &'a str,
    /// Namespace of documents that name none.
    pub default_namespace: &'a str,
    /// `cluster.local`: completes short host names.
    pub cluster_domain: &'a str,
}

/// What became of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// Documents of kinds that are read, in the order of the text.
    pub documents: Vec<Document>,
    /// What there is to say, in the order of the text.
    pub findings: Vec<Finding>,
    /// False when a part of the text could not be read as YAML: documents known from an earlier
    /// version of it and missing now must then **not** count as deleted.
    pub complete: bool,
}

/// A document was set aside; the findings say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected;

/// One document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its identity. `None` where it is unreadable: such a document could be any that was in the
    /// text before, so nothing missing from it should count as deleted.
    pub key: Option<ObjectKey>,
    /// The object, or `Rejected`: then the last good version keeps serving.
    pub result: Result<Object, Rejected>,
    /// Where it begins.
    pub place: Place,
}

/// Reads a text within the default [`Limits`].
pub fn parse(input: &Input<'_>) -> Parsed {
    parse_with(input, &Limits::default())
}

/// Reads a text. Never panics, never fails as a whole: every document stands for itself.
pub fn parse_with(input: &Input<'_>, limits: &Limits) -> Parsed {
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(input.text);
    let stream = yaml::read(text, limits);
    let mut reader = Reader {
        input,
        limits,
        lines: Lines::new(text),
        parsed: Parsed {
            documents: Vec::new(),
            findings: Vec::new(),
            complete: stream.complete,
        },
    };
    for raw in stream.documents {
        let mut report = reader.report();
        for problem in &raw.problems {
            say(problem, &mut report);
        }
        match &raw.root {
            Some(root) => reader.document(root, report),
            None => {
                let span = raw.problems.last().map(|problem| problem.span);
                reader.unreadable(span.unwrap_or_default(), report);
            }
        }
    }
    let mut parsed = reader.parsed;
    if parsed.findings.len() > limits.findings {
        parsed.findings.truncate(limits.findings);
        parsed.findings.push(
            Finding::new(
                codes::BUDGET,
                pointsman_model::Level::Warning,
                format!(
                    "{} has more than {} findings, the rest is left out",
                    input.file, limits.findings
                ),
            )
            .effect("none: documents with errors are set aside all the same"),
        );
    }
    parsed
}

fn say(problem: &Problem, report: &mut Report) {
    match problem.other {
        Some(other) => report.collision(
            problem.code,
            problem.span,
            problem.message.clone(),
            problem.label,
            (other, "the first one"),
            problem.help,
        ),
        None => report.error(
            problem.code,
            problem.span,
            problem.message.clone(),
            problem.label,
            problem.help,
        ),
    }
}

struct Reader<'a> {
    input: &'a Input<'a>,
    limits: &'a Limits,
    lines: Lines<'a>,
    parsed: Parsed,
}

impl Reader<'_> {
    /// One finding beyond the limit is kept, to know that there were more.
    fn report(&self) -> Report {
        let room = (self.limits.findings + 1).saturating_sub(self.parsed.findings.len());
        Report::new(&self.input.file, room)
    }

    fn unreadable(&mut self, span: Span, report: Report) {
        let place = report.place(span);
        self.done(None, Err(Rejected), place, report);
    }

    fn done(
        &mut self,
        key: Option<ObjectKey>,
        result: Result<Object, Rejected>,
        place: Place,
        report: Report,
    ) {
        report.finish(&mut self.parsed.findings);
        self.parsed.documents.push(Document { key, result, place });
    }

    fn document(&mut self, root: &Node, mut report: Report) {
        let start = root.start();
        let Value::Map(map) = &root.value else {
            if !root.is_null() {
                report.info(
                    codes::KIND,
                    start,
                    "this is not a Kubernetes document",
                    "not a map",
                    "it is ignored",
                );
            }
            report.finish(&mut self.parsed.findings);
            return;
        };
        let at = |field: &str| map.get(field).map_or(start, |node| node.span);
        match kinds::identify(map) {
            Identity::Known(kind, name) => {
                report.object = convert::key(kind, root, self.input.default_namespace, &mut report);
                let key = report.object.clone();
                schema::check(name, root, &mut report);
                self.convert(key, root, report);
            }
            Identity::List => {
                // A fault of the text cannot be laid on one item: it sets all of them aside.
                let failed = report.failed();
                report.finish(&mut self.parsed.findings);
                for item in map.list("items") {
                    let mut part = self.report();
                    if failed {
                        part.taint();
                    }
                    self.document(item, part);
                }
            }
            Identity::NotOurs => report.finish(&mut self.parsed.findings),
            Identity::Foreign => {
                report.info(
                    codes::KIND,
                    start,
                    "this is not a Kubernetes document",
                    "neither `apiVersion` nor `kind`",
                    "it is ignored",
                );
                report.finish(&mut self.parsed.findings);
            }
            Identity::Incomplete(field) => {
                report.error(
                    codes::IDENTITY,
                    start,
                    format!("this document has no `{field}`"),
                    "what is it?",
                    format!("add `{field}: `"),
                );
                self.unreadable(start, report);
            }
            Identity::Version {
                kind,
                version,
                known,
            } => {
                report.error(
                    codes::KIND,
                    at("apiVersion"),
                    format!("{kind} is not read in the version {version}"),
                    "another version",
                    format!("write {known}"),
                );
                self.unreadable(start, report);
            }
            Identity::Misspelt { kind, meant } => {
                report.error(
                    codes::KIND,
                    at("kind"),
                    format!("there is no kind {kind:?}"),
                    "not a known kind",
                    format!("did you mean {meant}?"),
                );
                self.unreadable(start, report);
            }
            Identity::Ignored { kind, group } => {
                let effect = if kinds::is_about_traffic(group) {
                    "it is ignored: what it asks for does not happen"
                } else {
                    "it is ignored: it says nothing about routing"
                };
                let (message, label) = (
                    format!("documents of kind {kind} are not read"),
                    "not among the kinds that are read",
                );
                report.info(codes::KIND, at("kind"), message, label, effect);
                report.finish(&mut self.parsed.findings);
            }
        }
    }

    fn convert(&mut self, key: Option<ObjectKey>, root: &Node, report: Report) {
        let place = report.place(root.start());
        let (Some(key), false) = (&key, report.distrusted()) else {
            return self.done(key, Err(Rejected), place, report);
        };
        let mut context = Context {
            report,
            key,
            cluster_domain: self.input.cluster_domain,
            lines: &self.lines,
            limits: self.limits,
        };
        let object = convert::convert(root, &mut context).ok_or(Rejected);
        let report = context.report;
        self.done(Some(key.clone()), object, place, report);
    }
}
