//! The golden tables: every line is an input and what must come of it.
mod common;

use pointsman_route::Table;

#[test]
fn listeners_and_chains() {
    common::case::run(include_str!("golden/listeners.txt"));
}

#[test]
fn hosts_aliases_and_bindings() {
    common::case::run(include_str!("golden/hosts.txt"));
}

#[test]
fn rules() {
    common::case::run(include_str!("golden/rules.txt"));
}

#[test]
fn delegates() {
    common::case::run(include_str!("golden/delegates.txt"));
}

/// T-CH-6, LIS-2: what a world says does not depend on the order in which it was learned.
#[test]
fn the_order_of_documents_does_not_matter() {
    let text = include_str!("golden/listeners.txt").to_owned() + include_str!("golden/hosts.txt");
    for case in common::case::read(&text) {
        let mut objects = common::objects_of(&case.world);
        objects.reverse();
        let other = objects.into_iter().collect();
        let context = case.context();
        let table = |world| Table::compile(world, &context, None).table;
        let (one, other) = (table(&case.world), table(&other));
        for (line, input, _) in &case.lines {
            let (one, other) = (
                common::case::outcome(&one, input),
                common::case::outcome(&other, input),
            );
            assert_eq!(one, other, "line {line}, {}: {input}", case.title);
        }
    }
}

#[test]
fn destinations_and_endpoints() {
    common::case::run(include_str!("golden/backends.txt"));
}

#[test]
fn meshes_and_sidecars() {
    common::case::run(include_str!("golden/sidecars.txt"));
}

#[test]
fn policies_and_visibility() {
    common::case::run(include_str!("golden/policies.txt"));
}

#[test]
fn frontends() {
    common::case::run(include_str!("golden/frontends.txt"));
}

#[test]
fn names() {
    common::case::run(include_str!("golden/names.txt"));
}

#[test]
fn destinations() {
    common::case::run(include_str!("golden/destinations.txt"));
}

#[test]
fn gateways() {
    common::case::run(include_str!("golden/gateway.txt"));
}
