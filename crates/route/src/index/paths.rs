//! Paths and beginnings of paths in a radix tree. One walk down finds the list of a path, made
//! ahead of time: the entries of the path itself and of all its beginnings, in order.
use super::{Candidate, keys::PathKey};
use foldhash::HashMap;
use std::{
    collections::{BTreeMap, VecDeque},
    marker::PhantomData,
    ops::Range,
};

/// All lists together have at most this many times the entries that are filed. Beginnings nested
/// in each other repeat their entries; beyond this, beginnings are not filed at all.
const REPEATS: usize = 16;

/// Up to so many children of a node are counted through.
const COUNTED: usize = 32;

/// How letters are compared.
pub(super) trait Case {
    fn byte(byte: u8) -> u8;
    fn strip<'p>(path: &'p [u8], label: &[u8]) -> Option<&'p [u8]>;
}

/// As they are.
#[derive(Debug)]
pub(super) struct Plain;
/// ASCII letters without case; the tree holds lower case.
#[derive(Debug)]
pub(super) struct Folded;

impl Case for Plain {
    fn byte(byte: u8) -> u8 {
        byte
    }
    fn strip<'p>(path: &'p [u8], label: &[u8]) -> Option<&'p [u8]> {
        path.strip_prefix(label)
    }
}

impl Case for Folded {
    fn byte(byte: u8) -> u8 {
        byte.to_ascii_lowercase()
    }
    fn strip<'p>(path: &'p [u8], label: &[u8]) -> Option<&'p [u8]> {
        let (head, rest) = path.split_at_checked(label.len())?;
        head.eq_ignore_ascii_case(label).then_some(rest)
    }
}

/// One entry to be filed.
pub(super) struct Item {
    pub(super) path: PathKey,
    pub(super) entry: Candidate,
}

/// The tree.
#[derive(Debug)]
pub(super) struct Paths<C> {
    /// The children of a node stand together, in the order of their first bytes. The root is first.
    nodes: Vec<Node>,
    /// The first byte of the label of each node.
    firsts: Vec<u8>,
    /// Labels of all nodes.
    bytes: Vec<u8>,
    lists: Vec<Vec<Candidate>>,
    first: Candidate,
    case: PhantomData<C>,
}

/// Small, so that a walk touches few cache lines.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Where the bytes from the parent to here begin in `bytes`, and how many they are.
    label: (u32, u32),
    /// Where the children begin in `nodes`, and how many they are.
    children: (u32, u32),
    /// List of paths that end here.
    ends: u32,
    /// List of paths that go on where the tree does not.
    goes_on: u32,
}

fn range((start, length): (u32, u32)) -> Range<usize> {
    let start = start as usize;
    start..start + length as usize
}

/// What is filed under one text.
#[derive(Default)]
struct Filed {
    exact: Vec<Candidate>,
    beginning: Vec<Candidate>,
}

impl<C> Default for Paths<C> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            firsts: Vec::new(),
            bytes: Vec::new(),
            lists: Vec::new(),
            first: Candidate::END,
            case: PhantomData,
        }
    }
}

impl<C: Case> Paths<C> {
    /// Files the items. Where the lists would become too long, beginnings are left to `rest`:
    /// first those that many entries share, then all of them.
    pub(super) fn build(items: Vec<Item>, rest: &mut Vec<Candidate>) -> Self {
        let mut shared: HashMap<Box<[u8]>, usize> = HashMap::default();
        for text in items.iter().flat_map(|item| &item.path.texts) {
            *shared.entry(text.clone()).or_default() += 1;
        }
        let is_shared = |item: &Item| {
            let mut texts = item.path.texts.iter();
            texts.any(|text| shared.get(text).is_some_and(|count| *count > REPEATS))
        };
        let mut items = items;
        for step in 0..3 {
            if let Some(made) = Self::try_build(&items) {
                return made;
            }
            let (kept, others): (Vec<Item>, Vec<Item>) = items
                .into_iter()
                .partition(|item| item.path.is_exact || (step == 0 && !is_shared(item)));
            rest.extend(unfiled(&others));
            items = kept;
        }
        rest.extend(unfiled(&items));
        Self::default()
    }

    fn try_build(items: &[Item]) -> Option<Self> {
        let mut texts: BTreeMap<&[u8], Filed> = BTreeMap::new();
        for item in items {
            for text in &item.path.texts {
                let filed = texts.entry(text).or_default();
                let list = if item.path.is_exact {
                    &mut filed.exact
                } else {
                    &mut filed.beginning
                };
                list.push(item.entry);
            }
        }
        let texts: Vec<(&[u8], Filed)> = texts.into_iter().collect();
        let mut made = Self {
            first: items
                .iter()
                .map(|item| item.entry)
                .min()
                .unwrap_or(Candidate::END),
            nodes: vec![Node::default()],
            firsts: vec![0],
            lists: vec![Vec::new()],
            ..Self::default()
        };
        let mut budget = items.len().saturating_mul(REPEATS);
        // Nodes to be finished: the texts below, how many bytes they share, and the list of the
        // parent. A queue, not recursion: texts may be nested as deep as there are rules.
        let mut open = VecDeque::from([(0, &texts[..], 0, (0, Vec::new()))]);
        while let Some((at, texts, depth, above)) = open.pop_front() {
            let (own, mut below) = match texts.split_first() {
                Some(((text, own), below)) if text.len() == depth => (Some(own), below),
                _ => (None, texts),
            };
            let beginning = own.map_or(&[][..], |own| &own.beginning);
            let exact = own.map_or(&[][..], |own| &own.exact);
            let goes_on = made.list(above, beginning, &mut budget)?;
            let ends = made.list(goes_on.clone(), exact, &mut budget)?;
            let children = made.nodes.len();
            while let Some((first, _)) = below.first() {
                let byte = first.get(depth).copied()?;
                let is_here = |(text, _): &(&[u8], Filed)| text.get(depth) == Some(&byte);
                let count = below.iter().take_while(|it| is_here(it)).count();
                let (group, others) = below.split_at_checked(count)?;
                below = others;
                // Sorted, so what the first and the last share, all of them do.
                let (last, _) = group.last()?;
                let common = first.iter().zip(*last).take_while(|(a, b)| a == b).count();
                let label = first.get(depth..common)?;
                open.push_back((made.nodes.len(), group, common, goes_on.clone()));
                made.firsts.push(byte);
                made.nodes.push(Node {
                    label: (number(made.bytes.len())?, number(label.len())?),
                    ..Node::default()
                });
                made.bytes.extend_from_slice(label);
            }
            let count = made.nodes.len() - children;
            let node = made.nodes.get_mut(at)?;
            node.children = (number(children)?, number(count)?);
            (node.ends, node.goes_on) = (ends.0, goes_on.0);
        }
        Some(made)
    }

    /// The list above with further entries: its number, and what is in it. `None`: too long.
    fn list(
        &mut self,
        above: (u32, Vec<Candidate>),
        own: &[Candidate],
        budget: &mut usize,
    ) -> Option<(u32, Vec<Candidate>)> {
        if own.is_empty() {
            return Some(above);
        }
        let mut list = above.1;
        list.extend(own);
        list.sort_unstable();
        // A pattern may begin with several texts of which one is a beginning of another.
        list.dedup();
        // Nothing after an entry that decides is ever reached.
        if let Some(end) = list.iter().position(|entry| entry.decides()) {
            list.truncate(end + 1);
        }
        *budget = budget.checked_sub(list.len())?;
        let number = number(self.lists.len())?;
        self.lists.push(list.clone());
        Some((number, list))
    }

    /// The smallest entry there is.
    pub(super) fn first(&self) -> Candidate {
        self.first
    }

    /// The entries a path may satisfy, ascending.
    pub(super) fn find(&self, path: &[u8]) -> &[Candidate] {
        let list = self
            .walk(path)
            .and_then(|number| self.lists.get(number as usize));
        list.map_or(&[], Vec::as_slice)
    }

    fn walk(&self, path: &[u8]) -> Option<u32> {
        let mut node = self.nodes.first()?;
        let mut rest = path;
        loop {
            let Some(byte) = rest.first().map(|byte| C::byte(*byte)) else {
                return Some(node.ends);
            };
            let next = self.child(node, byte).and_then(|child| {
                let label = self.bytes.get(range(child.label))?;
                Some((child, C::strip(rest, label)?))
            });
            let Some((child, left)) = next else {
                return Some(node.goes_on);
            };
            (node, rest) = (child, left);
        }
    }

    fn child(&self, node: &Node, byte: u8) -> Option<&Node> {
        let children = range(node.children);
        let firsts = self.firsts.get(children.clone())?;
        // Counting has no branch to be guessed wrong, and most nodes have few children.
        let at = if firsts.len() <= COUNTED {
            firsts.iter().filter(|first| **first < byte).count()
        } else {
            firsts.partition_point(|first| *first < byte)
        };
        if firsts.get(at) != Some(&byte) {
            return None;
        }
        self.nodes.get(children.start + at)
    }
}

fn unfiled(items: &[Item]) -> impl Iterator<Item = Candidate> {
    items
        .iter()
        .map(|item| Candidate::new(item.entry.entry() as u32, false))
}

/// `None`: more than 4 GiB of texts.
fn number(length: usize) -> Option<u32> {
    u32::try_from(length).ok()
}
