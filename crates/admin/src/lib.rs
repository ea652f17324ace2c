//! The pages operators and machines ask for: metrics, readiness, what the process is.
//!
//! How to read it: [`health`] is the state readiness reports, [`page`] what a handler gets and
//! gives, [`admin`] the table of pages that `pages` fills with the built-in ones (`exposition` makes the
//! text of the metrics), `guard` what
//! keeps a browser's visitors out, [`mod@serve`] the sockets, `stream` their bytes,
//! `places` who may be connected.
//!
//! Far off the traffic path: one thread, HTTP/1 by hyper, a few connections. More pages are added
//! with [`Admin::route`] before serving begins.
#![forbid(unsafe_code)]

pub mod admin;
mod exposition;
mod guard;
pub mod health;
pub mod page;
mod pages;
mod places;
pub mod serve;
mod stream;

pub use admin::Admin;
pub use health::{Health, State};
pub use hyper::{Method, StatusCode};
pub use page::{Reply, Request};
pub use serve::{BindError, Door, bind, serve};
