//! What only the tables of a gateway have: listeners that belong to servers of Gateway documents.
//!
//! [`listener`] chooses among the servers of one port and address: HTTP, bytes, or TLS by server
//! name. `names` is the host table of a server: literal names only, nothing is completed. Unlike
//! in the table of a mesh client nothing passes through: what no server takes is closed, what no
//! host takes is answered 404.
pub mod listener;
pub(crate) mod names;

pub use listener::{AfterTls, Considered, TlsServer};
