//! Taking notes of a decision.
use crate::{
    hosts::{HostForm, VirtualHost},
    trace::{ChainStep, Reason, Trace},
};
use ipnet::IpNet;
use pointsman_model::Place;
use std::sync::Arc;

/// A step of choosing the chain; [`ChainStep`] without its borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Ranges are asked for, none contains the destination.
    NoSubnet,
    /// The range that decides.
    Subnet(IpNet),
    /// A server name chain took it: label and place of its rule.
    Name(Arc<str>, Place),
    /// Server names are asked for, and this one is not there.
    NoName(Reason),
    /// HTTP: requests are routed one by one.
    Http,
    /// A chain of an address-less entry that knows the address.
    KnownAddress(Arc<str>, Place),
    /// Address-less entries know other addresses only.
    UnknownAddress,
    /// The chain without criteria.
    Open(Arc<str>, Place),
    /// The server of a gateway that ends TLS: its label and place.
    Server(Arc<str>, Place),
    /// No server of a gateway takes it.
    NoServer(Reason),
    /// No chain.
    FallThrough,
}

/// Takes notes of one decision.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// Steps of choosing the chain, in order.
    pub notes: Vec<Note>,
    /// By which of its names the host was found; inner `None`: it was not; outer: never asked.
    pub host: Option<Option<HostForm>>,
    /// Conditions that did not hold: rule, alternative and condition by position, and why.
    pub misses: Vec<(usize, usize, usize, Reason)>,
    /// The rule that was taken, by position, and its alternative.
    pub matched: Option<(usize, Option<usize>)>,
}

impl Trace for Recorder {
    const ON: bool = true;

    fn frontend(&mut self, step: ChainStep<'_>) {
        self.notes.push(match step {
            ChainStep::NoSubnet => Note::NoSubnet,
            ChainStep::Subnet(net) => Note::Subnet(net),
            ChainStep::Name(rule) => {
                Note::Name(rule.origin.label.clone(), rule.origin.place.clone())
            }
            ChainStep::NoName { reason } => Note::NoName(reason),
            ChainStep::Http => Note::Http,
            ChainStep::KnownAddress(rule) => {
                Note::KnownAddress(rule.origin.label.clone(), rule.origin.place.clone())
            }
            ChainStep::UnknownAddress => Note::UnknownAddress,
            ChainStep::Open(rule) => {
                Note::Open(rule.origin.label.clone(), rule.origin.place.clone())
            }
            ChainStep::Server(server) => {
                Note::Server(server.origin.label.clone(), server.origin.place.clone())
            }
            ChainStep::NoServer { reason } => Note::NoServer(reason),
            ChainStep::FallThrough => Note::FallThrough,
        });
    }

    fn host(&mut self, found: Option<(HostForm, &VirtualHost)>) {
        self.host = Some(found.map(|(form, _)| form));
    }

    fn miss(&mut self, rule: usize, alternative: usize, condition: usize, reason: Reason) {
        self.misses.push((rule, alternative, condition, reason));
    }

    fn matched(&mut self, rule: usize, alternative: Option<usize>) {
        self.matched = Some((rule, alternative));
    }
}
