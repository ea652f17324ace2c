//! YAML text to a tree in which every key and value knows its place.
//!
//! [`read`](read()) turns the parser's events into [`Node`]s and keeps the budgets; [`scalar`]
//! decides what a plain word is, the way Kubernetes' YAML reader does. Built on the event parser
//! and not on serde: derived types forget positions, key order and whether a word was quoted.
mod lines;
mod read;
pub(crate) mod scalar;
mod tree;

pub(crate) use lines::Lines;
pub(crate) use read::{Problem, read};
pub(crate) use scalar::{Kind, Scalar};
pub(crate) use tree::{Key, Map, Node, Span, Value};
