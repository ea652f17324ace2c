//! The store against the obvious: all versions of all sources, the first source's taken.
use super::store::{Effect, Store};
use pointsman_model::{
    Kind, KubeService, Meta, Object, ObjectKey, Place, ServiceKind, World, object::Labels,
};
use pointsman_sdk::SourceChange;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

fn key(name: u8) -> ObjectKey {
    ObjectKey {
        kind: Kind::Service,
        namespace: "default".into(),
        name: format!("svc{name}").into(),
    }
}

/// A service whose line number tells its version.
fn service(source: u8, name: u8, version: u8) -> Object {
    Object::Service(Arc::new(KubeService {
        meta: Meta {
            key: key(name),
            created: None,
            labels: Labels::new(),
            export_to: Vec::new(),
            place: Place::new(format!("{source}.yaml"), version.into(), 1),
        },
        kind: ServiceKind::Headless,
        ports: Vec::new(),
        selector: Labels::new(),
        internal_traffic_local: false,
        external_addresses: Vec::new(),
    }))
}

fn source(number: u8) -> Arc<str> {
    format!("source{number}").into()
}

fn change(from: u8, upserts: &[(u8, u8)], deletes: &[u8], synced: bool) -> SourceChange {
    SourceChange {
        source: source(from),
        upserts: upserts
            .iter()
            .map(|&(name, version)| service(from, name, version))
            .collect(),
        deletes: deletes.iter().map(|&name| key(name)).collect(),
        findings: None,
        synced,
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Upserts, then deletes.
    Change(u8, Vec<(u8, u8)>, Vec<u8>),
    /// The source restarts and now knows just this.
    Relist(u8, Vec<(u8, u8)>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let versions = || prop::collection::vec((0..6u8, 0..4u8), 0..4);
    let step = prop_oneof![
        (0..3u8, versions(), prop::collection::vec(0..6u8, 0..3))
            .prop_map(|(from, upserts, deletes)| Step::Change(from, upserts, deletes)),
        (0..3u8, versions()).prop_map(|(from, upserts)| Step::Relist(from, upserts)),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// Any sequence of changes leaves the world that a fresh store builds from what the sources
    /// know in the end, and says truthfully whether each change changed it.
    #[test]
    fn any_sequence_equals_a_fresh_build(steps in steps()) {
        let names = [source(0), source(1), source(2)];
        let mut store = Store::knowing(names.clone());
        let mut known: [BTreeMap<u8, u8>; 3] = Default::default();
        for step in steps {
            let before = World::clone(store.world());
            let effect = match step {
                Step::Change(from, upserts, deletes) => {
                    let documents = &mut known[usize::from(from)];
                    documents.extend(upserts.iter().copied());
                    documents.retain(|name, _| !deletes.contains(name));
                    store.apply(change(from, &upserts, &deletes, false))
                }
                Step::Relist(from, upserts) => {
                    known[usize::from(from)] = upserts.iter().copied().collect();
                    store.begin(&source(from));
                    // In two messages, the first of which must take nothing away yet.
                    let (first, second) = upserts.split_at(upserts.len() / 2);
                    let one = store.apply(change(from, first, &[], false));
                    let two = store.apply(change(from, second, &[], true));
                    Effect { world: one.world || two.world, findings: one.findings || two.findings }
                }
            };
            // A relist may come back to where it was by way of another world.
            prop_assert!(effect.world || before == **store.world());
        }
        let mut fresh = Store::knowing(names);
        for (from, documents) in (0..).zip(&known) {
            let upserts: Vec<_> = documents.iter().map(|(&name, &version)| (name, version)).collect();
            fresh.apply(change(from, &upserts, &[], true));
        }
        prop_assert_eq!(store.world(), fresh.world());
        prop_assert_eq!(store.findings(), fresh.findings());
        let mut obvious = World::default();
        for (from, documents) in (0u8..3).zip(&known).rev() {
            for (&name, &version) in documents {
                obvious.upsert(service(from, name, version));
            }
        }
        prop_assert_eq!(&**store.world(), &obvious);
    }
}

#[test]
fn the_same_content_changes_nothing() {
    let mut store = Store::default();
    assert!(store.apply(change(0, &[(1, 1)], &[], false)).world);
    assert_eq!(
        store.apply(change(0, &[(1, 1)], &[2], false)),
        Effect::default()
    );
}

#[test]
fn the_second_source_takes_over_when_the_first_withdraws() {
    let mut store = Store::knowing([source(0), source(1)]);
    store.apply(change(1, &[(1, 7)], &[], false));
    store.apply(change(0, &[(1, 3)], &[], false));
    let findings = store.findings();
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].to_string(),
        "warning[PM0033]: Service default/svc1 comes from source source0 and again from source \
         source1 (1.yaml:7)"
    );
    let related = findings[0].related.as_ref().map(|it| it.place.to_string());
    assert_eq!(related.as_deref(), Some("0.yaml:3"));

    let effect = store.apply(change(0, &[], &[1], false));
    assert!(effect.world && effect.findings);
    assert!(store.findings().is_empty());
    let world: World = [service(1, 1, 7)].into_iter().collect();
    assert_eq!(**store.world(), world);
}

#[test]
fn a_compilation_in_progress_keeps_the_world_it_was_given() {
    let mut store = Store::default();
    store.apply(change(0, &[(1, 1)], &[], false));
    let given = Arc::clone(store.world());
    store.apply(change(0, &[(2, 1)], &[1], false));
    assert_eq!(*given, [service(0, 1, 1)].into_iter().collect());
    assert_eq!(**store.world(), [service(0, 2, 1)].into_iter().collect());
}
