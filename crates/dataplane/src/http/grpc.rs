//! What gRPC has in place of HTTP's statuses: an answer of our own to a gRPC request is a 200 that
//! says in `grpc-status` what went wrong (VS-H-144).
use super::{RequestFacts, answer::Answer};
use pointsman_route::Cluster;
use pointsman_wire::{
    grpc::{Dialect, answered_in, call, status_of, write_message},
    http1::{RequestHead, Version},
};

/// How the client of a request is answered while nobody knows where it goes.
pub(super) fn asks(head: &RequestHead<'_>) -> Option<Dialect> {
    answered_in(call(head.method, head.values("content-type")), false, [])
}

/// The same of a head that only HTTP/2 has read so far.
pub(super) fn asks_in(head: &http::request::Parts) -> Option<Dialect> {
    let content_type = head.headers.get_all(http::header::CONTENT_TYPE);
    let content_type = content_type.iter().map(http::HeaderValue::as_bytes);
    answered_in(call(head.method.as_str(), content_type), false, [])
}

impl RequestFacts {
    /// It goes to an endpoint of this backend: a call of gRPC-Web is one of gRPC from now on, if the
    /// port says so (PS-4).
    pub(super) fn goes_to(&mut self, cluster: &Cluster, head: &RequestHead<'_>) {
        if cluster.translates_grpc_web(self.version == Version::Http2) {
            let call = call(head.method, head.values("content-type"));
            self.grpc = answered_in(call, true, head.values("accept"));
            self.asks_in_text = call == Some(Dialect::WebText);
        }
    }
}

/// The status in a `grpc-status` field; what is none is 2, UNKNOWN.
pub(super) fn status(value: &[u8]) -> u8 {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(2)
}

/// What the client and the metrics are told of an answer of our own: HTTP's status, and gRPC's to a
/// gRPC request.
pub(super) fn told(answer: u16, facts: &RequestFacts) -> (u16, Option<u8>) {
    match facts.grpc.is_some() && is_failure(answer) {
        true => (200, Some(code(answer, facts))),
        false => (answer, None),
    }
}

/// By which status a call counts: by its own, else by what that of HTTP means, as with Envoy; `None`
/// where there was no answer.
pub(super) fn counted(own: Option<u8>, status: u16) -> Option<u8> {
    own.or_else(|| (status > 0).then(|| status_of(status)))
}

/// What a call is told that would be told `status` in HTTP: DEADLINE_EXCEEDED where it was late by
/// its own measure (VS-H-65).
fn code(status: u16, facts: &RequestFacts) -> u8 {
    match status {
        504 if facts.deadline => 4,
        status => status_of(status),
    }
}

/// Success is for rules to shape as they like.
fn is_failure(status: u16) -> bool {
    !(200..300).contains(&status)
}

/// The longest `grpc-message` that is made of a body, in bytes before it is encoded.
const LONGEST_MESSAGE: usize = 1024;

/// Hands the answer on as the client wants it: to a gRPC request a failure is a head without a body
/// that is its own trailers. An abort that says `grpc-status` by itself is one already.
pub(super) fn shaped<T>(
    answer: &Answer<'_>,
    facts: &RequestFacts,
    hand_on: impl FnOnce(&Answer<'_>) -> T,
) -> T {
    match (facts.grpc, told(answer.status, facts)) {
        (Some(dialect), (_, Some(status))) => trailers_only(answer, status, dialect, hand_on),
        (Some(dialect @ (Dialect::Web | Dialect::WebText)), _) => hand_on(&Answer {
            fields: &in_dialect(answer.fields, dialect),
            ..*answer
        }),
        _ => hand_on(answer),
    }
}

/// The fields, with the content type of gRPC in the dialect of the client.
fn in_dialect<'f>(fields: &[(&'f str, &'f str)], dialect: Dialect) -> Vec<(&'f str, &'f str)> {
    let said = |&(name, value): &(&'f str, &'f str)| (name, dialect.field(name, value));
    fields.iter().map(said).collect()
}

fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-type")
}

/// Hands a failure on as a head without a body that is its own trailers.
pub(super) fn trailers_only<T>(
    answer: &Answer<'_>,
    status: u8,
    dialect: Dialect,
    hand_on: impl FnOnce(&Answer<'_>) -> T,
) -> T {
    let (status, message) = (status.to_string(), message(answer.body));
    let mut fields = vec![
        ("content-type", dialect.content_type_of_none()),
        ("grpc-status", &*status),
    ];
    if !message.is_empty() {
        fields.push(("grpc-message", &message));
    }
    let others = answer.fields.iter();
    fields.extend(others.filter(|(name, _)| !is_content_type(name)));
    hand_on(&Answer {
        status: 200,
        fields: &fields,
        body: &[],
        ..*answer
    })
}

/// A body as one line of text.
fn message(body: &[u8]) -> String {
    let body = body.get(..LONGEST_MESSAGE).unwrap_or(body).trim_ascii_end();
    let mut text = Vec::with_capacity(body.len());
    write_message(&mut text, &String::from_utf8_lossy(body));
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_one_line_of_bounded_length() {
        assert_eq!(message(b"no healthy upstream\n"), "no healthy upstream");
        assert_eq!(message("50% é\r\nx".as_bytes()), "50%25 %C3%A9%0D%0Ax");
        assert_eq!(message(&[b'a'; 4096]).len(), LONGEST_MESSAGE);
        assert_eq!(message(b""), "");
    }

    #[test]
    fn an_answer_of_grpc_is_told_in_the_dialect_of_its_client() {
        let own = [("Content-Type", "application/grpc"), ("grpc-status", "8")];
        for (dialect, kind) in [
            (Dialect::Web, "application/grpc-web+proto"),
            (Dialect::WebText, "application/grpc-web-text+proto"),
        ] {
            let expected = [("Content-Type", kind), ("grpc-status", "8")];
            assert_eq!(in_dialect(&own, dialect), expected);
            let others = [("content-type", "text/plain")];
            assert_eq!(in_dialect(&others, dialect), others);
        }
    }

    #[test]
    fn a_call_counts_by_its_own_status_before_http_s() {
        assert_eq!(counted(Some(0), 503), Some(0));
        assert_eq!(counted(None, 503), Some(14));
        assert_eq!(counted(None, 200), Some(2));
        assert_eq!(counted(None, 0), None);
    }

    #[test]
    fn a_status_that_is_none_is_unknown() {
        assert_eq!(status(b"0"), 0);
        assert_eq!(status(b" 14 "), 14);
        for value in ["", "x", "-1", "999"] {
            assert_eq!(status(value.as_bytes()), 2, "{value}");
        }
    }
}
