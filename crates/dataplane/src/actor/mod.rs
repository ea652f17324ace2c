//! The actors of a shard, in the order traffic and changes meet them.
pub mod acceptor;
pub mod balancer;
pub mod meter;
pub mod replica;
pub mod sniffer;
