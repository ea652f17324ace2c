//! What a rule does: destinations, redirects, direct responses, rewrites, header operations.
use super::{Context, condition, headers};
use crate::{
    codes, form,
    yaml::{Key, Map, Node},
};
use pointsman_model::{
    Destination, HostPattern, WeightedDestination,
    action::{DirectResponse, Redirect, Rewrite},
    matches::{HttpMatch, StringMatch},
};
use std::sync::Arc;

/// Largest body of a direct response (VS-H-50), in bytes.
const BODY_BYTES: usize = 1 << 20;
/// Body size above which people are warned (VS-H-50), in bytes.
const BODY_WARNING_BYTES: usize = 100_000;

/// One destination (VS-H-62). It may be the wildcard host of a ServiceEntry, but not everything.
pub(super) fn destination(node: &Node, context: &mut Context<'_>) -> Option<Destination> {
    let map = node.as_map()?;
    let written = map.get("host")?;
    let host = context.service_host(written)?;
    if host == HostPattern::Any {
        context.report.error(
            codes::HOSTS,
            written.span,
            "the host `*` is no destination",
            "which service?",
            "name a service",
        );
        return None;
    }
    Some(Destination {
        host: host.to_string().into(),
        subset: map
            .get("subset")
            .filter(|node| node.as_text() != Some(""))
            .map(|node| context.dns_name(node, "a subset")),
        port: map
            .map("port")
            .and_then(|port| Context::port(port, "number")),
        place: context.report.place(node.start()),
    })
}

/// The items of `route` with their weights (VS-H-61, VS-T-10).
pub(super) fn destinations(
    key: &Key,
    node: &Node,
    context: &mut Context<'_>,
) -> Vec<WeightedDestination> {
    let items = node.items();
    let mut route = Vec::with_capacity(items.len());
    let mut total: i64 = 0;
    for item in items {
        let Some(map) = item.as_map() else { continue };
        let weight = map.int("weight").unwrap_or_default();
        if weight < 0 {
            context.report.error(
                codes::WEIGHT,
                map.get("weight").map(|node| node.span).unwrap_or_default(),
                format!("a weight cannot be {weight} (VS-H-165)"),
                "expected a whole number, 0 and up",
                "",
            );
        }
        total = total.saturating_add(weight);
        let destination = map
            .get("destination")
            .and_then(|node| destination(node, context));
        if let Some(destination) = destination {
            route.push(WeightedDestination {
                destination,
                weight: u32::try_from(weight).unwrap_or_default(),
                headers: headers::headers(map, context),
            });
        }
    }
    if items.len() > 1 && total == 0 {
        context.report.error(
            codes::WEIGHT,
            key.span,
            format!(
                "all {} destinations have the weight 0 (VS-H-61)",
                items.len()
            ),
            "none would get a request",
            "give each destination a `weight`; only their proportions count",
        );
    } else if total > i64::from(u32::MAX) {
        context.report.error(
            codes::WEIGHT,
            key.span,
            format!("the weights sum to {total}"),
            "more than 4294967295",
            "only their proportions count: divide all of them",
        );
    }
    route
}

/// `redirect` (VS-H-40..49, VS-H-166).
pub(super) fn redirect(
    key: &Key,
    map: &Map,
    matches: &[HttpMatch],
    is_delegate: bool,
    context: &mut Context<'_>,
) -> Redirect {
    context.exclusive(map, "uri", "prefixRewrite", "VS-H-166");
    context.exclusive(map, "port", "derivePort", "VS-H-166");
    let fields = [
        "uri",
        "prefixRewrite",
        "authority",
        "port",
        "derivePort",
        "scheme",
    ];
    if !fields.iter().any(|field| is_set(map, field)) {
        context.report.error(
            codes::COMBINATION,
            key.span,
            "a redirect needs a target (VS-H-48)",
            "it would lead back here",
            "set one of uri, prefixRewrite, authority, port, derivePort, scheme",
        );
    }
    // A delegate may have its prefixes from the rules that delegate to it (VS-H-116).
    let by_prefix = |one: &HttpMatch| match &one.uri {
        Some(uri) => matches!(uri, StringMatch::Prefix(_)),
        None => is_delegate,
    };
    if let Some((written, _)) = map.entry("prefixRewrite")
        && ((matches.is_empty() && !is_delegate) || !matches.iter().all(by_prefix))
    {
        context.report.error(
            codes::COMBINATION,
            written.span,
            "`prefixRewrite` replaces the matched prefix, so each match needs `uri.prefix` (VS-H-166)",
            "no prefix to replace",
            "match by `uri.prefix`, or replace the whole path with `uri`",
        );
    }
    let code = match map.int("redirectCode").unwrap_or_default() {
        0 => 301,
        code @ (301 | 302 | 303 | 307 | 308) => u16::try_from(code).unwrap_or(301),
        code => {
            let at = map.get("redirectCode").map(|node| node.span);
            context.report.error(
                codes::VALUE,
                at.unwrap_or_default(),
                format!("`redirectCode` cannot be {code} (VS-H-47)"),
                "one of 301, 302, 303, 307, 308",
                "",
            );
            301
        }
    };
    let scheme = Context::text(map, "scheme");
    if let Some((scheme, node)) = scheme.as_deref().zip(map.get("scheme"))
        && !matches!(scheme, "http" | "https")
    {
        context.report.error(
            codes::VALUE,
            node.span,
            format!("`scheme` cannot be {scheme:?} (VS-H-43)"),
            "http or https",
            "",
        );
    }
    for field in ["uri", "prefixRewrite", "authority"] {
        one_line(map, field, context);
    }
    Redirect {
        uri: Context::text(map, "uri"),
        prefix_rewrite: Context::text(map, "prefixRewrite"),
        authority: Context::text(map, "authority"),
        scheme,
        port: Context::port(map, "port"),
        port_from_request: map
            .text("derivePort")
            .map(|word| word == "FROM_REQUEST_PORT"),
        code,
    }
}

/// Is the field there with a value? An empty text counts as absent, as in protobuf.
fn is_set(map: &Map, field: &str) -> bool {
    map.get(field)
        .is_some_and(|node| node.as_text() != Some(""))
}

/// Values that become part of a request line or header must not end it.
fn one_line(map: &Map, field: &str, context: &mut Context<'_>) {
    if let Some(node) = map.get(field)
        && let Some(text) = node.as_text()
        && text.chars().any(|c| c.is_control() || c == ' ')
    {
        context.report.error(
            codes::VALUE,
            node.span,
            format!("`{field}` contains a blank or a control character"),
            "cannot be sent",
            "a blank in a path is written %20",
        );
    }
}

/// `directResponse` (VS-H-50).
pub(super) fn respond(map: &Map, context: &mut Context<'_>) -> DirectResponse {
    let status = map.get("status");
    let code = status.and_then(Node::as_int).unwrap_or_default();
    let code = u16::try_from(code).unwrap_or_default();
    if let Some(node) = status
        && !(200..=599).contains(&code)
    {
        context.report.error(
            codes::VALUE,
            node.span,
            "a direct response has a status from 200 to 599 (VS-H-50)",
            "not a final status",
            "",
        );
    }
    let mut response = DirectResponse {
        status: code,
        body: Arc::default(),
        body_is_text: false,
    };
    let Some(body) = map.map("body") else {
        return response;
    };
    context.exclusive(body, "string", "bytes", "VS-H-50");
    let bytes = if let Some(text) = body.text("string") {
        response.body_is_text = true;
        text.as_bytes().to_vec()
    } else {
        body.text("bytes")
            .and_then(form::base64)
            .unwrap_or_default()
    };
    let at = map
        .entry("body")
        .map(|(key, _)| key.span)
        .unwrap_or_default();
    if bytes.len() > BODY_BYTES {
        context.report.error(
            codes::VALUE,
            at,
            format!("the body has {} bytes (VS-H-50)", bytes.len()),
            "at most 1 MiB",
            "serve it from a backend",
        );
    } else if bytes.len() > BODY_WARNING_BYTES {
        context.report.warning(
            codes::VALUE,
            at,
            format!("the body has {} bytes", bytes.len()),
            "rather large",
            "it is kept in memory as long as the rule is",
            "serve it from a backend",
        );
    }
    response.body = bytes.into();
    response
}

/// `rewrite` (VS-H-53..58, VS-H-167).
pub(super) fn rewrite(key: &Key, map: &Map, context: &mut Context<'_>) -> Rewrite {
    context.exclusive(map, "uri", "uriRegexRewrite", "VS-H-167");
    let known = ["uri", "uriRegexRewrite", "authority"];
    if !known.iter().any(|field| is_set(map, field)) {
        context.report.error(
            codes::COMBINATION,
            key.span,
            "a rewrite needs `uri`, `uriRegexRewrite` or `authority`",
            "changes nothing",
            "",
        );
    }
    let uri_regex = map.map("uriRegexRewrite").and_then(|map| {
        for field in ["match", "rewrite"] {
            if !is_set(map, field) {
                context.report.error(
                    codes::REQUIRED,
                    key.span,
                    format!("`uriRegexRewrite` needs `{field}` (VS-H-57)"),
                    format!("`{field}` is missing or empty"),
                    "",
                );
            }
        }
        let node = map.get("match")?;
        let pattern = node.as_text()?;
        if let Some((fault, help)) = condition::regex_fault(pattern) {
            context.report.error(
                codes::CONDITION,
                node.span,
                format!("`match` of `uriRegexRewrite` {fault}"),
                "cannot be searched for",
                help,
            );
        }
        let replacement = map.text("rewrite").unwrap_or_default();
        if let Some(node) = map.get("rewrite")
            && let Some(fault) = condition::replacement_fault(pattern, replacement)
        {
            context.report.error(
                codes::CONDITION,
                node.span,
                format!("`rewrite` of `uriRegexRewrite` {fault} (VS-H-57)"),
                "cannot be put in place of a match",
                r"\1 is the first group, \0 the whole match, \\ a backslash",
            );
        }
        Some((pattern.into(), replacement.into()))
    });
    for field in ["uri", "authority"] {
        one_line(map, field, context);
    }
    // Istio takes it.
    if let Some(node) = map.get("uri")
        && let Some(uri) = node.as_text()
        && !uri.is_empty()
        && !uri.starts_with('/')
    {
        context.report.warning(
            codes::VALUE,
            node.span,
            format!("`uri` of a rewrite does not begin with `/`: {uri:?} (VS-H-60)"),
            "no `/` in front",
            "what is sent gets one in front, whatever the path was",
            "write it: `/` replaces a prefix that ends with one",
        );
    }
    Rewrite {
        uri: Context::text(map, "uri"),
        uri_regex,
        authority: Context::text(map, "authority"),
    }
}
