//! One request head: parsed, routed, written anew. No await in here: a request sees one view.
use super::{
    Context, RequestFacts,
    fields::HeadFields,
    local::{self, Local},
    redirect,
};
use crate::{
    settings::Settings,
    shard::{cluster_state::ClusterState, endpoint_state::EndpointState, view::View},
};
use pointsman_route::{
    Action, Class, ConnectionDecision, HttpTableId, Matched, NoTrace, Request, RequestDecision,
    Rule, Split,
    action::{self, Incoming, levels},
};
use pointsman_telemetry::ClusterStats;
use pointsman_wire::{
    http1::{
        ConnectionOption, FieldSet, HeadLimits, Refusal, RequestHead, RequestKind, RequestRewrite,
        field_slots, parse_request, write_request,
    },
    path,
};
use std::{rc::Rc, sync::Arc, time::Duration, time::Instant};

/// What to do with the bytes received so far.
pub(crate) enum Step {
    /// The head is incomplete.
    NeedMore,
    /// Malformed: refuse and close.
    Refuse(Refusal),
    /// Answer with this.
    Reply(Reply),
    /// An answer is in `out` already (a redirect or a direct response).
    Answered {
        facts: RequestFacts,
        status: u16,
        stats: Rc<ClusterStats>,
    },
    /// Send it on; the head for the endpoint is in `out`.
    Forward(Forward),
}

/// A reply of our own to a well-formed request.
pub(crate) struct Reply {
    pub(crate) facts: RequestFacts,
    pub(crate) local: Local,
    pub(crate) stats: Rc<ClusterStats>,
}

/// A request on its way to a backend.
pub(crate) struct Forward {
    pub(crate) facts: RequestFacts,
    pub(crate) to: To,
    /// The rule's `timeout` (VS-H-63).
    pub(crate) timeout: Option<Duration>,
    /// The rule and the index of its destination, only where the response has operations of theirs.
    response: Option<(Arc<Rule>, usize)>,
}

/// Where a request goes.
pub(crate) enum To {
    /// An endpoint of a backend.
    Cluster(Rc<ClusterState>),
    /// The original destination: nothing recognised the request (LIS-62).
    Original(Rc<EndpointState>, Rc<ClusterStats>),
}

pub(crate) use pointsman_route::action::Levels;

impl Forward {
    /// The backend's own connect timeout, or the process's.
    pub(crate) fn connect_timeout(&self, settings: &Settings) -> Duration {
        match &self.to {
            To::Cluster(cluster) => cluster.cluster.policy.pool.connect_timeout,
            To::Original(..) => None,
        }
        .unwrap_or(settings.timeouts.connect.0)
    }

    /// The counters of the backend.
    pub(crate) fn stats(&self) -> &Rc<ClusterStats> {
        match &self.to {
            To::Cluster(cluster) => &cluster.stats,
            To::Original(_, stats) => stats,
        }
    }

    /// What the rule does to the response's fields.
    pub(crate) fn response_operations(&self) -> Levels<'_> {
        match &self.response {
            None => Levels::new(),
            Some((rule, target)) => levels(rule, Some(*target), |headers| &headers.response),
        }
    }
}

/// How a client connection finds its host table: looked up again only when the view changes.
#[derive(Default)]
pub(crate) struct TableCache(Option<(u64, Found)>);

#[derive(Clone, Copy)]
enum Found {
    Table(HttpTableId),
    /// The listener stopped being HTTP while the connection lives: its bytes are still requests,
    /// so they follow the listener's own decision one by one.
    Bytes,
}

impl TableCache {
    fn find(&mut self, view: &View, cx: &Context<'_>) -> Found {
        if let Some((generation, found)) = self.0
            && generation == view.generation()
        {
            return found;
        }
        let found = match cx.decide(view, Class::Http, None) {
            ConnectionDecision::Http(table) => Found::Table(table),
            _ => Found::Bytes,
        };
        self.0 = Some((view.generation(), found));
        cx.lease.hold(view.generation());
        found
    }
}

/// Parses and routes the head at the start of `input`. What is to be sent is appended to `out`.
/// `last`: the connection has had all the requests it may have.
pub(crate) fn decide(
    cx: &Context<'_>,
    cache: &mut TableCache,
    input: &[u8],
    out: &mut Vec<u8>,
    last: bool,
) -> Step {
    let limits = &cx.shard.settings.limits;
    let limits = HeadLimits {
        max_bytes: limits.head_bytes,
        max_fields: limits.fields,
        max_target: limits.target_bytes,
    };
    let mut slots = field_slots();
    let head = match parse_request(input, &mut slots, &limits) {
        Ok(Some(head)) => head,
        Ok(None) => return Step::NeedMore,
        Err(refusal) => return Step::Refuse(refusal),
    };
    let view = cx.view();
    let started = Instant::now();
    cx.access.request(&head, view.generation(), started);
    let path = match path::normalize(head.path) {
        Ok(path) => path,
        Err(refusal) => return Step::Refuse(refusal),
    };
    let facts = RequestFacts {
        head_len: head.len,
        body: head.body,
        kind: RequestKind::of(head.method),
        keep_alive: head.keep_alive && !last && !cx.lease.is_draining(),
        version: head.version,
        idempotent: is_idempotent(head.method),
        upgrade: head.upgrade.is_some_and(|upgrade| upgrade.is_websocket()),
        started,
    };
    let reply = |local, stats: &Rc<ClusterStats>| {
        Step::Reply(Reply {
            facts,
            local,
            stats: stats.clone(),
        })
    };
    if facts.kind == RequestKind::Connect {
        return reply(local::CONNECT_REFUSED, &cx.shard.blackhole);
    }
    let request = Request {
        method: head.method,
        authority: head.host.unwrap_or_default(),
        path: &path,
        query: head.query,
        scheme: "http",
        fields: &HeadFields(&head),
    };
    let decision = match cache.find(&view, cx) {
        Found::Table(table) => view.table().request(table, &request, &mut NoTrace),
        Found::Bytes => match cx.decide(&view, Class::Http, None) {
            ConnectionDecision::Forward(rule) => {
                cx.access.decided_by(&rule.origin);
                return forward_bytes(cx, &view, facts, &rule.split, &head, &path, out);
            }
            ConnectionDecision::Blackhole => RequestDecision::Blackhole,
            _ => RequestDecision::Passthrough,
        },
    };
    match decision {
        RequestDecision::NotFound(_) => {
            cx.access.edit(|record| record.why = "no_rule".into());
            reply(local::NO_ROUTE, &cx.shard.blackhole)
        }
        RequestDecision::Blackhole => {
            cx.access.blackhole();
            reply(local::BLACKHOLE, &cx.shard.blackhole)
        }
        RequestDecision::Passthrough if cx.original_is_self => {
            let why = format_args!(
                "no route takes Host `{}`, and the client dialled {}",
                request.authority, cx.original
            );
            cx.shard.counts.self_connect(&why);
            reply(local::SELF_CONNECT, &cx.shard.passthrough)
        }
        RequestDecision::Passthrough => {
            cx.access.passthrough();
            write_plain(&facts, &head, &path, out);
            Step::Forward(Forward {
                facts,
                to: To::Original(cx.shard.original(cx.original), cx.shard.passthrough.clone()),
                timeout: None,
                response: None,
            })
        }
        RequestDecision::Rule(matched) => execute(cx, &view, facts, &matched, &head, &path, out),
    }
}

fn execute(
    cx: &Context<'_>,
    view: &View,
    facts: RequestFacts,
    matched: &Matched<'_>,
    head: &RequestHead<'_>,
    path: &str,
    out: &mut Vec<u8>,
) -> Step {
    let rule = matched.rule;
    cx.access.decided_by(&rule.origin);
    let split = match &rule.action {
        Action::Forward(split) => split,
        Action::Redirect(redirect) => {
            let keep_alive = facts.keeps_unread();
            let location =
                redirect::location(redirect, head, path, matched.prefix_len, cx.original);
            let levels = levels(rule, None, |headers| &headers.response);
            redirect::write(out, redirect.code, &location, &levels, &facts, keep_alive);
            return Step::Answered {
                facts,
                status: redirect.code,
                stats: cx.shard.local.clone(),
            };
        }
        Action::Respond(response) => {
            let keep_alive = facts.keeps_unread();
            let levels = levels(rule, None, |headers| &headers.response);
            redirect::write_direct(out, response, &levels, &facts, keep_alive);
            return Step::Answered {
                facts,
                status: response.status,
                stats: cx.shard.local.clone(),
            };
        }
    };
    let draw = cx.shard.random.borrow_mut().u32(..);
    let target = split.pick(draw);
    let cluster = match target
        .cluster
        .ok()
        .and_then(|id| cx.shard.cluster(view, id))
    {
        Some(cluster) => cluster,
        None => {
            return Step::Reply(Reply {
                facts,
                local: local::NO_CLUSTER,
                stats: cx.shard.blackhole.clone(),
            });
        }
    };
    cx.access.backend(&cluster.cluster.label);
    let index = split
        .targets()
        .iter()
        .position(|it| std::ptr::eq(it, target))
        .unwrap_or_default();
    let names = head.fields.iter().map(|field| field.name);
    let incoming = Incoming {
        received: head.path,
        path,
        query: head.query,
        matched: matched.prefix_len,
    };
    let mut drop = FieldSet::default();
    let outgoing = action::outgoing(rule, index, &incoming, names, |at| drop.insert(at));
    write_request(
        out,
        head,
        &RequestRewrite {
            target: outgoing.target.as_deref(),
            host: outgoing.host,
            drop,
            connection: connection(&facts, head),
        },
        head.body,
        &outgoing.extra,
    );
    let response = levels(rule, Some(index), |headers| &headers.response);
    Step::Forward(Forward {
        facts,
        to: To::Cluster(cluster),
        timeout: rule.timeout,
        response: (!response.is_empty()).then(|| (rule.clone(), index)),
    })
}

fn forward_bytes(
    cx: &Context<'_>,
    view: &View,
    facts: RequestFacts,
    split: &Split,
    head: &RequestHead<'_>,
    path: &str,
    out: &mut Vec<u8>,
) -> Step {
    let target = split.pick(cx.shard.random.borrow_mut().u32(..));
    match target
        .cluster
        .ok()
        .and_then(|id| cx.shard.cluster(view, id))
    {
        Some(cluster) => {
            cx.access.backend(&cluster.cluster.label);
            write_plain(&facts, head, path, out);
            Step::Forward(Forward {
                facts,
                to: To::Cluster(cluster),
                timeout: None,
                response: None,
            })
        }
        None => Step::Reply(Reply {
            facts,
            local: local::NO_CLUSTER,
            stats: cx.shard.blackhole.clone(),
        }),
    }
}

fn write_plain(facts: &RequestFacts, head: &RequestHead<'_>, path: &str, out: &mut Vec<u8>) {
    let target;
    let target = if path == head.path {
        None
    } else {
        target = with_query(path, head.query);
        Some(&*target)
    };
    write_request(
        out,
        head,
        &RequestRewrite {
            target,
            host: None,
            drop: FieldSet::default(),
            connection: connection(facts, head),
        },
        head.body,
        &[],
    );
}

fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn connection<'h>(facts: &RequestFacts, head: &RequestHead<'h>) -> ConnectionOption<'h> {
    match head.upgrade.filter(|_| facts.upgrade) {
        Some(upgrade) => ConnectionOption::Upgrade(upgrade.protocols),
        None => ConnectionOption::KeepAlive,
    }
}

/// RFC 9110 section 9.2.2.
fn is_idempotent(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE"
    )
}
