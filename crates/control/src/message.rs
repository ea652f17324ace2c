//! Messages to and from the catalogue. Those it exchanges with shards are declared by
//! `pointsman_dataplane::message`, since the data path must not depend on this crate.
use crate::catalogue::Status;
use actix::Message;
use pointsman_model::Finding;
use pointsman_route::Snapshot;
use pointsman_runtime::Outlet;
use std::sync::Arc;

/// A source begins to say everything it knows, in one or more [`SourceChange`](pointsman_sdk::SourceChange), the last one `synced`.
/// What it said before and does not repeat by then is gone.
///
/// Sender: a source. Receiver: `Catalogue`. Rate: once per (re)start of the source and once per
/// [`Resync`], before the first [`SourceChange`](pointsman_sdk::SourceChange). Verb: `tell`; restarts are bounded by their budgets.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SourceStarted {
    /// Which source.
    pub source: Arc<str>,
    /// Where to ask it to say everything again.
    pub resync: Outlet<Resync>,
}

/// The catalogue forgot everything: say it again, beginning with [`SourceStarted`].
///
/// Sender: `Catalogue`. Receiver: every source that told [`SourceStarted`]. Rate: once per restart
/// of the catalogue. Verb: `tell`; restarts are bounded by their budget.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Resync;

/// All findings there are now: about documents, about compiling them, and of the shards.
///
/// Sender: admin, command line. Receiver: `Catalogue`. Rate: on a person's request or a scrape.
/// Verb: `ask`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Arc<Vec<Finding>>")]
pub struct GetFindings;

/// How things stand: sources, generations, shards.
///
/// Sender: admin, command line. Receiver: `Catalogue`. Rate: on a person's request or a scrape.
/// Verb: `ask`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Status")]
pub struct GetStatus;

/// The newest snapshot, `None` before the first. To explain with, never to route with: shards
/// have their own view.
///
/// Sender: admin. Receiver: `Catalogue`. Rate: on a person's request. Verb: `ask`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Arc<Snapshot>>")]
pub struct GetSnapshot;
