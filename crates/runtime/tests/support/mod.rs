//! What all tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part")]

use pointsman_runtime::Shards;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; no passing test waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds, and fails the test if it does not within [`DEADLINE`].
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs a test body with `count` shards, which must all end cleanly afterwards.
pub(crate) fn with_shards(count: u16, body: impl AsyncFnOnce(&Shards)) {
    pointsman_runtime::run(async {
        let shards = Shards::start(count).unwrap();
        body(&shards).await;
        let stopped = shards.stop(DEADLINE).await;
        assert!(stopped.is_clean(), "{stopped:?}");
        assert_eq!(stopped.joined.len(), usize::from(count) + 1);
    })
    .unwrap();
}
