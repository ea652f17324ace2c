//! Threads: names, initialisers, their errors, and the end.

mod support;

use pointsman_runtime::{InitError, Place, ShardId, Shards};
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::{DEADLINE, with_shards};

#[test]
fn each_initialiser_runs_on_its_own_named_thread() {
    with_shards(3, async |shards| {
        assert_eq!(shards.count(), 3);
        let init = async |shard: ShardId| {
            let local = Rc::new(shard);
            let seen = tokio::task::spawn_local(async move { (*local, Place::here()) }).await;
            (seen.unwrap(), thread_name())
        };
        let seen = shards.on_each(DEADLINE, init).await.unwrap();
        for (index, ((id, place), name)) in seen.into_iter().enumerate() {
            assert_eq!(id.index(), index);
            assert_eq!(place, Place::Shard(id));
            assert_eq!(name, format!("shard-{index}"));
        }
        let control = shards.on_control(DEADLINE, async || (Place::here(), thread_name()));
        assert_eq!(
            control.await.unwrap(),
            (Place::Control, "control".to_owned())
        );
        assert_eq!(Place::here(), Place::Elsewhere);
    });
}

/// The name as the operating system tells it.
fn thread_name() -> String {
    let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    name.trim_end().to_owned()
}

#[test]
fn an_initialiser_that_panics_or_hangs_is_an_error_and_the_thread_goes_on() {
    with_shards(2, async |shards| {
        let panics = shards.on_each(DEADLINE, async |shard: ShardId| {
            assert!(shard.index() == 0, "on purpose");
        });
        match panics.await {
            Err(InitError::Panicked { place, cause }) => {
                assert_eq!(place, Place::Shard(ShardId(1)));
                assert!(cause.starts_with("on purpose (at "), "{cause}");
            }
            other => panic!("{other:?}"),
        }
        // A plain closure panics before there is a future.
        let panics = shards.on_each(DEADLINE, |_| {
            assert!(Place::here() == Place::Elsewhere, "early");
            std::future::ready(())
        });
        assert!(matches!(
            panics.await,
            Err(InitError::Panicked { cause, .. }) if cause.starts_with("early")
        ));
        let hangs = shards.on_control(Duration::from_millis(20), std::future::pending::<()>);
        assert_eq!(hangs.await, Err(InitError::Timeout(Place::Control)));
        let fine = shards.on_each(DEADLINE, async |shard| shard).await;
        assert_eq!(fine.unwrap(), [ShardId(0), ShardId(1)]);
    });
}

#[test]
fn a_thread_that_blocks_is_reported_stuck_and_not_waited_for() {
    let (release, until) = std::sync::mpsc::channel::<()>();
    pointsman_runtime::run(async {
        let shards = Shards::start(1).unwrap();
        let until = std::sync::Mutex::new(Some(until));
        let blocks = shards.on_each(Duration::from_millis(20), async move |_| {
            let until = until.lock().unwrap().take().unwrap();
            let _ = until.recv_timeout(DEADLINE);
        });
        assert_eq!(
            blocks.await,
            Err(InitError::Timeout(Place::Shard(ShardId(0))))
        );
        let start = Instant::now();
        let stopped = shards.stop(Duration::from_secs(2)).await;
        assert!(start.elapsed() < DEADLINE);
        assert_eq!(stopped.stuck, [Place::Shard(ShardId(0))]);
        assert_eq!(stopped.joined, [Place::Control]);
        assert!(!stopped.is_clean());
    })
    .unwrap();
    drop(release);
}
