//! The head of a request as its endpoint gets it, in the version that it speaks.
use super::{
    Context, RequestFacts,
    websocket::{self, Accept},
};
use crate::shard::cluster_state::ClusterState;
use pointsman_wire::{
    http1::{
        ConnectionOption, FieldSet, Refusal, RequestHead, RequestRewrite, Version, write_request,
    },
    http2::{self, Outgoing},
};

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
        return Ok(Written {
            http2: Some(request),
            accept,
        });
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

/// The same of a request that no rule changes.
pub(super) fn write_plain(
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
