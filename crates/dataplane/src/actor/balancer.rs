//! `Balancer`: keeps what the shard knows about endpoints in order. Requests choose endpoints by
//! themselves, from state this actor maintains.
use crate::shard::{SWEEP, Shard};
use actix::{Actor, AsyncContext, Context};
use std::{rc::Rc, time::Instant};

/// The one that closes stale pooled connections and forgets endpoints nobody uses.
pub struct Balancer {
    shard: Rc<Shard>,
}

impl Balancer {
    /// For one shard.
    pub fn new(shard: Rc<Shard>) -> Self {
        Self { shard }
    }
}

impl Actor for Balancer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(SWEEP, |balancer, _| balancer.shard.sweep(Instant::now()));
    }
}
