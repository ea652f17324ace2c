//! Replies of the gateway that rules speak in: redirects (VS-H-40..49), direct responses
//! (VS-H-50..52), aborts (VS-H-83), preflights (VS-H-92).
use super::{
    Date, RequestFacts,
    changes::{Changes, Response},
    grpc,
    told::Told,
};
use pointsman_model::action::{DirectResponse, Redirect};
use pointsman_route::{
    Request,
    action::{self, Received},
};
use pointsman_telemetry::Flags;
use pointsman_wire::http1::{LocalResponse, RequestKind, write_local_response};

/// A reply without its framing.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) flags: Flags,
    /// As in [`Local`](super::local::Local).
    pub(super) details: &'static str,
    pub(super) fields: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The `Location` of a redirect, if it has one. `port`: see [`Received::port`]. `matched` is the length of the matched prefix of `path`.
pub(super) fn location<F: ?Sized>(
    redirect: &Redirect,
    request: &Request<'_, F>,
    matched: usize,
    port: u16,
) -> Option<String> {
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
pub(super) fn direct(response: &DirectResponse) -> Answer<'_> {
    Answer {
        status: response.status,
        flags: Flags::EMPTY,
        details: "direct_response",
        fields: match response.body_is_text {
            true => &[("content-type", "text/plain")],
            false => &[],
        },
        body: &response.body,
    }
}

impl Answer<'_> {
    /// Appends the reply, changed; what is told with it.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        changes: &Changes,
        facts: &RequestFacts,
        keep_alive: bool,
    ) -> Told {
        grpc::shaped(self, facts, |answer| {
            answer.write_shaped(out, changes, facts, keep_alive);
        });
        let (status, grpc) = grpc::told(self.status, facts);
        let written = || {
            let mut fields = self.fields.iter().filter(|_| facts.grpc.is_some());
            let (_, value) = fields.find(|(name, _)| *name == "grpc-status")?;
            Some(grpc::status(value.as_bytes()))
        };
        Told {
            status,
            grpc: grpc.or_else(written),
            flags: self.flags,
            details: self.details,
        }
    }

    fn write_shaped(
        &self,
        out: &mut Vec<u8>,
        changes: &Changes,
        facts: &RequestFacts,
        keep_alive: bool,
    ) {
        let response = |fields: &[(&str, &str)], out: &mut Vec<u8>| {
            write_local_response(
                out,
                &LocalResponse {
                    status: self.status,
                    fields,
                    date: Date::now().text(),
                    body: self.body,
                    keep_alive,
                    to: facts.version,
                    head_only: facts.kind == RequestKind::Head,
                },
            );
        };
        let levels = changes.levels();
        if levels.is_empty() {
            return response(self.fields, out);
        }
        let facts = Response {
            status: self.status,
            flags: self.flags | facts.injected,
            details: self.details,
            from: None,
        };
        let fields = action::answered(self.fields, &levels, &facts);
        let fields = fields.iter();
        let fields =
            fields.filter_map(|(name, value)| Some((*name, std::str::from_utf8(value).ok()?)));
        response(&fields.collect::<Vec<_>>(), out);
    }
}
