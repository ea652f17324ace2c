//! The actor that keeps names up to date.
use super::{
    Answer, Lookup, NamesSettings,
    schedule::{Change, Schedule},
};
use crate::{
    codes,
    message::{NamesChanged, NamesStarted, WantNames},
};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use pointsman_model::{Finding, Level};
use pointsman_runtime::{ActorSpec, Link, Outlet, tell};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// A look-up that takes longer has failed, whatever the servers' own patience.
const LOOKUP: Duration = Duration::from_secs(15);

/// What the actor is made of.
#[derive(Clone)]
pub struct Names {
    /// Asks DNS; [`super::system`] except in tests.
    pub lookup: Lookup,
    /// Settings.
    pub settings: NamesSettings,
    /// The catalogue: told where to say which names are wanted.
    pub started: Outlet<NamesStarted>,
    /// The catalogue: told what they are.
    pub changed: Outlet<NamesChanged>,
}

/// Describes the actor, to be started on the control thread.
pub fn names(names: Names) -> ActorSpec<NameSource> {
    // One wish per compilation that changes it; the newest counts.
    ActorSpec::new("names", 16, move |_, me: &Link<NameSource>| NameSource {
        me: me.outlet(),
        schedule: Schedule::new(names.settings.clone()),
        names: names.clone(),
        timer: None,
        told: Vec::new(),
    })
}

/// Looks names up and tells the catalogue. The one writer of the schedule.
pub struct NameSource {
    me: Outlet<WantNames>,
    names: Names,
    schedule: Schedule,
    timer: Option<SpawnHandle>,
    told: Vec<Finding>,
}

impl NameSource {
    /// Starts what is due, and sets the timer for what will be.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        for name in self.schedule.start(Instant::now()) {
            let lookup = (self.names.lookup)(Arc::clone(&name));
            let lookup = async move {
                match timeout(LOOKUP, lookup).await {
                    Ok(answer) => answer,
                    Err(_) => Err("no answer within 15 s".into()),
                }
            };
            ctx.spawn(lookup.into_actor(self).map(move |answer, this, ctx| {
                this.answered(&name, answer);
                this.proceed(ctx);
            }));
        }
        if let Some(next) = self.schedule.next() {
            let wait = next.saturating_duration_since(Instant::now());
            self.timer = Some(ctx.run_later(wait, |this, ctx| {
                this.timer = None;
                this.proceed(ctx);
            }));
        }
    }

    fn answered(&mut self, name: &Arc<str>, answer: Result<Answer, Arc<str>>) {
        let change = self.schedule.answered(name, answer, Instant::now());
        let addresses: Option<Arc<[IpAddr]>> = match change {
            None => return,
            Some(Change::Addresses(addresses)) => {
                tracing::debug!(%name, ?addresses, "name looked up");
                Some(addresses)
            }
            Some(Change::Failing(_) | Change::Recovered) => None,
        };
        let findings = self.findings();
        let findings = (findings != self.told).then(|| {
            self.told.clone_from(&findings);
            findings
        });
        if addresses.is_some() || findings.is_some() {
            tell(
                &self.names.changed,
                NamesChanged {
                    names: addresses
                        .map(|it| (Arc::clone(name), it))
                        .into_iter()
                        .collect(),
                    findings,
                },
            );
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let failing = self.schedule.failing();
        failing
            .map(|(name, cause, known)| {
                let finding = Finding::new(
                    codes::NOT_RESOLVED,
                    Level::Warning,
                    format!("{name} cannot be looked up: {cause}"),
                );
                finding
                    .effect(if known {
                        "the addresses of its last answer are used"
                    } else {
                        "what needs its address does not work: its endpoints are looked up again \
                         when they are connected to, and the swallow guard lets nothing through \
                         for it"
                    })
                    .help("check the name, and the DNS servers of this machine")
            })
            .collect()
    }
}

impl Actor for NameSource {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        // After a panic the schedule is empty, and nobody would say what is wanted.
        let wants = self.me.clone();
        tell(&self.names.started, NamesStarted { wants });
    }
}

impl Handler<WantNames> for NameSource {
    type Result = ();

    fn handle(&mut self, wanted: WantNames, ctx: &mut Self::Context) {
        self.schedule.want(&wanted.names, Instant::now());
        let findings = self.findings();
        if findings != self.told {
            self.told.clone_from(&findings);
            tell(
                &self.names.changed,
                NamesChanged {
                    names: Vec::new(),
                    findings: Some(findings),
                },
            );
        }
        self.proceed(ctx);
    }
}
