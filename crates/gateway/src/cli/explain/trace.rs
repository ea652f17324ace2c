//! The steps of a decision, one after the other, for `--trace` and `-o json`.
use pointsman_route::{
    Connection, Fields, Request, Table,
    explain::{Candidate, Explanation, Verdict, explain_connection, explain_request_on},
};
use serde::Serialize;

/// One thing that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// `frontend`, `rule` or `endpoint`.
    step: &'static str,
    #[serde(flatten)]
    line: Line,
}

/// A candidate in machine form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    what: String,
    verdict: &'static str,
    detail: String,
    file: Option<String>,
    line: Option<u32>,
}

impl Line {
    pub(super) fn new(candidate: &Candidate) -> Self {
        Self {
            what: candidate.what.clone(),
            verdict: match candidate.verdict {
                Verdict::Match => "match",
                Verdict::NotUsed => "not_used",
                Verdict::No(reason) => reason.as_str(),
            },
            detail: candidate.detail.clone(),
            file: candidate.place.as_ref().map(|it| it.file.to_string()),
            line: candidate.place.as_ref().map(|it| it.line),
        }
    }
}

pub(super) fn of_connection(table: &Table, connection: &Connection<'_>) -> Vec<Step> {
    steps(&explain_connection(table, connection))
}

pub(super) fn of_request<F: Fields + ?Sized>(
    table: &Table,
    connection: &Connection<'_>,
    request: &Request<'_, F>,
) -> Vec<Step> {
    steps(&explain_request_on(table, connection, request))
}

fn steps(explanation: &Explanation) -> Vec<Step> {
    let rules = explanation.rules.iter().flat_map(|rules| &rules.candidates);
    let endpoints = explanation.backends.iter().flat_map(|it| &it.endpoints);
    let part = |step| {
        move |candidate: &Candidate| Step {
            step,
            line: Line::new(candidate),
        }
    };
    let frontends = explanation.frontends.iter().map(part("frontend"));
    frontends
        .chain(rules.map(part("rule")))
        .chain(endpoints.map(part("endpoint")))
        .collect()
}
