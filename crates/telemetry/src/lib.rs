//! What Pointsman tells people about its traffic: metrics and the access log.
//!
//! How to read it, in the order a request is accounted for: [`flags`] says how it ended,
//! [`cluster`] adds it to its backend's local counts on the shard, once a tick those counts go
//! under the names in [`names`] into the [`recorder`], which renders the Prometheus text. When
//! logging is on the same request also becomes an [`access_log`] record, and batches of records
//! go to a [`sink`].
//!
//! Nothing here listens on a socket (`admin` does) or keeps time (the caller owns the ticks).
#![forbid(unsafe_code)]

pub mod access_log;
pub mod cluster;
pub mod flags;
pub mod labels;
mod local_histogram;
pub mod names;
pub mod recorder;
mod series;
mod shared_histogram;
pub mod sink;

pub use access_log::{AccessRecord, Format};
pub use cluster::{ClusterStats, RequestProtocol};
pub use flags::Flags;
pub use labels::{ClusterLabels, SourceLabels};
/// Handles to series; cheap to clone, usable from any thread.
pub use metrics::{Counter, Gauge, Histogram};
pub use recorder::Recorder;
pub use sink::{Sink, WriteSink};
