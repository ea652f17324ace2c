//! Starting a shard: its state, its clock, its actors.
use crate::{
    access::SinkOutlet,
    actor::{
        acceptor::{Acceptor, StopAccepting},
        balancer::Balancer,
        meter::{Flush, Meter},
        replica::Replica,
        sniffer::{self, Sniffer},
    },
    capture::Capture,
    extension::Extensions,
    http::Date,
    message::{InstallSnapshot, ShardFindings, SnapshotActive},
    settings::Settings,
    shard::{Common, Shard, SharedCounts, lookups::Lookup, registry},
};
use pointsman_route::Snapshot;
use pointsman_runtime::{ActorSpec, Link, Outlet, Overseer, ShardId, Watch};
use pointsman_sdk::Host;
use pointsman_telemetry::{Recorder, SourceLabels};
use std::{rc::Rc, sync::Arc};

/// What every shard is started with.
#[derive(Clone)]
pub struct Plan {
    /// Process settings.
    pub settings: Settings,
    /// How traffic comes in.
    pub capture: Capture,
    /// What to serve first.
    pub snapshot: Arc<Snapshot>,
    /// What extensions brought.
    pub host: Arc<Host>,
    /// Who starts and restarts actors.
    pub overseer: Overseer,
    /// Where counts go.
    pub recorder: Recorder,
    /// Who calls, in metrics.
    pub source: Arc<SourceLabels>,
    /// Limits that hold for all shards together.
    pub shared: Arc<SharedCounts>,
    /// The catalogue, for acknowledgements.
    pub active: Outlet<SnapshotActive>,
    /// The catalogue, for findings.
    pub findings: Outlet<ShardFindings>,
    /// The hosts of the sinks that `host` registers, for access log records.
    pub sinks: Vec<SinkOutlet>,
}

/// How the rest of the process reaches a started shard.
#[derive(Clone)]
pub struct ShardHandle {
    /// New snapshots go here.
    pub install: Outlet<InstallSnapshot>,
    /// Asked to stop accepting when the process drains.
    pub stop_accepting: Outlet<StopAccepting>,
    /// Asked for what was counted and recorded last, before the shard ends.
    pub flush: Outlet<Flush>,
}

/// Starts a shard on the present thread, which must be the shard's.
///
/// `lookup` and `drain` are this shard's own: a look-up runs on its thread, and each connection holds
/// a guard of the watch.
pub fn start(id: ShardId, plan: Plan, lookup: Lookup, drain: Watch) -> ShardHandle {
    /// Control messages are few: one snapshot outstanding, one rebind per snapshot.
    const CONTROL_MAILBOX: usize = 64;
    let overseer = plan.overseer;
    let extensions = Extensions::start(&plan.host, &overseer);
    let shard = Shard::new(
        id.0,
        Common {
            settings: plan.settings,
            capture: plan.capture,
            source: plan.source,
            shared: plan.shared,
        },
        plan.snapshot,
        extensions,
        lookup,
        drain.clone(),
    );
    clock(&shard, drain);
    room(&shard);

    let state = shard.clone();
    let sniffer = overseer.start(ActorSpec::new("sniffer", sniffer::MAILBOX, move |_, _| {
        Sniffer::new(state.clone())
    }));
    let (state, findings, recorder) = (shard.clone(), plan.findings, plan.recorder.clone());
    let acceptor: Link<Acceptor> =
        overseer.start(ActorSpec::new("acceptor", CONTROL_MAILBOX, move |_, _| {
            Acceptor::new(
                state.clone(),
                sniffer.clone(),
                findings.clone(),
                recorder.clone(),
            )
        }));
    let (state, link, active) = (shard.clone(), acceptor.clone(), plan.active);
    let replica = overseer.start(ActorSpec::new("replica", CONTROL_MAILBOX, move |_, _| {
        Replica::new(state.clone(), link.clone(), active.clone())
    }));
    let state = shard.clone();
    overseer.start(ActorSpec::new("balancer", CONTROL_MAILBOX, move |_, _| {
        Balancer::new(state.clone())
    }));
    let (state, recorder, sinks) = (shard, plan.recorder, plan.sinks);
    let meter = overseer.start(ActorSpec::new("meter", CONTROL_MAILBOX, move |_, _| {
        Meter::new(state.clone(), recorder.clone(), sinks.clone())
    }));
    ShardHandle {
        install: replica.outlet(),
        stop_accepting: acceptor.outlet(),
        flush: meter.outlet(),
    }
}

/// The shard's coarse clock: deadlines and the drain notice. A plain task, since it has no state,
/// takes no messages and must not wait behind any.
fn clock(shard: &Rc<Shard>, drain: Watch) {
    let registry = Rc::downgrade(&shard.registry);
    actix::spawn(async move {
        let mut tick = tokio::time::interval(registry::TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(registry) = registry.upgrade() else {
                return;
            };
            registry.sweep();
            Date::tick();
            if drain.is_draining() && !registry.is_draining() {
                registry.drain();
            }
            if drain.is_cutting() && !registry.is_cut() {
                registry.cut();
            }
        }
    });
}

/// Closes idle connections when a request anywhere waits for one that may be opened (BE-60).
fn room(shard: &Rc<Shard>) {
    let mut wanted = shard.shared.wanted();
    let shard = Rc::downgrade(shard);
    actix::spawn(async move {
        while wanted.changed().await.is_ok() {
            let Some(shard) = shard.upgrade() else {
                return;
            };
            shard.make_room();
        }
    });
}
