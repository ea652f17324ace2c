//! Where something was written.
use std::{fmt, sync::Arc};

/// A place in a manifest: file, line and column, all as a person counts them (from 1).
///
/// Cheap to clone: every rule, destination and subset carries one, so that a decision can name
/// its origin in the access log and in `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Path as given on the command line, or `-` for standard input.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// A place in `file`.
    pub fn new(file: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self {
            file: file.into(),
            line,
            column,
        }
    }

    /// The place of things that no document wrote (a default, a test).
    pub fn nowhere() -> Self {
        Self::new("-", 0, 0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
