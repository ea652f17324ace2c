//! Which *traffic* two tables treat differently, whatever lines of documents changed.
//!
//! [`compare`] looks at the traffic that the two tables can tell apart, and at nothing else:
//! `fronts` takes every address, port and server name that either has a listener or chain for,
//! plus one that neither knows; `names` every Host; `cells` divides the values of one part of a
//! request (path, method, a header) by which texts of either table's rules they satisfy, with one
//! value for each division; `requests` puts those values together, asks both tables, and forms
//! classes. An [`Effect`] is what becomes of traffic, without who says so: a rule that moved to
//! another file is no difference. `backends` compares what traffic is sent to.
//!
//! Tables of gateways are compared by the same code. There a door is reached by plain requests, or
//! by a server name whose server ends TLS; and that a port or server name is taken at all is told
//! beside what becomes of the requests, since it is a change that clients see before any request.
//!
//! The tables are asked by the calls of the data path. So every example really differs; and where
//! nothing was cut by a limit, classes are complete for all texts a table can tell apart: the
//! divisions are those of an automaton that runs all texts at once, not of samples. Not looked at:
//! several values of one header, and hosts in other letter cases or with a trailing dot, which no
//! rule can tell from the plain ones except by `authority`.
mod backends;
mod cells;
mod effect;
mod fronts;
mod names;
mod requests;
mod values;
mod words;

use crate::{Table, rule::Origin, snapshot::Via};
use pointsman_model::PathNormalization;
use std::net::SocketAddr;

pub use backends::BackendChange;
pub use effect::{Effect, Outcome, of_connection, of_request};

/// Bounds on the work. Documents come from people, but a comparison must end all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests tried for one pair of rule lists.
    pub requests_per_host: usize,
    /// Requests and connections tried in all.
    pub probes: usize,
    /// States of one automaton that are looked at.
    pub states: usize,
    /// Memory of one automaton, in bytes.
    pub automaton_bytes: usize,
    /// Classes that are kept.
    pub classes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_host: 20_000,
            probes: 5_000_000,
            states: 20_000,
            automaton_bytes: 32 << 20,
            classes: 1_000,
        }
    }
}

/// How the two differ.
#[derive(Debug, Default)]
pub struct Diff {
    /// Another mode in which paths are normalised before anything sees them (PS-80): the old one and
    /// the new one. The classes are of paths that look the same in both.
    pub paths: Option<(PathNormalization, PathNormalization)>,
    /// Another number of proxies that are believed at gateways (GW-80): the old one and the new one.
    pub trusted_proxies: Option<(u32, u32)>,
    /// Traffic that is treated differently: connections first, then requests.
    pub classes: Vec<Class>,
    /// Backends both tables use, but not the same.
    pub backends: Vec<BackendChange>,
    /// What was not looked at, each a sentence; empty: nothing was left out.
    pub cut: Vec<String>,
    /// How many connections and requests were tried.
    pub probes: usize,
}

impl Diff {
    /// True if no difference was found.
    pub fn is_empty(&self) -> bool {
        self.paths.is_none()
            && self.trusted_proxies.is_none()
            && self.classes.is_empty()
            && self.backends.is_empty()
    }

    fn cut(&mut self, sentence: String) {
        if !self.cut.contains(&sentence) {
            self.cut.push(sentence);
        }
    }
}

/// Traffic that was treated one way and is now treated another.
#[derive(Clone, Debug)]
pub struct Class {
    /// In words: `GET reviews:9080 (any path, no end-user header)`.
    pub what: String,
    /// By which door it comes.
    pub via: Via,
    /// The simplest of it.
    pub example: Example,
    /// What became of it.
    pub old: Side,
    /// What becomes of it.
    pub new: Side,
    /// Further addresses or hosts of which the same is true.
    pub also: Vec<String>,
}

/// What one table does.
#[derive(Clone, Debug)]
pub struct Side {
    /// What becomes of the example.
    pub effect: Effect,
    /// Who says so; `None`: nobody, it is unmatched traffic.
    pub origin: Option<Origin>,
}

/// A connection, or a request on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Example {
    /// Bytes, or TLS.
    Connection {
        /// The address and port dialled.
        original: SocketAddr,
        /// Is it TLS?
        tls: bool,
        /// Server name.
        sni: Option<String>,
        /// Does the client offer a protocol of the mesh's own (GW-15)?
        mesh_alpn: bool,
    },
    /// A request, in clear text or, where its scheme is `https`, in TLS that a gateway ends.
    Request {
        /// The address and port dialled.
        original: SocketAddr,
        /// Server name, in TLS.
        sni: Option<String>,
        /// Is that address a service's own, so that another one fares otherwise?
        own: bool,
        /// Its parts.
        request: ExampleRequest,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ExampleRequest {
    /// Method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host, with its port where it is not the scheme's own.
    pub authority: String,
    /// Path, without query.
    pub path: String,
    /// Query, without `?`.
    pub query: Option<String>,
    /// Header fields.
    pub headers: Vec<(String, String)>,
}

/// Compares what two tables of the same role do. The comparison is quickest where the second was compiled with the
/// first as its predecessor, since parts that they share need not be looked at.
pub fn compare(old: &Table, new: &Table, limits: &Limits) -> Diff {
    let mut diff = Diff::default();
    let [was, is] = [old, new].map(|table| table.context().path_normalization);
    diff.paths = (was != is).then_some((was, is));
    let [was, is] = [old, new].map(|table| table.context().trusted_hops);
    let at_gateway = new.context().role.is_gateway() && new.http_tables().next().is_some();
    diff.trusted_proxies = (at_gateway && was != is).then_some((was, is));
    let doors = fronts::compare(old, new, limits, &mut diff);
    for door in doors {
        names::compare(old, new, &door, limits, &mut diff);
    }
    if diff.classes.len() > limits.classes {
        let more = diff.classes.len() - limits.classes;
        diff.classes.truncate(limits.classes);
        diff.cut(format!("{more} further classes are not listed"));
    }
    backends::compare(old, new, &mut diff);
    diff
}
