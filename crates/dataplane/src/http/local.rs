//! Replies that no upstream made. One place says what each of them is.
use super::{Date, RequestFacts, answer::Answer, changes::Changes, grpc, told::Told};
use crate::shard::Counts;
use pointsman_telemetry::Flags;
use pointsman_wire::{
    grpc::{Dialect, status_of},
    http1::{LocalResponse, Refusal, RequestKind, Version, write_local_response},
};

/// Why the gateway answers by itself: status, flag, details and body (VS-H-125..143).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) status: u16,
    pub(super) flags: Flags,
    /// A stable word for the log: Envoy's response code details where it has one for the case.
    pub(super) details: &'static str,
    pub(super) body: &'static str,
}

const fn local(status: u16, flags: Flags, details: &'static str, body: &'static str) -> Local {
    Local {
        status,
        flags,
        details,
        body,
    }
}

/// A host was found, but none of its rules takes the request (VS-H-6).
pub(super) const NO_ROUTE: Local = local(404, Flags::NR, "route_not_found", "");
/// Nothing recognises the request, and passing it through would connect to ourselves.
pub(super) const SELF_CONNECT: Local = local(
    404,
    Flags::NR,
    "passthrough_to_self",
    "no route recognises this request, and its original destination is this gateway itself\n",
);
/// The chosen endpoint is this gateway: a Service whose endpoint has the address of a frontend.
pub(super) const SELF_ENDPOINT: Local = local(
    503,
    Flags::UF,
    "endpoint_is_self",
    "the endpoint of this service is this gateway itself\n",
);
/// Unmatched in REGISTRY_ONLY mode (VS-H-140).
pub(super) const BLACKHOLE: Local = local(502, Flags::EMPTY, "direct_response", "");
/// The destination names a host, port or subset that does not exist (VS-H-126).
pub(super) const NO_CLUSTER: Local = local(503, Flags::NC, "cluster_not_found", "");
/// No endpoint can be used (VS-H-127).
pub(super) const NO_ENDPOINT: Local =
    local(503, Flags::UH, "no_healthy_upstream", "no healthy upstream");
/// Connecting failed (VS-H-128). The log adds the words for why.
pub(super) const CONNECT_FAILED: Local = local(
    503,
    Flags::UF,
    "upstream_reset_before_response_started{remote_connection_failure}",
    "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
);
/// The same, and nobody was asked: there is no route, no port left, no file.
pub(super) const CONNECT_FAILED_HERE: Local = local(
    503,
    Flags::UF,
    "upstream_reset_before_response_started{local_connection_failure}",
    "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
);
/// Connecting took too long (VS-H-129).
pub(super) const CONNECT_TIMEOUT: Local = local(
    503,
    Flags::UF,
    "upstream_reset_before_response_started{connection_timeout}",
    "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
);
/// The backend or its endpoint has as many connections or requests as their limits allow
/// (VS-H-132).
pub(super) const OVERFLOW: Local = local(
    503,
    Flags::UO,
    "upstream_reset_before_response_started{overflow}",
    "upstream connect error or disconnect/reset before headers. reset reason: overflow",
);
/// The endpoint reset the stream before it answered (VS-H-131).
pub(super) const UPSTREAM_RESET: Local = local(
    503,
    Flags::UR,
    "upstream_reset_before_response_started{remote_reset}",
    "upstream connect error or disconnect/reset before headers. reset reason: remote reset",
);
/// The endpoint refused the stream, or left it out when it said goodbye (VS-H-131).
pub(super) const UPSTREAM_REFUSED: Local = local(
    503,
    Flags::UR,
    "upstream_reset_before_response_started{remote_refused_stream_reset}",
    "upstream connect error or disconnect/reset before headers. reset reason: remote refused stream reset",
);
/// The endpoint closed before it answered (VS-H-130).
pub(super) const UPSTREAM_CLOSED: Local = local(
    503,
    Flags::UC,
    "upstream_reset_before_response_started{connection_termination}",
    "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
);
/// No connection of a backend that has as many as it may came free in `timeouts.pending`.
pub(super) const PENDING_TIMEOUT: Local = local(
    503,
    Flags::UO,
    "pending_timeout",
    "upstream connect error or disconnect/reset before headers. reset reason: overflow",
);
/// One try took longer than `perTryTimeout`, and there is no other (VS-H-75).
pub(super) const TRY_TIMEOUT: Local = local(
    504,
    Flags::UT,
    "upstream_per_try_timeout",
    "upstream request timeout",
);
/// The endpoint's response is malformed (VS-H-134).
pub(super) const BAD_RESPONSE: Local = local(
    502,
    Flags::UPE,
    "upstream_reset_before_response_started{protocol_error}",
    "the upstream's response is malformed\n",
);
/// The endpoint was to speak HTTP/2, and speaks something else (VS-H-134).
pub(super) const NO_HTTP2: Local = local(
    502,
    Flags::UPE,
    "upstream_reset_before_response_started{protocol_error}",
    "the upstream does not speak HTTP/2\n",
);
/// The rule's timeout passed (VS-H-133).
pub(super) const TIMEOUT: Local = local(
    504,
    Flags::UT,
    "response_timeout",
    "upstream request timeout",
);
/// No byte of the response for `timeouts.response`.
pub(super) const RESPONSE_IDLE: Local =
    local(504, Flags::SI, "stream_idle_timeout", "stream timeout");
/// No byte of the request body for `timeouts.request_body`.
pub(super) const BODY_IDLE: Local = local(
    408,
    Flags::SI,
    "request_body_timeout",
    "the request body took too long\n",
);
/// The head did not arrive within `timeouts.request_head`.
pub(super) const HEAD_TIMEOUT: Local = local(
    408,
    Flags::DPE,
    "request_header_timeout",
    "the request head took too long\n",
);
/// A WebSocket for an endpoint whose HTTP/2 has none (RFC 8441 section 3).
pub(super) const NO_WEBSOCKET: Local = local(
    502,
    Flags::UPE,
    "websocket_not_supported",
    "the upstream's HTTP/2 takes no WebSocket\n",
);
/// CONNECT, which no rule can allow yet.
pub(super) const CONNECT_REFUSED: Local = local(
    405,
    Flags::NR,
    "connect_not_allowed",
    "CONNECT is not allowed here\n",
);
impl Local {
    /// Appends the reply to a routed request, with the operations of its rule (VS-H-106); what is told with
    /// it.
    pub(super) fn write_changed(
        &self,
        out: &mut Vec<u8>,
        changes: &Changes,
        facts: &RequestFacts,
        keep_alive: bool,
    ) -> Told {
        let answer = Answer {
            status: self.status,
            flags: self.flags,
            details: self.details,
            fields: self.fields(),
            body: self.body.as_bytes(),
        };
        answer.write(out, changes, facts, keep_alive)
    }

    const fn fields(&self) -> &'static [(&'static str, &'static str)] {
        if self.body.is_empty() {
            &[]
        } else if self.flags.contains(Flags::UO) {
            &[
                ("content-type", "text/plain"),
                ("x-envoy-overloaded", "true"),
            ]
        } else {
            &[("content-type", "text/plain")]
        }
    }

    /// Appends the reply to a request whose head is not there: behind it the connection is closed.
    pub(super) fn write_unread(&self, out: &mut Vec<u8>) -> Told {
        write_local_response(
            out,
            &LocalResponse {
                status: self.status,
                fields: self.fields(),
                date: Date::now().text(),
                body: self.body.as_bytes(),
                keep_alive: false,
                to: Version::Http11,
                head_only: false,
            },
        );
        Told {
            status: self.status,
            grpc: None,
            flags: self.flags,
            details: self.details,
        }
    }
}

/// A refused request. A connection of HTTP/1 is always closed behind the answer: where the next
/// request would begin is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// As in [`RequestFacts`]; its head could be read then.
    pub(super) grpc: Option<Dialect>,
    /// It is HEAD, to which no body is an answer (RFC 9110 section 9.3.2).
    pub(super) head_only: bool,
}

impl Refused {
    /// Of a head that could not be read: in what words its client expects the answer is not known.
    pub(super) fn unread(refusal: Refusal, head: &[u8]) -> Self {
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        Self {
            refusal,
            grpc: None,
            head_only: head.starts_with(b"HEAD "),
        }
    }

    /// Of a routed request.
    pub(super) fn routed(refusal: Refusal, facts: &RequestFacts) -> Self {
        Self {
            refusal,
            grpc: facts.grpc,
            head_only: facts.kind == RequestKind::Head,
        }
    }

    /// Counts it, and appends the reply; what is told with it: HTTP's status, and gRPC's to a gRPC call
    /// (VS-H-144).
    pub(super) fn write(&self, counts: &Counts, out: &mut Vec<u8>) -> Told {
        counts.refuse_for(self.refusal.reason);
        let text = format!("{}\n", self.refusal.reason.sentence());
        let answer = Answer {
            status: self.refusal.status,
            flags: Flags::DPE,
            details: self.refusal.reason.as_str(),
            fields: &[("content-type", "text/plain")],
            body: text.as_bytes(),
        };
        let mut hand_on = |answer: &Answer<'_>| {
            write_local_response(
                out,
                &LocalResponse {
                    status: answer.status,
                    fields: answer.fields,
                    date: Date::now().text(),
                    body: answer.body,
                    keep_alive: false,
                    to: Version::Http11,
                    head_only: self.head_only,
                },
            );
        };
        let (status, grpc) = match self.grpc {
            Some(dialect) => {
                let status = status_of(self.refusal.status);
                grpc::trailers_only(&answer, status, dialect, hand_on);
                (200, Some(status))
            }
            None => {
                hand_on(&answer);
                (self.refusal.status, None)
            }
        };
        Told {
            status,
            grpc,
            flags: answer.flags,
            details: answer.details,
        }
    }
}
