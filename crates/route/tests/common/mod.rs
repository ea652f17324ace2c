//! A small notation for documents and cases, so that the tables in `golden` read as tables.
#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(
    unreachable_pub,
    reason = "a shared module of test binaries has no outside"
)]

pub mod case;
pub mod differences;
pub mod notation;

use pointsman_model::{Object, World};

/// The documents of `golden/fixture.txt`.
pub fn fixture() -> World {
    let mut world = World::default();
    let text = include_str!("../golden/fixture.txt");
    for object in notation::objects(text.lines().filter_map(|line| line.strip_prefix("+ "))) {
        world.upsert(object);
    }
    world
}

/// The fixture and further documents.
pub fn fixture_and(lines: &[&str]) -> World {
    let mut world = fixture();
    add(&mut world, lines);
    world
}

/// Adds documents in notation.
pub fn add(world: &mut World, lines: &[&str]) {
    for object in notation::objects(lines.iter().copied()) {
        world.upsert(object);
    }
}

/// One document in notation.
pub fn object(line: &str) -> Object {
    notation::objects(std::iter::once(line)).remove(0)
}

/// All documents of a world.
pub fn objects_of(world: &World) -> Vec<Object> {
    let World {
        services,
        endpoints,
        pods,
        service_entries,
        workload_entries,
        virtual_services,
        destination_rules,
        gateways,
        sidecars,
        mesh_settings,
        names: _,
    } = world.clone();
    let mut all: Vec<Object> = services.into_values().map(Object::Service).collect();
    all.extend(endpoints.into_values().map(Object::Endpoints));
    all.extend(pods.into_values().map(Object::Pod));
    all.extend(service_entries.into_values().map(Object::ServiceEntry));
    all.extend(workload_entries.into_values().map(Object::WorkloadEntry));
    all.extend(virtual_services.into_values().map(Object::VirtualService));
    all.extend(destination_rules.into_values().map(Object::DestinationRule));
    all.extend(gateways.into_values().map(Object::Gateway));
    all.extend(sidecars.into_values().map(Object::Sidecar));
    all.extend(mesh_settings.into_values().map(Object::MeshSettings));
    all
}
