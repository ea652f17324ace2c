//! `Meter`: turns what the shard has counted into metrics, on a tick.
use crate::{access::SinkOutlet, shard::Shard};
use actix::{Actor, AsyncContext, Context, Handler, Message};
use pointsman_telemetry::{Counter, Gauge, Histogram, Recorder, names};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

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
    handles: Handles,
}

/// What the shard writes to, resolved once: the recorder is locked for that, and everything on the
/// shard would wait.
struct Handles {
    detection: Histogram,
    open: Gauge,
    /// By the name of the family and the value of its label. A series appears with its first count.
    counters: HashMap<(&'static str, &'static str), Counter>,
    generations: BTreeMap<u64, Gauge>,
}

impl Meter {
    /// For one shard.
    pub fn new(shard: Rc<Shard>, recorder: Recorder, sinks: Vec<SinkOutlet>) -> Self {
        let index = shard.index.to_string();
        let handles = Handles {
            detection: recorder.histogram(&names::DETECTION_SECONDS, []),
            open: recorder.gauge(&names::CONNECTIONS_OPEN, [&*index]),
            counters: HashMap::new(),
            generations: BTreeMap::new(),
        };
        Self {
            shard,
            recorder,
            sinks,
            handles,
        }
    }

    fn flush(&mut self) {
        let Self {
            shard,
            recorder,
            sinks,
            handles,
        } = self;
        if let Some(ring) = &shard.access {
            ring.drain(sinks, recorder);
        }
        shard.settle_live();
        shard.each_stats(|stats| stats.flush(recorder));
        let counts = &shard.counts;
        for seconds in counts.detection_seconds.borrow_mut().drain(..) {
            handles.detection.record(seconds);
        }
        for (cell, outcome) in counts.detected.iter().zip(DETECTED) {
            let family = &names::DETECTION_OUTCOMES;
            let resolve = || recorder.counter(family, [outcome]);
            handles.count(family.name, outcome, cell.take(), resolve);
        }
        let family = &names::SELF_CONNECT_REFUSED;
        let resolve = || recorder.counter(family, []);
        handles.count(family.name, "", counts.self_connects.take(), resolve);
        handles.drain(recorder, &names::REFUSED, &counts.refused);
        handles.drain(recorder, &names::MIRRORS, &counts.mirrors);
        handles.drain(recorder, &names::RETRIES, &counts.retries);
        handles.drain(recorder, &names::LIMITS_HIT, &counts.limits);
        handles.open.set(shard.registry.len() as f64);
        let now = shard.registry.generations();
        let family = &names::SNAPSHOT_CONNECTIONS;
        handles.generations.retain(|generation, _| {
            let stays = now.contains_key(generation);
            if !stays {
                let values = [generation.to_string(), shard.index.to_string()];
                recorder.retire(family, values.each_ref().map(|it| &**it));
            }
            stays
        });
        for (generation, count) in now {
            let resolve = || {
                let values = [generation.to_string(), shard.index.to_string()];
                recorder.gauge(family, values.each_ref().map(|it| &**it))
            };
            let gauge = handles.generations.entry(generation);
            gauge.or_insert_with(resolve).set(f64::from(count));
        }
    }
}

impl Handles {
    fn count(
        &mut self,
        family: &'static str,
        label: &'static str,
        count: u64,
        resolve: impl FnOnce() -> Counter,
    ) {
        if count == 0 {
            return;
        }
        let counter = self.counters.entry((family, label));
        counter.or_insert_with(resolve).increment(count);
    }

    fn drain(
        &mut self,
        recorder: &Recorder,
        family: &names::CounterFamily<1>,
        counts: &RefCell<HashMap<&'static str, u64>>,
    ) {
        for (label, count) in counts.borrow_mut().drain() {
            let resolve = || recorder.counter(family, [label]);
            self.count(family.name, label, count, resolve);
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
