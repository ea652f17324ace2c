//! One line for each request or connection, in Istio's default formats.
//!
//! The text format is Istio's byte for byte, since log parsers exist for it. What clients and
//! upstreams chose is escaped on top of that: such bytes can neither end a line, nor leave their
//! quotes, nor make a field look like two. Values without such bytes are written unchanged.
pub mod calendar;
mod escape;

use self::{
    calendar::timestamp,
    escape::{Spaces, escape},
};
use crate::flags::Flags;
use std::{borrow::Cow, io::Write as _, net::SocketAddr, sync::Arc};

/// Default for the limit of [`clip`], in bytes.
pub const FIELD_LIMIT: usize = 4096;

/// Bytes that came over the network, unchecked. `None`: not there.
pub type Value = Option<Box<[u8]>>;

/// The first `limit` bytes of a value: a record must not hold a whole 64 KiB head.
pub fn clip(value: &[u8], limit: usize) -> Box<[u8]> {
    value.get(..limit).unwrap_or(value).into()
}

/// What is known of one request, or of one connection where [`AccessRecord::method`] is `None`.
/// The default is a record that knows nothing: every field prints as unset.
#[derive(Clone, Debug, Default)]
pub struct AccessRecord {
    /// When it began, in milliseconds since the Unix epoch.
    pub start_unix_ms: u64,
    /// Request method.
    pub method: Value,
    /// Request target, before any rewrite.
    pub path: Value,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: Option<&'static str>,
    /// Status sent to the client; 0 where none was, and for connections.
    pub response_code: u16,
    /// Response flags.
    pub flags: Flags,
    /// Where the response came from or why it did not, `via_upstream`; empty: unset.
    pub details: Cow<'static, str>,
    /// Why the connection was ended; empty: unset.
    pub termination_details: Cow<'static, str>,
    /// Why the transport to the upstream failed; empty: unset.
    pub transport_failure: Cow<'static, str>,
    /// Body bytes (of connections: all bytes) from the client.
    pub bytes_received: u64,
    /// Body bytes (of connections: all bytes) to the client.
    pub bytes_sent: u64,
    /// From the first byte of the request to the last of the response, in milliseconds.
    pub duration_ms: u64,
    /// From the end of the request, and of a fault's delay, to the upstream's response head, in milliseconds.
    /// `None`: there was none, or it came first.
    pub upstream_service_time_ms: Option<u64>,
    /// Header `x-forwarded-for`.
    pub x_forwarded_for: Value,
    /// Header `user-agent`.
    pub user_agent: Value,
    /// Header `x-request-id`.
    pub request_id: Value,
    /// `:authority` or Host, after a rewrite, as in Envoy.
    pub authority: Value,
    /// Address of the endpoint.
    pub upstream_host: Option<SocketAddr>,
    /// Backend, `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub upstream_cluster: Option<Arc<str>>,
    /// Our address towards the endpoint.
    pub upstream_local: Option<SocketAddr>,
    /// The address the client dialled.
    pub downstream_local: Option<SocketAddr>,
    /// The client's address.
    pub downstream_remote: Option<SocketAddr>,
    /// SNI.
    pub server_name: Value,
    /// Name of the route rule.
    pub route_name: Option<Arc<str>>,
    /// Ours: the rule with its place, `default/reviews#1 reviews.yaml:14`.
    pub rule: Option<Arc<str>>,
    /// Ours: generation of the snapshot that decided; 0: unset.
    pub revision: u64,
    /// Ours: the reason in one word; empty: unset.
    pub why: Cow<'static, str>,
    /// Ours: `:authority` or Host before a rewrite, where there was one.
    pub received_authority: Value,
}

impl AccessRecord {
    /// Bytes of memory that it keeps besides its own size. Names that it shares with others count as
    /// if it did not: it may be the last one that has them.
    pub fn bytes_besides(&self) -> usize {
        let values = [
            &self.method,
            &self.path,
            &self.x_forwarded_for,
            &self.user_agent,
            &self.request_id,
            &self.authority,
            &self.server_name,
            &self.received_authority,
        ];
        let names = [&self.upstream_cluster, &self.route_name, &self.rule];
        let words = [
            &self.details,
            &self.termination_details,
            &self.transport_failure,
            &self.why,
        ];
        let values = values.into_iter().flatten().map(|it| it.len());
        let names = names.into_iter().flatten().map(|it| it.len());
        let words = words.into_iter().map(|it| match it {
            Cow::Borrowed(_) => 0,
            Cow::Owned(word) => word.capacity(),
        });
        values.chain(names).chain(words).sum()
    }
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Istio's default text, one line each.
    Text {
        /// Append ` rule= rev= why=` after the last field. Parsers that count fields break on it.
        extras: bool,
    },
    /// One JSON object a line, with Istio's keys and ours: `rule`, `rev`, `why`, `received_authority`.
    Json,
}

impl Default for Format {
    fn default() -> Self {
        Self::Text { extras: false }
    }
}

impl Format {
    /// Appends one record with its newline.
    pub fn write(self, record: &AccessRecord, out: &mut Vec<u8>) {
        match self {
            Self::Text { extras } => text(record, extras, out),
            Self::Json => json(record, out),
        }
        out.push(b'\n');
    }
}

fn text(record: &AccessRecord, extras: bool, out: &mut Vec<u8>) {
    out.push(b'[');
    timestamp(record.start_unix_ms, out);
    out.extend_from_slice(b"] \"");
    bare(out, record.method.as_deref());
    out.push(b' ');
    bare(out, record.path.as_deref());
    out.push(b' ');
    out.extend_from_slice(record.protocol.unwrap_or("-").as_bytes());
    out.extend_from_slice(b"\" ");
    number(out, record.response_code);
    put(out, format_args!(" {} ", record.flags));
    words(out, &record.details);
    out.push(b' ');
    words(out, &record.termination_details);
    out.extend_from_slice(b" \"");
    match set(&record.transport_failure) {
        Some(reason) => escape(out, reason.as_bytes(), Spaces::Kept),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b"\" ");
    for value in [record.bytes_received, record.bytes_sent, record.duration_ms] {
        number(out, value);
        out.push(b' ');
    }
    match record.upstream_service_time_ms {
        Some(value) => number(out, value),
        None => out.push(b'-'),
    }
    for value in [
        &record.x_forwarded_for,
        &record.user_agent,
        &record.request_id,
        &record.authority,
    ] {
        out.extend_from_slice(b" \"");
        match value {
            Some(value) => escape(out, value, Spaces::Kept),
            None => out.push(b'-'),
        }
        out.push(b'"');
    }
    out.extend_from_slice(b" \"");
    address(out, record.upstream_host);
    out.extend_from_slice(b"\" ");
    bare_str(out, record.upstream_cluster.as_deref());
    for value in [
        record.upstream_local,
        record.downstream_local,
        record.downstream_remote,
    ] {
        out.push(b' ');
        address(out, value);
    }
    out.push(b' ');
    bare(out, record.server_name.as_deref());
    out.push(b' ');
    bare_str(out, record.route_name.as_deref());
    if extras {
        out.extend_from_slice(b" rule=");
        bare_str(out, record.rule.as_deref());
        put(out, format_args!(" rev={} why=", record.revision));
        bare_str(out, set(&record.why));
    }
}

/// Keys of Istio's JSON format in the order of its format, then ours.
fn json(record: &AccessRecord, out: &mut Vec<u8>) {
    let mut object = Object { out, first: true };
    let mut start = Vec::with_capacity(24);
    timestamp(record.start_unix_ms, &mut start);
    object.bytes("start_time", Some(&start));
    object.string("route_name", record.route_name.as_deref());
    object.bytes("method", record.method.as_deref());
    object.bytes("path", record.path.as_deref());
    object.string("protocol", record.protocol);
    object.number("response_code", Some(record.response_code));
    object.string("response_flags", Some(&record.flags.to_string()));
    object.string("response_code_details", set(&record.details));
    object.string(
        "connection_termination_details",
        set(&record.termination_details),
    );
    object.number("bytes_received", Some(record.bytes_received));
    object.number("bytes_sent", Some(record.bytes_sent));
    object.number("duration", Some(record.duration_ms));
    // A header in Istio, hence text.
    let time = record.upstream_service_time_ms.map(|ms| ms.to_string());
    object.string("upstream_service_time", time.as_deref());
    object.bytes("x_forwarded_for", record.x_forwarded_for.as_deref());
    object.bytes("user_agent", record.user_agent.as_deref());
    object.bytes("request_id", record.request_id.as_deref());
    object.bytes("authority", record.authority.as_deref());
    object.address("upstream_host", record.upstream_host);
    object.string("upstream_cluster", record.upstream_cluster.as_deref());
    object.address("upstream_local_address", record.upstream_local);
    object.address("downstream_local_address", record.downstream_local);
    object.address("downstream_remote_address", record.downstream_remote);
    object.bytes("requested_server_name", record.server_name.as_deref());
    object.string(
        "upstream_transport_failure_reason",
        set(&record.transport_failure),
    );
    object.string("rule", record.rule.as_deref());
    object.number("rev", (record.revision > 0).then_some(record.revision));
    object.string("why", set(&record.why));
    object.bytes("received_authority", record.received_authority.as_deref());
    out.push(b'}');
}

struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Object<'_> {
    fn key(&mut self, key: &'static str) {
        let before = if self.first { '{' } else { ',' };
        self.first = false;
        put(self.out, format_args!("{before}\"{key}\":"));
    }

    fn string(&mut self, key: &'static str, value: Option<&str>) {
        self.key(key);
        let before = self.out.len();
        let written = match value {
            Some(value) => serde_json::to_writer(&mut *self.out, value).is_ok(),
            None => false,
        };
        if !written {
            self.out.truncate(before);
            self.out.extend_from_slice(b"null");
        }
    }

    /// JSON is Unicode: what is not becomes U+FFFD.
    fn bytes(&mut self, key: &'static str, value: Option<&[u8]>) {
        self.string(key, value.map(String::from_utf8_lossy).as_deref());
    }

    fn address(&mut self, key: &'static str, value: Option<SocketAddr>) {
        self.string(key, value.map(|value| value.to_string()).as_deref());
    }

    fn number(&mut self, key: &'static str, value: Option<impl itoa::Integer>) {
        self.key(key);
        match value {
            Some(value) => number(self.out, value),
            None => self.out.extend_from_slice(b"null"),
        }
    }
}

fn set(value: &str) -> Option<&str> {
    (!value.is_empty()).then_some(value)
}

/// An unquoted field; an empty one must not vanish, or the columns shift.
fn bare(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None | Some([]) => out.push(b'-'),
        Some(value) => escape(out, value, Spaces::Escaped),
    }
}

fn bare_str(out: &mut Vec<u8>, value: Option<&str>) {
    bare(out, value.map(str::as_bytes));
}

/// Details of our own making, with `_` for a blank as Envoy writes them.
fn words(out: &mut Vec<u8>, value: &str) {
    if value.contains(char::is_whitespace) {
        bare_str(out, Some(&value.replace(char::is_whitespace, "_")));
    } else {
        bare_str(out, Some(value));
    }
}

fn address(out: &mut Vec<u8>, value: Option<SocketAddr>) {
    match value {
        Some(value) => put(out, format_args!("{value}")),
        None => out.push(b'-'),
    }
}

fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn put(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(arguments);
}

#[cfg(test)]
mod tests;
