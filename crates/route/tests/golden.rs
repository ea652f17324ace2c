//! The golden tables: every line is an input and what must come of it.
mod common;

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
