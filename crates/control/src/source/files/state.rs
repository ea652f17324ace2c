//! What the files say together, and how it changes from look to look. Pure.
use super::{look::Look, read::Content};
use crate::{clock::rfc3339, codes};
use pointsman_model::{Finding, Level, Object, ObjectKey, Place};
use pointsman_sdk::SourceChange;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    sync::Arc,
    time::SystemTime,
};

/// Last good documents by file, and what of it the catalogue was told.
///
/// Two rules keep a half-written file from taking routes down. A document that is there but
/// invalid keeps its last good version. A document that is gone (its file removed, or written without
/// it) is deleted only when a second look, one quiet period later, does not see it either: removing a
/// file and making it anew are two steps.
///
/// A file that is empty, and a root that is gone, say nothing at all: what they said last serves on
/// until another file brings it. A shell empties a file long before the command that fills it is done,
/// and that may fail.
pub(super) struct State {
    source: Arc<str>,
    files: HashMap<Arc<str>, FileState>,
    /// Which files have a slot for a document.
    holders: HashMap<ObjectKey, Vec<Arc<str>>>,
    /// Documents that are in several files.
    contested: BTreeSet<ObjectKey>,
    /// Gone for one look.
    held: BTreeSet<ObjectKey>,
    /// What the catalogue was told.
    published: BTreeMap<ObjectKey, Object>,
    findings: Vec<Finding>,
    synced: bool,
}

#[derive(Default)]
struct FileState {
    /// In file order.
    position: usize,
    slots: HashMap<ObjectKey, Slot>,
    findings: Vec<Finding>,
    /// Is it empty, unreadable or out of sight, so that what it said last serves on?
    silent: bool,
}

/// One document of one file.
struct Slot {
    place: Place,
    /// Is it in the file now? If not, it stays until its deletion is certain.
    present: bool,
    good: Option<Good>,
}

struct Good {
    object: Object,
    since: SystemTime,
}

/// What follows from a look.
#[derive(Debug)]
pub(super) struct Outcome {
    /// For the catalogue; may be empty.
    pub(super) change: SourceChange,
    /// Something is gone that was there: look again after a quiet period.
    pub(super) again: bool,
}

impl State {
    pub(super) fn new(source: Arc<str>) -> Self {
        Self {
            source,
            files: HashMap::new(),
            holders: HashMap::new(),
            contested: BTreeSet::new(),
            held: BTreeSet::new(),
            published: BTreeMap::new(),
            findings: Vec::new(),
            synced: false,
        }
    }

    /// Takes in what a look saw.
    pub(super) fn apply(&mut self, look: Look) -> Outcome {
        let at = look.at.unwrap_or(SystemTime::UNIX_EPOCH);
        let mut touched = self.held.clone();
        self.notice_order(&look, &mut touched);
        let mut fresh = Vec::new();
        for (name, read) in look.read {
            let file = self.files.entry(Arc::clone(&name)).or_default();
            match read {
                Ok(content) if content.blank => file.empty(&name, &mut touched),
                Ok(content) => {
                    for key in file.take(content, at, &mut touched) {
                        let holders = self.holders.entry(key.clone()).or_default();
                        holders.push(Arc::clone(&name));
                        fresh.push(key);
                    }
                }
                Err(finding) => file.fail(*finding, &mut touched),
            }
        }
        for key in fresh {
            self.yield_to_fresh(&key);
        }
        let mut change = SourceChange {
            source: Arc::clone(&self.source),
            synced: !look.waiting && !mem::replace(&mut self.synced, !look.waiting),
            ..SourceChange::default()
        };
        let held = mem::take(&mut self.held);
        for key in touched {
            self.settle(&key, &held, &mut change);
        }
        self.files
            .retain(|_, file| !(file.slots.is_empty() && file.findings.is_empty()));
        let findings = self.all_findings(look.findings);
        if change.synced || findings != self.findings {
            self.findings.clone_from(&findings);
            change.findings = Some(findings);
        }
        Outcome {
            change,
            again: !self.held.is_empty(),
        }
    }

    /// Everything the catalogue was told so far.
    pub(super) fn everything(&self) -> SourceChange {
        SourceChange {
            source: Arc::clone(&self.source),
            upserts: self.published.values().cloned().collect(),
            deletes: Vec::new(),
            findings: Some(self.findings.clone()),
            synced: self.synced,
        }
    }

    /// Which files are there, and which went away.
    fn notice_order(&mut self, look: &Look, touched: &mut BTreeSet<ObjectKey>) {
        for (position, name) in look.order.iter().enumerate() {
            // Files that say nothing are made here too, and dropped at the end of the look.
            self.files.entry(Arc::clone(name)).or_default().position = position;
        }
        let there: HashSet<&Arc<str>> = look.order.iter().collect();
        for (name, file) in &mut self.files {
            if there.contains(name) {
                continue;
            }
            if look.may_hide(name) {
                file.silent = true;
            } else {
                file.findings.clear();
                for (key, slot) in &mut file.slots {
                    slot.present = false;
                    touched.insert(key.clone());
                }
            }
        }
    }

    /// What a file that says nothing now said of a document is over once another begins to bring it: it
    /// was moved. Who brought it already does not end it, so that no version of a lower rank takes over.
    fn yield_to_fresh(&mut self, key: &ObjectKey) {
        for name in self.holders.get(key).into_iter().flatten() {
            if let Some(file) = self.files.get_mut(name)
                && file.silent
                && let Some(slot) = file.slots.get_mut(key)
            {
                slot.present = false;
            }
        }
    }

    /// Decides which version of one document serves, and says so where that changed.
    fn settle(&mut self, key: &ObjectKey, held: &BTreeSet<ObjectKey>, change: &mut SourceChange) {
        let mut holders = self.holders.remove(key).unwrap_or_default();
        holders.sort_by_key(|name| (self.position(name), Arc::clone(name)));
        let present: Vec<&Arc<str>> = holders
            .iter()
            .filter(|name| self.slot(name, key).is_some_and(|slot| slot.present))
            .collect();
        if present.len() > 1 {
            self.contested.insert(key.clone());
        } else {
            self.contested.remove(key);
        }
        let serving = present.iter().find_map(|name| {
            let good = self.slot(name, key)?.good.as_ref()?;
            Some(good.object.clone())
        });
        match serving {
            Some(object) => {
                if self.published.get(key) != Some(&object) {
                    change.upserts.push(object.clone());
                    self.published.insert(key.clone(), object);
                }
            }
            // It is there, though invalid wherever it is: what served before goes on.
            None if !present.is_empty() || !self.published.contains_key(key) => {}
            None if held.contains(key) => {
                change.deletes.push(key.clone());
                self.published.remove(key);
            }
            None => {
                self.held.insert(key.clone());
                // The slots stay: the document may come back invalid.
                self.holders.insert(key.clone(), holders);
                return;
            }
        }
        holders.retain(|name| self.purge(name, key));
        if !holders.is_empty() {
            self.holders.insert(key.clone(), holders);
        }
    }

    fn position(&self, name: &Arc<str>) -> usize {
        self.files
            .get(name)
            .map_or(usize::MAX, |file| file.position)
    }

    fn slot(&self, name: &Arc<str>, key: &ObjectKey) -> Option<&Slot> {
        self.files.get(name)?.slots.get(key)
    }

    /// Drops a slot that is not present; true when it stays.
    fn purge(&mut self, name: &Arc<str>, key: &ObjectKey) -> bool {
        let Some(file) = self.files.get_mut(name) else {
            return false;
        };
        if file.slots.get(key).is_some_and(|slot| slot.present) {
            return true;
        }
        file.slots.remove(key);
        false
    }

    /// About the roots, then file by file, then about documents that are in several files.
    fn all_findings(&self, about_roots: Vec<Finding>) -> Vec<Finding> {
        let mut findings = about_roots;
        let mut files: Vec<_> = self
            .files
            .iter()
            .filter(|(_, file)| !file.findings.is_empty())
            .collect();
        files.sort_unstable_by_key(|(name, file)| (file.position, Arc::clone(name)));
        for (_, file) in files {
            findings.extend_from_slice(&file.findings);
        }
        for key in &self.contested {
            let holders = self.holders.get(key).map_or(&[][..], Vec::as_slice);
            let mut places = holders
                .iter()
                .filter_map(|name| Some(&self.slot(name, key)?.place));
            if let Some(first) = places.next() {
                findings.extend(places.map(|place| brought_twice(key, first, place)));
            }
        }
        findings
    }
}

impl FileState {
    /// Takes in what the file says now. Returns the documents it did not say before.
    fn take(
        &mut self,
        content: Content,
        at: SystemTime,
        touched: &mut BTreeSet<ObjectKey>,
    ) -> Vec<ObjectKey> {
        self.silent = false;
        let mut fresh = Vec::new();
        let mut set_aside = HashSet::new();
        let mut first_places: HashMap<ObjectKey, Place> = HashMap::new();
        let mut findings = content.findings;
        for (key, place, object) in content.documents {
            if let Some(first) = first_places.get(&key) {
                findings.push(brought_twice(&key, first, &place));
                continue;
            }
            first_places.insert(key.clone(), place.clone());
            touched.insert(key.clone());
            let slot = self.slots.entry(key.clone()).or_insert_with(|| {
                fresh.push(key.clone());
                Slot {
                    place: place.clone(),
                    present: true,
                    good: None,
                }
            });
            slot.place = place;
            slot.present = true;
            match object {
                Some(object) => {
                    if slot.good.as_ref().is_none_or(|good| good.object != object) {
                        slot.good = Some(Good { object, since: at });
                    }
                }
                None => drop(set_aside.insert(key)),
            }
        }
        if content.complete {
            for (key, slot) in &mut self.slots {
                if slot.present && !first_places.contains_key(key) {
                    slot.present = false;
                    touched.insert(key.clone());
                }
            }
        }
        for finding in &mut findings {
            if finding.level == Level::Error {
                self.say_what_serves(finding, &set_aside, content.complete);
            }
        }
        self.findings = findings;
        fresh
    }

    /// The file is there and has nothing in it. If it had, it may be about to be written.
    fn empty(&mut self, name: &Arc<str>, touched: &mut BTreeSet<ObjectKey>) {
        self.stay(touched);
        let finding = Finding::new(
            codes::EMPTIED,
            Level::Error,
            format!("{name} held documents and is empty now"),
        )
        .at(&Place::new(Arc::clone(name), 0, 0))
        .effect("what it held keeps serving as last read")
        .help("write it again; to remove its documents, delete the file");
        self.findings = if self.slots.is_empty() {
            Vec::new()
        } else {
            vec![finding]
        };
    }

    /// The file is there and cannot be read: nothing of it is known to have changed.
    fn fail(&mut self, mut finding: Finding, touched: &mut BTreeSet<ObjectKey>) {
        if self.slots.is_empty() {
            finding.effect = "no document is served from it".to_owned();
        }
        self.stay(touched);
        self.findings = vec![finding];
    }

    /// Nothing of it is known to be gone.
    fn stay(&mut self, touched: &mut BTreeSet<ObjectKey>) {
        self.silent = true;
        for (key, slot) in &mut self.slots {
            slot.present = true;
            touched.insert(key.clone());
        }
    }

    /// The effect of an error, now that it is known whether there is an older version.
    fn say_what_serves(
        &self,
        finding: &mut Finding,
        set_aside: &HashSet<ObjectKey>,
        complete: bool,
    ) {
        let good = |key| self.slots.get(key).and_then(|slot| slot.good.as_ref());
        finding.effect = match &finding.object {
            Some(key) if set_aside.contains(key) => match good(key) {
                Some(good) => format!(
                    "the document is set aside; the version of {} keeps serving",
                    rfc3339(good.since)
                ),
                None => "the document is set aside; nothing serves in its place".to_owned(),
            },
            None if !complete => {
                let kept = self.slots.values().any(|slot| slot.good.is_some());
                let kept = if kept {
                    "; what could be read, and what was read before, keeps serving"
                } else {
                    "; nothing of it serves"
                };
                format!("a part of the file is not read{kept}")
            }
            _ => return,
        };
    }
}

fn brought_twice(key: &ObjectKey, first: &Place, second: &Place) -> Finding {
    Finding::new(
        codes::BROUGHT_TWICE,
        Level::Warning,
        format!("{key} is in {first} and again in {second}"),
    )
    .of(key)
    .at(second)
    .label(0, "not used")
    .effect("the first one serves, this one does not")
    .help("remove one of them, or give it another name")
    .related(first, "this one serves")
}
