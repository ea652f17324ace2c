//! `Meter`: turns what the shard has counted into metrics, on a tick.
use crate::{access::SinkOutlet, shard::Shard};
use actix::{Actor, AsyncContext, Context, Handler, Message};
use pointsman_telemetry::{Recorder, names};
use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

/// How often counters are drained. Requests only ever add to cells of their own thread.
const TICK: Duration = Duration::from_millis(250);

/// Names of `Counts::detected`, in its order.
const DETECTED: [&str; 6] = ["http1", "http2", "tls", "tcp", "server_first", "undecided"];

/// Drain now. The answer is how many access log records the sinks have not dealt with.
///
/// Sender: the gateway. Receiver: each shard's `Meter`. Rate: once, when the process ends, after the
/// last connection; once more where a sink does not settle. Verb: `ask`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "usize")]
pub struct Flush;

/// Drains one shard's counters, and hands its access log records to the sinks.
pub struct Meter {
    shard: Rc<Shard>,
    recorder: Recorder,
    sinks: Vec<SinkOutlet>,
    generations: Vec<u64>,
}

impl Meter {
    /// For one shard.
    pub fn new(shard: Rc<Shard>, recorder: Recorder, sinks: Vec<SinkOutlet>) -> Self {
        Self {
            shard,
            recorder,
            sinks,
            generations: Vec::new(),
        }
    }

    fn flush(&mut self) {
        let shard = &self.shard;
        if let Some(ring) = &shard.access {
            ring.drain(&self.sinks, &self.recorder);
        }
        shard.settle_live();
        shard.each_stats(|stats| stats.flush(&self.recorder));
        let detection = self.recorder.histogram(&names::DETECTION_SECONDS, []);
        for seconds in shard.counts.detection_seconds.borrow_mut().drain(..) {
            detection.record(seconds);
        }
        for (cell, outcome) in shard.counts.detected.iter().zip(DETECTED) {
            self.count(&names::DETECTION_OUTCOMES, [outcome], cell.take());
        }
        self.count(
            &names::SELF_CONNECT_REFUSED,
            [],
            shard.counts.self_connects.take(),
        );
        self.drain(&names::REFUSED, &shard.counts.refused);
        self.drain(&names::MIRRORS, &shard.counts.mirrors);
        self.drain(&names::RETRIES, &shard.counts.retries);
        self.drain(&names::LIMITS_HIT, &shard.counts.limits);
        let index = shard.index.to_string();
        self.recorder
            .gauge(&names::CONNECTIONS_OPEN, [&*index])
            .set(shard.registry.len() as f64);
        let now = shard.registry.generations();
        let seen = std::mem::take(&mut self.generations);
        for generation in seen.into_iter().filter(|it| !now.contains_key(it)) {
            self.recorder.retire(
                &names::SNAPSHOT_CONNECTIONS,
                [&generation.to_string(), &index],
            );
        }
        for (generation, count) in &now {
            self.recorder
                .gauge(
                    &names::SNAPSHOT_CONNECTIONS,
                    [&generation.to_string(), &index],
                )
                .set(f64::from(*count));
        }
        self.generations = now.into_keys().collect();
    }

    fn count<const N: usize>(
        &self,
        family: &names::CounterFamily<N>,
        labels: [&str; N],
        count: u64,
    ) {
        if count > 0 {
            self.recorder.counter(family, labels).increment(count);
        }
    }

    fn drain(
        &self,
        family: &names::CounterFamily<1>,
        counts: &RefCell<HashMap<&'static str, u64>>,
    ) {
        for (label, count) in counts.borrow_mut().drain() {
            self.count(family, [label], count);
        }
    }
}

impl Actor for Meter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |meter, _| meter.flush());
    }
}

impl Handler<Flush> for Meter {
    type Result = usize;

    fn handle(&mut self, _: Flush, _: &mut Self::Context) -> usize {
        self.flush();
        let ring = self.shard.access.as_ref();
        ring.map_or(0, |ring| ring.under_way())
    }
}
