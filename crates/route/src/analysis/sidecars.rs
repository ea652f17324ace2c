//! Sidecars and settings of the mesh that nobody heeds, and hosts that a Sidecar lists in vain.
use crate::compile::Findings;
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, Finding, HostPattern, Level, MeshSettings, ObjectKey, Sidecar, World,
    object::Labels,
    sidecar::{Egress, EgressNamespace},
};
use std::sync::Arc;

use super::{
    codes::{LISTS_NOBODY, MESH_IGNORED, SIDECAR_IGNORED},
    services::Known,
};

pub(super) fn check(
    world: &World,
    context: &ClientContext,
    known: &Known<'_>,
    findings: &mut Findings,
) {
    meshes(world, context, findings);
    let mut oldest: HashMap<(&str, Option<&Labels>), &Arc<Sidecar>> = HashMap::default();
    let mut sidecars: Vec<_> = world.sidecars.values().collect();
    sidecars.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
    for sidecar in sidecars {
        let key = &sidecar.meta.key;
        let clients = (&*key.namespace, sidecar.workload_selector.as_ref());
        match oldest.get(&clients) {
            Some(older) => findings.push(ignored(sidecar, older)),
            None => drop(oldest.insert(clients, sidecar)),
        }
        for item in &sidecar.egress {
            lists_nobody(item, key, (world, context, known), findings);
        }
    }
}

fn meshes(world: &World, context: &ClientContext, findings: &mut Findings) {
    let root = &context.root_namespace;
    let mesh = MeshSettings::in_force(world, Some(root));
    if mesh != MeshSettings::in_force(world, None) {
        // The root namespace may be given, or the one that the settings name: nobody can tell here.
        return;
    }
    for other in world.mesh_settings.values().filter(|it| Some(*it) != mesh) {
        let level = if mesh.is_some() {
            Level::Info
        } else {
            Level::Warning
        };
        let message = "these settings of a mesh are not in force";
        let finding = Finding::new(MESH_IGNORED, level, message)
            .of(&other.meta.key)
            .at(&other.meta.place);
        findings.push(match mesh {
            Some(mesh) => finding
                .effect(format!("those of {} are", mesh.meta.key))
                .related(&mesh.meta.place, "in force"),
            None => finding
                .effect("they are not used")
                .help(format!("they are looked for in the root namespace, {root}")),
        });
    }
}

fn ignored(sidecar: &Sidecar, older: &Sidecar) -> Finding {
    let key = &sidecar.meta.key;
    let clients = match &sidecar.workload_selector {
        Some(_) => "with the same selector",
        None => "without a selector",
    };
    let message = format!(
        "namespace {} has an older Sidecar {clients}, {}",
        key.namespace, older.meta.key.name
    );
    Finding::new(SIDECAR_IGNORED, Level::Warning, message)
        .of(key)
        .at(&sidecar.meta.place)
        .effect("this one narrows nothing: the oldest speaks for its clients (VIS-10)")
        .help("keep one of them")
        .related(&older.meta.place, "the older one")
}

/// Wildcards are written for services that may come; a full name that nobody has is a mistake.
fn lists_nobody(
    item: &Egress,
    key: &ObjectKey,
    (world, context, known): (&World, &ClientContext, &Known<'_>),
    findings: &mut Findings,
) {
    for own in &item.hosts {
        let HostPattern::Exact(host) = &own.host else {
            continue;
        };
        let wanted = match &own.namespace {
            EgressNamespace::Any | EgressNamespace::Nowhere => None,
            // The root's speak of clients elsewhere.
            EgressNamespace::Own if key.namespace == context.root_namespace => None,
            EgressNamespace::Own => Some(&key.namespace),
            EgressNamespace::Named(namespace) => Some(namespace),
        };
        let here = |namespace: &Arc<str>| wanted.is_none_or(|wanted| wanted == namespace);
        if known.of(host).any(|it| here(&it.meta.key.namespace)) {
            continue;
        }
        // Rules are listed by their hosts too, wherever the service is.
        let mut rules = world.virtual_services.values();
        if rules.any(|it| {
            here(&it.meta.key.namespace)
                && it
                    .hosts
                    .iter()
                    .any(|own| own.covers(&HostPattern::Exact(Arc::clone(host))))
        }) {
            continue;
        }
        let elsewhere = known.of(host).next();
        let message = match wanted {
            Some(namespace) => format!("no service of namespace {namespace} has the host {host}"),
            None => format!("no service has the host {host}"),
        };
        let finding = Finding::new(LISTS_NOBODY, Level::Warning, message)
            .of(key)
            .at(&item.place)
            .effect("nothing is listed by it");
        findings.push(match elsewhere {
            Some(other) => finding
                .help(format!("write {}/{host}", other.meta.key.namespace))
                .related(&other.meta.place, "this service has it"),
            None => finding.help("hosts are full names, as in web.default.svc.cluster.local"),
        });
    }
}
