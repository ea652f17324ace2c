//! Decides a question by the data path's own calls, and says what is executed then by its own code.
use super::{
    answer::{Answer, Destination, Kind, RuleOrigin, Weight},
    execute,
    question::{Question, SOME_ID, Traffic, limits},
    taken::Taken,
    trace,
};
use pointsman_route::{
    AfterTls, Class, Connection, ConnectionDecision, Missing, NoTrace, Request, RequestDecision,
    Split, Table, Target, TlsServer, action::https_location,
};
use pointsman_wire::{
    forwarded::{FieldList, Forwarded, request_id},
    grpc::{Dialect, answered_in, call},
    http1::{Reason, Refusal, RequestHead, field_slots, parse_request},
    path,
    sniff::{Verdict, sniff},
};
use std::{collections::BTreeSet, net::SocketAddr};

/// Answers, with the steps of the decision if `traced`.
///
/// # Errors
/// When the request cannot be sent at all: a line break in one of its parts.
pub(crate) fn answer(table: &Table, question: &Question, traced: bool) -> anyhow::Result<Answer> {
    let connection = |class, sni| Connection {
        original: question.original,
        source: question.source,
        class,
        sni,
        mesh_alpn: question.mesh_alpn,
    };
    let bytes = |connection: Connection<'_>| {
        let mut made = of_bytes(table, &connection);
        if traced {
            made.trace = Some(trace::of_connection(table, &connection));
        }
        made
    };
    let (connection, head, scheme) = match (&question.traffic, &question.inside) {
        (Traffic::Tcp, _) => return Ok(bytes(connection(Class::Tcp, None))),
        (Traffic::Tls { sni }, Some(head)) if table.context().role.is_gateway() => (
            connection(Class::Tls, sni.as_deref()),
            head.bytes()?,
            "https",
        ),
        // The mesh side ends no TLS: a request inside it is not seen.
        (Traffic::Tls { sni }, _) => return Ok(bytes(connection(Class::Tls, sni.as_deref()))),
        (Traffic::Http(head), _) => {
            let head = head.bytes()?;
            if let Some(class) = not_read(table, question.original, &head) {
                return Ok(bytes(connection(class, None)));
            }
            (connection(Class::Http, None), head, "http")
        }
    };
    let mut slots = field_slots();
    let head = match parse_request(&head, &mut slots, &limits()) {
        Ok(Some(head)) => head,
        // The empty line at the end is ours: no head that is let through is incomplete.
        Ok(None) => return Ok(Answer::new(Kind::Reject, Some("bad_request_line"))),
        Err(refusal) => return Ok(Answer::refused(&refusal)),
    };
    let mut made = of_head(table, question, &connection, &head, scheme, traced);
    let call = call(head.method, head.values("content-type"));
    if answered_in(call, false, []).is_some() {
        made.grpc_status = made.status_of_call(&made.response_headers);
        // Of a failure the call gets trailers and no body (VS-H-144).
        if made.is_failure() {
            made.body = made.body.map(|_| String::new());
            if let Some(kind) = made.response_headers.get_mut("content-type") {
                *kind = Dialect::Grpc.content_type_of_none().into();
            }
        }
    }
    Ok(made)
}

/// A head that can be read.
fn of_head(
    table: &Table,
    question: &Question,
    connection: &Connection<'_>,
    head: &RequestHead<'_>,
    scheme: &'static str,
    traced: bool,
) -> Answer {
    let peer = question.peer();
    let sender = question.sender(table, &peer, scheme);
    let forwarded = Forwarded::new(head, &sender, || Some(request_id(SOME_ID)));
    let mut list = FieldList::new();
    let head = match forwarded.head(head, &sender, &mut list) {
        Ok(head) => head,
        Err(refusal) => return Answer::refused(&refusal),
    };
    let mode = pointsman_route::normalization(table.context().path_normalization);
    let path = match path::normalize(head.path, mode) {
        Ok(path) => path,
        Err(refusal) => return Answer::refused(&refusal),
    };
    if head.method == "CONNECT" {
        return Answer {
            status: Some(405),
            ..Answer::new(Kind::Reject, Some("connect_not_allowed"))
        };
    }
    let fields = execute::fields(&head);
    let request = Request {
        method: head.method,
        authority: head.host.unwrap_or_default(),
        path: &path,
        query: head.query,
        scheme: forwarded.scheme(),
        fields: &fields,
    };
    let mut made = of_request(table, connection, &request, &head);
    if traced {
        made.trace = Some(trace::of_request(table, connection, &request));
    }
    made
}

/// What a request is taken for where nobody reads it as one, well-formed or not: on a port that is
/// not looked into, where it does not begin as requests do, and where it meets no HTTP chain.
pub(super) fn not_read(table: &Table, original: SocketAddr, head: &[u8]) -> Option<Class> {
    let listener = table.listener(original);
    if !table.inspection(listener).http || sniff(head) != Verdict::Http1 {
        return Some(Class::Tcp);
    }
    let connection = Connection {
        original,
        source: None,
        class: Class::Http,
        sni: None,
        mesh_alpn: false,
    };
    let decision = table.connection(listener, &connection, &mut NoTrace);
    (!matches!(decision, ConnectionDecision::Http(_))).then_some(Class::Http)
}

fn of_bytes(table: &Table, connection: &Connection<'_>) -> Answer {
    let original = connection.original;
    match table.connection(table.listener(original), connection, &mut NoTrace) {
        ConnectionDecision::Forward(rule) => {
            let mut made = forward(table, original, &rule.split, None);
            made.rule = Some(RuleOrigin::new(&rule.origin));
            made
        }
        ConnectionDecision::Passthrough => Answer::passthrough(original, "destination_unknown"),
        ConnectionDecision::Blackhole => Answer::new(Kind::Blackhole, Some("destination_unknown")),
        ConnectionDecision::Terminate(server) => ends_tls(table, original, server),
        ConnectionDecision::Closed(reason) => Answer::new(Kind::Reject, Some(reason.as_str())),
        // Only connections of class HTTP are answered so, and those do not come here.
        ConnectionDecision::Http(_) => Answer::new(Kind::Reject, Some("bad_request_line")),
    }
}

/// A server that ends TLS: what is inside was not asked about, or is bytes.
fn ends_tls(table: &Table, original: SocketAddr, server: &TlsServer) -> Answer {
    let (mut made, origin) = match &server.then {
        AfterTls::Http(_) => (Answer::new(Kind::Forward, Some("ends_tls")), &server.origin),
        AfterTls::Forward(rule) => (forward(table, original, &rule.split, None), &rule.origin),
    };
    made.rule = Some(RuleOrigin::new(origin));
    made
}

fn of_request(
    table: &Table,
    connection: &Connection<'_>,
    request: &Request<'_, Vec<(String, String)>>,
    head: &RequestHead<'_>,
) -> Answer {
    let original = connection.original;
    let http = match table.connection(table.listener(original), connection, &mut NoTrace) {
        ConnectionDecision::Http(http) => http,
        ConnectionDecision::Terminate(server) => match server.then {
            AfterTls::Http(http) => http,
            AfterTls::Forward(_) => return of_bytes(table, connection),
        },
        // The port is not looked into, or has no HTTP chain: the request is bytes to it.
        _ => return of_bytes(table, connection),
    };
    match table.request(http, request, &mut NoTrace) {
        RequestDecision::Rule(matched) => {
            let source = connection.source;
            let taken = Taken {
                table,
                original,
                source,
                matched,
                request,
                head,
            };
            taken.answer()
        }
        RequestDecision::NotFound(_) => Answer {
            status: Some(404),
            ..Answer::new(Kind::NotFound, Some("no_rule"))
        },
        RequestDecision::UnknownHost => Answer {
            status: Some(404),
            ..Answer::new(Kind::NotFound, Some("host_unknown"))
        },
        RequestDecision::ToHttps(host) => {
            let location = https_location(request.authority, request.path, request.query);
            if location.is_none() {
                return Answer::refused(&Refusal::request(Reason::MissingHost));
            }
            Answer {
                status: Some(301),
                location,
                rule: host
                    .gateway
                    .as_ref()
                    .and_then(|own| own.https_redirect.as_ref())
                    .map(RuleOrigin::new),
                ..Answer::new(Kind::Redirect, Some("https_redirect"))
            }
        }
        RequestDecision::Passthrough => Answer {
            sent: Some(execute::unchanged(head, request.path)),
            ..Answer::passthrough(original, "host_unknown")
        },
        RequestDecision::Blackhole => Answer {
            status: Some(502),
            ..Answer::new(Kind::Blackhole, Some("host_unknown"))
        },
    }
}

/// `failure` is the status when nothing can take it; connections have none, they are closed.
pub(super) fn forward(
    table: &Table,
    original: SocketAddr,
    split: &Split,
    failure: Option<u16>,
) -> Answer {
    let targets: Vec<Found> = split
        .targets()
        .iter()
        .map(|target| Found::new(table, original, target))
        .collect();
    let usable = targets.iter().any(|found| found.reason.is_none());
    let mut made = if usable {
        Answer::new(Kind::Forward, None)
    } else {
        let reason = targets.first().and_then(|found| found.reason);
        let mut made = Answer::new(Kind::Unavailable, reason);
        made.status = failure;
        made
    };
    let endpoints: BTreeSet<&String> = targets.iter().flat_map(|it| &it.endpoints).collect();
    made.endpoints = endpoints.into_iter().cloned().collect();
    match targets.as_slice() {
        [only] => made.destination = Some(only.destination.clone()),
        _ => {
            made.weights = targets
                .into_iter()
                .map(|found| Weight {
                    destination: found.destination,
                    weight: found.weight,
                    reason: found.reason,
                    sent: None,
                })
                .collect();
        }
    }
    made
}

struct Found {
    destination: Destination,
    weight: u32,
    endpoints: Vec<String>,
    reason: Option<&'static str>,
}

impl Found {
    fn new(table: &Table, original: SocketAddr, target: &Target) -> Self {
        let weight = target.weight;
        let cluster = match target.cluster {
            Ok(id) => table.cluster(id),
            Err(missing) => {
                let written = &target.destination;
                return Self {
                    destination: Destination {
                        host: written.host.to_string(),
                        subset: written.subset.as_deref().map(str::to_owned),
                        port: written.port,
                    },
                    weight,
                    endpoints: Vec::new(),
                    reason: Some(match missing {
                        Missing::Host => "destination_host_unknown",
                        Missing::Port => "destination_port_unknown",
                        Missing::Subset => "destination_subset_unknown",
                    }),
                };
            }
        };
        let ready = || cluster.ready().map(|it| it.address.to_string()).collect();
        let (endpoints, own): (Vec<String>, bool) = match cluster.original_destination(original) {
            // The address that stands for any is nobody's.
            Some(_) if original.ip().is_unspecified() => match cluster.is_headless() {
                true => (ready(), false),
                false => (Vec::new(), true),
            },
            Some(address) => (vec![address.to_string()], true),
            None => (ready(), false),
        };
        let reason = (endpoints.is_empty() && !own).then_some("no_endpoint");
        Self {
            destination: Destination::of_cluster(cluster),
            weight,
            endpoints,
            reason,
        }
    }
}
