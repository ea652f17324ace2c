//! Settings of a mesh: a YAML document inside a value of Istio's ConfigMap.
//!
//! It is read like any other document, so that its findings name its fields. Places point into the
//! file where the value is a literal block (`mesh: |`), as it nearly always is; of a value in
//! another style they point to its beginning.
use super::{Context, effects, meta, policy, sidecar};
use crate::{
    Limits, codes, form,
    kinds::MESH,
    schema,
    yaml::{self, Lines, Map, Node, Span},
};
use pointsman_model::{MeshSettings, Meta, PathNormalization, context::ExportDefaults};
use std::sync::Arc;

/// The settings; `None` after an error.
pub(super) fn mesh_settings(
    meta: Meta,
    root: &Map,
    context: &mut Context<'_>,
) -> Option<MeshSettings> {
    let value = root.map("data")?.get(MESH)?;
    let tree = inner(value, context)?;
    let empty = Map::default();
    let map = match tree.as_ref() {
        Some(tree) => {
            schema::check("MeshConfig", tree, &mut context.report);
            if context.report.distrusted() {
                return None;
            }
            tree.as_map()?
        }
        None => &empty,
    };
    Some(MeshSettings {
        meta,
        outbound_policy: map
            .entry("outboundTrafficPolicy")
            .and_then(|(key, node)| Some(sidecar::mode(key.span, node.as_map()?, context))),
        path_normalization: map
            .map("pathNormalization")
            .and_then(|map| path_normalization(map.text("normalization")?)),
        trusted_hops: map
            .map("defaultConfig")
            .and_then(|config| config.map("gatewayTopology"))
            .and_then(|topology| topology.int("numTrustedProxies"))
            .map(|hops| u32::try_from(hops).unwrap_or(u32::MAX)),
        root_namespace: namespace(map, "rootNamespace", context),
        export_defaults: ExportDefaults {
            services: exports(map, "defaultServiceExportTo", context),
            virtual_services: exports(map, "defaultVirtualServiceExportTo", context),
            destination_rules: exports(map, "defaultDestinationRuleExportTo", context),
        },
        retries: map
            .map("defaultHttpRetryPolicy")
            .map(|map| effects::retries(map, context)),
        connect_timeout: Context::duration(map, "connectTimeout"),
        h2_upgrade: map.text("h2UpgradePolicy") == Some("UPGRADE"),
        tcp_keepalive: policy::tcp_keepalive(map),
        default_policy: map
            .map("defaultTrafficPolicy")
            .map(|map| policy::blocks(map, context))
            .unwrap_or_default(),
    })
}

/// `None` for `DEFAULT`, which leaves it to the mesh's default (PS-80).
fn path_normalization(word: &str) -> Option<PathNormalization> {
    Some(match word {
        "NONE" => PathNormalization::None,
        "BASE" => PathNormalization::Base,
        "MERGE_SLASHES" => PathNormalization::MergeSlashes,
        "DECODE_AND_MERGE_SLASHES" => PathNormalization::DecodeAndMergeSlashes,
        _ => return None,
    })
}

/// The tree of the inner document, its places moved to where they stand in the file. `Some(None)`
/// for an empty one: a mesh without settings of its own.
fn inner(value: &Node, context: &mut Context<'_>) -> Option<Option<Node>> {
    let text = value.as_text()?;
    // The outer text paid for itself; what the inner one may hold is bounded by its length.
    let limits = Limits {
        nodes: text.len().saturating_add(1).min(context.limits.nodes),
        ..context.limits.clone()
    };
    let shift = Shift::new(value, text, context.lines);
    let mut documents = yaml::read(text, &limits).documents;
    for problem in documents.iter().flat_map(|document| &document.problems) {
        context.report.error(
            problem.code,
            shift.moved(problem.span),
            problem.message.clone(),
            problem.label,
            problem.help,
        );
    }
    let mut tree = match documents.len() {
        0 => return Some(None),
        1 => documents.pop()?.root?,
        _ => {
            context.report.error(
                codes::VALUE,
                value.span,
                "the settings of a mesh are one document",
                "several",
                "",
            );
            return None;
        }
    };
    if tree.is_null() {
        return Some(None);
    }
    tree.places(&mut |span| *span = shift.moved(*span));
    Some(Some(tree))
}

/// From places in a value to places in the file.
struct Shift {
    /// The value, for places that cannot be found.
    whole: Span,
    /// Lines before the first of the value, and columns before each line of it, where it is a
    /// literal block.
    block: Option<(u32, u32)>,
}

impl Shift {
    fn new(value: &Node, text: &str, file: &Lines<'_>) -> Self {
        Self {
            whole: value.span,
            block: literal_block(value.span, text, file),
        }
    }

    fn moved(&self, span: Span) -> Span {
        match self.block {
            Some((lines, columns)) if span.line > 0 => Span {
                line: span.line.saturating_add(lines),
                column: span.column.saturating_add(columns),
                width: span.width,
            },
            _ => self.whole,
        }
    }
}

/// Where the lines of a literal block stand: it is one if the file has the value's first line that
/// is not empty, indented, where the block would have it.
fn literal_block(at: Span, text: &str, file: &Lines<'_>) -> Option<(u32, u32)> {
    let skipped = text
        .lines()
        .take_while(|line| line.trim().is_empty())
        .count();
    let first = text.lines().nth(skipped)?;
    // The place of a block is that of its `|`, or of its first line, or of the first with a text.
    let above = [
        Some(at.line),
        at.line.checked_sub(1),
        u32::try_from(skipped)
            .ok()
            .and_then(|skipped| at.line.checked_sub(1)?.checked_sub(skipped)),
    ];
    for above in above.into_iter().flatten() {
        let line = usize::try_from(above).ok()?.checked_add(skipped)?;
        let indent = file.get(line).and_then(|line| line.strip_suffix(first));
        if let Some(indent) = indent.filter(|indent| indent.trim().is_empty()) {
            return Some((above, u32::try_from(indent.len()).ok()?));
        }
    }
    None
}

fn namespace(map: &Map, name: &str, context: &mut Context<'_>) -> Option<Arc<str>> {
    let text = map.filled(name)?;
    if !form::dns_name(text) {
        let at = map.get(name).map(|node| node.span);
        context.report.error(
            codes::VALUE,
            at.unwrap_or_default(),
            format!("{text:?} is not a namespace"),
            "lower case letters, digits and -, at most 63",
            "",
        );
    }
    Some(text.into())
}

fn exports(map: &Map, name: &str, context: &mut Context<'_>) -> Vec<Arc<str>> {
    let items = map.list(name).iter();
    let words = items.filter_map(|node| Some((node.as_text()?, node)));
    meta::export_to(words.collect(), context)
}
