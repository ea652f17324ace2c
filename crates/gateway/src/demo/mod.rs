//! `pointsman demo`: a sample shop on loopback, the manifests that route it, and commands to try.
//!
//! How to read it: `files` holds the manifests (one per service, as people write them) and puts
//! them where they can be edited; [`Shop`] is the servers behind them; [`tries`] are commands with
//! what their answer contains, so that a test runs exactly what `banner` prints.
//!
//! On Linux every address of 127.0.0.0/8 answers without preparation, so each service has a
//! cluster IP of its own and routing by address is real, not imitated:
//!
//! | addresses | are |
//! | --- | --- |
//! | 127.77.0.x | cluster IPs; nobody but the gateway answers there |
//! | 127.77.1.x | pods of the headless service, the gateway at port 9000, the pod at 9001 |
//! | 127.77.2.x | all other pods |
//!
//! The gateway takes HTTP ports on all addresses, so no pod listens at the number of a service
//! port: it would lose its own traffic to the gateway.
mod banner;
mod files;
mod shop;
mod tries;

pub use banner::{Facts, banner};
pub use files::{WriteError, Written, files, write};
pub use shop::{Shop, ShopError};
pub use tries::{Try, change, ticking, tries};

#[cfg(test)]
mod tests;
