//! Rules that answer by themselves: redirects (VS-H-40..49) and direct responses (VS-H-50..52).
use super::{RequestFacts, decide::Levels, rewrite};
use pointsman_model::action::{DirectResponse, Redirect};
use pointsman_route::action::{self, Received};
use pointsman_wire::http1::{LocalResponse, RequestHead, RequestKind, write_local_response};
use std::net::SocketAddr;

/// The `Location` of a redirect. `matched` is the length of the matched prefix of `path`.
pub(crate) fn location(
    redirect: &Redirect,
    head: &RequestHead<'_>,
    path: &str,
    matched: usize,
    original: SocketAddr,
) -> String {
    action::location(
        redirect,
        &Received {
            // TLS is not terminated yet: what arrives here came in clear text.
            scheme: "http",
            authority: head.host.unwrap_or_default(),
            path,
            query: head.query,
            matched,
            port: original.port(),
        },
    )
}

/// Appends a redirect.
pub(crate) fn write(
    out: &mut Vec<u8>,
    status: u16,
    location: &str,
    levels: &Levels<'_>,
    facts: &RequestFacts,
    keep_alive: bool,
) {
    respond(
        out,
        status,
        &[("location", location)],
        &[],
        levels,
        facts,
        keep_alive,
    );
}

/// Appends a direct response.
pub(crate) fn write_direct(
    out: &mut Vec<u8>,
    response: &DirectResponse,
    levels: &Levels<'_>,
    facts: &RequestFacts,
    keep_alive: bool,
) {
    let text: &[(&str, &str)] = if response.body_is_text {
        &[("content-type", "text/plain")]
    } else {
        &[]
    };
    respond(
        out,
        response.status,
        text,
        &response.body,
        levels,
        facts,
        keep_alive,
    );
}

fn respond(
    out: &mut Vec<u8>,
    status: u16,
    own: &[(&str, &str)],
    body: &[u8],
    levels: &Levels<'_>,
    facts: &RequestFacts,
    keep_alive: bool,
) {
    let (drop, extra) =
        rewrite::operations(levels.iter().copied(), own.iter().map(|&(name, _)| name));
    let kept = own
        .iter()
        .enumerate()
        .filter(|&(index, _)| !drop.contains(index))
        .map(|(_, &field)| field);
    let added = extra
        .iter()
        .filter_map(|&(name, value)| Some((name, std::str::from_utf8(value).ok()?)));
    let fields: Vec<(&str, &str)> = kept.chain(added).collect();
    write_local_response(
        out,
        &LocalResponse {
            status,
            fields: &fields,
            body,
            keep_alive,
            to: facts.version,
            head_only: facts.kind == RequestKind::Head,
        },
    );
}
