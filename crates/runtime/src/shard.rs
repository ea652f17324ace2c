//! The threads: one per shard, one for control, each with its own single-threaded event loop.

use crate::lag::{self, LagGauge};
use crate::panics::{self, describe};
use crate::place::{Place, ShardId};
use actix_rt::{Arbiter, ArbiterHandle, System};
use futures_util::FutureExt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Runs `main` to completion on the calling thread, within an actix system, which [`Shards`]
/// needs. Returns what `main` returned. Threads it started and did not stop go on.
///
/// # Errors
/// When the operating system refuses the event loop (file descriptors, mostly).
pub fn run<F: Future>(main: F) -> io::Result<F::Output> {
    let event_loop = event_loop()?;
    Ok(System::with_tokio_rt(|| event_loop).block_on(main))
}

fn event_loop() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// The threads of the process. Dropping it tells them to stop, without waiting for that.
pub struct Shards {
    shards: Vec<Thread>,
    control: Thread,
}

impl Shards {
    /// Starts `count` shards, `shard-0` and up, and the `control` thread. Each gets a lag probe.
    /// Must be called within [`run`]. Blocks for the milliseconds the threads need to come up.
    ///
    /// # Errors
    /// When the operating system refuses a thread or its event loop; those already started are
    /// told to stop.
    ///
    /// # Panics
    /// Outside [`run`].
    pub fn start(count: u16) -> io::Result<Shards> {
        panics::remember_locations();
        let shards = (0..count)
            .map(|id| Thread::start(Place::Shard(ShardId(id))))
            .collect::<io::Result<Vec<_>>>()?;
        let control = Thread::start(Place::Control)?;
        Ok(Shards { shards, control })
    }

    /// How many shards there are.
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// Runs `init` once on each shard, all at the same time, and returns what it made, in order
    /// of the shards.
    ///
    /// The future never leaves its thread, so it may hold `Rc`s, start actors and spawn local
    /// tasks that share them; only the result travels back. `init` outlives the call, as the
    /// future borrows from it.
    ///
    /// # Errors
    /// The first shard's error, in order of the shards. After `Timeout` the initialiser runs on.
    pub async fn on_each<T, F>(&self, deadline: Duration, init: F) -> Result<Vec<T>, InitError>
    where
        F: AsyncFn(ShardId) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let until = Instant::now() + deadline;
        let init = Arc::new(init);
        let pending: Vec<_> = (0..)
            .map(ShardId)
            .zip(&self.shards)
            .map(|(id, thread)| {
                let init = Arc::clone(&init);
                (thread.place, thread.begin(async move || init(id).await))
            })
            .collect();
        let mut made = Vec::with_capacity(pending.len());
        for (place, result) in pending {
            made.push(collect(place, until, result).await?);
        }
        Ok(made)
    }

    /// Runs `init` on the control thread; otherwise as [`Shards::on_each`].
    ///
    /// # Errors
    /// As [`Shards::on_each`].
    pub async fn on_control<T, F>(&self, deadline: Duration, init: F) -> Result<T, InitError>
    where
        F: AsyncFnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let until = Instant::now() + deadline;
        collect(Place::Control, until, self.control.begin(init)).await
    }

    /// Ends all threads, the shards first, and waits for that until `deadline`. Everything on
    /// them is dropped where it stands: drain before.
    ///
    /// The last quarter of the time is the control thread's alone, so that a shard that blocks
    /// does not make control look stuck as well.
    pub async fn stop(self, deadline: Duration) -> Stopped {
        let now = Instant::now();
        let mut stopped = Stopped::default();
        let Shards { shards, control } = self;
        for (group, until) in [
            (shards, now + deadline - deadline / 4),
            (vec![control], now + deadline),
        ] {
            for thread in &group {
                thread.arbiter.stop();
            }
            let joining: Vec<_> = group.into_iter().map(Thread::join).collect();
            for (place, ended) in joining {
                match timeout_at(until, ended).await {
                    Ok(Ok(true)) => stopped.joined.push(place),
                    Ok(Ok(false)) => stopped.panicked.push(place),
                    Ok(Err(_)) | Err(_) => stopped.stuck.push(place),
                }
            }
        }
        stopped
    }
}

/// How the threads ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Ended as asked.
    pub joined: Vec<Place>,
    /// Ended in a panic while dropping what was on them.
    pub panicked: Vec<Place>,
    /// Not known to have ended when the deadline passed: something on them blocks. They end with
    /// the process.
    pub stuck: Vec<Place>,
}

impl Stopped {
    /// Whether every thread ended as asked.
    pub fn is_clean(&self) -> bool {
        self.panicked.is_empty() && self.stuck.is_empty()
    }
}

/// Why an initialiser has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The deadline passed.
    #[error("initialisation of {0} did not end in time")]
    Timeout(Place),
    /// The initialiser panicked.
    #[error("initialisation of {place} panicked: {cause}")]
    Panicked {
        /// The thread.
        place: Place,
        /// The panic's message, with file and line.
        cause: String,
    },
    /// The thread ended.
    #[error("{0} has ended")]
    Gone(Place),
}

type Begun<T> = oneshot::Receiver<Result<T, String>>;

async fn collect<T>(place: Place, until: Instant, begun: Begun<T>) -> Result<T, InitError> {
    match timeout_at(until, begun).await {
        Ok(Ok(Ok(made))) => Ok(made),
        Ok(Ok(Err(cause))) => Err(InitError::Panicked { place, cause }),
        Ok(Err(_)) => Err(InitError::Gone(place)),
        Err(_) => Err(InitError::Timeout(place)),
    }
}

struct Thread {
    place: Place,
    arbiter: Arbiter,
    _stop: StopOnDrop,
    _lag: Arc<LagGauge>,
}

impl Thread {
    fn start(place: Place) -> io::Result<Thread> {
        // actix makes the thread; this closure is the first thing that runs on it.
        let arbiter = Arbiter::try_with_tokio_rt(move || {
            place.settle();
            event_loop()
        })?;
        let (lag, probe) = lag::probe(place);
        arbiter.spawn(probe);
        Ok(Thread {
            place,
            _stop: StopOnDrop(arbiter.handle()),
            arbiter,
            _lag: lag,
        })
    }

    /// Runs `init` over there, in one piece with what it spawns.
    fn begin<T, F>(&self, init: F) -> Begun<T>
    where
        F: AsyncFnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (done, begun) = oneshot::channel();
        // A closure, not a future: what is sent must be `Send`, the initialiser's future is not.
        self.arbiter.spawn_fn(move || {
            tokio::task::spawn_local(async move {
                // Within the future, since a plain closure may panic before it returns one.
                let made = AssertUnwindSafe(async move { init().await })
                    .catch_unwind()
                    .await;
                let _ = done.send(made.map_err(|payload| describe(payload.as_ref())));
            });
        });
        begun
    }

    /// Waits for the thread's end elsewhere. A thread of its own, since joining blocks, and a
    /// tokio blocking task that never ends would hold up the end of the runtime.
    fn join(self) -> (Place, oneshot::Receiver<bool>) {
        let Thread { place, arbiter, .. } = self;
        let (done, ended) = oneshot::channel();
        let _ = std::thread::Builder::new()
            .name(format!("join {place}"))
            .spawn(move || done.send(arbiter.join().is_ok()));
        (place, ended)
    }
}

struct StopOnDrop(ArbiterHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
