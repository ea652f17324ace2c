//! `SinkHost`: runs one sink beside the control thread.
use actix::{Actor, ActorFutureExt, Context, ContextFutureSpawner, Handler, Message, WrapFuture};
use pointsman_runtime::{ActorSpec, Outlet, Seat};
use pointsman_sdk::Host;
use pointsman_telemetry::{AccessRecord, Sink};
use std::sync::Arc;

/// Batches of one shard that a sink may have before it: what one shard has too many takes no place of
/// another's. It has no more bytes in them than
/// [`Limits::access_log_bytes`](crate::settings::Limits::access_log_bytes).
pub const SINK_PLACES: usize = 16;

/// The mailbox of a sink: places for the batches of so many shards, and one for [`Settled`].
pub const fn sink_mailbox(shards: usize) -> usize {
    shards.saturating_mul(SINK_PLACES).saturating_add(1)
}

/// Records of one tick of one shard.
///
/// Sender: each shard's `Meter`. Receiver: each sink's `SinkHost`. Rate: at most once per tick and
/// shard. Verb: `offer`; a batch that is refused, or for which the shard has no place, is lost and
/// counted.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct AccessBatch {
    /// In order.
    pub records: Arc<Vec<AccessRecord>>,
    /// Held until the sink has dealt with them.
    pub place: Place,
}

/// One of the [`SINK_PLACES`] of a shard at one sink.
#[derive(Clone, Debug, Default)]
pub struct Place(Arc<()>);

impl Place {
    /// Another one, if not all are taken. Asked of the one that the shard keeps itself.
    pub(super) fn take(&self) -> Option<Self> {
        (Arc::strong_count(&self.0) <= SINK_PLACES).then(|| self.clone())
    }
}

/// Have you dealt with all batches before this?
///
/// Sender: the gateway. Receiver: each `SinkHost`. Rate: once, when the process ends. Verb: `ask`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Settled;

/// How a shard reaches a sink.
#[derive(Clone)]
pub struct SinkOutlet {
    /// Its name, as a metrics label.
    pub name: &'static str,
    /// Its host.
    pub records: Outlet<AccessBatch>,
}

/// Runs one sink. `records` may block, on a full pipe for example, so it runs on a thread for
/// blocking work: the control thread must go on compiling. One batch at a time, in order.
pub struct SinkHost {
    /// Away while it works.
    sink: Option<Box<dyn Sink>>,
}

/// Describes the host of the sink at `index` of `host.sinks`, to be started on the control thread.
/// A sink that panics loses its batch and is made anew.
///
/// # Panics
/// In the actor, when there is no such sink.
pub fn sink_host(seat: Seat<SinkHost>, host: Arc<Host>, index: usize) -> ActorSpec<SinkHost> {
    ActorSpec::seated(seat, move |_, _| SinkHost {
        sink: host.sinks.get(index).map(|(_, make)| make()),
    })
}

impl Actor for SinkHost {
    type Context = Context<Self>;
}

impl Handler<AccessBatch> for SinkHost {
    type Result = ();

    fn handle(&mut self, batch: AccessBatch, ctx: &mut Self::Context) {
        let Some(mut sink) = self.sink.take() else {
            return;
        };
        let work = tokio::task::spawn_blocking(move || {
            sink.records(&batch.records);
            drop(batch);
            sink
        });
        // The mailbox waits: the next batch needs the sink back.
        work.into_actor(self)
            .map(|done, this, _| match done {
                Ok(sink) => this.sink = Some(sink),
                Err(error) => {
                    // Its panic becomes the actor's, which the overseer makes anew.
                    if let Ok(payload) = error.try_into_panic() {
                        std::panic::resume_unwind(payload);
                    }
                }
            })
            .wait(ctx);
    }
}

impl Handler<Settled> for SinkHost {
    type Result = ();

    fn handle(&mut self, _: Settled, _: &mut Self::Context) {}
}
