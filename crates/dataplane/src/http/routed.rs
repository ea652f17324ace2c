//! What becomes of a request that a rule has taken: an answer of the gateway's own, or a head for
//! the endpoint. No await in here either.
use super::{
    Context, RequestFacts,
    answer::{self, Answer},
    asked::Wishes,
    changes::{Changes, Process},
    fields::HeadFields,
    grpc_web::{self, GrpcWeb},
    local::{self, Refused},
    mirror::{Copies, Original},
    outgoing::{Written, connection, speaks_http2, write_head},
    step::{Answered, Forward, Reply, Step, To},
};
use crate::shard::{cluster_state::ClusterState, view::View};
use pointsman_model::action::{Abort, FieldOps};
use pointsman_route::{
    Action, Matched, Request, Split,
    action::{self, Asked, Cors, Effects, Incoming, Verdict},
};
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::{
    http1::{Reason, Refusal, RequestHead, RequestRewrite},
    http2::Outgoing,
};
use std::rc::Rc;

/// A request that a rule has taken.
pub(super) struct Routed<'a, 'h> {
    pub(super) cx: &'a Context<'a>,
    pub(super) view: &'a View,
    pub(super) facts: RequestFacts,
    pub(super) matched: Matched<'a>,
    pub(super) head: &'a RequestHead<'h>,
    pub(super) request: Request<'a, HeadFields<'a, 'h>>,
}

impl Routed<'_, '_> {
    pub(super) fn execute(&mut self, out: &mut Vec<u8>) -> Step {
        let Self {
            cx,
            view,
            ref matched,
            head,
            ..
        } = *self;
        cx.access.decided_by(&matched.rule.origin);
        let location;
        let fields;
        let answer = match &matched.rule.action {
            Action::Forward(split) => {
                let chosen = Chosen::new(cx, view, split);
                if let Some(cluster) = &chosen.cluster {
                    self.facts.goes_to(&cluster.cluster, head);
                }
                return match &matched.rule.effects {
                    None => self.forward(chosen, None, out),
                    Some(effects) => self.affected(chosen, effects, out),
                };
            }
            Action::Redirect(redirect) => {
                let Some(to) = answer::location(
                    redirect,
                    &self.request,
                    matched.prefix_len,
                    matched.port(cx.original),
                ) else {
                    let refusal = Refusal::request(Reason::MissingHost);
                    return Step::Refuse(Refused::routed(refusal, &self.facts));
                };
                location = to;
                fields = [("location", &*location)];
                Answer {
                    status: redirect.code,
                    flags: Flags::EMPTY,
                    details: "direct_response",
                    fields: &fields,
                    body: &[],
                }
            }
            Action::Respond(response) => answer::direct(response),
        };
        let changes = self.facts_for(None, |facts| Changes::new(matched.rule, None, None, facts));
        self.answered(&answer, &changes, cx.shard.local.clone(), out)
    }

    /// What the commands in header values can ask for.
    fn facts_for<T>(
        &self,
        cluster: Option<&ClusterState>,
        ask: impl FnOnce(&Asked<'_, HeadFields<'_, '_>>) -> T,
    ) -> T {
        let origin = &self.matched.rule.origin;
        ask(&Asked {
            request: &self.request,
            protocol: self.facts.version.as_str(),
            remote: Some(self.cx.source.get()),
            local: self.cx.original,
            route: origin.name.as_ref().unwrap_or(&origin.label),
            cluster: cluster.map(|it| &*it.cluster.label),
            process: &Process {
                cx: self.cx,
                started: self.facts.started,
            },
        })
    }

    /// Writes the answer of a rule.
    fn answered(
        &self,
        answer: &Answer<'_>,
        changes: &Changes,
        stats: Rc<ClusterStats>,
        out: &mut Vec<u8>,
    ) -> Step {
        let most = self.cx.shard.settings.limits.discarded_body_bytes;
        let keep_alive = self.facts.keeps_discarding(most);
        Step::Answered(Answered {
            facts: self.facts,
            told: answer.write(out, changes, &self.facts, keep_alive),
            stats,
        })
    }

    /// A rule that injects faults or has a CORS policy: the fault comes first (VS-H-39, VS-H-84).
    fn affected(&mut self, chosen: Chosen, effects: &Effects, out: &mut Vec<u8>) -> Step {
        let shard = self.cx.shard;
        let injected = effects.fault.as_ref().map(|fault| {
            let mut random = shard.random.borrow_mut();
            action::inject(fault, || random.u32(..))
        });
        let injected = injected.unwrap_or_default();
        if injected.delay.is_some() {
            self.facts.injected |= Flags::DI;
        }
        let step = match injected.abort {
            Some(abort) => self.aborted(&chosen, abort, out),
            None => self.cross_origin(chosen, effects.cors.as_ref(), out),
        };
        match injected.delay {
            None => step,
            Some(delay) => Step::After(delay, Box::new(step)),
        }
    }

    fn aborted(&mut self, chosen: &Chosen, abort: &Abort, out: &mut Vec<u8>) -> Step {
        self.facts.injected |= Flags::FI;
        let aborted = action::aborted(abort, self.facts.grpc.is_some());
        let answer = Answer {
            status: aborted.status,
            flags: Flags::EMPTY,
            details: "fault_filter_abort",
            fields: aborted.fields,
            body: aborted.body.as_bytes(),
        };
        let stats = chosen.stats(self.cx);
        let rule = self.matched.rule;
        let changes = self.facts_for(chosen.cluster.as_deref(), |facts| {
            Changes::new(rule, Some(chosen.index), None, facts)
        });
        self.answered(&answer, &changes, stats, out)
    }

    fn cross_origin(&self, chosen: Chosen, cors: Option<&Cors>, out: &mut Vec<u8>) -> Step {
        let fields = match cors.map(|cors| cors.ask(&self.request)) {
            None | Some(Verdict::Untouched) => return self.forward(chosen, None, out),
            Some(Verdict::Allowed(last)) => return self.forward(chosen, Some(last), out),
            Some(Verdict::Preflight(fields)) => fields,
        };
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let answer = Answer {
            status: 200,
            flags: Flags::EMPTY,
            details: "cors_response",
            fields: &fields,
            body: &[],
        };
        let stats = chosen.stats(self.cx);
        self.answered(&answer, &Changes::Nothing, stats, out)
    }

    /// Sends it on. `last` is done to the response after all that the rule does to it.
    fn forward(&self, chosen: Chosen, last: Option<FieldOps>, out: &mut Vec<u8>) -> Step {
        let Self {
            cx,
            view,
            mut facts,
            ref matched,
            head,
            ref request,
        } = *self;
        let rule = matched.rule;
        let changes = self.facts_for(chosen.cluster.as_deref(), |facts| {
            Changes::new(rule, Some(chosen.index), last, facts)
        });
        let Some(cluster) = chosen.cluster else {
            return Step::Reply(Reply {
                facts,
                local: local::NO_CLUSTER,
                stats: cx.shard.blackhole.clone(),
                changes,
            });
        };
        let names = head.fields.iter().map(|field| field.name);
        let incoming = Incoming {
            received: head.path,
            path: request.path,
            query: head.query,
            matched: matched.prefix_len,
        };
        let granted = Wishes::of(head, &facts).granted(rule);
        facts.deadline = granted.deadline;
        let mut drop = granted.drop;
        let mut outgoing = self.facts_for(Some(&cluster), |facts| {
            let leave_out = |at| drop.insert(at);
            action::outgoing(rule, chosen.index, &incoming, names, facts, leave_out)
        });
        if let Some(told) = granted.told {
            // An operation of the rule may have set it too (VS-H-65).
            let name = "grpc-timeout";
            let extra = &mut outgoing.extra;
            extra.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
            extra.push((name, told.into()));
        }
        if let Some(host) = outgoing.host {
            cx.access.authority(host);
        }
        let extra = action::lines(&outgoing.extra);
        let rewrite = RequestRewrite {
            target: outgoing.target.as_deref(),
            host: outgoing.host,
            drop,
            connection: connection(&facts, head),
        };
        let to_http2 = speaks_http2(cx, &cluster, &facts);
        let Written { mut http2, accept } = match write_head(head, &rewrite, &extra, to_http2, out)
        {
            Ok(written) => written,
            Err(refusal) => return Step::Refuse(Refused::routed(refusal, &facts)),
        };
        grpc_web::translate(&facts, head, http2.as_deref_mut());
        let copies = Copies::draw(cx, view, rule, &facts, || Original {
            head,
            rewrite: &rewrite,
            extra: &extra,
            http1: http2.is_none().then_some(out.as_slice()),
            // What still lacks its fields is written once more.
            http2: http2
                .as_deref()
                .filter(|it| !it.lacks_source())
                .map(Outgoing::message),
            web: GrpcWeb::of(&facts),
        });
        Step::Forward(Forward {
            facts,
            to: To::Cluster(cluster),
            timeout: granted.timeout,
            retries: granted.retries,
            changes,
            copies,
            http2,
            accept,
        })
    }
}

/// The destination that was drawn.
struct Chosen {
    /// Its position in the rule.
    index: usize,
    /// `None` where it does not exist.
    cluster: Option<Rc<ClusterState>>,
}

impl Chosen {
    fn new(cx: &Context<'_>, view: &View, split: &Split) -> Self {
        let target = split.pick(cx.shard.random.borrow_mut().u32(..));
        let id = target.cluster.ok();
        let cluster = id.and_then(|id| cx.shard.cluster(view, id));
        if let Some(cluster) = &cluster {
            cx.access.backend(&cluster.cluster.label);
        }
        let mut targets = split.targets().iter();
        let index = targets.position(|it| std::ptr::eq(it, target));
        Self {
            index: index.unwrap_or_default(),
            cluster,
        }
    }

    /// Whom an answer in its place counts for.
    fn stats(&self, cx: &Context<'_>) -> Rc<ClusterStats> {
        match &self.cluster {
            Some(cluster) => cluster.stats.clone(),
            None => cx.shard.local.clone(),
        }
    }
}
