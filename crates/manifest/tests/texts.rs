//! Properties of the reader that do not depend on one kind of document.
use pointsman_manifest::{Input, Limits, Parsed, codes, parse, parse_with, render};
use pointsman_model::{Code, Kind, Level, Object, ServiceKind};
use proptest::prelude::*;

fn input(text: &str) -> Input<'_> {
    Input {
        file: "test.yaml".into(),
        text,
        default_namespace: "default",
        cluster_domain: "cluster.local",
    }
}

fn read(text: &str) -> Parsed {
    parse(&input(text))
}

fn codes_of(parsed: &Parsed) -> Vec<Code> {
    parsed.findings.iter().map(|finding| finding.code).collect()
}

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: 80\n";

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let plain = read(SERVICE);
    let windows = read(&format!("\u{feff}{}", SERVICE.replace('\n', "\r\n")));
    assert_eq!(windows.findings, []);
    assert_eq!(
        plain.documents[0].result.as_ref().expect("good"),
        windows.documents[0].result.as_ref().expect("good"),
    );
}

#[test]
fn texts_without_documents_are_complete() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "---\n# a\n---\n...\n",
        "\u{feff}",
    ] {
        let parsed = read(text);
        assert!(parsed.complete && parsed.documents.is_empty(), "{text:?}");
        assert_eq!(parsed.findings, [], "{text:?}");
    }
}

#[test]
fn the_default_namespace_completes_names() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n\
                spec: {hosts: [a], http: [{route: [{destination: {host: b}}]}]}";
    let parsed = parse(&Input {
        default_namespace: "shop",
        cluster_domain: "mesh.example",
        ..input(text)
    });
    let Ok(Object::VirtualService(object)) = &parsed.documents[0].result else {
        panic!("{:?}", parsed.findings);
    };
    assert_eq!(object.meta.key.to_string(), "VirtualService shop/a");
    assert_eq!(object.hosts[0].to_string(), "a.shop.svc.mesh.example");
}

#[test]
fn an_unreadable_document_keeps_its_neighbours_but_not_completeness() {
    let parsed = read(&format!("a: [1\n---\n{SERVICE}---\nb: }}\n"));
    assert!(!parsed.complete);
    assert_eq!(codes_of(&parsed), [codes::SYNTAX, codes::SYNTAX]);
    let keys: Vec<_> = parsed
        .documents
        .iter()
        .map(|document| &document.key)
        .collect();
    assert!(matches!(keys[..], [None, Some(key), None] if key.kind == Kind::Service));
}

#[test]
fn aliases_are_values_but_no_bombs() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let parsed = read(&bomb);
    assert!(!parsed.complete);
    assert_eq!(codes_of(&parsed), [codes::BUDGET]);

    let parsed = read("a: &a [*a]\n");
    assert_eq!(codes_of(&parsed), [codes::SYNTAX]);
    let parsed = read("a: *unknown\n");
    assert_eq!(codes_of(&parsed), [codes::SYNTAX]);
}

#[test]
fn depth_and_size_have_limits() {
    let limits = Limits::default();
    for deep in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(10_000),
        // Deep by alias only.
        format!(
            "a: &a {}{}\nb: {}*a{}\n",
            "[".repeat(40),
            "]".repeat(40),
            "[".repeat(40),
            "]".repeat(40)
        ),
    ] {
        let parsed = read(&deep);
        assert!(!parsed.complete, "{}", &deep[..20]);
        assert_eq!(codes_of(&parsed), [codes::BUDGET], "{}", &deep[..20]);
    }
    let nested = format!(
        "{}{}",
        "[".repeat(limits.depth - 1),
        "]".repeat(limits.depth - 1)
    );
    assert!(read(&nested).complete);

    let limits = Limits {
        bytes: 10,
        ..limits
    };
    let parsed = parse_with(&input(SERVICE), &limits);
    assert!(!parsed.complete);
    assert_eq!(codes_of(&parsed), [codes::BUDGET]);
    assert_eq!(parsed.findings[0].place, None);
}

#[test]
fn findings_have_a_limit_and_documents_none() {
    let mut text = SERVICE.to_owned();
    for number in 0..50 {
        text.push_str(&format!("  x{number}: 1\n"));
    }
    let text = format!("{text}---\n{}", SERVICE.replace("80", "0"));
    let limits = Limits {
        findings: 5,
        ..Limits::default()
    };
    let parsed = parse_with(&input(&text), &limits);
    assert_eq!(parsed.findings.len(), 6);
    assert_eq!(parsed.findings[5].code, codes::BUDGET);
    assert!(parsed.complete);
    assert!(parsed.documents[0].result.is_ok());
    // Its finding found no room, and yet it is set aside.
    assert!(parsed.documents[1].result.is_err());
}

#[test]
fn keys_that_are_lists_are_refused() {
    for text in ["[a]: b\n", "{a: b}: c\n", "? [a]\n: b\n", "&a [x]: 1\n"] {
        assert_eq!(codes_of(&read(text)), [codes::SYNTAX], "{text:?}");
    }
}

#[test]
fn a_null_field_is_absent() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: null, creationTimestamp: null}\n\
                spec: {clusterIP: None, ports: null, selector: ~}\nstatus: {loadBalancer: {}}\n";
    let parsed = read(text);
    assert_eq!(parsed.findings, []);
    assert!(matches!(
        &parsed.documents[0].result,
        Ok(Object::Service(service)) if service.kind == ServiceKind::Headless
    ));
}

#[test]
fn one_fault_sets_aside_one_document() {
    let bad = SERVICE.replace("80", "many").replace("name: a", "name: b");
    let parsed = read(&format!(
        "{SERVICE}---\n{bad}---\n{}",
        SERVICE.replace("name: a", "name: c")
    ));
    let results: Vec<_> = parsed
        .documents
        .iter()
        .map(|document| {
            (
                document.key.as_ref().map(|key| &*key.name),
                document.result.is_ok(),
            )
        })
        .collect();
    assert_eq!(
        results,
        [(Some("a"), true), (Some("b"), false), (Some("c"), true)]
    );
    let finding = &parsed.findings[0];
    assert_eq!(finding.object.as_ref().map(|key| &*key.name), Some("b"));
    assert_eq!(finding.level, Level::Error);
}

#[test]
fn a_finding_is_shown_with_or_without_its_text() {
    let text = SERVICE.replace("80", "\"80\"");
    let finding = &read(&text).findings[0];
    let expected = "\
error[PM0003]: `port` has the wrong type
 --> test.yaml:6:11
  |
6 |   - port: \"80\"
  |           ^^^^ expected a whole number, found text
  |
  = effect: the document is set aside; if an earlier version of it was good, that one keeps serving
  = help: remove the quotes, or the text";
    assert_eq!(render(finding, Some(&text), None, false), expected);
    let short = render(finding, None, None, false);
    assert!(
        short.contains("--> test.yaml:6:11") && !short.contains("^^^^"),
        "{short}"
    );
    // The text has changed since: whatever is shown, nothing panics.
    for other in ["", "a\n", "\n\n\n\n\nx", "\n\n\n\n\n\u{1f600}\u{1f600}"] {
        assert!(render(finding, Some(other), None, false).contains("PM0003"));
    }
    let color = render(finding, Some(&text), None, true);
    assert!(color.contains("\u{1b}["), "{color:?}");
}

#[test]
fn escapes_of_a_text_do_not_reach_the_terminal() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {\"x\\e[31m\": 1, type: \"\\e[2J\", ports: [{port: 80}]}\n";
    let parsed = read(text);
    assert_eq!(parsed.findings.len(), 2);
    for finding in &parsed.findings {
        let shown = render(finding, Some(text), None, false);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}

#[test]
fn two_places_are_shown_together_or_apart() {
    let text = SERVICE.replace("spec:", "kind: Service\nspec:");
    let mut finding = read(&text).findings.remove(0);
    let together = render(&finding, Some(&text), None, false);
    assert!(
        together.contains("the first one") && together.contains("again"),
        "{together}"
    );
    let related = finding.related.as_mut().expect("two places");
    related.place.file = "other.yaml".into();
    related.place.line = 1;
    let apart = render(&finding, Some(&text), Some("in the other file"), false);
    assert!(
        apart.contains("other.yaml:1") && apart.contains("in the other file"),
        "{apart}"
    );
}

fn corpus() -> Vec<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut texts = Vec::new();
    for folder in ["good", "bad"] {
        for entry in std::fs::read_dir(format!("{root}/{folder}")).expect("there") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|end| end != "txt") {
                texts.push(std::fs::read_to_string(path).expect("text"));
            }
        }
    }
    texts.sort();
    texts
}

/// Pieces that mean something to YAML or to the schema.
const PIECES: [&str; 28] = [
    "",
    "\n",
    " ",
    "  - ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: *a\n",
    "---\n",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "!!str ",
    "? ",
    "#",
    "\t",
    "\r\n",
    "null",
    "-1",
    "1e400",
    "\u{feff}",
    "\u{1f600}",
    "99999999999",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Mutated documents, cut, spliced and sprinkled with YAML: no panic, and every finding shows.
    #[test]
    fn no_text_makes_it_panic(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, 0usize..PIECES.len()), 0..12),
    ) {
        let corpus = corpus();
        let mut text: Vec<char> = corpus[which.index(corpus.len())].chars().collect();
        for (at, remove, piece) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + remove).min(text.len());
            text.splice(at..end, PIECES[piece].chars());
        }
        let text: String = text.into_iter().collect();
        let parsed = read(&text);
        for finding in &parsed.findings {
            let shown = render(finding, Some(&text), None, false);
            prop_assert!(shown.contains(&finding.code.to_string()));
            prop_assert!(finding.place.as_ref().is_none_or(|place| place.line > 0 && place.column > 0));
        }
        // A document is set aside with a reason, or it is not set aside.
        for document in &parsed.documents {
            if document.result.is_err() {
                prop_assert!(parsed.findings.iter().any(|finding| finding.level == Level::Error));
            }
        }
        // Reading is a function of the text.
        let again = read(&text);
        prop_assert_eq!(parsed.findings, again.findings);
    }

    #[test]
    fn no_noise_makes_it_panic(text in "[ -~\n\t]{0,200}") {
        read(&text);
    }
}

/// Long lists are no reason to wait: what is compared pairwise anywhere would take minutes here.
#[test]
fn long_documents_are_read_in_good_time() {
    let began = std::time::Instant::now();
    let many =
        |piece: &dyn Fn(usize) -> String| (0..30_000).map(piece).collect::<Vec<_>>().join(", ");
    let hosts = many(&|n| format!("\"*.h{n}.example.com\""));
    let gateways = many(&|n| format!("g{n}"));
    let sni = many(&|n| format!("a.h{n}.example.com"));
    let texts = [
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  hosts: [{hosts}]\n  \
             gateways: [{gateways}]\n  tls: [{{match: [{{sniHosts: [{sni}], gateways: [{gateways}]}}], route: [{{destination: {{host: a}}}}]}}]\n"
        ),
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\nspec:\n  host: a\n  trafficPolicy: {{portLevelSettings: [{}]}}\n",
            many(&|n| format!(
                "{{port: {{number: {}}}, loadBalancer: {{simple: RANDOM}}}}",
                n + 1
            ))
        ),
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\nspec:\n  host: a\n  trafficPolicy: \
             {{loadBalancer: {{localityLbSetting: {{distribute: [{}]}}}}}}\n",
            many(&|n| format!("{{from: eu/z{n}/1, to: {{us: 100}}}}"))
        ),
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{{port: 80}}], {}}}\n",
            many(&|n| format!("x{n}: 1"))
        ),
    ];
    for text in texts {
        let parsed = read(&text);
        assert!(
            parsed.documents[0].result.is_ok(),
            "{:?}",
            parsed.findings.first()
        );
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
