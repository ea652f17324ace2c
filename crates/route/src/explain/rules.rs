//! Which rules were considered, and what each missed by.
use super::{Candidate, Recorder, RulesStep, Verdict, gateway};
use crate::{
    compile::{Effort, Side, applies_to_http, shadowed_by},
    condition::{Alternative, Condition},
    hosts::VirtualHost,
    rule::{Rule, TcpRule},
    table::Table,
    trace::Reason,
    traffic::{Fields, Request},
};
use pointsman_model::{HttpAction, HttpRoute};
use std::sync::Arc;

/// The one rule of a chain for bytes.
pub(super) fn of_bytes(rule: &TcpRule) -> RulesStep {
    let origin = &rule.origin;
    RulesStep {
        title: origin.object.to_string(),
        place: Some(origin.place.clone()),
        candidates: vec![Candidate {
            what: origin.label.to_string(),
            verdict: Verdict::Match,
            detail: String::new(),
            place: Some(origin.place.clone()),
        }],
        closest: None,
    }
}

/// The rules of a virtual host, those left out at compilation included.
pub(super) fn of_request<F: Fields + ?Sized>(
    table: &Table,
    host: &VirtualHost,
    request: &Request<'_, F>,
    recorder: &Recorder,
) -> RulesStep {
    if let Some(own) = &host.gateway {
        return gateway::of_request(host, own, request, recorder);
    }
    let compiled = host.rules.rules();
    let Some(service) = &host.virtual_service else {
        let origin = compiled.first().map(|rule| &rule.origin);
        return RulesStep {
            title: "no VirtualService".to_owned(),
            place: None,
            candidates: vec![Candidate {
                what: origin.map_or_else(String::new, |origin| origin.label.to_string()),
                verdict: Verdict::Match,
                detail: "everything".to_owned(),
                place: origin.map(|origin| origin.place.clone()),
            }],
            closest: None,
        };
    };
    let candidates = service
        .http
        .iter()
        .enumerate()
        .map(|(at, written)| {
            let position = compiled
                .iter()
                .position(|rule| matches!(&rule.source, Some((_, index)) if *index == at));
            match position.and_then(|position| Some((position, compiled.get(position)?))) {
                Some((position, rule)) => {
                    considered(rule, position, &service.http, at, request, recorder)
                }
                None => left_out(table, host, written),
            }
        })
        .collect();
    RulesStep {
        title: service.meta.key.to_string(),
        place: Some(service.meta.place.clone()),
        candidates,
        closest: match recorder.matched {
            Some(_) => None,
            None => closest(compiled, request, recorder),
        },
    }
}

fn considered<F: Fields + ?Sized>(
    rule: &Rule,
    position: usize,
    written: &[HttpRoute],
    at: usize,
    request: &Request<'_, F>,
    recorder: &Recorder,
) -> Candidate {
    let what = format!(
        "{}  {}",
        written.get(at).map(HttpRoute::number).unwrap_or_default(),
        describe(&rule.alternatives)
    );
    let (verdict, detail) = match recorder.matched {
        Some((matched, _)) if matched == position => (Verdict::Match, String::new()),
        Some((matched, _)) if matched < position => match shadowed_by(written, at, Effort::Run) {
            Some(earlier) => (
                Verdict::No(Reason::ShadowedBy),
                format!("rule {} takes everything it would", earlier.number()),
            ),
            None => (Verdict::No(Reason::NotReached), String::new()),
        },
        _ => match fewest_misses(rule, position, recorder) {
            Some((_, reason, condition)) => (Verdict::No(reason), found(condition, request)),
            None => (Verdict::NotUsed, String::new()),
        },
    };
    Candidate {
        what,
        verdict,
        detail,
        place: Some(rule.origin.place.clone()),
    }
}

/// A rule by its position among compiled rules alone.
pub(super) fn considered_by<F: Fields + ?Sized>(
    name: &str,
    rule: &Rule,
    position: usize,
    request: &Request<'_, F>,
    recorder: &Recorder,
) -> Candidate {
    let (verdict, detail) = match recorder.matched {
        Some((matched, _)) if matched == position => (Verdict::Match, String::new()),
        Some((matched, _)) if matched < position => {
            (Verdict::No(Reason::NotReached), String::new())
        }
        _ => match fewest_misses(rule, position, recorder) {
            Some((_, reason, condition)) => (Verdict::No(reason), found(condition, request)),
            None => (Verdict::NotUsed, String::new()),
        },
    };
    Candidate {
        what: format!("{name}  {}", describe(&rule.alternatives)),
        verdict,
        detail,
        place: Some(rule.origin.place.clone()),
    }
}

/// A rule that cannot apply to this client or port, or cannot be used at all.
fn left_out(table: &Table, host: &VirtualHost, written: &HttpRoute) -> Candidate {
    let reasons = written.matches.iter().filter_map(|one| {
        applies_to_http(&one.client, host.port, &table.context, Side::Mesh).err()
    });
    let (reason, detail) = match (&written.action, reasons.min()) {
        (HttpAction::Delegate { namespace, name }, None) => (
            Reason::SetAside,
            format!("delegates to {namespace}/{name}, which cannot be followed"),
        ),
        (_, Some(Reason::PortDiffers)) => (
            Reason::PortDiffers,
            format!("speaks of another port than {}", host.port),
        ),
        (_, Some(reason)) => (reason, "speaks of another client".to_owned()),
        (_, None) => (Reason::SetAside, String::new()),
    };
    Candidate {
        what: written.number(),
        verdict: Verdict::No(reason),
        detail,
        place: Some(written.place.clone()),
    }
}

/// The alternative of a rule that missed by the fewest conditions: how many, and the first of them.
fn fewest_misses<'r>(
    rule: &'r Rule,
    position: usize,
    recorder: &Recorder,
) -> Option<(usize, Reason, &'r Condition)> {
    rule.alternatives
        .iter()
        .enumerate()
        .filter_map(|(number, alternative)| {
            let mut misses = recorder
                .misses
                .iter()
                .filter(|miss| (miss.0, miss.1) == (position, number));
            let &(_, _, condition, reason) = misses.next()?;
            let condition = alternative.conditions.get(condition)?;
            Some((1 + misses.count(), reason, condition))
        })
        .min_by_key(|(count, ..)| *count)
}

pub(super) fn closest<F: Fields + ?Sized>(
    rules: &[Arc<Rule>],
    request: &Request<'_, F>,
    recorder: &Recorder,
) -> Option<String> {
    let (rule, (count, _, condition)) = rules
        .iter()
        .enumerate()
        .filter_map(|(position, rule)| Some((rule, fewest_misses(rule, position, recorder)?)))
        .min_by_key(|(_, (count, ..))| *count)?;
    let differs = if count == 1 {
        "differs only in".to_owned()
    } else {
        format!("differs in {count} conditions, the first is")
    };
    Some(format!(
        "none of {} matched; closest: {}, {differs} {} (wants {}, {})   {}",
        rules.len(),
        rule.origin.label,
        condition.subject(),
        condition.describe(),
        found(condition, request),
        rule.origin.place
    ))
}

fn found<F: Fields + ?Sized>(condition: &Condition, request: &Request<'_, F>) -> String {
    match condition.actual(request) {
        Some(value) => format!("value is {value:?}"),
        None => "it is absent".to_owned(),
    }
}

fn describe(alternatives: &[Alternative]) -> String {
    if alternatives.is_empty() {
        return "(everything)".to_owned();
    }
    let texts: Vec<String> = alternatives
        .iter()
        .map(|alternative| {
            let parts: Vec<String> = alternative
                .conditions
                .iter()
                .map(Condition::describe)
                .collect();
            if parts.is_empty() {
                "(everything)".to_owned()
            } else {
                parts.join(" and ")
            }
        })
        .collect();
    texts.join(", or ")
}
