//! What analysis finds, and that it finds nothing in documents that are meant.
mod common;

use common::{case, fixture, fixture_and};
use pointsman_model::{
    ClientContext, Finding, Gateway, Given, HostPattern, Kind, Level, Object, Place, Protocol,
    World,
    gateway::{Server, ServerHost},
    policy::{ClientTls, PolicyBlocks, TlsMode, TrafficPolicy},
};
use pointsman_route::{Table, analysis::analyze};
use std::{sync::Arc, time::Duration};

fn findings(world: &World, context: &ClientContext) -> Vec<Finding> {
    let table = Table::compile(world, context, None).table;
    analyze(world, context, &table)
}

/// `warning PM0105 DestinationRule default/d`, in the order of the codes.
fn told(world: &World) -> Vec<String> {
    let mut told: Vec<String> = findings(world, &Given::default().context(world))
        .iter()
        // The fixture has an alias that leads outside, as aliases do.
        .filter(|it| !it.message.contains("unknown.example.net"))
        .map(|it| {
            let object = it.object.as_ref().expect("about a document");
            format!("{} {} {object}", it.level.as_str(), it.code)
        })
        .collect();
    told.sort();
    told
}

#[track_caller]
fn expect(lines: &[&str], expected: &[&str]) {
    assert_eq!(told(&fixture_and(lines)), expected, "{lines:#?}");
}

#[test]
fn the_fixture_is_as_it_is_meant() {
    expect(&[], &[]);
}

/// VSB-4, VSB-13, ALS-6, ALS-11, ALS-14, BE-18.
#[test]
fn names_that_lead_nowhere() {
    expect(
        &["vs v hosts=web.default", "http none -> 200"],
        &["warning PM0104 VirtualService default/v"],
    );
    expect(
        &["vs v hosts=al", "http none -> 200"],
        &["warning PM0344 VirtualService default/v"],
    );
    for (host, help) in [
        ("nobody", "correct `host`"),
        ("web.default", "write web.default.svc.cluster.local"),
        ("api", "write api.prod.svc.cluster.local"),
        ("al", "name its target, web.default.svc.cluster.local"),
    ] {
        let world = fixture_and(&[&format!("dr d host={host}")]);
        let all = findings(&world, &ClientContext::default());
        let finding = all.iter().find(|it| it.code.0 == 105).expect(host);
        assert!(finding.help.contains(help), "{host}: {}", finding.help);
    }
    expect(&["dr d host=web", "dr e host=*.nowhere.example"], &[]);
    expect(
        &[
            "svc x external=y.default.svc.cluster.local",
            "svc y external=x.default.svc.cluster.local",
            "svc half external=web.default",
        ],
        &[
            "warning PM0344 Service default/half",
            "warning PM0344 Service default/x",
            "warning PM0344 Service default/y",
        ],
    );
}

/// VS-H-110, GW-60.
#[test]
fn gateways_and_delegates_that_are_not_there() {
    expect(
        &[
            "vs v hosts=web gateways=mesh,default/edge",
            "http none -> 200",
        ],
        &["warning PM0110 VirtualService default/v"],
    );
    expect(
        &["vs alone", "http none -> 200"],
        &["warning PM0112 VirtualService default/alone"],
    );
    expect(
        &[
            "vs root hosts=web",
            "http none -> delegate part",
            "vs part",
            "http none -> 200",
        ],
        &[],
    );
}

/// GW-62..64.
#[test]
fn hosts_that_their_gateway_does_not_serve() {
    let server = |namespace: Option<&str>, host: &str| ServerHost {
        namespace: namespace.map(Into::into),
        host: HostPattern::new(host),
        place: Place::nowhere(),
    };
    let gateway = |hosts: Vec<ServerHost>| {
        let mut world = World::default();
        common::add(
            &mut world,
            &[
                "vs v hosts=a.example.com gateways=default/edge",
                "http none -> 200",
            ],
        );
        let mut meta = world
            .virtual_services
            .values()
            .next()
            .expect("one")
            .meta
            .clone();
        meta.key.kind = Kind::Gateway;
        meta.key.name = "edge".into();
        world.upsert(Object::Gateway(Arc::new(Gateway {
            meta,
            selector: Default::default(),
            servers: vec![Server {
                index: 0,
                name: None,
                port: 80,
                port_name: "http".into(),
                protocol: Protocol::Http,
                bind: None,
                hosts,
                tls: None,
                place: Place::nowhere(),
            }],
        })));
        told(&world)
    };
    let not_served = ["warning PM0113 VirtualService default/v"];
    assert_eq!(gateway(vec![server(None, "a.example.com")]), [""; 0]);
    assert_eq!(gateway(vec![server(None, "*.example.com")]), [""; 0]);
    assert_eq!(gateway(vec![server(Some("default"), "*")]), [""; 0]);
    assert_eq!(gateway(vec![server(None, "*.example.org")]), not_served);
    assert_eq!(gateway(vec![server(Some("prod"), "*")]), not_served);
    let both = vec![server(Some("prod"), "*"), server(None, "a.example.com")];
    assert_eq!(gateway(both), [""; 0]);
}

/// VS-S-1, VS-S-2, VS-T-1, VSB-10, VSB-11, VSB-17.
#[test]
fn rules_that_are_never_asked() {
    let nowhere = ["warning PM0210 VirtualService default/v"];
    expect(&["vs v hosts=raw", "http none -> 200"], &nowhere);
    expect(&["vs v hosts=web", "tls sni web -> web"], &nowhere);
    expect(&["vs v hosts=web", "tcp none -> raw"], &nowhere);
    expect(
        &["vs v hosts=other.example.com", "tcp none -> raw"],
        &nowhere,
    );
    expect(
        &["vs v hosts=web", "http port 81 -> 200", "http none -> 201"],
        &nowhere,
    );
    expect(&["vs v hosts=web", "http port 80 -> 200"], &[]);
    expect(
        &["vs v hosts=auto", "http none -> 200", "tcp none -> raw"],
        &[],
    );
    expect(
        &[
            "vs v hosts=sec",
            "tls sni sec.default.svc.cluster.local -> sec",
        ],
        &[],
    );
    // A host that is no service is asked for on port 80, where some service has it.
    expect(
        &["vs v hosts=other.example.com", "http none -> 200"],
        &["info PM0211 VirtualService default/v"],
    );
    let mut alone = World::default();
    common::add(
        &mut alone,
        &["vs v hosts=other.example.com", "http none -> 200"],
    );
    assert_eq!(told(&alone), ["warning PM0211 VirtualService default/v"]);
}

/// VSB-11: what a wildcard of a service takes does not pass through.
#[test]
fn a_wildcard_that_takes_a_host_is_named() {
    let [name, then] = ["vs v hosts=a.example.com", "http none -> 200"];
    let wide = "se wide hosts=*.example.com ports=http:9000/http ep=10.9.0.9";
    let com = "se com hosts=*.com ports=http:9000/http ep=10.9.0.9";
    let effect = |lines: &[&str]| {
        let mut world = World::default();
        common::add(&mut world, lines);
        let all = findings(&world, &Given::default().context(&world));
        let found = all.iter().find(|it| it.code.0 == 211);
        found.expect("a finding").effect.clone()
    };
    assert!(effect(&[name, then]).contains("pass through"));
    let told = effect(&[com, wide, name, then]);
    assert!(!told.contains("pass through"), "{told}");
    assert!(
        told.contains("*.example.com of ServiceEntry default/wide"),
        "{told}"
    );
    assert!(told.contains("on port 9000, without them"), "{told}");
}

/// VS-H-5, VS-H-169, VS-S-6, VS-T-3.
#[test]
fn rules_and_matches_that_others_take() {
    let shadowed = ["warning PM0207 VirtualService default/v"];
    expect(
        &[
            "vs v hosts=web",
            "http regex /v[0-9]+ -> 200",
            "http exact /v1 -> 201",
        ],
        &shadowed,
    );
    expect(
        &[
            "vs v hosts=web",
            "http prefix /a -> 200",
            "http exact /b -> 201",
            "http exact /a/x | exact /b -> 202",
        ],
        &[],
    );
    expect(
        &[
            "vs v hosts=sec",
            "tls sni sec.default.svc.cluster.local -> sec",
            "tls sni sec.default.svc.cluster.local -> raw:6000",
        ],
        &shadowed,
    );
    expect(
        &[
            "vs v hosts=raw",
            "tcp none -> raw",
            "tcp port 6000 -> raw:80",
        ],
        &shadowed,
    );
    expect(
        &[
            "vs v hosts=raw",
            "tcp port 80 -> raw",
            "tcp port 6000 -> raw:80",
        ],
        &[],
    );
    expect(
        &[
            "vs v hosts=web",
            "http prefix /a -> 200",
            "http prefix /a/b | prefix /c -> 201",
        ],
        &["info PM0212 VirtualService default/v"],
    );
    expect(
        &["vs v hosts=web", "http prefix /a | exact /a/b -> 200"],
        &["info PM0212 VirtualService default/v"],
    );
}

/// VS-H-121, VS-H-122: what several documents say of a gateway's host is one list, oldest first, and
/// catch-alls behind all others.
#[test]
fn rules_of_one_document_take_those_of_another_on_a_gateway() {
    let shadows = |lines: &[&str]| -> Vec<String> {
        let mut world = World::default();
        common::add(&mut world, lines);
        let all = findings(&world, &ClientContext::default());
        let all = all.iter().filter(|it| it.code.0 == 207);
        all.map(|it| it.message.clone()).collect()
    };
    let old = "vs old hosts=a.example.com gateways=default/edge created=1";
    let young = "vs young hosts=a.example.com gateways=default/edge created=2";
    assert_eq!(
        shadows(&[
            old,
            "http prefix /api -> 200",
            young,
            "http prefix /api/v1 -> 201",
            "http prefix /x -> 202"
        ]),
        [
            "rule #0 can never match, rule #0 of VirtualService default/old takes everything it would"
        ]
    );
    assert_eq!(
        shadows(&[old, "http none -> 200", young, "http none -> 201"]),
        [
            "rule #0 can never match, rule #0 of VirtualService default/old takes everything it would"
        ]
    );
    for lives in [
        [old, "http none -> 200", young, "http prefix /x -> 201"],
        [old, "http prefix / -> 200", young, "http prefix /x -> 201"],
        [
            old,
            "http prefix /api -> 200",
            young,
            "http prefix /api/v1 | prefix /x -> 201",
        ],
        [
            old,
            "http prefix /api -> 200",
            "vs young hosts=b.example.com gateways=default/edge created=2",
            "http prefix /api/v1 -> 201",
        ],
    ] {
        assert_eq!(shadows(&lives), [""; 0], "{lives:?}");
    }
}

/// PS-80, VS-H-20, VS-H-169.
#[test]
fn paths_that_no_request_has() {
    let said = |mode: &str, condition: &str| {
        let mesh = format!("mesh istio ns=istio-system paths={mode}");
        let rule = format!("http prefix /ok | {condition} -> 200");
        let world = fixture_and(&[&mesh, "vs v hosts=web", &rule]);
        let all = findings(&world, &Given::default().context(&world));
        let mut all = all.iter().filter(|it| it.code.0 == 215);
        let found = all.next().map(|it| {
            assert_eq!(it.level, Level::Warning);
            format!("{}; {}; {}", it.message, it.effect, it.help)
        });
        assert_eq!(all.count(), 0);
        found.unwrap_or_default()
    };
    assert_eq!(
        said("BASE", "exact /%61"),
        "no path can be `/%61`: this match of rule #0 takes nothing; paths are normalised before they \
         are compared; `pathNormalization` is BASE; write `/a`"
    );
    for (condition, told) in [
        ("prefix /a/../b", "no path can begin with `/a/../b`"),
        ("prefix /a/../b", "write `/b`"),
        ("prefix /a/..;x", "write `/`"),
        ("prefix /%61%2", "write it as it is then"),
        ("exact /a/..", "write `/`"),
        ("exact /a\\b", "write `/a/b`"),
        ("exact /%41 & icase", "write `/A`"),
        ("exact /{id}", "write `/%7Bid%7D`"),
        ("exact a/b", "write `/a/b`"),
        ("prefix *a", "paths begin with `/`"),
        ("prefix /a?b=", "without their query"),
        ("exact /a#b", "no path has such a character"),
        ("exact /é", "no path has such a character"),
        ("exact /%", "answered 400"),
        ("prefix /%zz", "answered 400"),
        ("prefix /%00", "answered 400"),
    ] {
        let said = said("BASE", condition);
        assert!(said.contains(told), "{condition}: {said}");
    }
    for quiet in [
        "exact /a//b/",
        "exact *",
        "exact /%2fA%3a&",
        "exact /[]",
        "prefix /a/..",
        "prefix /a/.",
        "prefix /%",
        "prefix /%2",
        "prefix /%0",
        "prefix /%3",
        "prefix *",
        "prefix \"\"",
        "regex /%61",
        "header :path exact /%61",
    ] {
        assert_eq!(said("BASE", quiet), "", "{quiet}");
    }
    for (text, first) in [
        ("exact /%61", "BASE"),
        ("prefix /a//b", "MERGE_SLASHES"),
        ("exact /a%2fb", "DECODE_AND_MERGE_SLASHES"),
    ] {
        let modes = ["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];
        let told = modes.iter().position(|mode| !said(mode, text).is_empty());
        assert_eq!(told.map(|at| modes[at]), Some(first), "{text}");
        let all = modes.iter().filter(|mode| !said(mode, text).is_empty());
        assert_eq!(all.count(), modes.len() - told.unwrap(), "{text}");
    }
    assert_ne!(said("NONE", "exact /%zz"), "");
}

/// Compiling tells of rules that several earlier ones take together.
#[test]
fn several_rules_may_take_one_together() {
    let world = fixture_and(&[
        "vs v hosts=web",
        "http prefix /a -> 200",
        "http exact /b -> 201",
        "http regex /a/.+ | exact /b -> 202",
        "http regex /a.* | exact /c -> 203",
    ]);
    let all = Table::compile(&world, &ClientContext::default(), None).findings;
    let shadowed: Vec<&str> = all
        .iter()
        .filter(|it| it.code.0 == 207)
        .map(|it| it.message.as_str())
        .collect();
    assert_eq!(
        shadowed,
        ["rule #2 can never match, rule #0 takes everything it would"]
    );
}

/// VS-H-61, VS-H-63, VS-H-75.
#[test]
fn weights_and_timeouts() {
    expect(
        &["vs v hosts=web", "http none -> web*1 raw:80*3"],
        &["info PM0213 VirtualService default/v"],
    );
    expect(
        &["vs v hosts=web", "http none -> web*100 raw:80*0"],
        &["info PM0213 VirtualService default/v"],
    );
    expect(&["vs v hosts=web", "http none -> web*80 raw:80*20"], &[]);
    let retries = |retry_on: &str, each: u64| {
        let mut world = fixture_and(&["vs v hosts=web", "http none -> web"]);
        let objects = common::objects_of(&world);
        for object in objects {
            if let Object::VirtualService(mut service) = object {
                let rule = &mut Arc::make_mut(&mut service).http[0];
                rule.timeout = Some(Duration::from_secs(2));
                rule.retries = Some(pointsman_model::action::Retries {
                    attempts: 2,
                    per_try_timeout: Some(Duration::from_secs(each)),
                    retry_on: Some(retry_on.into()),
                    ..Default::default()
                });
                world.upsert(Object::VirtualService(service));
            }
        }
        told(&world)
    };
    assert_eq!(retries("5xx", 1), [""; 0]);
    assert_eq!(
        retries("5xx", 2),
        ["warning PM0214 VirtualService default/v"]
    );
    assert_eq!(
        retries("connect-failure", 1),
        ["info PM0214 VirtualService default/v"]
    );
}

/// BE-8, BE-119.
#[test]
fn subsets_that_select_nobody() {
    let world = fixture_and(&["dr d host=web subsets=v1:version=v1,v9:version=v9,x:team=x"]);
    let all = findings(&world, &ClientContext::default());
    let help: Vec<&str> = all
        .iter()
        .filter(|it| it.code.0 == 106)
        .map(|it| &*it.help)
        .collect();
    assert_eq!(help.len(), 2);
    assert!(help.contains(&"version is v1 or v2, not v9"), "{help:?}");
    assert!(help.contains(&"no endpoint has the label team"), "{help:?}");
    // What has no endpoints at all is no fault of its subsets.
    expect(
        &[
            "svc empty ip=10.0.0.99 ports=http:80/http",
            "dr d host=empty subsets=v1:version=v1",
        ],
        &["info PM0108 Service default/empty"],
    );
}

/// BE-125.
#[test]
fn services_that_select_nobody() {
    let service = |selector: &str| {
        let mut world = fixture_and(&["svc lone ip=10.0.0.99 ports=http:80/http"]);
        for object in common::objects_of(&world) {
            if let Object::Service(mut service) = object
                && &*service.meta.key.name == "lone"
            {
                Arc::make_mut(&mut service).selector = common::notation::labels(selector);
                world.upsert(Object::Service(service));
            }
        }
        world
    };
    assert_eq!(
        told(&service("app=wob")),
        ["warning PM0107 Service default/lone"]
    );
    let all = findings(&service("app=web,version=v7"), &ClientContext::default());
    let finding = all.iter().find(|it| it.code.0 == 107).expect("found");
    assert!(finding.help.contains("Pod w1 has some"), "{}", finding.help);
    // Not told where no Pods are given.
    let mut alone = World::default();
    common::add(&mut alone, &["svc lone ip=10.0.0.99 ports=http:80/http"]);
    assert_eq!(told(&alone), [""; 0]);
}

/// LIS-23, PS-29, BE-89, BE-89a.
#[test]
fn ports_that_say_one_thing_and_do_another() {
    for (name, found) in [
        ("httpweb", true),
        ("web-http", true),
        ("http1", true),
        ("https2", true),
        ("http-web", true), // an unknown appProtocol replaced it
        ("web", false),
        ("misc", false),
        ("metrics", false),
        ("postgres", false),
    ] {
        let world = fixture_and(&[&format!("svc x ip=10.0.0.99 ports={name}:8080/auto")]);
        let all = findings(&world, &ClientContext::default());
        assert_eq!(all.iter().any(|it| it.code.0 == 341), found, "{name}");
    }
    expect(
        &[
            "svc x headless ports=tcp-a:7000/tcp>7001,tcp-b:7001/tcp>7001",
            "eps x ports=tcp-a:7001,tcp-b:7001 pods=p@10.1.0.50",
        ],
        &["info PM0340 Service default/x"],
    );
    expect(
        &["se x hosts=x.example.com addr=10.0.0.99 ports=http:443/http ep=10.9.0.9"],
        &["warning PM0342 ServiceEntry default/x"],
    );
    let encrypted = |line: &str| {
        let mut world = fixture_and(&[line, "dr d host=x.example.com"]);
        for object in common::objects_of(&world) {
            if let Object::DestinationRule(mut rule) = object {
                let tls = ClientTls {
                    mode: TlsMode::Simple,
                    ..Default::default()
                };
                let blocks = PolicyBlocks {
                    tls: Some(tls),
                    ..Default::default()
                };
                Arc::make_mut(&mut rule).policy = Some(TrafficPolicy {
                    blocks,
                    ..Default::default()
                });
                world.upsert(Object::DestinationRule(rule));
            }
        }
        told(&world)
    };
    assert_eq!(
        encrypted("se x hosts=x.example.com addr=10.0.0.99 ports=http:443/http ep=10.9.0.9"),
        [""; 0]
    );
    assert_eq!(
        encrypted("se x hosts=x.example.com addr=10.0.0.99 ports=tls:443/tls ep=10.9.0.9"),
        ["warning PM0343 DestinationRule default/d"]
    );
}

/// LIS-3, BE-15, BE-17, BE-105.
#[test]
fn documents_that_want_the_same() {
    expect(
        &[
            "se a ns=x hosts=dup.example.com ports=http:80/http",
            "se b ns=y hosts=dup.example.com ports=http:80/http",
        ],
        &["warning PM0345 ServiceEntry y/b"],
    );
    expect(
        &[
            "se a ns=x export=. hosts=dup.example.com ports=http:80/http",
            "se b ns=y hosts=dup.example.com ports=http:80/http",
        ],
        &[],
    );
    expect(
        &["se more hosts=web.default.svc.cluster.local ports=http:80/http ep=10.9.0.9"],
        &["info PM0345 ServiceEntry default/more"],
    );
    expect(
        &[
            "dr a host=web created=1 subsets=v1:version=v1",
            "dr b host=web created=2 subsets=v1:version=v2",
        ],
        &["warning PM0120 DestinationRule default/b"],
    );
    expect(
        &[
            "dr a host=web created=1 subsets=v1:version=v1",
            "dr b host=web created=2 subsets=v2:version=v2",
        ],
        &[],
    );
    expect(
        &["dr broad host=*.local", "dr own ns=prod host=api lb=random"],
        &["warning PM0121 DestinationRule default/broad"],
    );
}

/// Cases of the golden tables that are about a mistake, by title, with what is found in them.
const MEANT_TO_BE_WRONG: [(&str, u16); 42] = [
    ("T-HST-24 LIS-3", 345),
    ("LIS-3 the client's namespace first", 345),
    ("T-HST-25 LIS-3", 345),
    ("T-ALS-6 ALS-6", 344),
    ("T-ALS-14 ALS-11 BE-18", 105),
    (
        "VSB-13 a VirtualService for an alias takes the full name only",
        344,
    ),
    ("T-VSB-3 T-VSB-4 VSB-4", 104),
    ("T-VSB-5 VSB-1", 110),
    ("T-VSB-6 VSB-1", 110),
    ("T-VSB-16 VSB-14 VSB-16 VS-H-7", 210),
    (
        "VSB-7 VSB-14 an exact host keeps wildcards away, whatever is said for it",
        210,
    ),
    (
        "VSB-7 VSB-14 so does one that has no rule for the client, or for the port",
        210,
    ),
    (
        "VSB-9 VSB-14 where no rule of the first can apply, the next one speaks",
        210,
    ),
    ("T-VSB-19 VS-T-9", 210),
    ("T-BE-7 BE-8 T-H-161..165", 106),
    (
        "T-BE-8 BE-15 the client's namespace hides the owner's rule",
        121,
    ),
    ("BE-12 the owner's rule, seen from elsewhere", 106),
    ("T-VSS-5 VS-S-9", 210),
    ("T-VSS-6 VS-S-1", 210),
    ("T-VSS-7 VS-S-2", 210),
    ("T-VSS-9 VS-S-6", 207),
    ("T-VST-7 VSB-30", 110),
    ("T-VST-12 VS-T-1", 210),
    ("T-VST-13 VS-T-9", 210),
    (
        "VS-H-110: what has hosts is no delegate, and a delegate alone is inert",
        112,
    ),
    (
        "BE-11 a short host belongs to the rule's namespace, one with a dot is final",
        105,
    ),
    (
        "BE-17 a repeated subset keeps the first, and the first policy counts",
        120,
    ),
    (
        "LIS-66 neither VirtualService nor DestinationRule speaks of what passes through",
        210,
    ),
    (
        "HST-20 the host of a VirtualService comes before a service's derived name",
        104,
    ),
    ("ALS-14 the target is not completed", 344),
    ("LIS-65 a mesh elsewhere is not ours", 123),
    (
        "VIS-10 a listed host does not list the wildcard around it",
        117,
    ),
    ("VIS-10 the oldest of several", 122),
    ("T-BE-7 BE-8 BE-119 a subset by the labels of Pods", 106),
    ("T-HST-25 BE-105 not one of another namespace", 345),
    ("BE-105 two entries of one host share their endpoints", 345),
    ("T-GW-6, GW-63: hosts that do not meet", 113),
    (
        "T-GW-7, GW-64: hosts for the VirtualServices of one namespace",
        113,
    ),
    (
        "T-GW-10, GW-60: a name alone is one in the own namespace; documents are read as default/A here",
        110,
    ),
    (
        "T-GW-12, VS-H-121, VS-H-122, GW-69: rules of several VirtualServices, the oldest first",
        207,
    ),
    (
        "T-GW-13, VS-H-121, VS-H-5: what takes everything goes last, what stood behind it is gone",
        207,
    ),
    ("T-GW-16, GW-66, VS-H-13: gateways in a match", 110),
];

/// Every other case of the golden tables is well-formed, and nothing worse than "worth knowing" is
/// said about it.
#[test]
fn no_false_alarms_in_the_golden_tables() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for text in [
        include_str!("golden/listeners.txt"),
        include_str!("golden/hosts.txt"),
        include_str!("golden/rules.txt"),
        include_str!("golden/delegates.txt"),
        include_str!("golden/backends.txt"),
        include_str!("golden/sidecars.txt"),
        include_str!("golden/policies.txt"),
        include_str!("golden/frontends.txt"),
        include_str!("golden/names.txt"),
        include_str!("golden/destinations.txt"),
        include_str!("golden/gateway.txt"),
    ] {
        for case in case::read(text) {
            cases += 1;
            for finding in findings(&case.world, &case.given.context(&case.world)) {
                let meant = (case.title.as_str(), finding.code.0);
                if finding.level >= Level::Warning && !MEANT_TO_BE_WRONG.contains(&meant) {
                    wrong.push(format!("{}: {finding}", case.title));
                }
            }
        }
    }
    assert!(cases > 100, "{cases}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        findings(&fixture(), &ClientContext::default())
            .iter()
            .all(|it| it.level < Level::Warning)
    );
}

/// VIS-10, LIS-65.
#[test]
fn sidecars_and_meshes_that_nobody_heeds() {
    expect(
        &[
            "mesh istio ns=istio-system",
            "sidecar a egress=./web.default.svc.cluster.local,prod/api.prod.svc.cluster.local,*/*",
            "sidecar b workload=app=a egress=~/*",
        ],
        &[],
    );
    expect(
        &[
            "mesh istio ns=istio-system",
            "mesh istio-old ns=istio-system",
        ],
        &["info PM0123 ConfigMap istio-system/istio-old"],
    );
    expect(&["mesh istio"], &["warning PM0123 ConfigMap default/istio"]);
    expect(
        &[
            "sidecar a egress=./* created=2",
            "sidecar b egress=prod/* created=1",
            "sidecar c workload=app=a egress=./* created=3",
            "sidecar d workload=app=a egress=./* created=4",
        ],
        &[
            "warning PM0122 Sidecar default/a",
            "warning PM0122 Sidecar default/d",
        ],
    );
    for host in [
        "./api.prod.svc.cluster.local",
        "*/web",
        "prod/nobody.example.com",
    ] {
        expect(
            &[&format!("sidecar a egress={host},./*")],
            &["warning PM0117 Sidecar default/a"],
        );
    }
}
