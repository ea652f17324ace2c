//! Pings to endpoints, where a policy asks for them (BE-74).
use super::connection::Connection;
use crate::shard::Shard;
use h2::{Ping, PingPong};
use pointsman_model::policy::Http2KeepAlive;
use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};
use tokio::task::AbortHandle;

/// The pings of one connection. They begin with the first request whose policy wants them.
#[derive(Debug)]
pub(super) struct Pings {
    with: RefCell<Option<PingPong>>,
    shard: Weak<Shard>,
    task: RefCell<Option<AbortHandle>>,
}

/// An interval is up to this many percent longer, so that connections which were opened together are
/// not asked together.
const JITTER: u32 = 15;

impl Pings {
    /// None yet.
    pub(super) fn new(with: Option<PingPong>, shard: &Rc<Shard>) -> Self {
        Self {
            with: RefCell::new(with),
            shard: Rc::downgrade(shard),
            task: RefCell::default(),
        }
    }

    /// Asks from now on, unless that has begun.
    pub(super) fn begin(&self, of: &Rc<Connection>, policy: Http2KeepAlive) {
        if let Some(with) = self.with.take() {
            let task = actix::spawn(ping(Rc::downgrade(of), with, self.shard.clone(), policy));
            *self.task.borrow_mut() = Some(task.abort_handle());
        }
    }

    /// The connection has ended.
    pub(super) fn end(&self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn ping(
    of: Weak<Connection>,
    mut with: PingPong,
    shard: Weak<Shard>,
    policy: Http2KeepAlive,
) {
    loop {
        let more = policy.interval / 100 * fastrand::u32(..=JITTER);
        tokio::time::sleep(policy.interval.saturating_add(more)).await;
        match tokio::time::timeout(policy.timeout, with.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return,
            Err(_) => break,
        }
    }
    let (Some(of), Some(shard)) = (of.upgrade(), shard.upgrade()) else {
        return;
    };
    tracing::debug!("an endpoint does not answer pings");
    shard.counts.limit("http2KeepAlive");
    of.is_gone();
}
