//! A request as one destination of its rule gets it.
use super::{
    made::Facts,
    rewrite::{Extra, authority, levels, operations, target},
};
use crate::rule::Rule;
use std::borrow::Cow;

const ORIGINAL_PATH: &str = "x-envoy-original-path";

/// What is sent on in place of what was received. Everything else goes on unchanged.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Path and query; `None`: as received.
    pub target: Option<String>,
    /// `Host`; `None`: as received.
    pub host: Option<&'a str>,
    /// Fields to append.
    pub extra: Extra<'a>,
}

/// The path and query of a request, as [`outgoing`] needs them.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The path as received.
    pub received: &'a str,
    /// The normalised path, which rules matched (PS-80).
    pub path: &'a str,
    /// Raw query without the `?`.
    pub query: Option<&'a str>,
    /// Bytes of `path` that the rule's prefix matched.
    pub matched: usize,
}

/// Nothing is changed, except that the path goes on as it was matched (PS-80).
pub fn unchanged<'a>(incoming: &Incoming<'a>) -> Outgoing<'a> {
    Outgoing {
        target: normal(incoming),
        host: None,
        extra: Extra::new(),
    }
}

/// What the rule makes of a request for its destination at `index`. `names` are those of the
/// received fields; `facts` what is known of it; `leave_out` is told the positions of those that are not sent on. Allocates
/// only what the rule asks for.
pub fn outgoing<'a>(
    rule: &'a Rule,
    index: usize,
    incoming: &Incoming<'a>,
    names: impl Iterator<Item = &'a str> + Clone,
    facts: &impl Facts,
    mut leave_out: impl FnMut(usize),
) -> Outgoing<'a> {
    let rewrite = rule.model().and_then(|model| model.rewrite.as_ref());
    let levels = levels(rule, Some(index), |headers| &headers.request);
    if rewrite.is_none() && levels.is_empty() {
        return unchanged(incoming);
    }
    let mut extra = operations(&levels, names.clone(), facts, &mut leave_out);
    let rewritten = rewrite.and_then(|it| target(rule, it, incoming));
    let host = rewrite
        .and_then(|it| it.authority.as_deref())
        .or_else(|| authority(rule, index));
    // The path before is told to the backend, by nobody else (VS-H-60b), also where the pattern takes
    // nothing of it.
    if rewrite.is_some_and(|it| it.uri.is_some() || it.uri_regex.is_some()) {
        extra.retain(|(name, _)| !name.eq_ignore_ascii_case(ORIGINAL_PATH));
        let original = match incoming.query {
            None => Cow::Borrowed(incoming.path.as_bytes()),
            Some(query) => format!("{}?{query}", incoming.path).into_bytes().into(),
        };
        for (at, name) in names.enumerate() {
            if name.eq_ignore_ascii_case(ORIGINAL_PATH) {
                leave_out(at);
            }
        }
        extra.push((ORIGINAL_PATH, original));
    }
    Outgoing {
        target: rewritten.or_else(|| normal(incoming)),
        host,
        extra,
    }
}

fn normal(incoming: &Incoming<'_>) -> Option<String> {
    (incoming.path != incoming.received).then(|| match incoming.query {
        Some(query) => format!("{}?{query}", incoming.path),
        None => incoming.path.to_owned(),
    })
}
