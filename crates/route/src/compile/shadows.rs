//! Rules that can never match, because earlier ones take everything they would (VS-H-5, VS-H-169).
//! Only proven cases are told; what a pattern takes is known where it begins with plain text or ends
//! in `.*`.
use crate::text::Pattern;
use pointsman_model::{
    Finding, HttpAction, HttpRoute, Level, Place, VirtualService,
    matches::{ClientMatch, HttpMatch, StringMatch},
    policy::selects,
};
use std::sync::Arc;

use super::findings::{Findings, SHADOWED_RULE};

/// Pairs of rules compared per VirtualService. A thousand rules are half a million pairs; beyond
/// that the later rules are compared with the first ones only.
const PAIRS: usize = 500_000;

/// May patterns be run on the texts of other rules? That proves more, and takes longer than compiling
/// the rules themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    Compare,
    Run,
}

/// The earlier rule that takes everything rule `at` would. Where several take it together, the one
/// that takes its first match.
pub(crate) fn shadowed_by(rules: &[HttpRoute], at: usize, effort: Effort) -> Option<&HttpRoute> {
    let later = rules.get(at)?;
    let earlier = || earlier(rules, at);
    if later.matches.is_empty() {
        return earlier()
            .find(|rule| rule.matches.is_empty() || rule.matches.iter().any(is_catch_all));
    }
    let mut first = None;
    for late in &later.matches {
        let taken_by = earlier().find(|rule| covering(rule, late, effort).is_some())?;
        first = first.or(Some(taken_by));
    }
    first
}

/// Single matches of rule `at` that a match before them takes everything of, with the number of its
/// rule; none where the whole rule is shadowed.
pub(crate) fn covering_match(rules: &[HttpRoute], at: usize) -> Vec<(&Place, String, &Place)> {
    let Some(later) = rules.get(at) else {
        return Vec::new();
    };
    // Of a delegated rule the matches are products: no person wrote them.
    if later.delegated.is_some() || shadowed_by(rules, at, Effort::Run).is_some() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, late) in later.matches.iter().enumerate() {
        let before = later.matches.get(..index).unwrap_or_default();
        let within = before
            .iter()
            .find(|early| match_covers(early, late, Effort::Run))
            .map(|early| (later.number(), &early.place));
        let covered = within.or_else(|| {
            earlier(rules, at).find_map(|rule| {
                covering(rule, late, Effort::Run).map(|place| (rule.number(), place))
            })
        });
        if let Some((number, place)) = covered {
            found.push((&late.place, number, place));
        }
    }
    found
}

/// Rules before `at` that take something. A rule whose delegate could not be followed takes nothing
/// from anyone.
fn earlier(rules: &[HttpRoute], at: usize) -> impl Iterator<Item = &HttpRoute> {
    let share = PAIRS.checked_div(rules.len()).unwrap_or(PAIRS);
    let used = |rule: &&HttpRoute| !matches!(rule.action, HttpAction::Delegate { .. });
    rules.iter().take(at.min(share.max(1))).filter(used)
}

/// Where a rule takes everything that a match of a later one would.
fn covering<'r>(rule: &'r HttpRoute, late: &HttpMatch, effort: Effort) -> Option<&'r Place> {
    if rule.matches.is_empty() {
        return Some(&rule.place);
    }
    let early = rule
        .matches
        .iter()
        .find(|early| match_covers(early, late, effort))?;
    Some(&early.place)
}

/// Tells about every such rule of a VirtualService.
pub(crate) fn report(service: &VirtualService, findings: &mut Findings) {
    for (at, rule) in service.http.iter().enumerate() {
        if let Some(earlier) = shadowed_by(&service.http, at, Effort::Compare) {
            let taker = (earlier.number(), &earlier.place);
            findings.push(shadowed(service, (rule.number(), &rule.place), taker));
        }
    }
}

/// A rule that another one takes everything of, both as number and place.
pub(crate) fn shadowed(
    service: &VirtualService,
    (number, place): (String, &Place),
    (taker, other): (String, &Place),
) -> Finding {
    Finding::new(
        SHADOWED_RULE,
        Level::Warning,
        format!("rule {number} can never match, rule {taker} takes everything it would"),
    )
    .of(&service.meta.key)
    .at(place)
    .effect("the first rule that matches is taken, so this one has no traffic")
    .help("move it before the other, or remove it")
    .related(other, "the rule that takes its traffic")
}

/// Every request that `late` takes is taken by `early`: each condition of `early` is implied.
fn match_covers(early: &HttpMatch, late: &HttpMatch, effort: Effort) -> bool {
    client_covers(&early.client, &late.client)
        && uri_covers(early, late, effort)
        && option_covers(early.method.as_ref(), late.method.as_ref(), effort)
        && option_covers(early.authority.as_ref(), late.authority.as_ref(), effort)
        && option_covers(early.scheme.as_ref(), late.scheme.as_ref(), effort)
        && keys_cover(&early.headers, &late.headers, effort)
        && keys_cover(&early.query, &late.query, effort)
        // A negated condition is implied by itself only.
        && early
            .without_headers
            .iter()
            .all(|own| late.without_headers.contains(own))
}

/// The static part. Where gateways are listed, labels and namespace of an http match are not looked
/// at (VS-H-13), so a list is covered by the same list or by a match that asks for nothing.
fn client_covers(early: &ClientMatch, late: &ClientMatch) -> bool {
    if early.port.is_some() && early.port != late.port {
        return false;
    }
    let asks_nothing = early.source_labels.is_empty() && early.source_namespace.is_none();
    if early.gateways.is_empty() && asks_nothing {
        return true;
    }
    early.gateways == late.gateways
        && selects(&early.source_labels, &late.source_labels)
        && (early.source_namespace.is_none() || early.source_namespace == late.source_namespace)
}

/// Takes every request (VS-H-5).
pub(crate) fn is_catch_all(one: &HttpMatch) -> bool {
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

fn uri_covers(early: &HttpMatch, late: &HttpMatch, effort: Effort) -> bool {
    let Some(uri) = &early.uri else {
        return true;
    };
    if takes_every_path(uri) {
        return true;
    }
    let Some(other) = &late.uri else {
        return false;
    };
    // Patterns do not fold, whatever is said beside them (VS-H-24).
    let folds = |own: &HttpMatch, uri: &StringMatch| {
        own.ignore_uri_case && !matches!(uri, StringMatch::Regex(_))
    };
    match (folds(early, uri), folds(late, other)) {
        (false, true) => false,
        (true, _) => text_covers(&lower(uri), &lower(other), effort),
        (false, false) => text_covers(uri, other, effort),
    }
}

fn lower(text: &StringMatch) -> StringMatch {
    match text {
        StringMatch::Exact(value) => StringMatch::Exact(value.to_ascii_lowercase().into()),
        StringMatch::Prefix(value) => StringMatch::Prefix(value.to_ascii_lowercase().into()),
        other => other.clone(),
    }
}

fn option_covers(early: Option<&StringMatch>, late: Option<&StringMatch>, effort: Effort) -> bool {
    match (early, late) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(early), Some(late)) => text_covers(early, late, effort),
    }
}

fn keys_cover(
    early: &[(Arc<str>, StringMatch)],
    late: &[(Arc<str>, StringMatch)],
    effort: Effort,
) -> bool {
    early.iter().all(|(name, text)| {
        late.iter()
            .any(|(other, value)| other == name && text_covers(text, value, effort))
    })
}

fn text_covers(early: &StringMatch, late: &StringMatch, effort: Effort) -> bool {
    match (early, late) {
        (StringMatch::Present, _) => true,
        (early, late) if early == late => true,
        // A lone `*` asks for presence, and a header may be empty.
        (StringMatch::Regex(early), _) if &**early == "*" => true,
        (StringMatch::Prefix(prefix), StringMatch::Prefix(value) | StringMatch::Exact(value)) => {
            value.starts_with(&**prefix)
        }
        (StringMatch::Prefix(prefix), StringMatch::Regex(late)) => {
            beginning(late).starts_with(&**prefix)
        }
        (StringMatch::Regex(early), StringMatch::Exact(value)) => {
            open_end(early).is_some_and(|prefix| value.starts_with(prefix))
                || (effort == Effort::Run && takes_whole(early, value))
        }
        (StringMatch::Regex(early), StringMatch::Prefix(value)) => {
            open_end(early).is_some_and(|prefix| value.starts_with(prefix))
        }
        (StringMatch::Regex(early), StringMatch::Regex(late)) => {
            open_end(early).is_some_and(|prefix| beginning(late).starts_with(prefix))
        }
        _ => false,
    }
}

/// Does a pattern take a text as a whole (VS-H-17)?
fn takes_whole(pattern: &Arc<str>, text: &str) -> bool {
    Pattern::compile(pattern).0.holds(text.as_bytes())
}

/// Plain text that everything a pattern matches begins with.
fn beginning(pattern: &str) -> &str {
    // Alternatives begin differently, and flags in front change what plain text means.
    if pattern.contains('|') || pattern.starts_with("(?") {
        return "";
    }
    let special = |c: char| "\\.+*?()[]{}^$".contains(c);
    let end = pattern.find(special).unwrap_or(pattern.len());
    let plain = pattern.get(..end).unwrap_or_default();
    let rest = pattern.get(end..).unwrap_or_default();
    if rest.starts_with(['*', '?', '{']) {
        // The last character may be absent.
        let last = plain.chars().next_back().map_or(0, char::len_utf8);
        return plain.get(..plain.len() - last).unwrap_or_default();
    }
    plain
}

/// The prefix that a pattern of plain text and a final `.*` is another way to write.
fn open_end(pattern: &str) -> Option<&str> {
    let prefix = pattern.strip_suffix(".*")?;
    (beginning(prefix) == prefix && beginning(pattern) == prefix).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// VS-H-24.
    #[test]
    fn letter_case_is_folded_in_texts_and_not_in_patterns() {
        let of = |uri: StringMatch, ignore_uri_case| HttpMatch {
            uri: Some(uri),
            ignore_uri_case,
            name: None,
            scheme: None,
            method: None,
            authority: None,
            headers: Vec::new(),
            without_headers: Vec::new(),
            query: Vec::new(),
            client: ClientMatch::default(),
            place: Place::nowhere(),
        };
        let exact = |text: &str, folds| of(StringMatch::Exact(text.into()), folds);
        let prefix = |text: &str, folds| of(StringMatch::Prefix(text.into()), folds);
        let regex = |text: &str, folds| of(StringMatch::Regex(text.into()), folds);
        for (early, late, covers) in [
            (exact("/foo", true), exact("/FOO", false), true),
            (prefix("/API/", true), prefix("/api/v1", true), true),
            (prefix("/api/", false), prefix("/api/v1", true), false),
            (regex("/foo", true), exact("/FOO", false), false),
            (regex("/foo", true), exact("/foo", true), false),
            (regex("/foo", true), exact("/foo", false), true),
            (regex("/api/.*", true), prefix("/API/v1", false), false),
            (prefix("/api/", false), regex("/api/.*", true), true),
        ] {
            assert_eq!(
                match_covers(&early, &late, Effort::Run),
                covers,
                "{early:?} {late:?}"
            );
        }
    }

    fn takes(one: &StringMatch, text: &str) -> bool {
        match one {
            StringMatch::Exact(value) => **value == *text,
            StringMatch::Prefix(value) => text.starts_with(&**value),
            StringMatch::Regex(source) if &**source == "*" => true,
            StringMatch::Regex(source) => takes_whole(source, text),
            StringMatch::Present => true,
        }
    }

    fn condition() -> impl Strategy<Value = StringMatch> {
        let plain = "[ab/]{0,3}";
        let pattern = "[ab/]{0,3}(\\.\\*|a\\*|b\\?|\\[ab\\]|a\\{2\\}|\\(a\\|b\\)|)?(\\.\\*)?";
        prop_oneof![
            plain.prop_map(|text| StringMatch::Exact(text.into())),
            plain.prop_map(|text| StringMatch::Prefix(text.into())),
            pattern.prop_map(|text| StringMatch::Regex(text.into())),
            Just(StringMatch::Present),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_covered_is_taken(early in condition(), late in condition(), text in "[ab/]{0,5}") {
            if text_covers(&early, &late, Effort::Run) && takes(&late, &text) {
                prop_assert!(takes(&early, &text), "{early:?} does not cover {late:?}: {text:?}");
            }
        }
    }

    #[test]
    fn patterns_are_compared_where_they_are_plain() {
        let regex = |text: &str| StringMatch::Regex(text.into());
        let prefix = |text: &str| StringMatch::Prefix(text.into());
        for (early, late) in [
            (prefix("/api/"), regex("/api/v[0-9]+")),
            (regex("/api/.*"), prefix("/api/v1")),
            (regex("/api/.*"), regex("/api/v1/.+")),
            (regex("/(a|b)"), StringMatch::Exact("/b".into())),
        ] {
            assert!(
                text_covers(&early, &late, Effort::Run),
                "{early:?} {late:?}"
            );
        }
        for (early, late) in [
            (prefix("/api/"), regex("/api/?")),
            (prefix("/api"), regex("/api|/x")),
            (prefix("/api"), regex("(?i)/api")),
            (regex("/a.i/.*"), prefix("/api/")),
            (regex("/api/.*"), prefix("/api")),
        ] {
            assert!(
                !text_covers(&early, &late, Effort::Run),
                "{early:?} {late:?}"
            );
        }
    }
}
