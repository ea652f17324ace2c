//! A drain reaches every watch on every thread, waits for the guards, and says how many remained.

mod support;

use pointsman_runtime::{Drain, Watch};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{DEADLINE, eventually, with_shards};

/// Drains with patience that must not be needed: the controller is woken, not timed out.
async fn drained(drain: &Drain) -> usize {
    let start = Instant::now();
    let remained = drain.drain(DEADLINE).await;
    assert!(start.elapsed() < DEADLINE, "the deadline passed");
    remained
}

#[test]
fn nothing_to_wait_for() {
    pointsman_runtime::run(async {
        let drain = Drain::new();
        let watch = drain.watch();
        drop(watch.guard());
        assert!(!drain.is_draining() && !watch.is_draining());
        assert_eq!(drained(&drain).await, 0);
        assert!(drain.is_draining() && watch.is_draining());
        // Whoever asks late is told at once.
        watch.clone().began().await;
        drain.watch().began().await;
        assert_eq!(drained(&drain).await, 0);
    })
    .unwrap();
}

#[test]
fn guards_on_all_shards_are_told_and_waited_for() {
    const CONNECTIONS: usize = 50;
    with_shards(2, async |shards| {
        let drain = Drain::new();
        let ended = Arc::new(AtomicUsize::new(0));
        shards
            .on_each(DEADLINE, {
                let (drain, ended) = (drain.clone(), Arc::clone(&ended));
                async move |_| {
                    let watch = Rc::new(drain.watch());
                    for _ in 0..CONNECTIONS {
                        let (guard, ended) = (watch.guard(), Arc::clone(&ended));
                        tokio::task::spawn_local(async move {
                            guard.began().await;
                            assert!(guard.is_draining());
                            tokio::task::yield_now().await;
                            ended.fetch_add(1, Ordering::SeqCst);
                        });
                    }
                }
            })
            .await
            .unwrap();
        assert_eq!(drain.remaining(), 2 * CONNECTIONS);
        assert_eq!(ended.load(Ordering::SeqCst), 0);
        assert_eq!(drained(&drain).await, 0);
        assert_eq!(ended.load(Ordering::SeqCst), 2 * CONNECTIONS);
    });
}

#[test]
fn the_deadline_passes_and_the_rest_is_counted() {
    pointsman_runtime::run(async {
        let drain = Drain::new();
        let watches: Vec<Watch> = (0..3).map(|_| drain.watch()).collect();
        let stubborn: Vec<_> = watches.iter().map(Watch::guard).collect();
        let obedient = watches[0].clone().guard();
        assert_eq!(watches[0].guards(), 2);
        tokio::task::spawn_local(async move { obedient.began().await });
        let start = Instant::now();
        let patience = Duration::from_millis(60);
        assert_eq!(drain.drain(patience).await, 3);
        assert!(start.elapsed() >= patience);
        // A second, more patient round waits for what is left, newcomers included.
        let late = watches[1].guard();
        let task = tokio::task::spawn_local(async move {
            tokio::task::yield_now().await;
            drop(stubborn);
            tokio::task::yield_now().await;
            drop(late);
        });
        assert_eq!(drained(&drain).await, 0);
        task.await.unwrap();
    })
    .unwrap();
}

/// The wake-up of the controller must not get lost between its count and its wait.
#[test]
fn a_guard_dropped_at_the_very_moment_is_noticed() {
    pointsman_runtime::run(async {
        for _ in 0..300 {
            let drain = Drain::new();
            let guards: Vec<_> = (0..2).map(|_| drain.watch().guard()).collect();
            let threads: Vec<_> = guards
                .into_iter()
                .map(|guard| std::thread::spawn(move || drop(guard)))
                .collect();
            assert_eq!(drained(&drain).await, 0);
            for thread in threads {
                thread.join().unwrap();
            }
        }
    })
    .unwrap();
}

#[test]
fn a_connection_that_panics_lets_go() {
    pointsman_runtime::run(async {
        let drain = Drain::new();
        let guard = drain.watch().guard();
        let task = tokio::task::spawn_local(async move {
            guard.began().await;
            panic!("on purpose");
        });
        eventually("the guard", || drain.remaining() == 1).await;
        assert_eq!(drained(&drain).await, 0);
        assert!(task.await.unwrap_err().is_panic());
    })
    .unwrap();
}
