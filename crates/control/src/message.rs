//! Messages to and from the catalogue. Those it exchanges with shards are declared by
//! `pointsman_dataplane::message`, since the data path must not depend on this crate.
use crate::catalogue::Status;
use actix::Message;
use pointsman_model::Finding;
use pointsman_route::Snapshot;
use pointsman_runtime::Outlet;
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

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

/// Names are looked up from now on.
///
/// Sender: `NameSource`. Receiver: `Catalogue`. Rate: once per (re)start. Verb: `tell`; restarts
/// are bounded by their budget.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct NamesStarted {
    /// Where to say which names are wanted.
    pub wants: Outlet<WantNames>,
}

/// These names are to be known from now on, and no others.
///
/// Sender: `Catalogue`. Receiver: `NameSource`. Rate: once per [`NamesStarted`], and once per
/// compilation whose documents need others than before. Verb: `tell`.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct WantNames {
    /// Lower case, without a trailing dot.
    pub names: Arc<BTreeSet<Arc<str>>>,
}

/// DNS said something new.
///
/// Sender: `NameSource`. Receiver: `Catalogue`. Rate: once per name whose addresses changed, and
/// once when names begin or cease to fail. Verb: `tell`; each name speaks once in a few seconds at
/// most.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct NamesChanged {
    /// Names with their new addresses; the others are as they were.
    pub names: Vec<(Arc<str>, Arc<[IpAddr]>)>,
    /// All findings about names there are now; `None`: as before.
    pub findings: Option<Vec<Finding>>,
}
