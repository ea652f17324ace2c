//! Sources: where documents come from.
//!
//! A source is an actor that says what it knows to the [`Catalogue`](crate::Catalogue) by
//! [`SourceChange`](pointsman_sdk::SourceChange)s: first [`SourceStarted`](crate::SourceStarted),
//! then everything (`synced` in the last message of it), then increments; and all of that again
//! whenever it is sent [`Resync`](crate::Resync). For a source that an extension registered,
//! [`hosted`](hosted()) does the first and the last of that.
pub mod files;
pub mod hosted;

pub use files::{FileSource, Files, FilesSettings, Once, Root, files, read_once, read_text};
pub use hosted::{HostedSource, hosted};
