//! Files as a source: `-f DIR|FILE|-`.
//!
//! In the order a change travels: `watch` hears of it (or a poll finds it), `scan` lists
//! the files, `look` reads those that changed, `read` parses them, `state` works out what that
//! means for the catalogue, `stream` does the same for what can be read only once, `actor`
//! drives it all and speaks to the catalogue, and `once` reads without following.
mod actor;
mod look;
mod once;
mod read;
mod scan;
mod settings;
mod state;
mod stream;
mod watch;

#[cfg(test)]
mod state_tests;

pub use actor::{FileSource, Files, files};
pub use once::{Once, read_once};
pub(crate) use read::panic_message;
pub use read::text as read_text;
pub use scan::Root;
pub use settings::FilesSettings;
