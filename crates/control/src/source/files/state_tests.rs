//! The state against the obvious, on looks made by hand.
use super::{look::Look, read::Content, state::State};
use pointsman_model::{
    Code, Finding, Kind, KubeService, Level, Meta, Object, ObjectKey, Place, ServiceKind,
    object::Labels,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

fn key(name: u8) -> ObjectKey {
    ObjectKey {
        kind: Kind::Service,
        namespace: "default".into(),
        name: format!("svc{name}").into(),
    }
}

fn file(number: u8) -> Arc<str> {
    format!("{number}.yaml").into()
}

fn service(from: u8, name: u8, version: u8) -> Object {
    Object::Service(Arc::new(KubeService {
        meta: Meta {
            key: key(name),
            created: None,
            labels: Labels::new(),
            export_to: Vec::new(),
            place: Place::new(file(from), version.into(), 1),
        },
        kind: ServiceKind::Headless,
        ports: Vec::new(),
        selector: Labels::new(),
        internal_traffic_local: false,
        external_addresses: Vec::new(),
    }))
}

/// Documents of one file: name and version, `None` for an invalid one.
type Documents = BTreeMap<u8, Option<u8>>;

fn content(from: u8, documents: &Documents, complete: bool) -> Content {
    Content {
        documents: documents
            .iter()
            .map(|(&name, version)| {
                let place = Place::new(file(from), version.unwrap_or(0).into(), 1);
                let object = version.map(|version| service(from, name, version));
                (key(name), place, object)
            })
            .collect(),
        findings: documents
            .iter()
            .filter(|(_, version)| version.is_none())
            .map(|(&name, _)| Finding::new(Code(11), Level::Error, "invalid").of(&key(name)))
            .collect(),
        complete,
        blank: false,
    }
}

/// A look at all `files`, of which one is empty.
fn blank(files: &BTreeMap<u8, Documents>, number: u8) -> Look {
    let content = Content {
        complete: true,
        blank: true,
        ..Content::default()
    };
    Look {
        read: vec![(file(number), Ok(content))],
        ..look(files, &[])
    }
}

/// A look at all `files`, of which `read` were read.
fn look(files: &BTreeMap<u8, Documents>, read: &[u8]) -> Look {
    Look {
        at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400)),
        order: files.keys().map(|&number| file(number)).collect(),
        read: read
            .iter()
            .filter_map(|&number| {
                Some((file(number), Ok(content(number, files.get(&number)?, true))))
            })
            .collect(),
        ..Look::default()
    }
}

fn documents() -> impl Strategy<Value = Documents> {
    let version = prop_oneof![4 => (1..5u8).prop_map(Some), 1 => Just(None)];
    prop::collection::btree_map(0..5u8, version, 0..4)
}

proptest! {
    /// Whatever was written, removed and broken on the way: when every document is valid and two
    /// looks saw the same, the catalogue knows what a fresh start would tell it.
    #[test]
    fn any_history_equals_a_fresh_start(
        steps in prop::collection::vec((0..4u8, prop::option::of(documents())), 0..30),
        last in prop::collection::btree_map(
            0..4u8,
            prop::collection::btree_map(0..5u8, (1..5u8).prop_map(Some), 0..4),
            0..4,
        ),
    ) {
        let mut state = State::new("files".into());
        let mut told: BTreeMap<ObjectKey, Object> = BTreeMap::new();
        let mut files: BTreeMap<u8, Documents> = BTreeMap::new();
        let mut take = |state: &mut State, look: Look| {
            let outcome = state.apply(look);
            for key in &outcome.change.deletes {
                // Only what was told can be taken back.
                assert!(told.remove(key).is_some());
            }
            for object in outcome.change.upserts {
                // Only what is different is told.
                assert_ne!(told.get(object.key()), Some(&object));
                told.insert(object.key().clone(), object);
            }
            let all = state.everything().upserts;
            assert!(all.iter().eq(told.values()));
            outcome.again
        };
        for (number, documents) in steps {
            match documents {
                Some(documents) => drop(files.insert(number, documents)),
                None => drop(files.remove(&number)),
            }
            take(&mut state, look(&files, &[number]));
        }
        files = last;
        let again = take(&mut state, look(&files, &[0, 1, 2, 3]));
        let more = take(&mut state, look(&files, &[]));
        prop_assert!(!more, "a second look leaves nothing open ({again})");

        let mut fresh = State::new("files".into());
        fresh.apply(look(&files, &[0, 1, 2, 3]));
        prop_assert_eq!(state.everything().upserts, fresh.everything().upserts);
        prop_assert_eq!(state.everything().findings, fresh.everything().findings);
    }
}

#[test]
fn a_deletion_needs_two_looks_and_a_broken_document_none() {
    let one = |version| BTreeMap::from([(0, BTreeMap::from([(1, version)]))]);
    let mut state = State::new("files".into());
    state.apply(look(&one(Some(1)), &[0]));

    // Written without it for one look, then there but invalid: the good version was never taken back.
    let emptied = state.apply(look(&BTreeMap::from([(0, Documents::new())]), &[0]));
    assert!(emptied.again && emptied.change.is_empty());
    let broken = state.apply(look(&one(None), &[0]));
    assert!(!broken.again);
    assert!(broken.change.upserts.is_empty() && broken.change.deletes.is_empty());
    let findings = broken.change.findings.expect("a finding");
    assert_eq!(
        findings[0].effect,
        "the document is set aside; the version of 1970-01-02T00:00:00Z keeps serving"
    );
    assert_eq!(state.everything().upserts, [service(0, 1, 1)]);

    // Gone for two looks.
    assert!(
        state
            .apply(look(&BTreeMap::new(), &[]))
            .change
            .deletes
            .is_empty()
    );
    let gone = state.apply(look(&BTreeMap::new(), &[])).change;
    assert_eq!(gone.deletes, [key(1)]);
    assert!(state.everything().upserts.is_empty());
}

#[test]
fn what_is_out_of_sight_is_not_gone() {
    let mut state = State::new("files".into());
    let files = BTreeMap::from([(0, BTreeMap::from([(1, Some(1))]))]);
    state.apply(look(&files, &[0]));
    for _ in 0..3 {
        let outcome = state.apply(Look {
            blind: vec![PathBuf::from("0.yaml")],
            ..look(&BTreeMap::new(), &[])
        });
        assert!(outcome.change.is_empty() && !outcome.again);
    }
}

/// A shell empties a file, and the command that fills it takes its time, or fails.
#[test]
fn an_emptied_file_keeps_what_it_held_and_says_so() {
    let files = BTreeMap::from([(0, BTreeMap::from([(1, Some(1))]))]);
    let mut state = State::new("files".into());
    let never = state.apply(blank(&files, 0)).change;
    assert_eq!(never.findings, Some(Vec::new()), "it held nothing");
    state.apply(look(&files, &[0]));
    let emptied = state.apply(blank(&files, 0));
    let findings = emptied.change.findings.expect("a finding");
    assert_eq!(findings[0].code, crate::codes::EMPTIED);
    for _ in 0..3 {
        let outcome = state.apply(look(&files, &[]));
        assert!(outcome.change.is_empty() && !outcome.again);
    }
    let healed = state.apply(look(&files, &[0])).change;
    assert_eq!(healed.findings, Some(Vec::new()));
    assert!(healed.upserts.is_empty() && healed.deletes.is_empty());

    // Removed, it takes its documents along, empty or not.
    state.apply(blank(&files, 0));
    state.apply(look(&BTreeMap::new(), &[]));
    let gone = state.apply(look(&BTreeMap::new(), &[])).change;
    assert_eq!(gone.deletes, [key(1)]);
}

#[test]
fn an_emptied_file_yields_to_one_that_begins_to_bring_the_same() {
    let of = |version| BTreeMap::from([(1, Some(version))]);
    // In one look, then in two, then with another that brought it all along.
    let mut state = State::new("files".into());
    state.apply(look(&BTreeMap::from([(0, of(1))]), &[0]));
    let both = BTreeMap::from([(0, of(1)), (1, of(2))]);
    let mut moved = blank(&both, 0);
    moved.read.extend(look(&both, &[1]).read);
    let moved = state.apply(moved).change;
    assert_eq!(moved.upserts, [service(1, 1, 2)]);
    assert!(moved.deletes.is_empty());

    let mut state = State::new("files".into());
    state.apply(look(&BTreeMap::from([(0, of(1))]), &[0]));
    state.apply(blank(&both, 0));
    let moved = state.apply(look(&both, &[1])).change;
    assert_eq!(moved.upserts, [service(1, 1, 2)]);
    assert_eq!(moved.findings, None, "not brought twice");

    let mut state = State::new("files".into());
    state.apply(look(&both, &[0, 1]));
    let emptied = state.apply(blank(&both, 0)).change;
    assert!(
        emptied.upserts.is_empty(),
        "what is of a lower rank does not take over"
    );
}

#[test]
fn a_text_cut_short_takes_nothing_away() {
    let mut state = State::new("files".into());
    let both = BTreeMap::from([(1, Some(1)), (2, Some(1))]);
    let files = BTreeMap::from([(0, both)]);
    state.apply(look(&files, &[0]));
    for _ in 0..2 {
        let first_only = BTreeMap::from([(1, Some(2))]);
        let mut cut = look(&files, &[]);
        cut.read = vec![(file(0), Ok(content(0, &first_only, false)))];
        let outcome = state.apply(cut);
        assert!(outcome.change.deletes.is_empty() && !outcome.again);
    }
    let all = state.everything().upserts;
    assert_eq!(all, [service(0, 1, 2), service(0, 2, 1)]);
}
