//! Kubernetes and Istio YAML to the model, with findings that name file, line and column.
//!
//! How to read it, in the order a text travels: [`parse`] takes one text; `yaml` turns it into
//! trees in which every key and value knows its place; `kinds` says which documents are read;
//! [`schema`] checks a document against the published schema of its kind (types, unknown fields,
//! fields nothing acts on yet); `convert` applies the rules that need more than one field and
//! makes model objects, with `form` for values written as text; `report` collects what is to be
//! said about it; [`render`](render()) shows a finding the way compilers do. [`codes`] lists the
//! numbers of findings.
//!
//! A document with an error is set aside as a whole, as Kubernetes' admission would have refused
//! it as a whole: half a rule list is worse than yesterday's. What belongs to several documents
//! (references, shadowed rules) is found later, where all documents are known.
//!
//! Texts are not trusted: size, depth, alias expansion and the number of findings are bounded by
//! [`Limits`], and nothing here panics on any text.
#![forbid(unsafe_code)]

pub mod codes;
mod convert;
mod document;
mod form;
mod kinds;
mod limits;
mod render;
mod report;
pub mod schema;
mod yaml;

pub use document::{Document, Input, Parsed, Rejected, parse, parse_with};
pub use limits::Limits;
pub use render::render;
pub use report::near;
