//! `Replica`: swaps the shard's view.
use super::acceptor::{Acceptor, Rebind};
use crate::{
    message::{InstallSnapshot, SnapshotActive},
    shard::Shard,
};
use actix::{Actor, ActorFutureExt, Context, ContextFutureSpawner, Handler, WrapFuture};
use pointsman_runtime::{Link, Outlet, ask, tell};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// How long listening sockets may take before a generation counts as served without them.
const BIND: Duration = Duration::from_secs(10);

/// The one writer of a shard's view.
pub struct Replica {
    shard: Rc<Shard>,
    acceptor: Link<Acceptor>,
    catalogue: Outlet<SnapshotActive>,
}

impl Replica {
    /// For one shard.
    pub fn new(
        shard: Rc<Shard>,
        acceptor: Link<Acceptor>,
        catalogue: Outlet<SnapshotActive>,
    ) -> Self {
        Self {
            shard,
            acceptor,
            catalogue,
        }
    }
}

impl Replica {
    /// Says which generation is served.
    fn acknowledge(&self) {
        tell(
            &self.catalogue,
            SnapshotActive {
                shard: self.shard.index,
                generation: self.shard.snapshot().generation,
                at: Instant::now(),
            },
        );
    }
}

impl Actor for Replica {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        // After a panic over a snapshot the catalogue still waits for an answer.
        self.acknowledge();
    }
}

impl Handler<InstallSnapshot> for Replica {
    type Result = ();

    fn handle(&mut self, install: InstallSnapshot, ctx: &mut Self::Context) {
        let before = self.shard.snapshot();
        self.shard.install(&install);
        if before.tables.same_binds(&install.snapshot.tables) {
            return self.acknowledge();
        }
        // Sockets first: who has waited for a generation may dial its addresses.
        let acceptor = self.acceptor.clone();
        async move { ask(&acceptor, Rebind, BIND).await }
            .into_actor(self)
            .map(|_, replica, _| replica.acknowledge())
            .spawn(ctx);
    }
}
