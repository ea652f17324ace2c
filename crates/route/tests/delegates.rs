//! What a merged rule carries, how it is named, and what is told about delegates (VS-H-110..117).
mod common;

use common::{add, fixture, fixture_and, notation};
use pointsman_model::{
    ClientContext, HttpRoute, Level, Object, World,
    action::{FieldOps, HeaderOps, Rewrite},
};
use pointsman_route::{Rule, Table, explain::explain_request};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const ROOT: [&str; 2] = ["vs r hosts=web", "http prefix /a -> delegate team/d"];
const DELEGATE: [&str; 3] = [
    "vs d ns=team",
    "http prefix /a/b -> 201",
    "http prefix /a/c -> 202",
];

fn compile(world: &World) -> Table {
    Table::compile(world, &ClientContext::default(), None).table
}

/// Changes the rules of a VirtualService in notation.
fn virtual_service(lines: &[&str], mut change: impl FnMut(&mut HttpRoute)) -> Object {
    let mut object = notation::objects(lines.iter().copied()).remove(0);
    if let Object::VirtualService(service) = &mut object {
        let service = Arc::get_mut(service).expect("unshared");
        service.http.iter_mut().for_each(&mut change);
    }
    object
}

fn rules(table: &Table) -> Vec<Arc<Rule>> {
    let host = table.http_tables().find_map(|hosts| {
        let (_, host) = hosts.find("web")?;
        host.virtual_service.is_some().then_some(host)
    });
    host.expect("a host with rules").rules.rules().to_vec()
}

fn set(name: &str) -> HeaderOps {
    HeaderOps {
        request: FieldOps {
            set: vec![(name.into(), "1".into())],
            ..FieldOps::default()
        },
        ..HeaderOps::default()
    }
}

/// VS-H-8: names are carried, and decide nothing.
#[test]
fn rules_and_matches_have_names() {
    let mut world = fixture();
    let lines = ["vs v hosts=web", "http prefix /a | prefix /b -> 201"];
    world.upsert(virtual_service(&lines, |rule| {
        rule.name = Some("canary".into());
        rule.matches[1].name = Some("second".into());
    }));
    let rules = rules(&compile(&world));
    let [rule] = rules.as_slice() else {
        panic!("{rules:#?}");
    };
    assert_eq!(rule.origin.name.as_deref(), Some("canary"));
    let names = rule.alternatives.iter().map(|it| it.name.as_deref());
    assert_eq!(names.collect::<Vec<_>>(), [None, Some("second")]);
}

/// T-H-153, T-H-157, VS-H-115.
#[test]
fn what_the_delegate_leaves_unset_comes_from_the_root() {
    let mut world = fixture();
    world.upsert(virtual_service(&ROOT, |rule| {
        rule.name = Some("outer".into());
        rule.timeout = Some(Duration::from_secs(1));
        rule.headers = set("x");
        rule.rewrite = Some(Rewrite {
            authority: Some("root".into()),
            ..Rewrite::default()
        });
    }));
    world.upsert(virtual_service(&DELEGATE, |rule| {
        if rule.index == 1 {
            rule.name = Some("inner".into());
            rule.timeout = Some(Duration::from_secs(3));
            rule.headers = set("y");
            rule.rewrite = Some(Rewrite {
                uri: Some("/own".into()),
                ..Rewrite::default()
            });
        }
    }));
    let rules = rules(&compile(&world));
    let [first, second] = rules.as_slice() else {
        panic!("{rules:#?}");
    };
    let model = first.model().expect("a written rule");
    assert_eq!(first.timeout, Some(Duration::from_secs(1)));
    assert_eq!(model.headers, set("x"));
    assert_eq!(model.name.as_deref(), Some("outer"));
    let model = second.model().expect("a written rule");
    assert_eq!(second.timeout, Some(Duration::from_secs(3)));
    // The whole object, not key by key.
    assert_eq!(model.headers, set("y"));
    assert_eq!(
        model.rewrite.as_ref().and_then(|it| it.authority.as_ref()),
        None
    );
    assert_eq!(model.name.as_deref(), Some("outer-inner"));
    assert_eq!(&*second.origin.label, "default/r#0>team/d#1");
    assert_eq!(second.origin.rule, Some(0));
    assert_eq!(second.origin.object.name, "r".into());
}

/// The delegate is a document of its own: changing it changes the hosts of its roots, and reading
/// it again unchanged changes nothing.
#[test]
fn a_changed_delegate_changes_its_roots() {
    let mut world = fixture_and(&ROOT);
    add(&mut world, &DELEGATE);
    let context = ClientContext::default();
    let first = Table::compile(&world, &context, None).table;
    add(&mut world, &DELEGATE);
    let again = Table::compile(&world, &context, Some(&first));
    assert!(!again.changed);
    add(&mut world, &["vs d ns=team", "http prefix /a/b -> 299"]);
    let changed = Table::compile(&world, &context, Some(&again.table));
    assert!(changed.changed);
    assert_eq!(rules(&changed.table).len(), 1);
}

#[test]
fn delegates_that_cannot_be_followed_are_told() {
    let told = |lines: &[&[&str]]| {
        let mut world = fixture();
        lines.iter().for_each(|lines| add(&mut world, lines));
        let findings = Table::compile(&world, &ClientContext::default(), None).findings;
        assert!(findings.iter().all(|it| it.level == Level::Error));
        let texts = findings
            .iter()
            .map(|it| format!("{} {}", it.code, it.message));
        texts.collect::<Vec<_>>()
    };
    assert_eq!(told(&[&ROOT, &DELEGATE]), Vec::<String>::new());
    assert_eq!(
        told(&[&ROOT]),
        ["PM0209 rule #0: the delegate team/d does not exist"]
    );
    assert_eq!(
        told(&[&ROOT, &["vs d ns=team export=.", "http none -> 201"]]),
        ["PM0209 rule #0: the delegate team/d is hidden from namespace default"]
    );
    assert_eq!(
        told(&[&ROOT, &["vs d ns=team hosts=api", "http none -> 201"]]),
        ["PM0209 rule #0: team/d has hosts, so it is not a delegate"]
    );
    assert_eq!(
        told(&[
            &ROOT,
            &["vs d ns=team", "http prefix /z -> 201", "http none -> 202"]
        ]),
        [
            "PM0209 rule #0 of VirtualService team/d cannot be used by VirtualService default/r: \
             the match at case.yaml:2 asks for more than the rule that delegates gives"
        ]
    );
    // Unknown destinations are told of the document that names them.
    let mut world = fixture_and(&ROOT);
    add(&mut world, &["vs d ns=team", "http none -> nosuch"]);
    let findings = Table::compile(&world, &ClientContext::default(), None).findings;
    let [unknown] = findings.as_slice() else {
        panic!("{findings:#?}");
    };
    let object = unknown.object.as_ref().expect("an object");
    assert_eq!(object.to_string(), "VirtualService team/d");
}

#[test]
fn merged_and_missing_rules_are_explained() {
    let mut world = fixture_and(&[
        "vs r hosts=web",
        "http prefix /a -> delegate team/d",
        "http prefix /b -> delegate nosuch",
        "http none -> 203",
    ]);
    add(&mut world, &DELEGATE);
    let table = compile(&world);
    let parsed = common::case::request("GET web/x");
    let original = "10.0.0.10:80".parse().expect("address");
    let explained = explain_request(&table, original, &parsed.as_request());
    let text = explained.to_string();
    for part in [
        "#0>team/d#0",
        "#0>team/d#1",
        "delegates to default/nosuch, which cannot be followed",
        "#2",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// Compiling again costs about what compiling costs, not its square: each of the thousand rules
/// refers to the one merged VirtualService.
#[test]
fn a_thousand_delegated_rules_compile_again_quickly() {
    let mut lines = vec!["vs d ns=team".to_owned()];
    lines.extend((0..1000).map(|at| format!("http prefix /a/{at}/ -> 201")));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut world = fixture_and(&ROOT);
    add(&mut world, &lines);
    let context = ClientContext::default();
    let start = Instant::now();
    let first = Table::compile(&world, &context, None).table;
    let once = start.elapsed();
    let start = Instant::now();
    assert!(!Table::compile(&world, &context, Some(&first)).changed);
    let again = start.elapsed();
    assert!(again < once * 5, "{once:?} then {again:?}");
}
