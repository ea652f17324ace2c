//! The tree.
use super::scalar::{Kind, Scalar};

/// Where a key or value begins, and how much of its first line it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// From 1.
    pub(crate) line: u32,
    /// In characters, from 1.
    pub(crate) column: u32,
    /// In characters; 0 where the text goes over several lines.
    pub(crate) width: u32,
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

/// A key with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: Box<str>,
    pub(crate) span: Span,
}

/// A map in the order it was written. No key is there twice: the reader has seen to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Map {
    pub(crate) entries: Vec<(Key, Node)>,
}

impl Map {
    /// Key and value. Linear: the maps asked by name have a handful of keys, and each is asked a
    /// fixed number of times.
    pub(crate) fn entry(&self, name: &str) -> Option<(&Key, &Node)> {
        self.entries
            .iter()
            .find(|(key, _)| &*key.text == name)
            .map(|(key, node)| (key, node))
            .filter(|(_, node)| !node.is_null())
    }

    /// The value; an explicit `null` counts as absent, as in Kubernetes.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// Is the field there and not null?
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The map under a key.
    pub(crate) fn map(&self, name: &str) -> Option<&Map> {
        self.get(name)?.as_map()
    }

    /// The items under a key; absent or of another type: none.
    pub(crate) fn list(&self, name: &str) -> &[Node] {
        self.get(name).map_or(&[], Node::items)
    }

    /// The text under a key.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// The text under a key, unless it is empty: the two are the same in protobuf JSON.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// The number under a key.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.get(name)?.as_int()
    }

    /// The switch under a key.
    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value {
            Value::Scalar(Scalar {
                kind: Kind::Bool(value),
                ..
            }) => Some(value),
            _ => None,
        }
    }
}

impl Node {
    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        self.as_scalar().and_then(Scalar::as_text)
    }

    pub(crate) fn as_int(&self) -> Option<i64> {
        self.as_scalar()?.int()
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.as_scalar()
            .is_some_and(|scalar| scalar.kind == Kind::Null)
    }

    /// Visits every place in it, to be changed. As deep as the reader's limit at most.
    pub(crate) fn places(&mut self, change: &mut impl FnMut(&mut Span)) {
        change(&mut self.span);
        match &mut self.value {
            Value::Scalar(_) => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.places(change)),
            Value::Map(map) => {
                for (key, node) in &mut map.entries {
                    change(&mut key.span);
                    node.places(change);
                }
            }
        }
    }

    /// Where a person would say it begins: a map begins at its first key.
    pub(crate) fn start(&self) -> Span {
        match &self.value {
            Value::Map(map) => map.entries.first().map_or(self.span, |(key, _)| key.span),
            Value::List(_) | Value::Scalar(_) => self.span,
        }
    }
}
