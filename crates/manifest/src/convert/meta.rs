//! Identity and metadata.
use super::Context;
use crate::{
    codes, form,
    report::Report,
    yaml::{Map, Node},
};
use pointsman_model::{Kind, Meta, ObjectKey};
use std::sync::Arc;

/// The identity of a document, read before anything else is checked: findings name it, and its
/// last good version is found by it. `None` when it has no usable name; the report says why.
pub(crate) fn key(
    kind: Kind,
    root: &Node,
    default_namespace: &str,
    report: &mut Report,
) -> Option<ObjectKey> {
    let metadata = root.as_map()?.get("metadata");
    let map = metadata.and_then(Node::as_map);
    let Some(node) = map.and_then(|map| map.get("name")) else {
        report.error(
            codes::IDENTITY,
            metadata.map_or(root.start(), Node::start),
            format!("this {kind} has no name"),
            "`metadata.name` is missing",
            "give it a name; documents of one kind and namespace are told apart by it",
        );
        return None;
    };
    // Of another type: the schema check says so.
    let name = node.as_text().or_else(|| Some(&node.as_scalar()?.text))?;
    let valid = match kind {
        Kind::Service | Kind::Gateway => form::dns_name(name),
        _ => form::subdomain(name),
    };
    if !valid {
        report.error(
            codes::IDENTITY,
            node.span,
            format!("{name:?} is not a name for a {kind}"),
            match kind {
                Kind::Service | Kind::Gateway => "lower case letters, digits and -, at most 63",
                _ => "lower case letters, digits, - and ., at most 253",
            },
            "",
        );
    }
    let namespace = match map.and_then(|map| map.get("namespace")) {
        None => default_namespace,
        Some(node) => {
            let text = node.as_text().unwrap_or_default();
            if !form::dns_name(text) {
                report.error(
                    codes::IDENTITY,
                    node.span,
                    format!("{text:?} is not a namespace"),
                    "lower case letters, digits and -, at most 63",
                    "",
                );
                return None;
            }
            text
        }
    };
    Some(ObjectKey {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    })
}

/// What every document has.
pub(super) fn meta(root: &Node, map: &Map, context: &mut Context<'_>) -> Meta {
    let empty = Map::default();
    let metadata = map.map("metadata").unwrap_or(&empty);
    let export_to = match context.key.kind {
        // Services say it in an annotation (VIS-7).
        Kind::Service => metadata
            .map("annotations")
            .and_then(|map| map.get("networking.istio.io/exportTo"))
            .map(|node| {
                let words = node.as_text().unwrap_or_default().split(',');
                let words = words.map(str::trim).filter(|word| !word.is_empty());
                export_to(words.map(|word| (word, node)).collect(), context)
            }),
        _ => map.map("spec").map(|spec| {
            let items = spec.list("exportTo").iter();
            export_to(
                items
                    .filter_map(|node| Some((node.as_text()?, node)))
                    .collect(),
                context,
            )
        }),
    };
    Meta {
        key: context.key.clone(),
        created: metadata
            .text("creationTimestamp")
            .and_then(form::unix_seconds),
        labels: context.labels(metadata.map("labels")),
        export_to: export_to.unwrap_or_default(),
        place: context.report.place(root.start()),
    }
}

/// `*` and `~` must be alone (VIS-6); anything else is `.` or a namespace. `~` is for services
/// (VIS-3), and none is there twice, `.` being the own namespace.
pub(super) fn export_to(words: Vec<(&str, &Node)>, context: &mut Context<'_>) -> Vec<Arc<str>> {
    let hides = !matches!(
        context.key.kind,
        Kind::VirtualService | Kind::DestinationRule
    );
    let mut seen = foldhash::HashMap::default();
    for &(word, node) in &words {
        let namespace = match word {
            "." => context.namespace(),
            word => word,
        };
        let first = seen.insert(namespace.to_owned(), node.span);
        let alone = matches!(word, "*" | "~");
        if let Some(first) = first {
            context.report.collision(
                codes::COMBINATION,
                node.span,
                format!("{namespace:?} is in `exportTo` twice"),
                "again",
                (first, "the first one"),
                "remove one of them; \".\" is the namespace of the document",
            );
        } else if alone && words.len() > 1 {
            context.report.error(
                codes::COMBINATION,
                node.span,
                format!("{word:?} in `exportTo` must be alone (VIS-6)"),
                match word {
                    "*" => "already every namespace",
                    _ => "nobody, and yet somebody",
                },
                "",
            );
        } else if word == "~" && !hides {
            context.report.error(
                codes::VALUE,
                node.span,
                format!(
                    "a {} cannot be exported to nobody (VIS-3)",
                    context.key.kind
                ),
                "would have no effect",
                "remove the document, or export it to \".\"",
            );
        } else if !(alone || word == "." || form::dns_name(word)) {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("{word:?} in `exportTo` is no namespace"),
                "expected a namespace, \".\", \"*\" or \"~\"",
                "",
            );
        }
    }
    words.into_iter().map(|(word, _)| word.into()).collect()
}
