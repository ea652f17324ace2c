//! Names in documents, kept up to date from DNS (BE-94, BE-95, BE-106).
//!
//! The [`mod@crate::catalogue`] says which names its documents need; this actor looks them up, again
//! and again as their records expire, and says what changed. `schedule` decides when (pure),
//! `lookup` asks DNS, `actor` runs both. Each name is looked up once, whatever the number of
//! documents that need it.
mod actor;
mod lookup;
mod schedule;

pub use actor::{NameSource, Names, names};
pub use lookup::{Answer, Lookup, system};
pub use schedule::NamesSettings;
