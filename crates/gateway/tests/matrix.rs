//! The golden cases of `crates/route/tests/golden`, over real sockets: the same documents, the
//! same addresses and the same lines, told to a running gateway. What the pure table answers there
//! in words is here who answered, with what, or that nobody did.
mod common;
#[path = "../../route/tests/common/mod.rs"]
mod golden;

use common::{Everywhere, Fate, Feed, Gateway, Probe, captured, enclosed};
use golden::{
    case::{self, Case, HOME},
    object, objects_of,
};
use pointsman_gateway::Settings;
use std::{collections::BTreeMap, net::SocketAddr};

const FILES: [(&str, &str); 10] = [
    (
        "listeners",
        include_str!("../../route/tests/golden/listeners.txt"),
    ),
    (
        "frontends",
        include_str!("../../route/tests/golden/frontends.txt"),
    ),
    ("hosts", include_str!("../../route/tests/golden/hosts.txt")),
    ("names", include_str!("../../route/tests/golden/names.txt")),
    ("rules", include_str!("../../route/tests/golden/rules.txt")),
    (
        "delegates",
        include_str!("../../route/tests/golden/delegates.txt"),
    ),
    (
        "policies",
        include_str!("../../route/tests/golden/policies.txt"),
    ),
    (
        "destinations",
        include_str!("../../route/tests/golden/destinations.txt"),
    ),
    (
        "backends",
        include_str!("../../route/tests/golden/backends.txt"),
    ),
    (
        "sidecars",
        include_str!("../../route/tests/golden/sidecars.txt"),
    ),
];

/// Ports that somebody answers on: those of endpoints and those that are dialled.
const PORTS: [u16; 1] = [80];

#[test]
fn golden_lines_hold_over_real_sockets() {
    enclosed("golden_lines_hold_over_real_sockets", || async {
        let mut everywhere = Everywhere::default();
        everywhere.listen(PORTS);
        let mut wrong = Vec::new();
        let mut turn = 0_u16;
        let mut tally = BTreeMap::<String, usize>::new();
        for (settings, cases) in by_settings(&mut tally) {
            // One gateway for all clients that are alike: the next one begins where this one ended.
            let (gateway, mut feed) = Feed::serve_with(settings, "").await;
            for (file, case) in &cases {
                everywhere.listen(ports(case));
                let mut documents = objects_of(&case.world);
                // A case may compile to what the one before did, which is no new generation: this
                // differs in every case, and its arrival says that the rest is there.
                turn += 1;
                documents.push(object(&format!(
                    "svc turn ns=turn ip=10.255.{}.{} ports=tcp:9/tcp",
                    turn / 256,
                    turn % 256
                )));
                let before = gateway.progress.borrow().active;
                feed.put(vec![("base", documents)]);
                gateway.past(before).await;
                for (line, input, expected) in &case.lines {
                    let expected = expected.wire.as_ref().unwrap_or(&expected.table);
                    let told = tell(input).await;
                    if let Err(why) = agrees(expected, input, &told) {
                        wrong.push(format!("{file}.txt:{line} {input} => {expected}: {why}"));
                    }
                    for group in groups(&case.title) {
                        *tally.entry(group).or_default() += 1;
                    }
                }
            }
            drop::<Gateway>(gateway);
        }
        eprintln!("lines over real sockets: {tally:?}");
        assert!(wrong.is_empty(), "{}\n{tally:?}", wrong.join("\n"));
        for group in ["PS", "LIS", "HST", "ALS", "VSB", "VSS", "VST", "H", "BE"] {
            let lines = tally.get(group).copied().unwrap_or_default();
            assert!(lines >= 10, "{group}: {lines} lines");
        }
    });
}

/// Cases under the settings that make a gateway see with their client's eyes; those that no
/// settings can express are left out, and counted as `left out`.
fn by_settings(tally: &mut BTreeMap<String, usize>) -> Vec<(Settings, Vec<(&'static str, Case)>)> {
    let mut made: Vec<(Settings, Vec<_>)> = Vec::new();
    for (file, text) in FILES {
        for case in case::read(text) {
            let mut settings = captured();
            let (client, given) = (&mut settings.client, &case.given);
            client.namespace = given.namespace.to_string();
            let label =
                |(key, value): (&_, &_)| (ToString::to_string(key), ToString::to_string(value));
            client.labels = given.labels.iter().map(label).collect();
            client.outbound_policy = given.outbound_policy;
            client.serviceentry_capture = given.entry_capture;
            client.external_frontends = given.outside.external_addresses;
            client.node = given.node.as_deref().map(str::to_owned);
            client.addresses.clone_from(&given.addresses);
            let texts =
                |list: &[std::sync::Arc<str>]| list.iter().map(ToString::to_string).collect();
            let exports = &given.export_defaults;
            client.service_export_to = texts(&exports.services);
            client.virtual_service_export_to = texts(&exports.virtual_services);
            client.destination_rule_export_to = texts(&exports.destination_rules);
            client.node_addresses.clone_from(&given.outside.nodes);
            if settings.given() != *given {
                *tally.entry("left out".to_owned()).or_default() += case.lines.len();
                continue;
            }
            match made.iter_mut().find(|(it, _)| *it == settings) {
                Some((_, cases)) => cases.push((file, case)),
                None => made.push((settings, vec![(file, case)])),
            }
        }
    }
    made
}

/// Ports on which somebody must answer for a case to show what it is about.
fn ports(case: &Case) -> Vec<u16> {
    let mut found = Vec::new();
    for (_, input, expected) in &case.lines {
        found.push(place(input).1.port());
        found.extend(addresses(&expected.table).iter().map(SocketAddr::port));
    }
    found
}

/// `T-LIS-1..3 T-HST-5` is about LIS and HST.
fn groups(title: &str) -> Vec<String> {
    let ids = title
        .split([' ', ','])
        .filter_map(|it| it.strip_prefix("T-"));
    let mut groups: Vec<String> = ids
        .filter_map(|id| Some(id.rsplit_once('-')?.0.to_owned()))
        .collect();
    groups.dedup();
    groups
}

/// An input without its `@`, and where it goes.
fn place(input: &str) -> (&str, SocketAddr) {
    let (input, place) = input.rsplit_once('@').unwrap_or((input, HOME));
    (input.trim(), place.parse().expect("an address"))
}

/// Tells the gateway a line.
async fn tell(input: &str) -> Fate {
    let (input, to) = place(input);
    let (verb, rest) = input.split_once(' ').unwrap_or((input, ""));
    let probe = match verb {
        "conn" => Probe::bytes(),
        "tls" => Probe::hello((!rest.is_empty()).then_some(rest), &[]),
        _ => {
            let parsed = case::request(input);
            let target = match &parsed.query {
                Some(query) => format!("{}?{query}", parsed.path),
                None => parsed.path.clone(),
            };
            let host = [("host", parsed.authority.as_str())];
            let rest = parsed
                .fields
                .iter()
                .map(|(name, value)| (&**name, &**value));
            let fields: Vec<_> = host.into_iter().chain(rest).collect();
            Probe::request(&parsed.method, &target, &fields)
        }
    };
    probe.send(to).await
}

/// Is this what the words of a golden file mean?
fn agrees(expected: &str, input: &str, told: &Fate) -> Result<(), String> {
    let original = place(input).1;
    let original = SocketAddr::new(original.ip().to_canonical(), original.port());
    let (verb, rest) = expected.split_once(' ').unwrap_or((expected, ""));
    let there = addresses(rest);
    let fits = match (verb, rest, told) {
        ("pass", "", Fate::Bytes(at)) => *at == original,
        ("pass", "each", Fate::Backend(at, ..)) => *at == original,
        ("close", _, Fate::Closed) => true,
        ("bytes", _, Fate::Bytes(at)) => there.contains(at),
        ("bytes", _, Fate::Closed) => there.is_empty(),
        ("http", _, Fate::Backend(at, ..)) => there.contains(at),
        ("http", _, Fate::Answer(response)) => there.is_empty() && response.status == 503,
        (status, _, Fate::Answer(response)) => status == response.status.to_string(),
        _ => false,
    };
    let short = |told: &Fate| match told {
        Fate::Answer(response) => format!("{} {}", response.status, response.text()),
        Fate::Backend(at, head, _) => format!("a request at {at}: {head:?}"),
        other => format!("{other:?}"),
    };
    if fits { Ok(()) } else { Err(short(told)) }
}

/// The addresses in the brackets of `http web:80 [10.1.0.1:8080 10.1.0.2:8080]`.
fn addresses(expected: &str) -> Vec<SocketAddr> {
    expected
        .split([' ', '[', ']'])
        .filter_map(|word| word.parse().ok())
        .collect()
}
