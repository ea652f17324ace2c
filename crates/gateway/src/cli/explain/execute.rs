//! What a request looks like when it is sent on, by the code of the data path: the rule's changes
//! are worked out by `pointsman_route::action` and the head is written by the codec, then read
//! back here.
use super::question::limits;
use pointsman_route::{
    Matched,
    action::{self, Extra, Facts, Incoming, Levels, Outgoing},
};
use pointsman_wire::http1::{
    FieldSet, RequestHead, RequestRewrite, field_slots, parse_request, write_request,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A request as its endpoint gets it, and what becomes of the response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sent {
    /// Path and query.
    pub(crate) path: String,
    pub(crate) authority: String,
    /// Fields that were added or set, by lower-case name.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) request_headers: Map<String, Value>,
    /// The same for the response.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) response_headers: Map<String, Value>,
}

/// The fields of a head as routing reads them.
pub(super) fn fields(head: &RequestHead<'_>) -> Vec<(String, String)> {
    head.fields
        .iter()
        .map(|field| {
            let value = String::from_utf8_lossy(field.value);
            (field.name.to_owned(), value.into_owned())
        })
        .collect()
}

/// Nothing is changed, except that the path is sent in its normal form.
pub(super) fn unchanged(head: &RequestHead<'_>, path: &str) -> Sent {
    let outgoing = action::unchanged(&incoming(head, path, 0));
    write(head, &outgoing, FieldSet::EMPTY)
}

/// As the destination at `index` of the rule gets it.
pub(super) fn forwarded(
    matched: &Matched<'_>,
    index: usize,
    head: &RequestHead<'_>,
    path: &str,
    facts: &impl Facts,
) -> Sent {
    let names = head.fields.iter().map(|field| field.name);
    let incoming = incoming(head, path, matched.prefix_len);
    let mut drop = FieldSet::EMPTY;
    let leave_out = |at| drop.insert(at);
    let outgoing = action::outgoing(matched.rule, index, &incoming, names, facts, leave_out);
    write(head, &outgoing, drop)
}

fn incoming<'a>(head: &RequestHead<'a>, path: &'a str, matched: usize) -> Incoming<'a> {
    Incoming {
        received: head.path,
        path,
        query: head.query,
        matched,
    }
}

/// What these operations add to a response.
pub(super) fn response(levels: &Levels<'_>, facts: &impl Facts) -> Map<String, Value> {
    collect(&action::operations(
        levels,
        std::iter::empty(),
        facts,
        |_| {},
    ))
}

/// The fields of an answer of the gateway's own that has these by itself, after these operations.
pub(super) fn answered<'a>(
    own: &[(&'a str, &'a str)],
    levels: &Levels<'a>,
    facts: &impl Facts,
) -> Map<String, Value> {
    collect(&action::answered(own, levels, facts))
}

fn write(head: &RequestHead<'_>, outgoing: &Outgoing<'_>, drop: FieldSet) -> Sent {
    let rewrite = RequestRewrite {
        target: outgoing.target.as_deref(),
        host: outgoing.host,
        drop,
        ..RequestRewrite::default()
    };
    let mut out = Vec::new();
    write_request(
        &mut out,
        head,
        &rewrite,
        head.body,
        &action::lines(&outgoing.extra),
    );
    let mut slots = field_slots();
    let (path, authority) = match parse_request(&out, &mut slots, &limits()) {
        Ok(Some(sent)) => (sent.target, sent.host),
        // A rule can make a head that is over the limits of received ones: then its parts are
        // given as the rule says.
        _ => (
            rewrite.target.unwrap_or(head.target),
            rewrite.host.or(head.host),
        ),
    };
    Sent {
        path: path.to_owned(),
        authority: authority.unwrap_or_default().to_owned(),
        request_headers: collect(&outgoing.extra),
        response_headers: Map::new(),
    }
}

/// A field that is there once has its value, one that is there several times the list of them.
fn collect(extra: &Extra<'_>) -> Map<String, Value> {
    let mut fields: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, value) in extra {
        let value = String::from_utf8_lossy(value).into_owned();
        let values = fields.entry(name.to_ascii_lowercase()).or_default();
        values.push(Value::String(value));
    }
    let single = |mut values: Vec<Value>| match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    };
    let fields = fields.into_iter();
    fields
        .map(|(name, values)| (name, single(values)))
        .collect()
}
