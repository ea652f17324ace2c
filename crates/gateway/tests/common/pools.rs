//! What tests of connection pools share, whichever version their endpoints speak.
use super::{Gateway, get, plain, service, subsets};
use pointsman_testkit::{free_port, fresh_ip};
use std::net::SocketAddr;

const HIT: &str = "pointsman_limits_hit_total";

/// An address nobody else uses.
pub fn fresh() -> SocketAddr {
    SocketAddr::new(fresh_ip(), free_port())
}

/// A service `web` in front of these endpoints, with a connection pool. `protocol` is what its port
/// is called.
pub fn pooled(at: SocketAddr, protocol: &str, endpoints: &[SocketAddr], pool: &str) -> String {
    [
        service("web", at.ip(), at.port(), protocol, &plain(endpoints)),
        subsets("web", &[], &format!("{{connectionPool: {pool}}}")),
    ]
    .concat()
}

/// This many requests at once, each of a client of its own: their statuses, sorted.
pub async fn at_once(at: SocketAddr, count: usize) -> Vec<u16> {
    let tasks: Vec<_> = (0..count)
        .map(|_| tokio::spawn(async move { get(at, "web", "/").await.0 }))
        .collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.expect("ends"));
    }
    statuses.sort_unstable();
    statuses
}

/// Waits until a limit was hit this often.
pub async fn hit(gateway: &Gateway, limit: &str, count: f64) {
    let labels = [("limit", limit)];
    gateway
        .metrics_until(|it| it.sum(HIT, &labels) == count)
        .await;
}
