//! Random worlds and requests: the table agrees with a slow and obvious reading of the rules, and
//! a watched decision is the same as an unwatched one.
mod common;

use common::{case, notation};
use pointsman_model::{
    ClientContext, HostPattern, ServiceKind, VirtualService, World,
    matches::{ClientMatch, HttpMatch, StringMatch},
};
use pointsman_route::{
    Class, Connection, ConnectionDecision, NoTrace, RequestDecision, Table, explain::Recorder,
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::sync::Arc;

// ---- the slow reading ---------------------------------------------------------------------------

/// One name of a host table, first come first served.
struct Name<'w> {
    pattern: HostPattern,
    /// Full host of the service, or the host of the VirtualService.
    owner: String,
    /// The VirtualService, where only that one knows the host.
    literal: Option<&'w Arc<VirtualService>>,
}

/// What it says: `pass`, `404`, or the label of the rule.
fn slow_reading(
    world: &World,
    context: &ClientContext,
    port: u16,
    request: &case::Parsed,
) -> String {
    let host = request
        .authority
        .rsplit_once(':')
        .map_or(&*request.authority, |(host, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) {
                host
            } else {
                &request.authority
            }
        });
    let host = host.to_ascii_lowercase();
    let names = names(world, context, port);
    let exact = names
        .iter()
        .find(|name| name.pattern == HostPattern::Exact(host.as_str().into()));
    let longest = names
        .iter()
        .filter(|name| name.pattern.is_wildcard() && name.pattern.matches(&host))
        // `max_by_key` takes the last of equals, and the first must win.
        .rev()
        .max_by_key(|name| name.pattern.specificity());
    let Some(name) = exact.or(longest).filter(|_| !host.is_empty()) else {
        return "pass".to_owned();
    };
    let speaker = name
        .literal
        .or_else(|| speaker(world, &name.owner, port, context));
    let Some(speaker) = speaker else {
        return format!("default route of {}", name.owner);
    };
    for rule in &speaker.http {
        let mut matches = rule.matches.iter();
        let taken = rule.matches.is_empty()
            || matches.any(|one| applies(&one.client, port, context) && holds(one, request));
        if taken {
            let key = &speaker.meta.key;
            return format!("{}/{}#{}", key.namespace, key.name, rule.index);
        }
    }
    "404".to_owned()
}

fn in_order(world: &World) -> Vec<&Arc<VirtualService>> {
    let mut all: Vec<_> = world.virtual_services.values().collect();
    all.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
    all
}

/// The VirtualService of a host: of those that name it, the oldest with something to say on this port;
/// if nobody names it, the oldest of the longest wildcard, if that one has something to say.
fn speaker<'w>(
    world: &'w World,
    owner: &str,
    port: u16,
    context: &ClientContext,
) -> Option<&'w Arc<VirtualService>> {
    let owner = HostPattern::new(owner);
    let says = |service: &&Arc<VirtualService>| has_rules(service, port, context);
    let all = in_order(world);
    let names_it = |it: &&Arc<VirtualService>| !owner.is_wildcard() && it.hosts.contains(&owner);
    let named: Vec<_> = all.iter().copied().filter(names_it).collect();
    if !named.is_empty() {
        return named.into_iter().find(says);
    }
    let mut best: Option<(_, &Arc<VirtualService>)> = None;
    for service in all {
        let wildcards = service.hosts.iter().filter(|host| host.is_wildcard());
        for host in wildcards.filter(|host| host.covers(&owner)) {
            if best.is_none_or(|(own, _)| host.specificity() > own) {
                best = Some((host.specificity(), service));
            }
        }
    }
    best.map(|(_, service)| service).filter(says)
}

fn has_rules(service: &VirtualService, port: u16, context: &ClientContext) -> bool {
    service.http.iter().any(|rule| {
        let mut matches = rule.matches.iter();
        rule.matches.is_empty() || matches.any(|one| applies(&one.client, port, context))
    })
}

fn applies(one: &ClientMatch, port: u16, context: &ClientContext) -> bool {
    one.port.is_none_or(|own| own == port)
        && one
            .source_namespace
            .as_ref()
            .is_none_or(|own| *own == context.namespace)
}

fn names<'w>(world: &'w World, context: &ClientContext, port: u16) -> Vec<Name<'w>> {
    let mut services: Vec<(String, Vec<u16>)> = Vec::new();
    let (mut full, mut short) = (Vec::new(), Vec::new());
    let mut entries: Vec<_> = world.service_entries.values().collect();
    entries.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
    for service in world.services.values() {
        if service.kind != ServiceKind::Headless {
            let host = service.host("cluster.local").to_string();
            services.push((host, service.ports.iter().map(|port| port.number).collect()));
        }
    }
    for entry in entries {
        for host in &entry.hosts {
            let ports = entry.ports.iter().map(|port| port.number).collect();
            services.push((host.to_string(), ports));
        }
    }
    for (host, _) in services.iter().filter(|(_, ports)| ports.contains(&port)) {
        for text in [host.clone(), format!("{host}.")] {
            full.push(Name {
                pattern: HostPattern::new(&text),
                owner: host.clone(),
                literal: None,
            });
        }
        let Some((name, namespace)) = host
            .strip_suffix(".svc.cluster.local")
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let mut forms = vec![
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}"),
        ];
        if *namespace == *context.namespace {
            forms.push(name.to_owned());
        }
        short.extend(forms.into_iter().map(|text| Name {
            pattern: HostPattern::new(&text),
            owner: host.clone(),
            literal: None,
        }));
    }
    let mut all = Vec::new();
    for service in in_order(world) {
        let spoken = |host: &HostPattern| {
            services.iter().any(|(own, ports)| {
                *host == HostPattern::new(own) && !host.is_wildcard() && ports.contains(&port)
            })
        };
        let eligible = port == 80 || service.hosts.iter().any(spoken);
        for host in &service.hosts {
            let known = services
                .iter()
                .any(|(own, _)| *host == HostPattern::new(own));
            let covers = host.is_wildcard()
                && services.iter().any(|(own, ports)| {
                    host.covers(&HostPattern::new(own)) && ports.contains(&port)
                });
            if eligible && !known && !covers && has_rules(service, port, context) {
                all.push(Name {
                    pattern: host.clone(),
                    owner: host.to_string(),
                    literal: Some(service),
                });
            }
        }
    }
    all.extend(full);
    all.extend(short);
    all
}

fn holds(one: &HttpMatch, request: &case::Parsed) -> bool {
    let text = |want: &StringMatch, value: &str| match want {
        StringMatch::Exact(own) => value == &**own,
        StringMatch::Prefix(own) => value.starts_with(&**own),
        // The only pattern used here.
        StringMatch::Regex(_) => value.starts_with("/a") && value.ends_with('b'),
        StringMatch::Present => true,
    };
    let folded = |want: &StringMatch| match want {
        StringMatch::Exact(own) => StringMatch::Exact(own.to_ascii_lowercase().into()),
        StringMatch::Prefix(own) => StringMatch::Prefix(own.to_ascii_lowercase().into()),
        other => other.clone(),
    };
    let uri = one.uri.as_ref().is_none_or(|want| match want {
        StringMatch::Regex(_) => text(want, &request.path),
        _ if one.ignore_uri_case => text(&folded(want), &request.path.to_ascii_lowercase()),
        _ => text(want, &request.path),
    });
    let fields = |name: &str| -> Vec<&str> {
        let fields = request.fields.iter();
        fields
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
            .collect()
    };
    let query = |name: &str| -> Option<String> {
        for pair in request.query.as_deref()?.split('&') {
            let mut halves = pair.splitn(2, '=');
            if halves.next() == Some(name) {
                return Some(halves.next().unwrap_or("").to_owned());
            }
        }
        None
    };
    uri && one
        .method
        .as_ref()
        .is_none_or(|want| text(want, &request.method))
        && one
            .authority
            .as_ref()
            .is_none_or(|want| text(want, &request.authority))
        && one
            .headers
            .iter()
            .all(|(name, want)| fields(name).iter().any(|value| text(want, value)))
        && one
            .without_headers
            .iter()
            .all(|(name, want)| match (want, &*fields(name)) {
                (StringMatch::Present, found) => found.is_empty(),
                (want, []) => !text(want, ""),
                (want, found) => !found.iter().any(|value| text(want, value)),
            })
        && one
            .query
            .iter()
            .all(|(name, want)| query(name).is_some_and(|value| text(want, &value)))
}

// ---- random worlds ---------------------------------------------------------------------------

fn any_service() -> impl Strategy<Value = String> {
    let names = select(vec!["a", "b", "c"]);
    (
        names,
        select(vec!["default", "prod"]),
        select(vec![80, 81]),
        0..9,
    )
        .prop_map(|(name, namespace, port, created)| {
            format!("svc {name} ns={namespace} ports=p:{port}/http created={created}")
        })
}

fn any_entry() -> impl Strategy<Value = String> {
    let hosts = select(vec![
        "x.com",
        "*.x.com",
        "*.y.x.com",
        "b.prod",
        "d",
        "a.y.x.com",
        "q.net",
    ]);
    (hosts, select(vec![80, 81]), 0..9, 0..1000).prop_map(|(host, port, created, number)| {
        format!("se e{number} hosts={host} ports=p:{port}/http ep=10.9.9.9 created={created}")
    })
}

fn any_condition() -> impl Strategy<Value = &'static str> {
    select(vec![
        "prefix /a",
        "prefix /a & icase",
        "exact /ab",
        "exact /AB & icase",
        "regex /a.*b",
        "method exact POST",
        "authority exact a",
        "header k exact v",
        "header k prefix v",
        "header k exact v,v",
        "header k present",
        "without k present",
        "without k exact v",
        "query q exact 1",
        "query q present",
        "port 81",
        "ns prod",
    ])
}

fn any_virtual_service() -> impl Strategy<Value = Vec<String>> {
    let hosts = select(vec![
        "a",
        "b",
        "a.prod.svc.cluster.local",
        "*.prod.svc.cluster.local",
        "*.cluster.local",
        "x.com",
        "*.x.com",
        "*.com",
        "lit.org",
        "*.lit.org",
        "a.prod",
        "lit.org,a",
    ]);
    let alternative = vec(any_condition(), 1..3).prop_map(|parts| {
        // A condition on one thing only once: the notation would overwrite it.
        let mut kept: Vec<&str> = Vec::new();
        for part in parts {
            let path = |text: &str| text.contains('/');
            let same = |own: &&str| {
                own.split_whitespace().next() == part.split_whitespace().next()
                    || (path(own) && path(part))
            };
            if !kept.iter().any(same) {
                kept.push(part);
            }
        }
        kept.join(" & ")
    });
    let matches = prop_oneof![
        1 => Just("none".to_owned()),
        9 => vec(alternative, 1..3).prop_map(|all| all.join(" | ")),
    ];
    // Long lists have an index, short ones are walked.
    let rules = prop_oneof![4 => vec(matches.clone(), 1..5), 1 => vec(matches, 8..20)];
    (hosts, 0..9, 0..1000, rules).prop_map(|(hosts, created, number, rules)| {
        let mut lines = vec![format!("vs v{number} hosts={hosts} created={created}")];
        lines.extend(rules.iter().map(|matches| format!("http {matches} -> 200")));
        lines
    })
}

fn any_request() -> impl Strategy<Value = String> {
    let hosts = vec![
        "a",
        "A",
        "b",
        "a:80",
        "a.default",
        "a.prod",
        "b.prod",
        "a.prod.svc",
        "d",
        "x.com",
        "b.default.svc.cluster.local",
        "a.prod.svc.cluster.local.",
        "a.prod.",
        "q.net.",
        "m.x.com",
        "a.y.x.com",
        "y.x.com",
        "lit.org",
        "m.lit.org",
        "lit.org.",
        "z.cluster.local",
        "m.x.com.",
        "a.prod.svc.cluster",
        "-",
        "a:x",
    ];
    (
        select(vec!["GET", "POST"]),
        select(hosts),
        select(vec!["/", "/a", "/ab", "/AB", "/axb", "/b"]),
        select(vec!["", "?q=1", "?q", "?z&q=2", "?q=2&q=1"]),
        select(vec![
            "",
            " {k: v}",
            " {K: vv}",
            " {k: v}{k: v}",
            " {k: }",
            " {other: v}",
        ]),
    )
        .prop_map(|(method, host, path, query, fields)| {
            format!("{method} {host}{path}{query}{fields}")
        })
}

fn label(decision: &RequestDecision<'_>) -> String {
    match decision {
        RequestDecision::Rule(matched) => matched.rule.origin.label.to_string(),
        RequestDecision::NotFound(_) => "404".to_owned(),
        RequestDecision::Passthrough => "pass".to_owned(),
        RequestDecision::Blackhole => "502".to_owned(),
        RequestDecision::UnknownHost | RequestDecision::ToHttps(_) => "a gateway's".to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_agrees_with_the_slow_reading(
        services in vec(any_service(), 0..5),
        entries in vec(any_entry(), 0..5),
        speakers in vec(any_virtual_service(), 0..5),
        requests in vec(any_request(), 20),
        namespace in select(vec!["default", "prod"]),
    ) {
        let lines: Vec<String> = services
            .into_iter()
            .chain(entries)
            .chain(speakers.into_iter().flatten())
            .collect();
        // Two entries of one host unite; the slow reading leaves that out.
        let mut seen = std::collections::HashSet::new();
        let world: World = notation::objects(lines.iter().map(String::as_str))
            .into_iter()
            .filter(|object| match object {
                pointsman_model::Object::ServiceEntry(entry) => seen.insert(entry.hosts.clone()),
                _ => true,
            })
            .collect();
        let context = ClientContext { namespace: namespace.into(), ..ClientContext::default() };
        let table = Table::compile(&world, &context, None).table;
        for text in &requests {
            let parsed = case::request(text);
            let request = parsed.as_request();
            for port in [80, 81] {
                let original = ([192, 0, 2, 1], port).into();
                let listener = table.listener(original);
                let connection = Connection { original, source: None, class: Class::Http, sni: None, mesh_alpn: false };
                let decision = table.connection(listener, &connection, &mut NoTrace);
                let ConnectionDecision::Http(http) = decision else {
                    prop_assert_eq!(decision, ConnectionDecision::Passthrough);
                    continue;
                };
                let plain = table.request(http, &request, &mut NoTrace);
                let expected = slow_reading(&world, &context, port, &parsed);
                prop_assert_eq!(label(&plain), expected, "{} port {} in {:#?}", text, port, lines);
                // Watching changes nothing.
                let mut recorder = Recorder::default();
                let watched = table.request(http, &request, &mut recorder);
                prop_assert_eq!(label(&watched), label(&plain));
                let explained = pointsman_route::explain::explain_request(&table, original, &request);
                let word = explained.outcome.as_str();
                let agrees = match &plain {
                    RequestDecision::NotFound(_) => word == "host_known_no_rule",
                    RequestDecision::Passthrough => word == "passthrough",
                    RequestDecision::Blackhole => word == "refused",
                    RequestDecision::UnknownHost | RequestDecision::ToHttps(_) => false,
                    RequestDecision::Rule(_) => matches!(word, "answered" | "forwarded" | "no_endpoint"),
                };
                prop_assert!(agrees, "{} {}", word, label(&plain));
            }
        }
    }

    /// Nothing a client sends makes the lookup panic, and the prefix length stays inside the path.
    #[test]
    fn any_request_is_answered(
        authority in ".{0,300}", path in ".{0,40}", query in proptest::option::of(".{0,20}"),
    ) {
        let mut world = common::fixture();
        common::add(&mut world, &[
            "vs v hosts=web",
            "http prefix /a | regex /b.* | exact /c | query k present -> 201",
            "http none -> 202",
        ]);
        let table = Table::compile(&world, &ClientContext::default(), None).table;
        let original = ([192, 0, 2, 1], 80).into();
        let connection = Connection { original, source: None, class: Class::Http, sni: None, mesh_alpn: false };
        let ConnectionDecision::Http(http) =
            table.connection(table.listener(original), &connection, &mut NoTrace) else {
            panic!("port 80 is HTTP");
        };
        for authority in [authority.as_str(), "web"] {
            let fields: Vec<(String, String)> = Vec::new();
            let request = pointsman_route::Request {
                method: "GET", authority, path: &path, query: query.as_deref(), scheme: "http",
                fields: &fields,
            };
            if let RequestDecision::Rule(matched) = table.request(http, &request, &mut NoTrace) {
                prop_assert!(matched.prefix_len <= path.len());
            }
            let _ = table.connection(
                table.listener(original),
                &Connection { sni: Some(authority), class: Class::Tls, ..connection },
                &mut NoTrace,
            );
        }
    }
}
