//! What a request, a connection and a gigabyte cost in CPU time, side by side with other proxies.
//!
//! `cargo run --release -p pointsman-benches --bin side-by-side` starts every proxy found on the
//! machine, pinned to one CPU, and drives them in turn from another. The figure compared is **CPU
//! time of the proxy's process tree per unit**, not throughput: it hardly depends on how fast the
//! load generator is, and it is what a deployment pays for.
//!
//! How to read the crate, from the wire upwards:
//!
//! | module | holds |
//! | --- | --- |
//! | [`epoll`] | a safe, thin face on epoll, and CPU pinning |
//! | [`relay`] | the floor: a relay that parses nothing (also the binary `relay`) |
//! | [`upstream`] | the servers behind the proxies: fixed HTTP answers, echo, source |
//! | [`load`] | the clients in front: keep-alive HTTP, connect-and-close, bulk |
//! | [`traffic`] | the exact bytes sent and expected, a built ClientHello among them |
//! | [`proxies`] | how each proxy is configured and started |
//! | [`loading`] | how long a configuration takes to load, and its memory |
//! | [`rows`] | what is measured: one row per kind of traffic |
//! | [`measure`] | check, warm up, measure; rounds that alternate proxies; medians |
//! | [`report`] | the table, Markdown and JSON |
#![forbid(unsafe_code)]

pub mod epoll;
pub mod load;
pub mod loading;
pub mod measure;
pub mod proxies;
pub mod relay;
pub mod report;
pub mod rows;
pub mod traffic;
pub mod upstream;
