//! The routing table: model in, decisions and explanations out. Pure: no I/O, no clock, no actor.
//!
//! How to read it, in the order traffic flows:
//!
//! - [`traffic`] is what the data path knows about a connection or request, [`table`] the one
//!   immutable [`Table`] that answers it: original destination -> [`listener`] -> chain -> either
//!   bytes to a [`TcpRule`], or requests through a [`HostTable`] (Host -> [`VirtualHost`]) and its
//!   ordered [`RuleList`], whose alternatives are lists of [`condition`]s over [`text`] matches;
//!   an `index` proposes candidates in long lists. Either way a [`Split`] names the [`Cluster`]
//!   that takes it, and [`retries`] what is tried again.
//! - [`gateway`] is what the table of a gateway has instead: servers, TLS chains, literal hosts.
//! - `compile` makes the table out of all documents as one client sees them: `registry` (which
//!   services exist), `backends` (clusters, policies, endpoints), `bindings` (which VirtualService
//!   speaks for which host), `rules`, `hosts`, `listeners`, `binds`, and the findings of all of it.
//!   `partial` does so for the few documents that a change reaches; `shared` has the containers
//!   that let two tables have everything else in common.
//! - [`snapshot`] holds one table for each kind of client: transparent ones, gateway listeners, and
//!   clients that `clients` knows by the address of their Pod.
//! - [`action`] is what a taken rule changes: target, authority, fields, the `Location` it sends.
//! - [`analysis`] finds what serves and is hardly meant, for people who ask.
//! - [`trace`] lets a decision be watched; [`explain`] is the watcher that tells people about it.
//!   It runs the same code as the data path, so it cannot disagree with it. [`diff`] says which
//!   traffic two tables treat differently, by asking both.
//!
//! Findings raised here: PM0101 subset, PM0102 host and PM0103 port of a destination are unknown;
//! PM0206 a pattern cannot be used; PM0207 a rule can never match; PM0208 two VirtualServices want
//! one host; PM0209 a delegate cannot be followed, or one of its
//! rules not be used; PM0310 a ServiceEntry without addresses is guarded
//! (or takes a whole port); PM0311 an address is already taken.
#![forbid(unsafe_code)]

pub mod action;
pub mod analysis;
mod clients;
pub mod cluster;
mod clusters;
mod compile;
pub mod condition;
pub mod diff;
pub mod explain;
pub mod gateway;
pub mod hosts;
mod index;
pub mod listener;
mod names;
pub mod retries;
pub mod rule;
mod shared;
pub mod snapshot;
pub mod split;
pub mod table;
pub mod text;
pub mod trace;
pub mod traffic;

pub use clients::pod_at;
pub use cluster::{
    BALANCER_LABEL, Cluster, ClusterId, ClusterKind, Endpoint, EndpointAddress, Health, Policy,
};
pub use gateway::{AfterTls, TlsServer};
pub use hosts::{HostForm, HostTable, VirtualHost};
pub use listener::{Bind, Inspection, Listener, ListenerId, Purpose};
pub use names::names_wanted;
pub use retries::{Happened, Replied, RetriesFrom, RetriesInForce, RetryWishes};
pub use rule::{Action, Origin, Rule, RuleList, TcpRule};
pub use snapshot::{CompiledTables, Contexts, Snapshot, TableNumber, Tables, Via};
pub use split::{Missing, Split, Target};
pub use table::{Compiled, ConnectionDecision, HttpTableId, Matched, RequestDecision, Table};
pub use trace::{NoTrace, Reason, Trace};
pub use traffic::{Class, Connection, Fields, Request, normalization};
