//! What each entry is filed under: the condition it shares with the fewest others.
use super::{FIELD_ENTRIES, FIELDS};
use crate::{
    condition::{Alternative, Condition, Subject},
    text::Text,
};
use foldhash::HashMap;
use std::sync::Arc;

/// A condition on the path as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PathKey {
    /// `ignoreUriCase`: the texts are in lower case.
    pub(super) any_case: bool,
    /// The texts are whole paths, not beginnings of paths.
    pub(super) is_exact: bool,
    /// They are what a pattern's matches begin with: more must hold than they say.
    pub(super) is_pattern: bool,
    /// Any of them, none empty.
    pub(super) texts: Vec<Box<[u8]>>,
}

/// A condition an entry can be filed under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Path(PathKey),
    /// The subject has exactly this value.
    Field(Subject, Arc<str>),
}

/// One key for each alternative, where it has any. The path is preferred among equals: it needs no
/// look through the header fields.
pub(super) fn choose(alternatives: &[Option<&Alternative>]) -> Vec<Option<Key>> {
    let candidates: Vec<Vec<Key>> = alternatives
        .iter()
        .map(|alternative| alternative.map_or(Vec::new(), |it| keys(&it.conditions)))
        .collect();
    let mut shared: HashMap<&Key, u32> = HashMap::default();
    for key in candidates.iter().flatten() {
        *shared.entry(key).or_default() += 1;
    }
    let rarest = |keys: &[Key], allowed: &dyn Fn(&Key) -> bool| {
        keys.iter()
            .filter(|key| allowed(key))
            // The first of equals, which is the path.
            .min_by_key(|key| shared.get(key).copied().unwrap_or_default())
            .cloned()
    };
    let mut frequent: HashMap<Subject, usize> = HashMap::default();
    for keys in &candidates {
        if let Some(Key::Field(subject, _)) = rarest(keys, &|_| true) {
            *frequent.entry(subject).or_default() += 1;
        }
    }
    let mut subjects: Vec<(usize, Subject)> = frequent
        .into_iter()
        .map(|(subject, count)| (count, subject))
        .filter(|(count, _)| *count >= FIELD_ENTRIES)
        .collect();
    // By name too, so that equal rules have equal indexes.
    subjects.sort_unstable_by(|a, b| b.cmp(a));
    subjects.truncate(FIELDS);
    let allowed = |key: &Key| match key {
        Key::Path(_) => true,
        Key::Field(subject, _) => subjects.iter().any(|(_, own)| own == subject),
    };
    candidates
        .iter()
        .map(|keys| rarest(keys, &allowed))
        .collect()
}

fn keys(conditions: &[Condition]) -> Vec<Key> {
    let path = conditions.iter().find_map(path_key).map(Key::Path);
    let fields = conditions.iter().filter_map(|condition| {
        let (subject, text) = condition.compared()?;
        match text {
            Text::Exact(value) if subject.is_cheap() => {
                Some(Key::Field(subject, Arc::clone(value)))
            }
            _ => None,
        }
    });
    path.into_iter().chain(fields).collect()
}

fn path_key(condition: &Condition) -> Option<PathKey> {
    let Condition::Path { text, any_case } = condition else {
        return None;
    };
    let folded = |text: &str| -> Box<[u8]> {
        if *any_case {
            text.to_ascii_lowercase().into_bytes().into()
        } else {
            text.as_bytes().into()
        }
    };
    let made = PathKey {
        any_case: *any_case,
        is_exact: false,
        is_pattern: false,
        texts: Vec::new(),
    };
    match text {
        Text::Exact(text) => Some(PathKey {
            is_exact: true,
            texts: vec![folded(text)],
            ..made
        }),
        // Nearly every path begins so: it tells nothing.
        Text::Prefix(text) if text.len() <= 1 => None,
        Text::Prefix(text) => Some(PathKey {
            texts: vec![folded(text)],
            ..made
        }),
        // `ignoreUriCase` does not concern patterns (VS-H-24).
        Text::Pattern(pattern) if !pattern.starts().is_empty() => Some(PathKey {
            any_case: false,
            is_pattern: true,
            texts: pattern.starts().to_vec(),
            ..made
        }),
        Text::Pattern(_) | Text::Present => None,
    }
}
