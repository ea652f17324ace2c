//! Sources that extensions bring.
use crate::message::{Resync, SourceStarted};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use pointsman_runtime::{ActorSpec, Link, Outlet, tell};
use pointsman_sdk::{SourceChange, host::SourceRunner};
use std::{rc::Rc, time::Duration};

/// Wait before a source that returned is run again.
const AGAIN: Duration = Duration::from_secs(1);

/// Describes the actor that runs a source registered as `name`, to be started on the control
/// thread. The source must call itself `name` in its [`SourceChange`]s too.
///
/// It is run again, and is expected to say everything again, when it returns, when it panics, and
/// when the catalogue was restarted.
pub fn hosted(
    name: &'static str,
    run: SourceRunner,
    started: Outlet<SourceStarted>,
    changes: Outlet<SourceChange>,
) -> ActorSpec<HostedSource> {
    let run = Rc::new(run);
    // Resync is told at most once per restart of the catalogue; nothing else comes in.
    ActorSpec::new(name, 4, move |_, me: &Link<HostedSource>| HostedSource {
        name,
        run: Rc::clone(&run),
        started: started.clone(),
        changes: changes.clone(),
        me: me.outlet(),
        running: None,
    })
}

/// Runs one extension's source and announces it.
pub struct HostedSource {
    name: &'static str,
    run: Rc<SourceRunner>,
    started: Outlet<SourceStarted>,
    changes: Outlet<SourceChange>,
    me: Outlet<Resync>,
    running: Option<SpawnHandle>,
}

impl HostedSource {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        if let Some(running) = self.running.take() {
            ctx.cancel_future(running);
        }
        tell(
            &self.started,
            SourceStarted {
                source: self.name.into(),
                resync: self.me.clone(),
            },
        );
        let source = (self.run)(self.changes.clone());
        // In the context: a panic of the source is the actor's, and the overseer makes it anew.
        let running = source.into_actor(self).map(|(), this, ctx| {
            tracing::warn!(source = this.name, "source ended; it is run again");
            this.running = Some(ctx.run_later(AGAIN, Self::begin));
        });
        self.running = Some(ctx.spawn(running));
    }
}

impl Actor for HostedSource {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.begin(ctx);
    }
}

impl Handler<Resync> for HostedSource {
    type Result = ();

    fn handle(&mut self, _: Resync, ctx: &mut Self::Context) {
        self.begin(ctx);
    }
}
