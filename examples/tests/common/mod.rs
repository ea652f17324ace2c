//! What the tests of the examples share: a bystander, whose traffic must not notice a panic.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test uses a part of it

use pointsman_examples::stage::http_service;
use pointsman_testkit::{HttpUpstream, RawHttp, free_port, fresh_ip};
use std::{net::SocketAddr, time::Duration};

pub const SOON: Duration = Duration::from_secs(10);

/// An address nobody else uses.
pub fn place() -> SocketAddr {
    SocketAddr::new(fresh_ip(), free_port())
}

/// Who answers a request on a connection of its own; an empty name if nobody does.
pub async fn ask(at: SocketAddr, host: &str) -> String {
    let Ok(mut client) = RawHttp::connect(at).await else {
        return String::new();
    };
    let reply = client.get(host, "/").await;
    reply
        .ok()
        .and_then(|reply| reply.answered_by())
        .unwrap_or_default()
}

/// How often actors of this name were made anew in this process.
pub fn restarts(name: &str) -> u64 {
    let stats = pointsman_runtime::stats();
    let named = stats.actors.iter().filter(|actor| actor.name == name);
    named.map(|actor| actor.restarts).sum()
}

/// A service the extension has nothing to do with, and a connection to it that is kept open.
pub struct Bystander {
    _upstream: HttpUpstream,
    at: SocketAddr,
    pub document: String,
    kept: Option<RawHttp>,
}

impl Bystander {
    pub async fn new() -> Self {
        let upstream = HttpUpstream::named("bystander").start().await;
        let at = place();
        Self {
            document: http_service("bystander", at, &[upstream.addr()]),
            _upstream: upstream,
            at,
            kept: None,
        }
    }

    /// Is served on the connection kept since the first call, and on a new one.
    pub async fn is_served(&mut self) {
        if self.kept.is_none() {
            self.kept = Some(RawHttp::connect(self.at).await.expect("a connection"));
        }
        let kept = self.kept.as_mut().expect("just made");
        let reply = kept.get("bystander.example", "/").await.expect("an answer");
        assert_eq!(reply.answered_by().as_deref(), Some("bystander"));
        assert_eq!(ask(self.at, "bystander.example").await, "bystander");
    }

    /// Ends its connection, so that a drain need not wait for it.
    pub fn leave(&mut self) {
        self.kept = None;
    }
}
