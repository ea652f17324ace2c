//! What extensions brought, on one shard.
use pointsman_runtime::{Outlet, Overseer};
use pointsman_sdk::{Arrival, Balancer, Candidates, Host, Session, Sniffed, Sniffer};
use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

/// The instances of one shard.
#[derive(Default)]
pub struct Extensions {
    sniffers: Vec<Box<dyn Sniffer>>,
    protocols: HashMap<&'static str, Outlet<Session>>,
    host: Option<Arc<Host>>,
    /// Balancers and protocols that are named and nobody registered, so that each is told once.
    missing: RefCell<BTreeSet<Arc<str>>>,
}

/// A protocol actor that a sniffer has named.
pub(crate) type Recognised = Outlet<Session>;

/// What all sniffers together say.
pub(crate) enum Opinion {
    /// Nobody's.
    No,
    /// Somebody cannot tell yet.
    NeedMore,
    /// Somebody's.
    Yes(Recognised),
}

impl Extensions {
    /// Makes the instances and starts the protocol actors on the present thread.
    pub fn start(host: &Arc<Host>, overseer: &Overseer) -> Self {
        Self {
            sniffers: host.sniffers.iter().map(|make| make()).collect(),
            protocols: host
                .protocols
                .iter()
                .map(|(name, start)| (*name, start(overseer)))
                .collect(),
            host: Some(host.clone()),
            missing: RefCell::default(),
        }
    }

    /// Asks the sniffers in their order.
    pub(crate) fn sniff(&self, bytes: &[u8], peer: SocketAddr, original: SocketAddr) -> Opinion {
        let arrival = Arrival { peer, original };
        let mut opinion = Opinion::No;
        for sniffer in &self.sniffers {
            match sniffer.sniff(bytes, &arrival) {
                Sniffed::Yes(name) => match self.protocols.get(name) {
                    Some(protocol) => return Opinion::Yes(protocol.clone()),
                    None => self.say_missing(name, || {
                        tracing::warn!(protocol = name, "a sniffer names an unknown protocol");
                    }),
                },
                Sniffed::NeedMore => opinion = Opinion::NeedMore,
                Sniffed::No => {}
            }
        }
        opinion
    }

    /// Is there anybody to tell of requests and connections?
    pub(crate) fn has_sinks(&self) -> bool {
        self.host
            .as_ref()
            .is_some_and(|host| !host.sinks.is_empty())
    }

    /// A balancer of this name for one backend; `None`, said once, if nobody registered it.
    pub(crate) fn balancer(&self, name: &Arc<str>, backend: &str) -> Option<CustomBalancer> {
        let found = self.host.as_ref().and_then(|host| {
            let index = host.balancers.iter().position(|(own, _)| **own == **name)?;
            Some(CustomBalancer {
                host: host.clone(),
                index,
                instance: RefCell::default(),
            })
        });
        if found.is_none() {
            self.say_missing(name, || {
                tracing::warn!(
                    balancer = &**name,
                    backend,
                    "no extension registered this balancer; the policy's own algorithm is used"
                );
            });
        }
        found
    }

    fn say_missing(&self, name: &str, say: impl FnOnce()) {
        let mut missing = self.missing.borrow_mut();
        if !missing.contains(name) {
            missing.insert(name.into());
            say();
        }
    }
}

/// A balancer that an extension brought, for one backend.
pub(crate) struct CustomBalancer {
    host: Arc<Host>,
    index: usize,
    /// Made on first use, and anew after a panic.
    instance: RefCell<Option<Box<dyn Balancer>>>,
}

impl CustomBalancer {
    /// Asks it. An answer that may not be used counts as none.
    pub(crate) fn pick(&self, candidates: &dyn Candidates) -> Option<usize> {
        let kept = self.instance.take();
        let mut instance = match kept {
            Some(instance) => instance,
            None => self
                .host
                .balancers
                .get(self.index)
                .map(|(_, make)| make())?,
        };
        let picked = instance.pick(candidates);
        // Not reached after a panic: the instance ends with the request, half changed as it is.
        self.instance.replace(Some(instance));
        picked.filter(|index| candidates.usable(*index))
    }
}
