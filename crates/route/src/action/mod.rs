//! What a rule does to a request once it was taken, as values: no head is written here, and no
//! clock or random number is asked. The data path and `explain` both run this code, so that what
//! is told of a rewrite or a redirect is what happens.
mod answered;
mod cors;
mod effects;
mod fault;
mod made;
mod mirror;
mod outgoing;
mod redirect;
mod rewrite;
mod substitution;

pub use answered::answered;
pub use cors::{Cors, Verdict};
pub use effects::Effects;
pub use fault::{Aborted, Injected, aborted, drawn, inject};
pub use made::{Asked, Facts, Nothing, asks, put_address, settle};
pub use mirror::shadow;
pub use outgoing::{Incoming, Outgoing, outgoing, unchanged};
pub use redirect::{Received, https_location, location};
pub use rewrite::{Extra, Levels, authority, levels, lines, operations};
pub use substitution::Substitution;
