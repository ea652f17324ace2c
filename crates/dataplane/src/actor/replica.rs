//! `Replica`: swaps the shard's view.
use super::acceptor::{Acceptor, Rebind};
use crate::{
    message::{InstallSnapshot, SnapshotActive},
    shard::Shard,
};
use actix::{Actor, Context, Handler};
use pointsman_runtime::{Link, Outlet, tell};
use std::{rc::Rc, time::Instant};

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

impl Actor for Replica {
    type Context = Context<Self>;
}

impl Handler<InstallSnapshot> for Replica {
    type Result = ();

    fn handle(&mut self, install: InstallSnapshot, _: &mut Self::Context) {
        let binds_before = self.shard.view();
        self.shard.install(&install);
        if binds_before.table().binds() != install.snapshot.table.binds() {
            tell(&self.acceptor, Rebind);
        }
        tell(
            &self.catalogue,
            SnapshotActive {
                shard: self.shard.index,
                generation: install.snapshot.generation,
                at: Instant::now(),
            },
        );
    }
}
