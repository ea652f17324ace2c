//! actix, contained: the only crate that knows how actors are run, reached, restarted and stopped.
//!
//! Everything else in the workspace implements plain `actix` traits (`Actor`, `Handler`,
//! `Message`) and leaves threads, mailboxes, supervision and shutdown to this crate. What actix
//! itself offers for these four was tried and set aside; each module says why.
//!
//! # How to read it
//!
//! In the order things happen in a process:
//!
//! 1. [`place`]: the names of the threads, [`ShardId`] and [`Place`].
//! 2. [`shard`]: [`run`] gives `main` an actix system, [`Shards::start`] the threads,
//!    [`Shards::on_each`] runs an initialiser on each of them, [`Shards::stop`] ends them.
//! 3. [`spec`]: how an actor is described; [`overseer`]: how it is started, watched and made anew
//!    after a panic; [`budget`]: how often that may happen.
//! 4. [`link`](mod@link): the handle other code holds, [`Link`] or the type-erased [`Outlet`], and
//!    the mailbox behind it; `intake`: the actor's end of that mailbox.
//! 5. [`send`]: the verbs, [`tell`], [`offer`] and [`ask`].
//! 6. [`drain`]: how connections learn of, and hold up, the end of the process.
//! 7. [`lag`] and [`mod@stats`]: what operators see of all this.
//!
//! # An actor, from description to answer
//!
//! ```
//! use actix::{Actor, Context, Handler, Message};
//! use pointsman_runtime::{ActorSpec, Overseer, ShardId, Shards, ask};
//! use std::time::Duration;
//!
//! /// Adds to the sum and answers it. From the example to `Adder`, once; `ask`.
//! #[derive(Message)]
//! #[rtype(result = "u64")]
//! struct Add(u64);
//!
//! struct Adder(u64);
//! impl Actor for Adder {
//!     type Context = Context<Self>;
//! }
//! impl Handler<Add> for Adder {
//!     type Result = u64;
//!     fn handle(&mut self, Add(n): Add, _: &mut Self::Context) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//! }
//!
//! let second = Duration::from_secs(1);
//! let sum = pointsman_runtime::run(async move {
//!     let shards = Shards::start(1).expect("threads");
//!     let overseer = Overseer::default();
//!     let links = shards
//!         .on_each(second, move |_shard: ShardId| {
//!             let spec = ActorSpec::new("adder", 64, |_ctx, _me| Adder(40));
//!             let link = overseer.start(spec);
//!             async move { link }
//!         })
//!         .await
//!         .expect("initialisers");
//!     let sum = ask(&links[0], Add(2), second).await.expect("an answer");
//!     shards.stop(second).await;
//!     sum
//! })
//! .expect("a runtime");
//! assert_eq!(sum, 42);
//! ```
#![forbid(unsafe_code)]

pub mod budget;
pub mod drain;
mod intake;
pub mod lag;
pub mod link;
pub mod overseer;
mod panics;
pub mod place;
pub mod send;
pub mod shard;
pub mod spec;
pub mod stats;

pub use budget::Budget;
pub use drain::{Drain, Guard, Watch};
pub use lag::LagGauge;
pub use link::{Link, LinkState, Outlet, Seat};
pub use overseer::{Failure, Overseer};
pub use place::{Place, ShardId};
pub use send::{AskError, Offered, ask, offer, tell};
pub use shard::{InitError, Shards, Stopped, run};
pub use spec::{ActorSpec, Restart};
pub use stats::{ActorStats, LagStats, Stats, stats};
