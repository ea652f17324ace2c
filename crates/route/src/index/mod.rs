//! An index over ordered rules: it proposes candidates, and never changes the order (VS-H-1).
//!
//! Every alternative of every rule is an *entry*, numbered in the order entries are tried. Each
//! entry is filed once, under whichever of its conditions the fewest other entries share
//! ([`keys`]): its path ([`paths`]), or the exact value of a header, query parameter, method or
//! authority. What has nothing to be filed under is a candidate for every request. A request then
//! asks each file for its one list, and the lists are walked together by ascending number. A
//! candidate is checked in full, unless what it was filed under is all it asks for.
//!
//! So a rule costs a request nothing unless it agrees with it in the most telling condition. What
//! stays linear: rules that differ only in prefixes or patterns of headers, in absent headers, or
//! in patterns of the path that begin with no literal text.
mod keys;
mod paths;
#[cfg(test)]
mod tests;

use crate::{
    condition::{Alternative, Subject},
    rule::Rule,
    traffic::{Fields, Request},
};
use foldhash::HashMap;
use std::sync::Arc;

use keys::Key;
use paths::{Folded, Paths, Plain};

/// Fewer entries than this are walked: that is as fast, and takes no memory.
const WORTHWHILE: usize = 8;
/// Subjects beside the path that are filed; the most frequent ones are.
const FIELDS: usize = 5;
/// A subject that fewer entries depend on is not filed: asking the request for the header costs as
/// much as checking them.
const FIELD_ENTRIES: usize = 4;
/// The files: those of [`FIELDS`], the two of paths, and the rest.
const FILES: usize = FIELDS + 3;

/// One alternative of one rule.
#[derive(Clone, Copy, Debug)]
struct Entry {
    rule: u32,
    /// `None`: the rule has no alternatives and takes everything.
    alternative: Option<u32>,
}

impl Entry {
    fn alternative(self, rules: &[Arc<Rule>]) -> Option<&Alternative> {
        let alternatives = &rules.get(self.rule as usize)?.alternatives;
        alternatives.get(self.alternative? as usize)
    }
}

/// Entries by the exact value of one subject.
#[derive(Debug)]
struct Field {
    subject: Subject,
    values: HashMap<Box<[u8]>, Vec<Candidate>>,
    /// The smallest entry: the file is opened only when all smaller ones have missed.
    first: Candidate,
}

/// Files of the entries of one [`RuleList`](crate::RuleList).
#[derive(Debug)]
pub(crate) struct RuleIndex {
    entries: Vec<Entry>,
    plain: Paths<Plain>,
    folded: Paths<Folded>,
    fields: Vec<Field>,
    rest: Vec<Candidate>,
    /// Numbers of the files that hold anything, and the smallest entry of each.
    used: Vec<(usize, Candidate)>,
}

impl RuleIndex {
    /// `None` for lists that are too short to need one.
    pub(crate) fn build(rules: &[Arc<Rule>]) -> Option<Self> {
        let entries = entries(rules);
        if entries.len() < WORTHWHILE {
            return None;
        }
        let alternatives: Vec<Option<&Alternative>> = entries
            .iter()
            .map(|entry| entry.alternative(rules))
            .collect();
        let mut made = Self {
            entries,
            plain: Paths::default(),
            folded: Paths::default(),
            fields: Vec::new(),
            rest: Vec::new(),
            used: Vec::new(),
        };
        let (mut plain, mut folded) = (Vec::new(), Vec::new());
        let chosen = keys::choose(&alternatives);
        for ((number, key), alternative) in (0..).zip(chosen).zip(&alternatives) {
            let is_lone = alternative.is_some_and(|one| one.conditions.len() == 1);
            match key {
                Some(Key::Path(path)) => {
                    let paths = if path.any_case {
                        &mut folded
                    } else {
                        &mut plain
                    };
                    let decides = is_lone && !path.is_pattern;
                    let entry = Candidate::new(number, decides);
                    paths.push(paths::Item { path, entry });
                }
                Some(Key::Field(subject, value)) => {
                    made.file(subject, &value, Candidate::new(number, is_lone));
                }
                None => made.rest.push(Candidate::new(number, false)),
            }
        }
        made.plain = Paths::build(plain, &mut made.rest);
        made.folded = Paths::build(folded, &mut made.rest);
        made.rest.sort_unstable();
        made.used = made.used();
        Some(made)
    }

    fn file(&mut self, subject: Subject, value: &str, entry: Candidate) {
        let at = self.fields.iter().position(|own| own.subject == subject);
        let at = at.unwrap_or_else(|| {
            self.fields.push(Field {
                subject,
                values: HashMap::default(),
                first: entry,
            });
            self.fields.len() - 1
        });
        if let Some(field) = self.fields.get_mut(at) {
            let value = value.as_bytes().into();
            field.values.entry(value).or_default().push(entry);
        }
    }

    /// Positions of the first rule that takes the request and of its alternative.
    pub(crate) fn find<F: Fields + ?Sized>(
        &self,
        rules: &[Arc<Rule>],
        request: &Request<'_, F>,
    ) -> Option<(usize, Option<usize>)> {
        if let [(only, _)] = self.used.as_slice()
            && let Some(list) = self.open(*only, request)
        {
            let mut list = list.iter();
            return list.find_map(|candidate| self.check(*candidate, rules, request));
        }
        // Nothing is looked up yet: each file stands at the smallest entry it could have.
        let mut files = [File::default(); FILES];
        let files = files.get_mut(..self.used.len())?;
        for (file, (number, first)) in files.iter_mut().zip(&self.used) {
            (file.number, file.next) = (*number, *first);
        }
        loop {
            let file = files.iter_mut().min_by_key(|file| file.next)?;
            if file.next.0 == Candidate::END.0 {
                return None;
            }
            let candidate = file.next;
            if !file.is_open {
                file.is_open = true;
                match self.open(file.number, request) {
                    Some(list) => {
                        file.list = list;
                        file.advance();
                    }
                    None => {
                        file.has_several = true;
                        file.next = self.next_of_several(file.number, request, None);
                    }
                }
                continue;
            }
            match file.has_several {
                true => file.next = self.next_of_several(file.number, request, Some(candidate)),
                false => file.advance(),
            }
            let found = self.check(candidate, rules, request);
            if found.is_some() {
                return found;
            }
        }
    }

    fn check<F: Fields + ?Sized>(
        &self,
        candidate: Candidate,
        rules: &[Arc<Rule>],
        request: &Request<'_, F>,
    ) -> Option<(usize, Option<usize>)> {
        let entry = *self.entries.get(candidate.entry())?;
        if !candidate.decides()
            && let Some(alternative) = entry.alternative(rules)
            && !alternative.holds(request)
        {
            return None;
        }
        let alternative = entry.alternative.map(|number| number as usize);
        Some((entry.rule as usize, alternative))
    }

    /// The list a file has for the request, ascending; `None` if it has several, for several fields
    /// of one name.
    fn open<F: Fields + ?Sized>(
        &self,
        number: usize,
        request: &Request<'_, F>,
    ) -> Option<&[Candidate]> {
        match number {
            0 => return Some(&self.rest),
            1 => return Some(self.plain.find(request.path.as_bytes())),
            2 => return Some(self.folded.find(request.path.as_bytes())),
            _ => {}
        }
        let mut lists = 0;
        let mut found: &[Candidate] = &[];
        if let Some(field) = self.fields.get(number - 3) {
            field.subject.each_value(request, |value| {
                if let Some(list) = field.values.get(value) {
                    lists += 1;
                    found = list;
                }
            });
        }
        (lists <= 1).then_some(found)
    }

    /// The smallest entry after `last` in the lists of all values. Looked for each time: only odd
    /// requests have more than one, and what they ask for shall be kept nowhere.
    fn next_of_several<F: Fields + ?Sized>(
        &self,
        number: usize,
        request: &Request<'_, F>,
        last: Option<Candidate>,
    ) -> Candidate {
        let mut next = Candidate::END;
        if let Some(field) = self.fields.get(number - 3) {
            field.subject.each_value(request, |value| {
                let list = field.values.get(value).map_or(&[][..], Vec::as_slice);
                let seen = list.partition_point(|own| last.is_some_and(|last| *own <= last));
                next = next.min(list.get(seen).copied().unwrap_or(Candidate::END));
            });
        }
        next
    }

    /// The files that hold anything, each with the smallest entry in it.
    fn used(&self) -> Vec<(usize, Candidate)> {
        let rest = self.rest.first().copied().unwrap_or(Candidate::END);
        [rest, self.plain.first(), self.folded.first()]
            .into_iter()
            .chain(self.fields.iter().map(|field| field.first))
            .enumerate()
            .filter(|(_, first)| *first != Candidate::END)
            .collect()
    }
}

/// An entry in a list: its number, and in the lowest bit whether being in the list is enough, so
/// that nothing is left to check. Ordered by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u32);

impl Candidate {
    /// Behind all others.
    const END: Self = Self(u32::MAX);

    /// For an entry below 2^31 - 1; a document has far fewer rules.
    fn new(entry: u32, decides: bool) -> Self {
        Self(entry << 1 | u32::from(decides))
    }

    fn entry(self) -> usize {
        (self.0 >> 1) as usize
    }

    fn decides(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A file while a request is being looked up.
#[derive(Clone, Copy)]
struct File<'i> {
    number: usize,
    /// The next entry; while the file is not open, a lower bound of it.
    next: Candidate,
    /// Those after it.
    list: &'i [Candidate],
    is_open: bool,
    /// There is no one list: the request has several values.
    has_several: bool,
}

impl Default for File<'_> {
    fn default() -> Self {
        Self {
            number: 0,
            next: Candidate::END,
            list: &[],
            is_open: false,
            has_several: false,
        }
    }
}

impl File<'_> {
    fn advance(&mut self) {
        match self.list.split_first() {
            Some((next, list)) => (self.next, self.list) = (*next, list),
            None => self.next = Candidate::END,
        }
    }
}

/// All entries in order, up to the first that takes everything.
fn entries(rules: &[Arc<Rule>]) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(rules.len());
    for (rule, compiled) in (0..).zip(rules) {
        if compiled.alternatives.is_empty() {
            entries.push(Entry {
                rule,
                alternative: None,
            });
            return entries;
        }
        for (number, alternative) in (0..).zip(&compiled.alternatives) {
            entries.push(Entry {
                rule,
                alternative: Some(number),
            });
            if alternative.conditions.is_empty() {
                return entries;
            }
        }
    }
    entries
}
