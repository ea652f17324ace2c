//! The catalogue: the one writer of truth.
//!
//! In the order a change travels: [`Catalogue`] receives it, `store` merges it, `compile`
//! makes a snapshot of everything, `delivery` decides which shard is sent it when, `kept` holds
//! what must outlive a panic, [`status`] tells people, `journal` the log, `gauges` the metrics.
mod actor;
mod compile;
mod delivery;
mod gauges;
mod journal;
mod kept;
mod settings;
pub mod status;
mod store;

pub use actor::Catalogue;
pub use compile::Compiler;
pub use settings::{CatalogueSettings, CatalogueSpec, catalogue};
pub use status::{Progress, Status};

#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
