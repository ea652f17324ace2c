//! Names in documents: which are looked up, and what their answers change.
mod common;

use common::{case::outcome, fixture_and};
use pointsman_model::{ClientContext, KnownNames, World, context::EntryCapture};
use pointsman_route::{Table, names_wanted};
use std::sync::Arc;

fn wanted(entry: &str, capture: EntryCapture) -> Vec<String> {
    let mut world = fixture_and(&[entry]);
    world.service_entries.retain(|key, _| &*key.name == "e");
    let names = names_wanted(&world, capture);
    names.iter().map(|name| name.to_string()).collect()
}

/// BE-94, BE-95: the endpoints, or the host where there are none.
#[test]
fn names_of_the_dns_resolutions_are_wanted() {
    let of = |rest: &str| {
        let entry = format!("se e hosts=a.example.com ports=http:80/http {rest}");
        wanted(&entry, EntryCapture::Resolved)
    };
    assert_eq!(of("res=dns"), ["a.example.com"]);
    assert_eq!(of("res=dns-rr"), ["a.example.com"]);
    assert_eq!(of("res=dns ep=b.example.com,10.0.0.1"), ["b.example.com"]);
    assert!(of("res=none").is_empty());
    assert!(of("res=static ep=10.0.0.1").is_empty());
}

/// BE-94, BE-112: what a selector picks are endpoints, and the host is none.
#[test]
fn names_of_selected_workloads_are_wanted() {
    let of = |res: &str| {
        let entry =
            format!("se e hosts=a.example.com ports=http:80/http selector=app=vm res={res}");
        let mut world = fixture_and(&[
            &entry,
            "wle one addr=one.example.com labels=app=vm",
            "wle two addr=two.example.com labels=app=other",
            "wle three ns=prod addr=three.example.com labels=app=vm",
            "wle four addr=10.0.0.1 labels=app=vm",
        ]);
        world.service_entries.retain(|key, _| &*key.name == "e");
        let names = names_wanted(&world, EntryCapture::Resolved);
        names
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("dns"), ["one.example.com"]);
    assert!(of("static").is_empty());
}

/// LIS-27: what the swallow guard admits must be known by an address.
#[test]
fn hosts_that_the_guard_must_know_are_wanted() {
    let entry = "se e hosts=db.example.com,*.wild.example.com ports=tcp:5432/tcp ep=10.0.0.1";
    assert_eq!(wanted(entry, EntryCapture::Resolved), ["db.example.com"]);
    assert!(wanted(entry, EntryCapture::Port).is_empty());
    let addressed = format!("{entry} addr=203.0.113.1");
    assert!(wanted(&addressed, EntryCapture::Resolved).is_empty());
}

fn answered(entry: &str, name: &str, addresses: &[&str]) -> World {
    let mut world = fixture_and(&[entry]);
    let mut names = KnownNames::default();
    let addresses: Vec<_> = addresses.iter().map(|it| it.parse().expect("ip")).collect();
    names.insert(name, addresses);
    world.names = Arc::new(names);
    world
}

fn goes(world: &World, input: &str) -> String {
    let table = Table::compile(world, &ClientContext::default(), None).table;
    outcome(&table, input)
}

/// BE-94, T-BE-84: every address of the answer is an endpoint.
#[test]
fn all_addresses_of_an_answer_are_endpoints() {
    let entry = "se e hosts=a.example.com ports=http:80/http res=dns";
    let ask = "GET a.example.com/ @1.2.3.4:80";
    assert_eq!(
        goes(&fixture_and(&[entry]), ask),
        "http a.example.com:80 [a.example.com:80]",
        "not known yet"
    );
    let world = answered(entry, "a.example.com", &["198.51.100.7", "198.51.100.8"]);
    assert_eq!(
        goes(&world, ask),
        "http a.example.com:80 [198.51.100.7:80 198.51.100.8:80]"
    );
    let world = answered(entry, "a.example.com", &[]);
    assert_eq!(
        goes(&world, ask),
        "http a.example.com:80 []",
        "it has no address"
    );
}

/// BE-95, T-BE-85: one logical host, at the first address of the latest answer.
#[test]
fn only_the_first_address_of_an_answer_counts_in_round_robin() {
    let entry = "se e hosts=a.example.com ports=http:80/http res=dns-rr";
    let world = answered(entry, "a.example.com", &["198.51.100.8", "198.51.100.7"]);
    assert_eq!(
        goes(&world, "GET a.example.com/ @1.2.3.4:80"),
        "http a.example.com:80 [198.51.100.8:80]"
    );
}

/// The swallow guard opens for what DNS said, and for nothing else.
#[test]
fn the_guard_admits_what_the_host_resolved_to() {
    let entry = "se e hosts=db.example.com ports=tcp:5432/tcp ep=10.9.0.9";
    let world = answered(entry, "db.example.com", &["198.51.100.7"]);
    let there = "bytes db.example.com:5432 [10.9.0.9:5432]";
    assert_eq!(goes(&world, "conn @198.51.100.7:5432"), there);
    assert_eq!(goes(&world, "conn @198.51.100.8:5432"), "pass");
}
