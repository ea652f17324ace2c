//! Replies of the gateway that rules speak in: redirects (VS-H-40..49), direct responses
//! (VS-H-50..52), aborts (VS-H-83), preflights (VS-H-92).
use super::{RequestFacts, changes};
use pointsman_model::action::{DirectResponse, Redirect};
use pointsman_route::{
    Request,
    action::{self, Levels, Received},
};
use pointsman_wire::http1::{LocalResponse, RequestKind, write_local_response};

/// A reply without its framing.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) fields: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// The `Location` of a redirect. `port`: see [`Received::port`]. `matched` is the length of the matched prefix of `path`.
pub(crate) fn location<F: ?Sized>(
    redirect: &Redirect,
    request: &Request<'_, F>,
    matched: usize,
    port: u16,
) -> String {
    action::location(
        redirect,
        &Received {
            scheme: request.scheme,
            authority: request.authority,
            path: request.path,
            query: request.query,
            matched,
            port,
        },
    )
}

/// A direct response.
pub(crate) fn direct(response: &DirectResponse) -> Answer<'_> {
    Answer {
        status: response.status,
        fields: match response.body_is_text {
            true => &[("content-type", "text/plain")],
            false => &[],
        },
        body: &response.body,
    }
}

impl Answer<'_> {
    /// Appends the reply, with the operations of `levels` carried out.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        levels: &Levels<'_>,
        facts: &RequestFacts,
        keep_alive: bool,
    ) {
        let response = |fields: &[(&str, &str)], out: &mut Vec<u8>| {
            write_local_response(
                out,
                &LocalResponse {
                    status: self.status,
                    fields,
                    body: self.body,
                    keep_alive,
                    to: facts.version,
                    head_only: facts.kind == RequestKind::Head,
                },
            );
        };
        if levels.is_empty() {
            return response(self.fields, out);
        }
        let names = self.fields.iter().map(|&(name, _)| name);
        let (drop, extra) = changes::operations(levels, names);
        let kept = self
            .fields
            .iter()
            .enumerate()
            .filter(|&(index, _)| !drop.contains(index))
            .map(|(_, &field)| field);
        let added = extra
            .iter()
            .filter_map(|&(name, value)| Some((name, std::str::from_utf8(value).ok()?)));
        response(&kept.chain(added).collect::<Vec<_>>(), out);
    }
}
