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
//! | [`http2`] | frames and fields, as much of them as a fixed load needs |
//! | [`upstream`] | the servers behind the proxies: HTTP/1 and HTTP/2 answers, echo, source |
//! | [`load`] | the clients in front: keep-alive HTTP, large bodies, h2load, a fixed rate, connect-and-close, bulk |
//! | [`traffic`] | the exact bytes sent and expected, a built ClientHello among them |
//! | [`proxies`] | how each proxy is configured and started |
//! | [`loading`] | how long a configuration takes to load, and its memory |
//! | [`rows`] | what is measured: one row per kind of traffic |
//! | [`check`] | one exchange of a row's kind, every byte looked at |
//! | [`measure`] | check, warm up, measure; rounds that alternate proxies; medians |
//! | [`idle`] | memory of connections that do nothing |
//! | [`bars`] | what this project asks of itself |
//! | [`report`] | the table, Markdown and JSON |
#![forbid(unsafe_code)]

pub mod bars;
pub mod check;
pub mod epoll;
pub mod http2;
pub mod idle;
pub mod load;
pub mod loading;
pub mod measure;
pub mod proxies;
pub mod relay;
pub mod report;
pub mod rows;
pub mod traffic;
pub mod upstream;
