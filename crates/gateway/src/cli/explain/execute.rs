//! What a request looks like when it is sent on, by the code of the data path: the rule's changes
//! are worked out by `pointsman_route::action` and the head is written by the codec, then read
//! back here.
use pointsman_model::action::HeaderOps;
use pointsman_route::{
    Matched, Rule,
    action::{self, Extra},
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
    #[serde(rename = "response_headers", skip_serializing_if = "Map::is_empty")]
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
    let target = normal(head, path);
    write(
        head,
        &RequestRewrite {
            target: target.as_deref(),
            ..RequestRewrite::default()
        },
        &Extra::new(),
    )
}

/// As the destination at `index` of the rule gets it.
pub(super) fn forwarded(
    matched: &Matched<'_>,
    index: usize,
    head: &RequestHead<'_>,
    path: &str,
) -> Sent {
    let rule = matched.rule;
    let rewrite = rule.model().and_then(|model| model.rewrite.as_ref());
    let levels = action::levels(rule, Some(index), |headers| &headers.request);
    let names = head.fields.iter().map(|field| field.name);
    let mut drop = FieldSet::default();
    let mut extra = action::operations(levels.iter().copied(), names, |index| drop.insert(index));
    let target = rewrite.and_then(|it| action::target(it, path, matched.prefix_len, head.query));
    let host = rewrite
        .and_then(|it| it.authority.as_deref())
        .or_else(|| action::authority(levels.iter().copied()));
    // The path before any rewrite is told to the backend (VS-H-60b).
    if rewrite.is_some() {
        extra.push(("x-envoy-original-path", head.path.as_bytes()));
    }
    let target = target.or_else(|| normal(head, path));
    let rewrite = RequestRewrite {
        target: target.as_deref(),
        host,
        drop,
        ..RequestRewrite::default()
    };
    let mut sent = write(head, &rewrite, &extra);
    sent.response_headers = response(rule, Some(index));
    sent
}

/// What is added to the response of the destination at `index`, or to the rule's own.
pub(super) fn response(rule: &Rule, index: Option<usize>) -> Map<String, Value> {
    let levels = action::levels(rule, index, |headers: &HeaderOps| &headers.response);
    collect(&action::operations(
        levels.iter().copied(),
        std::iter::empty(),
        |_| {},
    ))
}

fn normal(head: &RequestHead<'_>, path: &str) -> Option<String> {
    (path != head.path).then(|| match head.query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    })
}

fn write(head: &RequestHead<'_>, rewrite: &RequestRewrite<'_>, extra: &Extra<'_>) -> Sent {
    let mut out = Vec::new();
    write_request(&mut out, head, rewrite, head.body, extra);
    let mut slots = field_slots();
    // A rule can make a head that is over the limits of received ones, never one that does not
    // parse; then the parts are given as the rule says.
    match parse_request(&out, &mut slots, &super::question::limits()) {
        Ok(Some(sent)) => Sent {
            path: sent.target.to_owned(),
            authority: sent.host.unwrap_or_default().to_owned(),
            request_headers: collect(extra),
            ..Sent::default()
        },
        _ => Sent {
            path: rewrite.target.unwrap_or(head.target).to_owned(),
            authority: rewrite.host.or(head.host).unwrap_or_default().to_owned(),
            request_headers: collect(extra),
            ..Sent::default()
        },
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
