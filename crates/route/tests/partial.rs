//! A table made from its predecessor is equal in every respect to one compiled anew.
mod common;

use common::{add, fixture, object};
use pointsman_model::{ClientContext, Finding, Given, Kind, ObjectKey, World};
use pointsman_route::{Compiled, Table};
use proptest::{collection::vec, prelude::*, sample::select};

/// Compiles a world with and without what is known of the previous table, and compares.
fn compile(world: &World, context: &ClientContext, previous: &Table) -> Compiled {
    let made = Table::compile(world, context, Some(previous));
    let whole = Table::compile_whole(world, context, Some(previous));
    if !made.table.is_equal(&whole.table) {
        for (own, other) in made.table.clusters().zip(whole.table.clusters()) {
            assert_eq!(own, other, "clusters");
        }
        for (own, other) in made.table.http_tables().zip(whole.table.http_tables()) {
            assert_eq!(own, other, "hosts");
        }
        panic!("other listeners");
    }
    assert_eq!(made.findings, whole.findings);
    assert_eq!(made.changed, whole.changed);
    let fresh = Table::compile_whole(world, context, None);
    assert_eq!(made.findings, fresh.findings, "findings depend on the past");
    made
}

/// Was it made from its predecessor, and not anew? Then it has its list of addresses.
fn is_partial(table: &Table, previous: &Table) -> bool {
    std::ptr::eq(table.binds(), previous.binds())
}

fn key(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    }
}

struct Gateway {
    world: World,
    context: ClientContext,
    table: Table,
    findings: Vec<Finding>,
}

impl Gateway {
    fn new(lines: &[&str]) -> Self {
        let mut world = fixture();
        add(&mut world, lines);
        let context = ClientContext::default();
        let compiled = Table::compile(&world, &context, None);
        Self {
            world,
            context,
            table: compiled.table,
            findings: compiled.findings,
        }
    }

    /// Was the table of the changed world made from its predecessor?
    fn change(&mut self, lines: &[&str]) -> bool {
        add(&mut self.world, lines);
        self.compile()
    }

    fn compile(&mut self) -> bool {
        let compiled = compile(&self.world, &self.context, &self.table);
        let partial = is_partial(&compiled.table, &self.table);
        self.table = compiled.table;
        self.findings = compiled.findings;
        partial
    }

    fn outcome(&self, input: &str) -> String {
        common::case::outcome(&self.table, input)
    }
}

#[test]
fn endpoints_and_pods_change_their_services_only() {
    let mut gateway = Gateway::new(&[
        "dr d host=web subsets=v1:version=v1,v2:version=v2",
        "vs v hosts=web",
        "http none -> web/v1",
    ]);
    assert!(gateway.change(&["eps web ports=http:8080 pods=w1@10.1.0.9"]));
    assert_eq!(
        gateway.outcome("GET web/ @1.1.1.1:80"),
        "http web:80/v1 [10.1.0.9:8080]"
    );
    assert!(gateway.change(&["pod w1 ip=10.1.0.9 labels=app=web,version=v2"]));
    assert_eq!(gateway.outcome("GET web/ @1.1.1.1:80"), "http web:80/v1 []");
    assert!(gateway.change(&["dr d host=web subsets=v1:version=v2,v2:version=v2 lb=random"]));
    assert_eq!(
        gateway.outcome("GET web/ @1.1.1.1:80"),
        "http web:80/v1 [10.1.0.9:8080]"
    );
    // Listeners come and go with them, except where only the Host counts.
    let eps = "eps hl ports=tcp:7000,http:7080,misc:7070,tls:7443";
    assert!(!gateway.change(&[&format!("{eps} pods=h1@10.1.0.11")]));
    assert!(gateway.change(&[&format!("{eps} pods=h1@10.1.0.11!unready")]));
}

#[test]
fn a_virtual_service_changes_its_hosts_only() {
    let mut gateway = Gateway::new(&[]);
    assert!(gateway.change(&[
        "vs v hosts=web,lit.org,auto created=2",
        "http prefix /a -> 201"
    ]));
    assert_eq!(gateway.outcome("GET web/a @1.1.1.1:80"), "201");
    assert_eq!(gateway.outcome("GET lit.org/a @1.1.1.1:80"), "201");
    assert_eq!(gateway.outcome("GET al/a @1.1.1.1:80"), "201");
    assert_eq!(gateway.outcome("GET x/a @10.0.0.30:9000"), "201");
    // An older one takes a host, and gives it back.
    assert!(gateway.change(&["vs w hosts=web,lit.org created=1", "http none -> 202"]));
    assert_eq!(gateway.outcome("GET web/a @1.1.1.1:80"), "202");
    assert_eq!(gateway.outcome("GET lit.org/a @1.1.1.1:80"), "202");
    assert_eq!(gateway.findings.len(), 2);
    gateway
        .world
        .remove(&key(Kind::VirtualService, "default", "w"));
    assert!(gateway.compile());
    assert_eq!(gateway.findings.len(), 0);
    assert_eq!(gateway.outcome("GET lit.org/a @1.1.1.1:80"), "201");
    gateway
        .world
        .remove(&key(Kind::VirtualService, "default", "v"));
    assert!(gateway.compile());
    assert_eq!(gateway.outcome("GET lit.org/a @1.1.1.1:80"), "pass each");
    assert_eq!(
        gateway.outcome("GET web/a @1.1.1.1:80"),
        "http web:80 [10.1.0.1:8080 10.1.0.2:8080]"
    );
}

/// Many that speak for one host are one part, of any depth.
#[test]
fn many_may_speak_for_one_host() {
    let mut gateway = Gateway::new(&[]);
    let chain = |number: u32| format!("vs v{number} hosts=h{number}.org,h{}.org", number + 1);
    for number in 0..400 {
        add(&mut gateway.world, &[&chain(number), "http none -> 201"]);
    }
    gateway.compile();
    assert!(gateway.change(&[&chain(200), "http none -> 202"]));
    assert_eq!(gateway.outcome("GET h201.org/ @1.1.1.1:80"), "202");
    for number in 400..700 {
        add(&mut gateway.world, &[&chain(number), "http none -> 201"]);
    }
    gateway.compile();
    assert!(
        !gateway.change(&[&chain(200), "http none -> 201"]),
        "too many"
    );
}

/// What makes no difference is not a change, and is not looked at again later.
#[test]
fn what_makes_no_difference_is_remembered() {
    let mut world = fixture();
    let context = ClientContext::default();
    let table = Table::compile(&world, &context, None).table;
    for round in 0..1_200 {
        world.upsert(object(&format!("pod nobody ip=10.7.7.7 labels=a=n{round}")));
        let compiled = Table::compile(&world, &context, Some(&table));
        assert!(!compiled.changed);
    }
    for round in 0..600 {
        world.upsert(object(&format!("pod n{round} ip=10.7.7.7")));
        let compiled = Table::compile(&world, &context, Some(&table));
        assert!(!compiled.changed && is_partial(&compiled.table, &table));
    }
}

// ---- random changes ----------------------------------------------------------------------------

fn any_document() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        6 => any_endpoints(),
        3 => any_pod(),
        10 => any_virtual_service(),
        4 => any_destination_rule(),
        1 => select(vec![
            "svc web ip=10.0.0.10 ports=http:80/http,alt:81/http",
            "svc web ip=10.0.0.10 ports=http:80/http",
            "svc web headless ports=http:80/http,misc:9000/auto",
            "svc new ip=10.0.0.70 ports=http:80/http,misc:81/auto",
            "svc al external=api.prod.svc.cluster.local",
            "svc hl headless ports=http:7080/http",
            "se e1 hosts=x.com,y.com ports=http:80/http ep=10.9.9.1",
            "se e1 hosts=*.x.com ports=http:80/http ep=10.9.9.1",
            "se e2 hosts=web.default.svc.cluster.local ports=http:80/http ep=10.9.9.2",
            "se e3 hosts=y.com ports=http:80/http selector=app=web",
            "wle n1 addr=10.8.8.8 labels=app=web",
            "sidecar s egress=./*,prod/*",
        ])
        .prop_map(|line| vec![line.to_owned()]),
    ]
}

fn any_endpoints() -> impl Strategy<Value = Vec<String>> {
    let of = select(vec![
        ("web", "http:8080"),
        ("web-2", "http:8080,misc:9000"),
        ("auto", ":8080,misc:9000"),
        ("raw", "tcp:80,tcp-x:6000"),
        ("hl", "tcp:7000,http:7080,misc:7070,tls:7443"),
        ("nobody", "http:1"),
    ]);
    let pods = select(vec![
        "w1@10.1.0.1",
        "w2@10.1.0.2",
        "w1@10.1.0.1,w2@10.1.0.2",
        "w3@10.1.0.11!unready",
        "h1@10.1.0.11,h2@10.1.0.12",
        "w1@10.1.0.1!terminating",
    ]);
    (of, pods).prop_map(|((name, ports), pods)| {
        let of = name.strip_suffix("-2").unwrap_or(name);
        vec![format!("eps {name} of={of} ports={ports} pods={pods}")]
    })
}

fn any_pod() -> impl Strategy<Value = Vec<String>> {
    (select(vec!["w1", "w2", "w3", "h1"]), 1..3).prop_map(|(name, version)| {
        vec![format!(
            "pod {name} ip=10.1.0.1 labels=app=web,version=v{version}"
        )]
    })
}

fn any_destination_rule() -> impl Strategy<Value = Vec<String>> {
    let hosts = select(vec!["web", "auto", "x.com", "*.default.svc.cluster.local"]);
    let subsets = select(vec![
        "",
        "subsets=v1:version=v1",
        "subsets=v1:version=v2",
        "subsets=v1:version=v1,v2:version=v2",
    ]);
    let policies = select(vec!["", "lb=random", "lb=passthrough", "lb=round_robin"]);
    let rules = (0..3, hosts, subsets, policies, 0..3);
    rules.prop_map(|(name, host, subsets, policy, created)| {
        vec![format!(
            "dr d{name} host={host} {subsets} {policy} created={created}"
        )]
    })
}

fn any_virtual_service() -> impl Strategy<Value = Vec<String>> {
    let hosts = select(vec![
        "web",
        "web",
        "auto",
        "hl",
        "web,auto",
        "lit.org",
        "lit.org,web",
        "lit.org,raw",
        "al",
        "x.com",
        "y.com,lit.org",
        "api.prod.svc.cluster.local",
        "*.x.com",
        "*.default.svc.cluster.local",
        "",
    ]);
    let rules = select(vec![
        "http none -> web",
        "http none -> web/v1",
        "http prefix /a -> web*90 auto*10",
        "http prefix /a & port 80 -> 201",
        "http regex /a.*b -> 202",
        "http regex ( -> 203",
        "http exact /ab -> al",
        "http none -> nobody",
        "http none -> x.com",
        "http none -> 204",
        "http none -> auto",
        "tcp none -> raw",
        "tls sni web -> sec",
    ]);
    let meta = select(vec!["", "", "gateways=some/gateway", "export=.", "ns=prod"]);
    (0..5, hosts, meta, 0..4, vec(rules, 0..4)).prop_map(|(name, hosts, meta, created, rules)| {
        let mut lines = vec![format!("vs v{name} hosts={hosts} {meta} created={created}")];
        lines.extend(rules.into_iter().map(str::to_owned));
        lines
    })
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(Vec<String>),
    /// One of the documents there are.
    Remove(prop::sample::Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => any_document().prop_map(Step::Upsert),
        2 => any::<prop::sample::Index>().prop_map(Step::Remove),
    ]
}

fn apply(world: &mut World, step: &Step) {
    match step {
        Step::Upsert(lines) => {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            add(world, &lines);
        }
        Step::Remove(index) => {
            // Not Services and the Gateway: with them everything is compiled anew, and the test tests
            // nothing.
            let keys: Vec<ObjectKey> = world
                .metas()
                .map(|meta| meta.key.clone())
                .filter(|key| {
                    !matches!(key.kind, Kind::Service | Kind::ServiceEntry | Kind::Gateway)
                })
                .collect();
            if !keys.is_empty() {
                world.remove(index.get(&keys));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_made_from_its_predecessor_is_the_one_compiled_anew(
        first in vec(any_document(), 0..8),
        steps in vec(vec(any_step(), 1..3), 1..14),
        namespace in select(vec!["default", "prod"]),
        gateway in any::<bool>(),
    ) {
        let mut world = fixture();
        for lines in first {
            apply(&mut world, &Step::Upsert(lines));
        }
        let given = Given { namespace: namespace.into(), ..Given::default() };
        let mut context = given.context(&world);
        if gateway {
            add(&mut world, &["gw gateway ns=some", "server 80/HTTP hosts=*"]);
            context = given.gateway(&world);
        }
        let mut table = Table::compile(&world, &context, None).table;
        for step in &steps {
            for one in step {
                apply(&mut world, one);
            }
            let compiled = compile(&world, &context, &table);
            if compiled.changed {
                table = compiled.table;
            }
        }
    }
}
