//! One request head: parsed, routed, written anew. No await in here: a request sees one view.
use super::{
    Context, RequestFacts,
    answer::Answer,
    changes::Changes,
    fields::HeadFields,
    grpc,
    grpc_web::{self, GrpcWeb},
    local::{self, Local, Refused},
    mirror::Copies,
    routed::Routed,
    told::Told,
    websocket::{self, Accept},
};
use crate::shard::{cluster_state::ClusterState, endpoint_state::EndpointState, view::View};
use pointsman_route::{
    Class, ConnectionDecision, HttpTableId, NoTrace, Request, RequestDecision, RetriesInForce,
    Split, Via, action::https_location,
};
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::{
    forwarded::{FieldList, Forwarded, request_id},
    grpc::Dialect,
    http1::{
        BodyLength, ConnectionOption, FieldSet, Reason, Refusal, RequestHead, RequestKind,
        RequestRewrite, Version, field_slots, parse_request, write_request,
    },
    http2::{self, Outgoing},
    path,
};
use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// What to do with the bytes received so far.
pub(crate) enum Step {
    /// The head is incomplete.
    NeedMore,
    /// Malformed: refuse and close.
    Refuse(Refused),
    /// Answer with this.
    Reply(Reply),
    /// The answer of a rule is in `out` already.
    Answered(Answered),
    /// Send it on; the head for the endpoint is in `out`.
    Forward(Forward),
    /// Wait this long first (VS-H-80).
    After(Duration, Box<Step>),
}

impl Step {
    /// Of a head that could be read; `grpc`: as in [`RequestFacts`].
    pub(super) fn refused(refusal: Refusal, grpc: Option<Dialect>, method: &str) -> Self {
        Self::Refuse(Refused {
            refusal,
            grpc,
            head_only: RequestKind::of(method) == RequestKind::Head,
        })
    }

    /// Of a routed request: whom it counts for.
    pub(crate) fn routed(&self) -> Option<(&ClusterStats, &RequestFacts)> {
        match self {
            Self::Reply(reply) => Some((&reply.stats, &reply.facts)),
            Self::Answered(answered) => Some((&answered.stats, &answered.facts)),
            Self::Forward(forward) => Some(forward.routed()),
            Self::After(_, step) => step.routed(),
            Self::NeedMore | Self::Refuse(_) => None,
        }
    }

    /// Of a request to an endpoint that speaks HTTP/2: its head.
    pub(super) fn http2(&mut self) -> Option<&mut Outgoing<http::Request<()>>> {
        match self {
            Self::Forward(forward) => forward.http2.as_deref_mut(),
            Self::After(_, step) => step.http2(),
            _ => None,
        }
    }
}

/// An answer that a rule made.
pub(crate) struct Answered {
    pub(crate) facts: RequestFacts,
    pub(crate) told: Told,
    pub(crate) stats: Rc<ClusterStats>,
}

/// A reply of our own to a well-formed request.
pub(crate) struct Reply {
    pub(crate) facts: RequestFacts,
    pub(crate) local: Local,
    pub(crate) stats: Rc<ClusterStats>,
    /// Only of a routed request (VS-H-106).
    pub(crate) changes: Changes,
}

/// A request on its way to a backend.
pub(crate) struct Forward {
    pub(crate) facts: RequestFacts,
    pub(crate) to: To,
    /// The rule's `timeout` (VS-H-63).
    pub(crate) timeout: Option<Duration>,
    /// What is tried again; `None`: as nobody said otherwise.
    pub(crate) retries: Option<Arc<RetriesInForce>>,
    /// What is done to the response.
    pub(crate) changes: Changes,
    /// Copies for mirrors (VS-H-86).
    pub(crate) copies: Option<Box<Copies>>,
    /// The head, where the endpoint speaks HTTP/2 (PS-60); otherwise it is in `out`.
    /// Without the fields of the client's request where they all go with it as they are: those are
    /// given to it afterwards.
    pub(crate) http2: Option<Box<Outgoing<http::Request<()>>>>,
    /// What answers the key of a WebSocket whose version of HTTP changes. Boxed, as it is rare.
    pub(super) accept: Option<Box<Accept>>,
}

/// Where a request goes.
pub(crate) enum To {
    /// An endpoint of a backend.
    Cluster(Rc<ClusterState>),
    /// The original destination: nothing recognised the request (LIS-62).
    Original(Rc<EndpointState>, Rc<ClusterStats>),
}

impl Forward {
    /// How the client speaks gRPC-Web, if it does, to an endpoint of gRPC.
    pub(super) fn grpc_web(&self) -> Option<GrpcWeb> {
        GrpcWeb::of(self.facts.grpc)
    }

    /// Does it go from stream to stream, and tells no length? Both sides speak when they have
    /// something to say then, as in calls of gRPC: a client that sends nothing is not late (VS-H-66).
    pub(super) fn is_open(&self) -> bool {
        let facts = &self.facts;
        self.http2.is_some() && facts.version == Version::Http2 && facts.body == BodyLength::Chunked
    }

    /// Whom it counts for.
    pub(super) fn routed(&self) -> (&ClusterStats, &RequestFacts) {
        (self.stats(), &self.facts)
    }

    /// The counters of the backend.
    pub(crate) fn stats(&self) -> &Rc<ClusterStats> {
        match &self.to {
            To::Cluster(cluster) => &cluster.stats,
            To::Original(_, stats) => stats,
        }
    }
}

/// How a client connection finds its host table: looked up again only when the view changes.
#[derive(Default)]
pub(crate) struct TableCache {
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
pub(crate) fn decide(
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
pub(crate) fn decide_head(
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

/// What is spoken to the endpoints of a backend.
pub(super) fn speaks_http2(cx: &Context<'_>, cluster: &ClusterState, facts: &RequestFacts) -> bool {
    let client_http2 = facts.version == Version::Http2;
    cluster.cluster.speaks_http2(cx.via, client_http2)
}

/// What there is of a head for an endpoint beside what is in `out`; see [`Forward`].
#[derive(Default)]
pub(super) struct Written {
    pub(super) http2: Option<Box<Outgoing<http::Request<()>>>>,
    pub(super) accept: Option<Box<Accept>>,
}

/// The head for an endpoint: appended to `out`, or returned for one that speaks HTTP/2.
pub(super) fn write_head(
    head: &RequestHead<'_>,
    rewrite: &RequestRewrite<'_>,
    extra: &[(&str, &[u8])],
    to_http2: bool,
    out: &mut Vec<u8>,
) -> Result<Written, Refusal> {
    let upgrade = matches!(rewrite.connection, ConnectionOption::Upgrade(_));
    if to_http2 {
        let mut request = http2::outgoing_request(head, rewrite, "http", head.body, extra)?;
        let mut accept = None;
        if upgrade {
            let extensions = request.message_mut().extensions_mut();
            extensions.insert(h2::ext::Protocol::from_static("websocket"));
            if head.version != Version::Http2 {
                accept = Accept::of(head).map(Box::new);
            }
        }
        let http2 = Some(Box::new(request));
        return Ok(Written { http2, accept });
    }
    if upgrade && head.version == Version::Http2 {
        return Ok(write_opening(head, rewrite, extra, out));
    }
    write_request(out, head, rewrite, head.body, extra);
    Ok(Written::default())
}

/// Opens a WebSocket in HTTP/1 for a client of HTTP/2, which has no key: a client that sends one all
/// the same does not get it through, as there must be one (RFC 6455 section 4.1).
fn write_opening(
    head: &RequestHead<'_>,
    rewrite: &RequestRewrite<'_>,
    extra: &[(&str, &[u8])],
    out: &mut Vec<u8>,
) -> Written {
    let key = websocket::key(fastrand::u128(..));
    let mut extra = extra.to_vec();
    extra.push(("Sec-WebSocket-Key", key.as_bytes()));
    let mut rewrite = *rewrite;
    for (at, field) in head.fields.iter().enumerate() {
        if field.name.eq_ignore_ascii_case("sec-websocket-key") {
            rewrite.drop.insert(at);
        }
    }
    write_request(out, head, &rewrite, head.body, &extra);
    Written {
        http2: None,
        accept: Some(Box::new(Accept::to(key.as_bytes()))),
    }
}

fn write_plain(
    facts: &RequestFacts,
    head: &RequestHead<'_>,
    path: &str,
    to_http2: bool,
    out: &mut Vec<u8>,
) -> Result<Written, Refusal> {
    let target;
    let target = if path == head.path {
        None
    } else {
        target = with_query(path, head.query);
        Some(&*target)
    };
    let rewrite = RequestRewrite {
        target,
        host: None,
        drop: FieldSet::default(),
        connection: connection(facts, head),
    };
    write_head(head, &rewrite, &[], to_http2, out)
}

fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

pub(super) fn connection<'h>(facts: &RequestFacts, head: &RequestHead<'h>) -> ConnectionOption<'h> {
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
