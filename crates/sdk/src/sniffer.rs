//! Sniffers: recognising a protocol by its first bytes.
use std::net::SocketAddr;

/// What a sniffer says about the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// Not mine.
    No,
    /// Could become mine: ask again when there is more. The connection waits, until the deadline of
    /// `timeouts.client_hello` or 4096 bytes; then what it is without this sniffer is taken.
    NeedMore,
    /// Mine: hand the connection to the protocol actor of this name.
    Yes(&'static str),
}

/// Where a connection comes from and where it wants to go.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The client.
    pub peer: SocketAddr,
    /// The address the client dialled.
    pub original: SocketAddr,
}

/// Recognises one protocol. Runs on a shard's thread inside the connection's task, before the
/// built-in detection, on ports that are inspected. Pure: it looks, it does not read or wait.
///
/// A panic ends that one connection.
pub trait Sniffer {
    /// Looks at the bytes received so far, at least one, from the first of the connection on.
    fn sniff(&self, bytes: &[u8], arrival: &Arrival) -> Sniffed;
}
