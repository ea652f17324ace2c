//! What an extension author imports.
//!
//! An extension is a function that registers things with a [`Host`]:
//!
//! | Registration | What it is | Where it runs |
//! | --- | --- | --- |
//! | [`Host::source`] | where documents come from | control thread |
//! | [`Host::sniffer`] | a [`Sniffer`]: whose bytes are these? | in the connection's task |
//! | [`Host::protocol`] | an actor of yours that takes [`Session`]s | one per shard |
//! | [`Host::balancer`] | a [`Balancer`]: which endpoint? | in the connection's task |
//! | [`Host::sink`] | a [`Sink`]: what is done with records | beside the control thread |
//!
//! Whatever panics is made anew, and the gateway goes on. A source whose documents are YAML begins
//! with [`Documents`].
#![forbid(unsafe_code)]

pub mod balancer;
pub mod documents;
pub mod host;
pub mod session;
pub mod sniffer;
pub mod source;

pub use balancer::Balancer;
pub use documents::{Documents, say};
pub use host::Host;
pub use pointsman_balance::Candidates;
pub use pointsman_model as model;
pub use pointsman_runtime::{Outlet, offer};
pub use pointsman_telemetry::{AccessRecord, Sink};
pub use session::Session;
pub use sniffer::{Arrival, Sniffed, Sniffer};
pub use source::SourceChange;
