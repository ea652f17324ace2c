//! What can be added to Pointsman, each as one small module.
//!
//! | Module | Adds | Run it |
//! | --- | --- | --- |
//! | [`source`] | a discovery source: a hosts file | `cargo run -p pointsman-examples --example source` |
//! | [`sniffer_protocol`] | a sniffer and its protocol actor | `... --example sniffer_protocol` |
//! | [`sink`] | a telemetry sink: requests per route | `... --example sink` |
//! | [`balancer`] | a balancer: first available | `... --example balancer` |
//! | [`embed`] | nothing: a program that contains a gateway | `... --example embed` |
//!
//! The programs in `examples/` put them on a [`stage`]; the tests in `tests/` make each of them
//! panic and check that the gateway goes on.
#![forbid(unsafe_code)]

pub mod balancer;
pub mod embed;
pub mod sink;
pub mod sniffer_protocol;
pub mod source;
pub mod stage;
