//! What extensions brought, on one shard.
use pointsman_runtime::{Outlet, Overseer};
use pointsman_sdk::{Arrival, Balancer, Host, Session, Sniffed, Sniffer};
use std::{collections::HashMap, net::SocketAddr, sync::Arc};

/// The instances of one shard.
#[derive(Default)]
pub struct Extensions {
    sniffers: Vec<Box<dyn Sniffer>>,
    protocols: HashMap<&'static str, Outlet<Session>>,
    host: Option<Arc<Host>>,
}

/// A protocol actor that a sniffer has named.
pub(crate) type Recognised = Outlet<Session>;

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
        }
    }

    /// Asks the sniffers in their order.
    pub(crate) fn sniff(
        &self,
        bytes: &[u8],
        peer: SocketAddr,
        original: SocketAddr,
    ) -> Option<Recognised> {
        let arrival = Arrival { peer, original };
        self.sniffers
            .iter()
            .find_map(|sniffer| match sniffer.sniff(bytes, &arrival) {
                Sniffed::Yes(name) => self.protocols.get(name).cloned(),
                Sniffed::No | Sniffed::NeedMore => None,
            })
    }

    /// A new balancer of this name.
    pub(crate) fn balancer(&self, name: &str) -> Option<Box<dyn Balancer>> {
        let host = self.host.as_ref()?;
        host.balancers
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, make)| make())
    }
}
