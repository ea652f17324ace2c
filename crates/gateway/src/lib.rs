//! The gateway as a library: build it, extend it, run it.
//!
//! How to read it: [`settings`] is what a process can be told and where each value came from,
//! [`builder`] what an embedding program calls, [`assemble`] starts every actor in one readable
//! function, [`running`] is a started gateway. The command line is in `cli`, the sample shop in
//! [`demo`].
#![forbid(unsafe_code)]

pub mod assemble;
pub mod builder;
pub mod cli;
pub mod demo;
pub mod running;
pub mod settings;

pub use builder::{Builder, Gateway};
pub use running::Running;
pub use settings::Settings;
