//! The catalogue and its sources: decisions, off the traffic threads.
//!
//! How to read it, in the order a change travels: a [`source`] notices that documents changed and
//! tells the [`mod@catalogue`], which merges all sources, compiles what they say into a snapshot and
//! hands it to every shard. [`mod@names`] looks up what documents name. [`message`] has what they say to each other, [`codes`] the findings
//! raised here. Everything runs on the control thread, and what takes long (reading files,
//! compiling) on blocking threads beside it, so that questions are answered meanwhile.
//!
//! Who writes what: a source its own documents, the catalogue everything else.
#![forbid(unsafe_code)]

pub mod catalogue;
mod clock;
pub mod codes;
pub mod message;
pub mod names;
pub mod source;

pub use catalogue::{Catalogue, CatalogueSettings, CatalogueSpec, Progress, Status, catalogue};
pub use message::{GetFindings, GetSnapshot, GetStatus, Resync, SourceStarted};
pub use names::{NameSource, Names, NamesSettings, names};
pub use source::{
    FileSource, Files, FilesSettings, HostedSource, Once, Root, files, hosted, read_once, read_text,
};
