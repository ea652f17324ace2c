//! Items of `spec.http`.
use super::{
    Context, action,
    condition::{self, Gateways},
    effects, headers,
};
use crate::{
    codes,
    yaml::{Map, Node},
};
use pointsman_model::{HttpAction, HttpRoute};

/// One rule; `None` after an error.
pub(super) fn rule(
    node: &Node,
    index: u32,
    is_delegate: bool,
    top: &Gateways,
    context: &mut Context<'_>,
) -> Option<HttpRoute> {
    let map = node.as_map()?;
    let matches: Vec<_> = map
        .list("match")
        .iter()
        .map(|node| condition::http(node, top, context))
        .collect();
    compatible(map, context);
    let action = action(map, node, &matches, is_delegate, context);
    let rewrite = map
        .entry("rewrite")
        .and_then(|(key, node)| Some(action::rewrite(key, node.as_map()?, context)));
    let headers = headers::headers(map, context);
    authority_once(map, context);
    let rule = HttpRoute {
        name: Context::text(map, "name"),
        index,
        delegated: None,
        matches,
        action: action?,
        rewrite,
        headers,
        timeout: Context::duration(map, "timeout"),
        retries: map.map("retries").map(|map| effects::retries(map, context)),
        fault: map
            .entry("fault")
            .and_then(|(key, node)| Some(effects::fault(key, node.as_map()?, context))),
        mirrors: effects::mirrors(map, context),
        cors: map
            .entry("corsPolicy")
            .and_then(|(key, node)| Some(effects::cors(key, node.as_map()?, context))),
        place: context.report.place(node.start()),
    };
    Some(rule)
}

/// Exactly one action (VS-H-36, VS-H-160), or a delegate, which has none (VS-H-111).
fn action(
    map: &Map,
    node: &Node,
    matches: &[pointsman_model::matches::HttpMatch],
    is_delegate: bool,
    context: &mut Context<'_>,
) -> Option<HttpAction> {
    let mut found = ["delegate", "route", "redirect", "directResponse"]
        .into_iter()
        .filter_map(|name| {
            let (key, node) = map.entry(name)?;
            // An empty list of destinations leads nowhere: as if it were not there.
            (name != "route" || !node.items().is_empty()).then_some((name, key, node))
        });
    let Some((name, key, value)) = found.next() else {
        context.report.error(
            codes::ACTION,
            node.start(),
            "this rule does nothing (VS-H-160)",
            "no route, redirect or directResponse",
            match map.has("rewrite") {
                true => "a rewrite alone leads nowhere: add `route`",
                false => "add `route`",
            },
        );
        return None;
    };
    if let Some((other, second, _)) = found.next() {
        context.report.collision(
            codes::ACTION,
            second.span,
            format!("a rule has one action, and this one has `{name}` and `{other}` (VS-H-36)"),
            "the second one",
            (key.span, "the first one"),
            "make two rules with conditions of their own",
        );
    }
    match name {
        "route" => Some(HttpAction::Route(action::destinations(key, value, context))),
        "redirect" => {
            let redirect = action::redirect(key, value.as_map()?, matches, is_delegate, context);
            Some(HttpAction::Redirect(redirect))
        }
        "directResponse" => Some(HttpAction::Respond(action::respond(
            value.as_map()?,
            context,
        ))),
        _ => {
            if is_delegate {
                context.report.error(
                    codes::COMBINATION,
                    key.span,
                    "a delegate cannot delegate further (VS-H-111)",
                    "one level only",
                    "refer to the last VirtualService from the first one",
                );
            }
            let target = value.as_map()?;
            let namespace = target.filled("namespace").unwrap_or(context.namespace());
            Some(HttpAction::Delegate {
                namespace: namespace.into(),
                name: target.text("name")?.into(),
            })
        }
    }
}

/// VS-H-37.
fn compatible(map: &Map, context: &mut Context<'_>) {
    for action in ["redirect", "directResponse"] {
        for other in ["rewrite", "fault"] {
            if let (Some((first, _)), Some((second, _))) = (map.entry(action), map.entry(other)) {
                context.report.collision(
                    codes::COMBINATION,
                    second.span,
                    format!("`{other}` does not go with `{action}` (VS-H-37)"),
                    "needs a `route`",
                    (first.span, "answered here"),
                    match (action, other) {
                        ("redirect", "rewrite") => {
                            "a redirect has `uri`, `prefixRewrite` and `authority` of its own"
                        }
                        _ => "remove one of them",
                    },
                );
            }
        }
    }
}

/// The authority is written in one place (VS-H-167).
fn authority_once(map: &Map, context: &mut Context<'_>) {
    let rewrite = map.map("rewrite").and_then(|map| map.entry("authority"));
    let request = map.map("headers").and_then(|map| map.map("request"));
    let fields = ["set", "add"]
        .into_iter()
        .filter_map(|field| request?.map(field));
    let named = fields
        .flat_map(|map| &map.entries)
        .map(|(key, _)| key)
        .filter(|key| headers::is_authority(&key.text));
    let mut all = rewrite.map(|(key, _)| key).into_iter().chain(named);
    let Some(first) = all.next() else { return };
    for again in all {
        context.report.collision(
            codes::COMBINATION,
            again.span,
            "the authority is set twice (VS-H-167)",
            "here",
            (first.span, "and here"),
            "keep one; `rewrite.authority` is the plainest",
        );
    }
}
