//! What an extension registers, and where it will run.
use crate::{Balancer, Session, Sniffer, SourceChange};
use actix::{Actor, Context, Handler};
use pointsman_runtime::{ActorSpec, Outlet, Overseer};
use pointsman_telemetry::Sink;
use std::{future::Future, pin::Pin};

/// Makes a value on the thread where it will live; called again after a panic.
pub type Factory<T> = Box<dyn Fn() -> Box<T> + Send + Sync>;
/// Starts an actor on the present shard.
pub type Starter = Box<dyn Fn(&Overseer) -> Outlet<Session> + Send + Sync>;
/// A running source.
pub type Running = Pin<Box<dyn Future<Output = ()>>>;
/// Runs a source on the control thread.
pub type SourceRunner = Box<dyn Fn(Outlet<SourceChange>) -> Running + Send + Sync>;

/// Collects what extensions bring. Everything is a factory: a shard is a thread of its own and
/// makes its own instances, and whatever panics is made anew.
#[derive(Default)]
pub struct Host {
    /// Sources by name.
    pub sources: Vec<(&'static str, SourceRunner)>,
    /// Sniffers, asked in the order they were registered.
    pub sniffers: Vec<Factory<dyn Sniffer>>,
    /// Protocol actors by name.
    pub protocols: Vec<(&'static str, Starter)>,
    /// Balancers by name.
    pub balancers: Vec<(&'static str, Factory<dyn Balancer>)>,
    /// Telemetry sinks by name.
    pub sinks: Vec<(&'static str, Factory<dyn Sink>)>,
}

impl Host {
    /// Registers a discovery source. `run` gets the outlet to the catalogue and runs until the
    /// process ends; if it returns or panics it is run again, and says everything again.
    pub fn source<F, R>(&mut self, name: &'static str, run: F)
    where
        F: Fn(Outlet<SourceChange>) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + 'static,
    {
        let run = move |changes| Box::pin(run(changes)) as Running;
        self.sources.push((name, Box::new(run)));
    }

    /// Registers a sniffer.
    pub fn sniffer<S, F>(&mut self, make: F)
    where
        S: Sniffer + 'static,
        F: Fn() -> S + Send + Sync + 'static,
    {
        self.sniffers.push(Box::new(move || Box::new(make())));
    }

    /// Registers a protocol: an actor of a type of yours that takes [`Session`]s, one per shard.
    pub fn protocol<A, F>(&mut self, name: &'static str, make: F)
    where
        A: Actor<Context = Context<A>> + Handler<Session>,
        F: Fn() -> A + Clone + Send + Sync + 'static,
    {
        /// Sessions that may wait in the actor's mailbox.
        const MAILBOX: usize = 1024;
        let start = move |overseer: &Overseer| {
            let make = make.clone();
            overseer
                .start(ActorSpec::new(name, MAILBOX, move |_, _| make()))
                .outlet()
        };
        self.protocols.push((name, Box::new(start)));
    }

    /// Registers a balancer.
    pub fn balancer<B, F>(&mut self, name: &'static str, make: F)
    where
        B: Balancer + 'static,
        F: Fn() -> B + Send + Sync + 'static,
    {
        self.balancers
            .push((name, Box::new(move || Box::new(make()))));
    }

    /// Registers a telemetry sink: it gets a batch of records per tick (250 ms) and shard, one batch
    /// after the other, on a thread where it may block. A panic loses the batch.
    pub fn sink<S, F>(&mut self, name: &'static str, make: F)
    where
        S: Sink + 'static,
        F: Fn() -> S + Send + Sync + 'static,
    {
        self.sinks.push((name, Box::new(move || Box::new(make()))));
    }
}
