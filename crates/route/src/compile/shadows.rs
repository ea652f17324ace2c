//! Rules that can never match, because an earlier one takes everything they would (VS-H-5,
//! VS-H-169). Only certain cases are told: patterns are compared as text.
use pointsman_model::{
    Finding, HttpAction, HttpRoute, Level, VirtualService,
    matches::{HttpMatch, StringMatch},
};

use super::findings::{Findings, SHADOWED_RULE};

/// Pairs of rules compared per VirtualService. A thousand rules are half a million pairs; beyond
/// that the later rules are compared with the first ones only.
const PAIRS: usize = 500_000;

/// The first earlier rule that takes everything rule `at` would.
pub(crate) fn shadowed_by(rules: &[HttpRoute], at: usize) -> Option<&HttpRoute> {
    let later = rules.get(at)?;
    let share = PAIRS.checked_div(rules.len()).unwrap_or(PAIRS);
    let earlier = rules.get(..at)?;
    earlier
        .iter()
        .take(share.max(1))
        .find(|earlier| is_used(earlier) && rule_covers(earlier, later))
}

/// Tells about every such rule of a VirtualService.
pub(crate) fn report(service: &VirtualService, findings: &mut Findings) {
    for (at, rule) in service.http.iter().enumerate() {
        let Some(earlier) = shadowed_by(&service.http, at) else {
            continue;
        };
        findings.push(
            Finding::new(
                SHADOWED_RULE,
                Level::Warning,
                format!(
                    "rule {} can never match, rule {} takes everything it would",
                    rule.number(),
                    earlier.number()
                ),
            )
            .of(&service.meta.key)
            .at(&rule.place)
            .effect("the first rule that matches is taken, so this one has no traffic")
            .help("move it before the other, or remove it")
            .related(&earlier.place, "the rule that takes its traffic"),
        );
    }
}

/// A rule whose delegate could not be followed takes nothing from anyone.
fn is_used(rule: &HttpRoute) -> bool {
    !matches!(rule.action, HttpAction::Delegate { .. })
}

fn rule_covers(earlier: &HttpRoute, later: &HttpRoute) -> bool {
    if earlier.matches.is_empty() {
        return true;
    }
    let covers = |late: &HttpMatch| {
        earlier
            .matches
            .iter()
            .any(|early| match_covers(early, late))
    };
    if later.matches.is_empty() {
        return earlier.matches.iter().any(is_catch_all);
    }
    later.matches.iter().all(covers)
}

/// Every request that `late` takes is taken by `early`: each condition of `early` is implied.
fn match_covers(early: &HttpMatch, late: &HttpMatch) -> bool {
    let client = early.client == Default::default() || early.client == late.client;
    client
        && uri_covers(early, late)
        && option_covers(early.method.as_ref(), late.method.as_ref())
        && option_covers(early.authority.as_ref(), late.authority.as_ref())
        && option_covers(early.scheme.as_ref(), late.scheme.as_ref())
        && keys_cover(&early.headers, &late.headers)
        && keys_cover(&early.query, &late.query)
        // A negated condition is implied by itself only.
        && early
            .without_headers
            .iter()
            .all(|own| late.without_headers.contains(own))
}

fn is_catch_all(one: &HttpMatch) -> bool {
    one.client == Default::default()
        && one.uri.as_ref().is_none_or(takes_every_path)
        && one.method.is_none()
        && one.authority.is_none()
        && one.scheme.is_none()
        && one.headers.is_empty()
        && one.without_headers.is_empty()
        && one.query.is_empty()
}

fn takes_every_path(uri: &StringMatch) -> bool {
    match uri {
        StringMatch::Prefix(prefix) => matches!(&**prefix, "" | "/"),
        StringMatch::Regex(source) => &**source == ".*",
        StringMatch::Present => true,
        StringMatch::Exact(_) => false,
    }
}

fn uri_covers(early: &HttpMatch, late: &HttpMatch) -> bool {
    let Some(uri) = &early.uri else {
        return true;
    };
    if takes_every_path(uri) {
        return true;
    }
    let Some(other) = &late.uri else {
        return false;
    };
    match (early.ignore_uri_case, late.ignore_uri_case) {
        (false, true) => false,
        (true, _) => text_covers(&lower(uri), &lower(other)),
        (false, false) => text_covers(uri, other),
    }
}

fn lower(text: &StringMatch) -> StringMatch {
    match text {
        StringMatch::Exact(value) => StringMatch::Exact(value.to_ascii_lowercase().into()),
        StringMatch::Prefix(value) => StringMatch::Prefix(value.to_ascii_lowercase().into()),
        other => other.clone(),
    }
}

fn option_covers(early: Option<&StringMatch>, late: Option<&StringMatch>) -> bool {
    match (early, late) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(early), Some(late)) => text_covers(early, late),
    }
}

fn keys_cover(
    early: &[(std::sync::Arc<str>, StringMatch)],
    late: &[(std::sync::Arc<str>, StringMatch)],
) -> bool {
    early.iter().all(|(name, text)| {
        late.iter()
            .any(|(other, value)| other == name && text_covers(text, value))
    })
}

fn text_covers(early: &StringMatch, late: &StringMatch) -> bool {
    match (early, late) {
        (StringMatch::Present, _) => true,
        (StringMatch::Prefix(prefix), StringMatch::Prefix(value) | StringMatch::Exact(value)) => {
            value.starts_with(&**prefix)
        }
        (early, late) => early == late,
    }
}
