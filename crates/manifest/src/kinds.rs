//! Which documents are read, which are known by name only, and which are misspelt.
use crate::{report::near, schema, yaml::Map};
use pointsman_model::{Kind, mesh::CONFIG_MAP};

/// The key of a ConfigMap under which a mesh keeps its settings.
pub(crate) const MESH: &str = "mesh";

/// What a document says it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Identity<'a> {
    /// One that is read, with the name of its block in the schema.
    Known(Kind, &'static str),
    /// `List` and every `*List`: its items are documents.
    List,
    /// A ConfigMap of somebody else: nothing is to be said about it.
    NotOurs,
    /// Neither `apiVersion` nor `kind`: some other YAML file.
    Foreign,
    /// `kind` or `apiVersion` is missing or no text: which one.
    Incomplete(&'static str),
    /// A known kind in a version that is not read.
    Version {
        kind: &'static str,
        version: &'a str,
        known: String,
    },
    /// Anything else.
    Ignored { kind: &'a str, group: &'a str },
    /// Most likely a slip of the pen.
    Misspelt { kind: &'a str, meant: &'static str },
}

pub(crate) fn identify(root: &Map) -> Identity<'_> {
    let (kind, api) = match (root.filled("kind"), root.filled("apiVersion")) {
        (Some(kind), Some(api)) => (kind, api),
        (None, None) if !root.has("kind") && !root.has("apiVersion") => return Identity::Foreign,
        (None, _) => return Identity::Incomplete("kind"),
        (_, None) => return Identity::Incomplete("apiVersion"),
    };
    if kind.strip_suffix("List").is_some() && root.has("items") {
        return Identity::List;
    }
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    let table = schema::table();
    for known in table.kinds() {
        if known.name == kind && known.group == group {
            let Some(kind) = kind_of(known.name) else {
                continue;
            };
            if kind == Kind::ConfigMap && !holds_mesh_settings(root) {
                return Identity::NotOurs;
            }
            if known.versions.contains(&version) {
                return Identity::Known(kind, known.name);
            }
            return Identity::Version {
                kind: known.name,
                version: api,
                known: known
                    .versions
                    .iter()
                    .map(|version| match known.group {
                        "" => (*version).to_owned(),
                        group => format!("{group}/{version}"),
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
            };
        }
    }
    // Other groups may have kinds of like names: a Knative Service is no slip of the pen.
    let ours = table.kinds().filter(|known| known.group == group);
    match near(kind, ours.map(|known| known.name)) {
        Some(meant) if !is_neighbour(kind) => Identity::Misspelt { kind, meant },
        _ => Identity::Ignored { kind, group },
    }
}

/// Istio's own ConfigMap: `istio`, or `istio-` and a revision, with settings of a mesh in it. Others
/// that begin so (`istio-ca-root-cert`) hold none.
fn holds_mesh_settings(root: &Map) -> bool {
    let name = root.map("metadata").and_then(|it| it.text("name"));
    let rest = name.and_then(|name| name.strip_prefix(CONFIG_MAP));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        && root.map("data").is_some_and(|data| data.has(MESH))
}

/// Do documents of this group say how traffic is routed?
pub(crate) fn is_about_traffic(group: &str) -> bool {
    group.ends_with(".istio.io")
        || matches!(group, "gateway.networking.k8s.io" | "networking.k8s.io")
}

/// Real kinds whose names are few letters away from kinds that are read.
fn is_neighbour(kind: &str) -> bool {
    matches!(
        kind,
        "Endpoint" | "Node" | "Job" | "Event" | "ServiceAccount"
    )
}

fn kind_of(name: &str) -> Option<Kind> {
    [
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Endpoints,
        Kind::Pod,
        Kind::ServiceEntry,
        Kind::WorkloadEntry,
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::Gateway,
        Kind::Sidecar,
        Kind::ConfigMap,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == name)
}
