//! `Sniffer`: takes accepted connections and starts a task for each, which begins by finding out
//! what the client speaks.
use crate::{
    connection::{self, Accepted, Arriving},
    shard::Shard,
};
use actix::{Actor, Context, Handler, Message};
use std::rc::Rc;

/// Connections that may wait to be started; beyond it accepting waits.
pub const MAILBOX: usize = 1024;

/// A client has connected.
///
/// Sender: the accept task of a listening socket. Receiver: `Sniffer` of the same shard. Rate: once
/// per connection. Verb: `offer`; while it is full accepting waits.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Arrived(pub Accepted, pub Arriving);

/// Starts connection tasks. The tasks belong to the thread, not to the actor: they outlive its
/// restart, and a panic in one of them ends that connection only.
pub struct Sniffer {
    shard: Rc<Shard>,
}

impl Sniffer {
    /// For one shard.
    pub fn new(shard: Rc<Shard>) -> Self {
        Self { shard }
    }
}

impl Actor for Sniffer {
    type Context = Context<Self>;
}

impl Handler<Arrived> for Sniffer {
    type Result = ();

    fn handle(&mut self, Arrived(accepted, arriving): Arrived, _: &mut Self::Context) {
        let task = connection::serve(self.shard.clone(), accepted);
        // The registry counts it now, and the drain waits for the task.
        drop(arriving);
        actix::spawn(task);
    }
}
