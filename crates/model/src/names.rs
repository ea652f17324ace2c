//! What DNS names are known to be.
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// Addresses by name, as DNS said last (BE-94, BE-106). A name that was never answered is absent:
/// that nothing is known of it is something else than that it has no address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownNames {
    addresses: BTreeMap<Arc<str>, Arc<[IpAddr]>>,
}

impl KnownNames {
    /// Sets what a name (lower case, without a trailing dot) is. The order is that of the answer.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, addresses: impl Into<Arc<[IpAddr]>>) {
        self.addresses.insert(name.into(), addresses.into());
    }

    /// The addresses of a name; `None`: not known yet.
    pub fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.addresses.get(name).map(|addresses| &**addresses)
    }

    /// Forgets names that are not wanted any more.
    pub fn retain(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        self.addresses.retain(|name, _| wanted(name));
    }

    /// The names that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.addresses.keys().map(|name| &**name)
    }

    /// How many names are known.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}
