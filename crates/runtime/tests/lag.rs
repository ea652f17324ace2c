//! The gauge of a thread shows when its event loop was held up, and only that thread's does.

mod support;

use pointsman_runtime::{LagStats, Place, ShardId, stats};
use std::time::Duration;
use support::{DEADLINE, eventually, with_shards};

fn lag(place: Place) -> Option<LagStats> {
    stats().lag.into_iter().find(|row| row.place == place)
}

// One test: the register is per process, and each row is to be this test's.
#[test]
fn a_blocked_thread_shows_and_an_idle_one_does_not() {
    let (busy, idle) = (Place::Shard(ShardId(0)), Place::Shard(ShardId(1)));
    with_shards(2, async |shards| {
        let places: Vec<Place> = stats().lag.iter().map(|row| row.place).collect();
        assert_eq!(places, [busy, idle, Place::Control]);
        shards
            .on_each(DEADLINE, async move |shard| {
                if shard == ShardId(0) {
                    // Past the first timer whenever it was set, by 300 ms at least.
                    std::thread::sleep(Duration::from_millis(500));
                }
            })
            .await
            .unwrap();
        eventually("the lag of 300 ms or more", || {
            lag(busy).unwrap().max_micros >= 300_000
        })
        .await;
        let (busy, idle) = (lag(busy).unwrap(), lag(idle).unwrap());
        assert!(busy.ewma_micros > 0 && busy.ewma_micros < busy.max_micros);
        assert!(idle.max_micros < busy.max_micros, "{idle:?} {busy:?}");
    });
    assert_eq!(stats().lag, [], "gauges go with their threads");
}
