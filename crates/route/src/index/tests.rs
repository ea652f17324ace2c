//! The index agrees with walking all rules, on random lists and requests.
use super::{RuleIndex, WORTHWHILE};
use crate::{
    condition::{Alternative, Condition},
    rule::{Action, Origin, Rule, RuleList},
    text::{Pattern, Text},
    trace::{NoTrace, Reason, Trace},
    traffic::Request,
};
use pointsman_model::{Kind, ObjectKey, Place, action::DirectResponse};
use proptest::{collection::vec, prelude::*, sample::select};
use std::sync::{Arc, LazyLock};

fn rule(alternatives: Vec<Vec<Condition>>) -> Rule {
    let alternatives = alternatives.into_iter().map(|conditions| Alternative {
        conditions: conditions.into(),
        name: None,
        index: 0,
        place: Place::nowhere(),
    });
    Rule {
        origin: Origin {
            object: ObjectKey {
                kind: Kind::VirtualService,
                namespace: "default".into(),
                name: "v".into(),
            },
            rule: None,
            name: None,
            place: Place::nowhere(),
            label: "".into(),
        },
        alternatives: alternatives.collect(),
        action: Action::Respond(DirectResponse {
            status: 200,
            body: Arc::default(),
            body_is_text: false,
        }),
        timeout: None,
        mirrors: Box::default(),
        retries: None,
        effects: None,
        source: None,
    }
}

fn exact(text: &str) -> Text {
    Text::Exact(text.into())
}

fn path(text: Text, any_case: bool) -> Condition {
    Condition::Path { text, any_case }
}

/// Compiled once: that takes far longer than all the rest.
static PATTERNS: LazyLock<Vec<Text>> = LazyLock::new(|| {
    let sources = [
        "/a/[0-9]+",
        "/(a|b)/x.*",
        "(?i)/a.*",
        ".*",
        "/a.*b",
        ".*/x",
        "v[12]?",
        "(/a|/a/1).*",
        "(",
    ];
    let compile = |source: &&str| Text::Pattern(Pattern::compile(&(*source).into()).0);
    sources.iter().map(compile).collect()
});

const PATHS: [&str; 14] = [
    "", "/", "/a", "/A", "/a/", "/a/1", "/a/12", "/A/1", "/b", "/b/x", "/b/xy", "/ab", "*", "/ä",
];
const VALUES: [&str; 6] = ["", "v", "v1", "v2", "v1,v2", "V"];
const NAMES: [&str; 6] = ["x", "y", "accept", "host", ":path", ":method"];
const METHODS: [&str; 3] = ["GET", "POST", "v"];

fn any_text(texts: &'static [&'static str]) -> impl Strategy<Value = Text> {
    prop_oneof![
        5 => select(texts).prop_map(exact),
        3 => select(texts).prop_map(|text| Text::Prefix(text.into())),
        2 => (0..PATTERNS.len()).prop_map(|at| PATTERNS[at].clone()),
        1 => Just(Text::Present),
    ]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let named = || (select(&NAMES[..]), any_text(&VALUES));
    prop_oneof![
        6 => (any_text(&PATHS), any::<bool>()).prop_map(|(text, any_case)| path(text, any_case)),
        1 => any_text(&METHODS).prop_map(Condition::Method),
        1 => any_text(&VALUES).prop_map(Condition::Authority),
        1 => any_text(&["http"]).prop_map(Condition::Scheme),
        4 => named().prop_map(|(name, text)| Condition::Header(name.into(), text)),
        1 => named().prop_map(|(name, text)| Condition::WithoutHeader(name.into(), text)),
        2 => named().prop_map(|(name, text)| Condition::Query(name.into(), text)),
    ]
}

/// As the compiler makes them: at most one condition on the path, and it is the first.
fn in_order(mut conditions: Vec<Condition>) -> Vec<Condition> {
    let is_path = |condition: &Condition| matches!(condition, Condition::Path { .. });
    let mut seen = false;
    conditions.retain(|condition| !is_path(condition) || !std::mem::replace(&mut seen, true));
    conditions.sort_by_key(|condition| !is_path(condition));
    conditions
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let alternative = || vec(any_condition(), 1..4).prop_map(in_order);
    prop_oneof![
        // Rarely: it ends the list.
        1 => Just(rule(Vec::new())),
        60 => vec(alternative(), 1..3).prop_map(rule),
    ]
}

type Sent = (
    &'static str,
    &'static str,
    &'static str,
    Vec<(String, String)>,
    Option<&'static str>,
);

fn any_request() -> impl Strategy<Value = Sent> {
    let field = (select(&["x", "y", "X", "accept"][..]), select(&VALUES[..]));
    let fields = vec(
        field.prop_map(|(name, value)| (name.to_owned(), value.to_owned())),
        0..5,
    );
    let query = proptest::option::of(select(&["x=v", "y=v1&x", "x=v1&x=v2", ""][..]));
    (
        select(&METHODS[..]),
        select(&VALUES[..]),
        select(&PATHS[..]),
        fields,
        query,
    )
}

/// Counts what is told, and compiles all checks in.
#[derive(Default)]
struct Watch {
    matched: Option<(usize, Option<usize>)>,
    misses: usize,
}

impl Trace for Watch {
    const ON: bool = true;
    fn miss(&mut self, _: usize, _: usize, _: usize, _: Reason) {
        self.misses += 1;
    }
    fn matched(&mut self, rule: usize, alternative: Option<usize>) {
        self.matched = Some((rule, alternative));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// VS-H-1, for 100,000 pairs of a list and a request.
    #[test]
    fn the_index_agrees_with_a_walk(
        rules in vec(any_rule(), 4..60),
        requests in vec(any_request(), 200),
    ) {
        let list = RuleList::new(rules);
        for (method, authority, path, fields, query) in &requests {
            let request = Request {
                method, authority, path, query: *query, scheme: "http", fields,
            };
            let walked = list.walk(&request, &mut NoTrace);
            if let Some(index) = &list.index {
                prop_assert_eq!(index.find(&list.rules, &request), walked, "{:?}", request);
            }
            let mut watch = Watch::default();
            let watched = list.find(&request, &mut watch);
            prop_assert_eq!(watch.matched, walked);
            let found = list.find(&request, &mut NoTrace);
            prop_assert_eq!(found.map(|(rule, _)| Arc::as_ptr(rule)), watched.map(|(rule, _)| Arc::as_ptr(rule)));
        }
    }
}

/// How many entries a request has to check, and which it takes.
fn candidates(rules: Vec<Rule>, path: &str, fields: &[(&str, &str)]) -> (usize, Option<usize>) {
    let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
    let index = RuleIndex::build(&rules).expect("a long list");
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let fields: Vec<(String, String)> = fields.iter().map(own).collect();
    let request = Request {
        method: "GET",
        authority: "web",
        path,
        query: None,
        scheme: "http",
        fields: &fields,
    };
    let files = 3 + index.fields.len();
    let proposed = (0..files)
        .map(|file| index.open(file, &request).map_or(0, <[_]>::len))
        .sum();
    (proposed, index.find(&rules, &request).map(|(rule, _)| rule))
}

fn header(value: usize) -> Condition {
    Condition::Header("x".into(), exact(&format!("v{value}")))
}

#[test]
fn a_thousand_rules_leave_one_candidate() {
    let rules = |make: &dyn Fn(usize) -> Vec<Condition>| -> Vec<Rule> {
        (0..1000).map(|at| rule(vec![make(at)])).collect()
    };
    let prefix = |text: String| Text::Prefix(text.into());
    let exacts = rules(&|at| vec![path(exact(&format!("/svc/{at}")), false)]);
    assert_eq!(candidates(exacts, "/svc/999", &[]), (1, Some(999)));
    let prefixes = rules(&|at| vec![path(prefix(format!("/svc-{at}/")), false)]);
    assert_eq!(candidates(prefixes, "/svc-999/x", &[]), (1, Some(999)));
    let folded = rules(&|at| vec![path(prefix(format!("/Svc-{at}/")), true)]);
    assert_eq!(candidates(folded, "/sVC-999/x", &[]), (1, Some(999)));
    // Nested: the first that takes the path hides the longer ones behind it.
    let nested = rules(&|at| vec![path(prefix(format!("/{}", "a".repeat(at + 1))), false)]);
    let long = format!("/{}", "a".repeat(1500));
    assert_eq!(candidates(nested, &long, &[]), (1, Some(0)));
    let headers = rules(&|at| vec![path(prefix("/".into()), false), header(at)]);
    assert_eq!(candidates(headers, "/x", &[("x", "v999")]), (1, Some(999)));
    let same_path = rules(&|at| vec![path(exact("/graphql"), false), header(at)]);
    assert_eq!(
        candidates(same_path, "/graphql", &[("X", "v7")]),
        (1, Some(7))
    );
    let queries = rules(&|at| vec![Condition::Query("q".into(), exact(&at.to_string()))]);
    assert_eq!(candidates(queries, "/x", &[]), (0, None));
}

/// The lists are bounded: what nests without deciding is walked instead, and still in order.
#[test]
fn nested_beginnings_do_not_multiply() {
    let text = |at: usize| Text::Prefix(format!("/{}", "a".repeat(at + 1)).into());
    let rules: Vec<Rule> = (0..1000)
        .map(|at| {
            let refused = Condition::WithoutHeader("x".into(), Text::Present);
            rule(vec![vec![path(text(at), false), refused]])
        })
        .collect();
    let shared: Vec<Arc<Rule>> = rules.iter().cloned().map(Arc::new).collect();
    let index = RuleIndex::build(&shared).expect("a long list");
    assert_eq!(index.rest.len(), 1000);
    assert_eq!(candidates(rules, "/aaa", &[]), (1000, Some(0)));
}

#[test]
fn short_lists_are_walked() {
    let make = |count: usize| -> RuleList {
        RuleList::new((0..count).map(|at| rule(vec![vec![header(at)]])).collect())
    };
    assert!(make(WORTHWHILE - 1).index.is_none());
    assert!(make(WORTHWHILE).index.is_some());
}
