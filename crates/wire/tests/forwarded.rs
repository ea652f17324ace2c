//! What a proxy says of a request to the next one, and what it lets nobody else say.
use pointsman_wire::{
    forwarded::{FieldList, Forwarded, Sender, Side, request_id},
    http1::{
        FieldSet, HeadLimits, Reason, RequestRewrite, field_slots, parse_request, write_request,
    },
};
use proptest::prelude::*;
use std::net::IpAddr;

const PEER: &str = "192.0.2.7";
const ID: &str = "00000000-0000-4000-8000-000000000007";

const fn edge(trusted: bool, hops: u32) -> Sender<'static> {
    Sender {
        side: Side::Edge { peer: PEER },
        trusted,
        hops,
        scheme: "http",
    }
}

const MESH: Sender<'static> = Sender {
    side: Side::Mesh,
    trusted: false,
    hops: 0,
    scheme: "http",
};

#[derive(Debug)]
struct Seen {
    /// What is sent on, `name: value` with the name in lower case.
    lines: Vec<String>,
    client: Option<IpAddr>,
    scheme: &'static str,
}

fn see(sender: &Sender<'_>, lines: &[&str]) -> Seen {
    let received = format!("GET / HTTP/1.1\r\nHost: shop\r\n{}\r\n", crlf(lines));
    let mut slots = field_slots();
    let head = parse_request(received.as_bytes(), &mut slots, &HeadLimits::default())
        .expect("accepted")
        .expect("complete");
    let forwarded = Forwarded::new(&head, sender, || Some(request_id(7)));
    let mut list = FieldList::new();
    let head = forwarded.head(&head, sender, &mut list).expect("few");
    let mut out = Vec::new();
    write_request(&mut out, &head, &RequestRewrite::default(), head.body, &[]);
    let text = String::from_utf8(out).expect("text");
    let lines = text.lines().skip(2).take_while(|line| !line.is_empty());
    Seen {
        lines: lines
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a field");
                format!("{}: {value}", name.to_ascii_lowercase())
            })
            .collect(),
        client: forwarded.client(),
        scheme: forwarded.scheme(),
    }
}

fn crlf(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

#[test]
fn a_captured_request_gets_an_id_and_its_scheme_and_nothing_else() {
    let seen = see(&MESH, &["Accept: a"]);
    let id = format!("x-request-id: {ID}");
    assert_eq!(seen.lines, ["accept: a", "x-forwarded-proto: http", &id]);
    assert_eq!((seen.client, seen.scheme), (None, "http"));
}

/// PS-84: the client's own fields are passed on.
#[test]
fn a_captured_client_is_believed() {
    let lines = [
        "x-request-id: mine",
        "x-forwarded-for: 10.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: front",
        "x-envoy-retry-on: 5xx",
        "x-envoy-internal: true",
        "forwarded: for=10.0.0.1",
    ];
    let seen = see(&MESH, &lines);
    assert_eq!(seen.lines, lines);
    assert_eq!(seen.scheme, "https");
    let unclear = ["x-forwarded-proto: https", "x-forwarded-proto: http"];
    assert_eq!(see(&MESH, &unclear).scheme, "http");
}

/// Nobody has shown a certificate, so nobody may say whose it was.
#[test]
fn a_client_certificate_is_never_told_by_the_client() {
    for sender in [MESH, edge(false, 0), edge(true, 1)] {
        let seen = see(&sender, &["X-Forwarded-Client-Cert: By=spiffe://a"]);
        assert!(!seen.lines.iter().any(|line| line.contains("spiffe")));
    }
}

/// Trace contexts (W3C, B3) are the client's own affair, at every door.
#[test]
fn trace_contexts_pass_untouched() {
    let lines = [
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: congo=t61rcWkgMzE",
        "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124",
        "x-b3-spanid: a2fb4a1d1a96d312",
        "x-b3-sampled: 1",
        "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
        "x-ot-span-context: 1",
    ];
    for sender in [MESH, edge(false, 0), edge(true, 1)] {
        let seen = see(&sender, &lines);
        assert_eq!(
            seen.lines.get(..lines.len()),
            Some(&lines.map(str::to_owned)[..])
        );
    }
}

#[test]
fn what_strangers_say_at_the_edge_is_dropped() {
    // GW-80, GW-82, GW-83
    let seen = see(
        &edge(false, 0),
        &[
            "Accept: a",
            "X-Request-Id: forged",
            "X-Forwarded-For: 10.0.0.1",
            "X-Forwarded-For: 10.0.0.2, 10.0.0.3",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: forged",
            "X-Forwarded-Port: 1",
            "Forwarded: for=10.0.0.1",
            "X-Envoy-External-Address: 10.0.0.1",
            "X-Envoy-Internal: true",
            "X-Envoy-Retry-On: 5xx",
            "X-Envoy-Upstream-Rq-Timeout-Ms: 1",
            "X-Envoy-Original-Path: /admin",
            "X-Envoy-Decorator-Operation: forged",
            "X-Envoy-Peer-Metadata: forged",
            "X-Envoy-Peer-Metadata-Id: forged",
            "X-Envoyage: kept",
            "X-Forwarded: kept",
        ],
    );
    assert_eq!(
        seen.lines,
        [
            "accept: a".to_owned(),
            "x-envoyage: kept".to_owned(),
            "x-forwarded: kept".to_owned(),
            format!("x-forwarded-for: {PEER}"),
            format!("x-envoy-external-address: {PEER}"),
            "x-forwarded-proto: http".to_owned(),
            format!("x-request-id: {ID}"),
        ]
    );
    assert_eq!((seen.client, seen.scheme), (None, "http"));
}

#[test]
fn a_trusted_proxy_is_believed() {
    // GW-80
    let seen = see(
        &edge(true, 1),
        &[
            "X-Request-Id: theirs",
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-Proto: HTTPS",
            "X-Forwarded-Host: front",
            "X-Envoy-Retry-On: 5xx",
            "X-Envoy-External-Address: 10.0.0.1",
        ],
    );
    assert_eq!(
        seen.lines,
        [
            "x-request-id: theirs".to_owned(),
            "x-forwarded-proto: HTTPS".to_owned(),
            "x-forwarded-host: front".to_owned(),
            "x-envoy-retry-on: 5xx".to_owned(),
            format!("x-forwarded-for: 203.0.113.9, {PEER}"),
            "x-envoy-external-address: 203.0.113.9".to_owned(),
        ]
    );
    assert_eq!(seen.client, "203.0.113.9".parse().ok());
    assert_eq!(seen.scheme, "https");
}

/// A number of hops says where the client's address is, not that the client may command: what it
/// sends passes through the proxies unread.
#[test]
fn hops_alone_do_not_open_the_door_to_x_envoy() {
    let seen = see(
        &edge(false, 1),
        &[
            "X-Envoy-Retry-On: 5xx",
            "X-Request-Id: a",
            "X-Forwarded-For: 203.0.113.9",
        ],
    );
    assert_eq!(seen.client, "203.0.113.9".parse().ok());
    assert!(!seen.lines.iter().any(|line| line.contains("5xx")));
    assert!(seen.lines.contains(&format!("x-request-id: {ID}")));
}

#[test]
fn the_client_is_as_many_entries_from_the_last_as_there_are_hops() {
    // GW-80
    let list = [
        "X-Forwarded-For: 198.51.100.1, 198.51.100.2",
        "X-Forwarded-For: 198.51.100.3",
    ];
    for (hops, client) in [
        (1, Some("198.51.100.3")),
        (2, Some("198.51.100.2")),
        (3, Some("198.51.100.1")),
        (4, None),
        (u32::MAX, None),
    ] {
        let seen = see(&edge(false, hops), &list);
        assert_eq!(
            seen.client,
            client.map(|text| text.parse().expect("an address")),
            "{hops}"
        );
        let all = format!("x-forwarded-for: 198.51.100.1, 198.51.100.2, 198.51.100.3, {PEER}");
        assert!(seen.lines.contains(&all), "{seen:?}");
        let outside = format!("x-envoy-external-address: {}", client.unwrap_or(PEER));
        assert!(seen.lines.contains(&outside), "{seen:?}");
    }
    for (entry, client) in [
        ("203.0.113.9:4711", Some("203.0.113.9")),
        ("[2001:db8::1]:80", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("::ffff:203.0.113.9", Some("203.0.113.9")),
        ("unknown", None),
        ("", None),
        ("203.0.113.9 x", None),
    ] {
        let seen = see(&edge(false, 1), &[&format!("X-Forwarded-For: {entry}")]);
        assert_eq!(
            seen.client,
            client.map(|text| text.parse().expect("an address")),
            "{entry}"
        );
    }
}

/// GW-52: a scheme that is said twice, or is none, is not said.
#[test]
fn an_unclear_scheme_is_not_believed() {
    for lines in [
        &["X-Forwarded-Proto: https", "X-Forwarded-Proto: https"][..],
        &["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"],
        &["X-Forwarded-Proto: https, http"],
        &["X-Forwarded-Proto: javascript"],
        &["X-Forwarded-Proto:"],
    ] {
        let seen = see(&edge(true, 1), lines);
        assert_eq!(seen.scheme, "http", "{lines:?}");
        let protos = seen.lines.iter().filter(|line| line.contains("proto"));
        assert_eq!(protos.collect::<Vec<_>>(), ["x-forwarded-proto: http"]);
    }
}

#[test]
fn no_id_is_made_where_none_is_wanted() {
    let received = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
    let mut slots = field_slots();
    let head = parse_request(received, &mut slots, &HeadLimits::default());
    let head = head.expect("accepted").expect("complete");
    let forwarded = Forwarded::new(&head, &MESH, || None);
    let mut list = FieldList::new();
    let head = forwarded.head(&head, &MESH, &mut list).expect("few");
    assert_eq!(head.values("x-request-id").count(), 0);
}

#[test]
fn a_head_that_has_no_room_is_refused() {
    let received = format!(
        "GET / HTTP/1.1\r\nHost: shop\r\n{}\r\n",
        "a: b\r\n".repeat(127)
    );
    let mut slots = field_slots();
    let limits = HeadLimits {
        max_fields: 128,
        ..HeadLimits::default()
    };
    let head = parse_request(received.as_bytes(), &mut slots, &limits);
    let head = head.expect("accepted").expect("complete");
    let forwarded = Forwarded::new(&head, &MESH, || Some(request_id(1)));
    let mut list = FieldList::new();
    let refusal = forwarded
        .head(&head, &MESH, &mut list)
        .expect_err("no room");
    assert_eq!(
        (refusal.status, refusal.reason),
        (431, Reason::TooManyFields)
    );
}

#[test]
fn ids_are_uuids_of_version_4() {
    for random in [0, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
        let id = String::from_utf8(request_id(random).to_vec()).expect("text");
        let bytes = id.as_bytes();
        assert_eq!(
            id.split('-').map(str::len).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12],
            "{id}"
        );
        assert_eq!(bytes.get(14), Some(&b'4'), "{id}");
        assert!(
            matches!(bytes.get(19), Some(b'8' | b'9' | b'a' | b'b')),
            "{id}"
        );
        let plain = id
            .bytes()
            .all(|it| matches!(it, b'-' | b'0'..=b'9' | b'a'..=b'f'));
        assert!(plain, "{id}");
    }
    let id = request_id(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(&id, b"01234567-89ab-4def-8123-456789abcdef");
}

proptest! {
    /// Whatever strangers send, each of the fields that are ours comes out once, with our value;
    /// what is nobody's business keeps its order, and what was dropped for this hop stays dropped.
    #[test]
    fn strangers_forge_nothing(names in proptest::collection::vec(
        prop_oneof![
            "[xX]-([rR]equest-[iI]d|forwarded-(for|proto|host|x)|envoy-[a-z]{1,9}|b)",
            "[a-z]{1,12}",
            Just("connection".to_owned()),
            Just("te".to_owned()),
        ], 0..20))
    {
        let names: Vec<_> = names.into_iter()
            .filter(|it| !["host", "expect", "upgrade"].contains(&it.as_str()))
            .collect();
        let lines: Vec<String> = names.iter().enumerate()
            .map(|(at, name)| format!("{name}: v{at}\r\n")).collect();
        let received = format!("GET / HTTP/1.1\r\nHost: shop\r\n{}\r\n", lines.concat());
        let mut slots = field_slots();
        let head = parse_request(received.as_bytes(), &mut slots, &HeadLimits::default());
        let head = head.expect("accepted").expect("complete");
        let sender = edge(false, 0);
        let forwarded = Forwarded::new(&head, &sender, || Some(request_id(7)));
        let mut list = FieldList::new();
        let made = forwarded.head(&head, &sender, &mut list).expect("few");
        for (name, value) in [
            ("x-request-id", ID),
            ("x-forwarded-for", PEER),
            ("x-envoy-external-address", PEER),
            ("x-forwarded-proto", "http"),
        ] {
            prop_assert_eq!(made.values(name).collect::<Vec<_>>(), [value.as_bytes()]);
        }
        let ours = |name: &str| {
            let name = name.to_ascii_lowercase();
            name == "x-request-id" || name == "forwarded"
                || name.starts_with("x-envoy-") || name.starts_with("x-forwarded-")
        };
        let kept = |fields: &[pointsman_wire::http1::Field<'_>], drop: FieldSet| {
            fields.iter().enumerate()
                .filter(|(_, field)| !ours(field.name))
                .map(|(at, field)| (field.name.to_owned(), field.value.to_vec(), drop.contains(at)))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(kept(made.fields, made.drop), kept(head.fields, head.drop));
    }
}
