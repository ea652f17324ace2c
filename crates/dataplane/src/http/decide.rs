//! One request head: parsed, routed, written anew. No await in here: a request sees one view.
use super::{
    Context, RequestFacts,
    answer::Answer,
    changes::Changes,
    fields::HeadFields,
    grpc, grpc_web,
    local::{self, Refused},
    outgoing::{Written, speaks_http2, write_plain},
    routed::Routed,
    step::{Answered, Forward, Reply, Step, To},
};
use crate::shard::view::View;
use pointsman_route::{
    Class, ConnectionDecision, HttpTableId, NoTrace, Request, RequestDecision, Split, Via,
    action::https_location,
};
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::{
    forwarded::{FieldList, Forwarded, request_id},
    http1::{Reason, Refusal, RequestHead, RequestKind, Version, field_slots, parse_request},
    path,
};
use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
    time::Instant,
};

/// How a client connection finds its host table: looked up again only when the view changes.
#[derive(Default)]
pub(super) struct TableCache {
    found: Cell<Option<(u64, Found)>>,
    /// The text of the peer's address, at a gateway.
    peer: OnceCell<Box<str>>,
}

#[derive(Clone, Copy)]
enum Found {
    Table(HttpTableId),
    /// The listener stopped being HTTP while the connection lives: its bytes are still requests,
    /// so they follow the listener's own decision one by one.
    Bytes,
}

impl TableCache {
    fn peer(&self, cx: &Context<'_>) -> &str {
        let text = || cx.peer.ip().to_canonical().to_string().into();
        self.peer.get_or_init(text)
    }

    fn find(&self, view: &View, cx: &Context<'_>) -> Found {
        if let Some((generation, found)) = self.found.get()
            && generation == view.generation()
        {
            return found;
        }
        let found = match cx.decide(view, Class::Http, None) {
            ConnectionDecision::Http(table) => Found::Table(table),
            _ => Found::Bytes,
        };
        self.found.set(Some((view.generation(), found)));
        cx.lease.hold(view.generation());
        found
    }
}

/// Parses and routes the head at the start of `input`. What is to be sent is appended to `out`.
/// `last`: the connection has had all the requests it may have.
pub(super) fn decide(
    cx: &Context<'_>,
    cache: &mut TableCache,
    input: &[u8],
    out: &mut Vec<u8>,
    last: bool,
) -> Step {
    let limits = cx.shard.settings.limits.of_heads();
    let mut slots = field_slots();
    let head = match parse_request(input, &mut slots, &limits) {
        Ok(Some(head)) => head,
        Ok(None) => return Step::NeedMore,
        Err(refusal) => return Step::Refuse(Refused::unread(refusal, input)),
    };
    decide_head(cx, cache, &head, out, last)
}

/// Routes a head, whichever version of HTTP it came in. What is to be sent is appended to `out`, or
/// in the step where it is HTTP/2.
pub(super) fn decide_head(
    cx: &Context<'_>,
    cache: &mut TableCache,
    head: &RequestHead<'_>,
    out: &mut Vec<u8>,
    last: bool,
) -> Step {
    let view = cx.view();
    let started = Instant::now();
    let cache = &*cache;
    let sender = cx.sender(&view, || cache.peer(cx));
    let forwarded = Forwarded::new(head, &sender, || {
        let shard = cx.shard;
        let id = || request_id(shard.random.borrow_mut().u128(..));
        shard.settings.http.request_id.then(id)
    });
    let mut fields = FieldList::new();
    let grpc = grpc::asks(head);
    let method = head.method;
    let refuse = |refusal| Step::refused(refusal, grpc, method);
    let head = &match forwarded.head(head, &sender, &mut fields) {
        Ok(head) => head,
        Err(refusal) => return refuse(refusal),
    };
    let mode = pointsman_route::normalization(view.table().context().path_normalization);
    let normal = path::normalize(head.path, mode);
    let path = normal.as_deref().unwrap_or(head.path);
    cx.access.request(head, path, view.generation(), started);
    if cx.via == Via::Gateway {
        cx.spoken_for(forwarded.client());
    }
    let path = match normal {
        Ok(path) => path,
        Err(refusal) => return refuse(refusal),
    };
    let kind = RequestKind::of(head.method);
    let facts = RequestFacts {
        head_len: head.len,
        body: head.body,
        kind,
        // What stands behind a CONNECT may be meant for its tunnel, which there will not be.
        keep_alive: head.keep_alive
            && !last
            && !cx.lease.is_draining()
            && kind != RequestKind::Connect,
        version: head.version,
        idempotent: is_idempotent(head.method),
        upgrade: head.upgrade.is_some_and(|upgrade| upgrade.is_websocket()),
        grpc,
        asks_in_text: false,
        expects: head.expect_continue,
        injected: Flags::EMPTY,
        deadline: false,
        started,
    };
    let reply = |local, stats: &Rc<ClusterStats>| {
        Step::Reply(Reply {
            facts,
            local,
            stats: stats.clone(),
            changes: Changes::Nothing,
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
        scheme: forwarded.scheme(),
        fields: &HeadFields(head),
    };
    let decision = match cache.find(&view, cx) {
        Found::Table(table) => view.table().request(table, &request, &mut NoTrace),
        Found::Bytes => match cx.decide(&view, Class::Http, None) {
            ConnectionDecision::Forward(rule) => {
                cx.access.decided_by(&rule.origin);
                return forward_bytes(cx, &view, facts, &rule.split, head, &path, out);
            }
            ConnectionDecision::Blackhole => RequestDecision::Blackhole,
            // The port of a gateway is for something else by now; nothing passes through there.
            ConnectionDecision::Closed(_) | ConnectionDecision::Terminate(_) => {
                RequestDecision::UnknownHost
            }
            _ => RequestDecision::Passthrough,
        },
    };
    match decision {
        RequestDecision::NotFound(_) => {
            cx.access.edit(|record| record.why = "no_rule".into());
            reply(local::NO_ROUTE, &cx.shard.blackhole)
        }
        RequestDecision::UnknownHost => {
            cx.access.edit(|record| record.why = "host_unknown".into());
            reply(local::NO_ROUTE, &cx.shard.blackhole)
        }
        RequestDecision::ToHttps(host) => {
            if let Some(server) = host
                .gateway
                .as_ref()
                .and_then(|it| it.https_redirect.as_ref())
            {
                cx.access.decided_by(server);
            }
            let Some(location) = https_location(request.authority, &path, head.query) else {
                return refuse(Refusal::request(Reason::MissingHost));
            };
            let answer = Answer {
                status: 301,
                flags: Flags::EMPTY,
                details: "https_redirect",
                fields: &[("location", &location)],
                body: &[],
            };
            let keep_alive = facts.keeps_discarding(cx.shard.settings.limits.discarded_body_bytes);
            Step::Answered(Answered {
                facts,
                told: answer.write(out, &Changes::Nothing, &facts, keep_alive),
                stats: cx.shard.local.clone(),
            })
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
            // The version is the client's own (PS-62).
            let http2 = facts.version == Version::Http2;
            let written = match write_plain(&facts, head, &path, http2, out) {
                Ok(written) => written,
                Err(refusal) => return refuse(refusal),
            };
            Step::Forward(Forward {
                facts,
                to: To::Original(cx.shard.original(cx.original), cx.shard.passthrough.clone()),
                timeout: None,
                retries: None,
                changes: Changes::Nothing,
                copies: None,
                http2: written.http2,
                accept: written.accept,
            })
        }
        RequestDecision::Rule(matched) => {
            let view = &view;
            let mut routed = Routed {
                cx,
                view,
                facts,
                matched,
                head,
                request,
            };
            routed.execute(out)
        }
    }
}

fn forward_bytes(
    cx: &Context<'_>,
    view: &View,
    mut facts: RequestFacts,
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
            facts.goes_to(&cluster.cluster, head);
            let http2 = speaks_http2(cx, &cluster, &facts);
            let Written { mut http2, accept } = match write_plain(&facts, head, path, http2, out) {
                Ok(written) => written,
                Err(refusal) => return Step::Refuse(Refused::routed(refusal, &facts)),
            };
            grpc_web::translate(&facts, head, http2.as_deref_mut());
            Step::Forward(Forward {
                facts,
                to: To::Cluster(cluster),
                timeout: None,
                retries: None,
                changes: Changes::Nothing,
                copies: None,
                http2,
                accept,
            })
        }
        None => Step::Reply(Reply {
            facts,
            local: local::NO_CLUSTER,
            stats: cx.shard.blackhole.clone(),
            changes: Changes::Nothing,
        }),
    }
}

/// RFC 9110 section 9.2.2.
fn is_idempotent(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE"
    )
}
