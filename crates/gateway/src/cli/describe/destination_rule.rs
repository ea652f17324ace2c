//! A DestinationRule: which backends it governs, its subsets, and who uses them.
use super::{Known, host::visible_to, page::Page, refers};
use pointsman_model::{DestinationRule, HostPattern, object::Labels};
use std::sync::Arc;

pub(super) fn page(known: &Known<'_>, it: &Arc<DestinationRule>) -> Page {
    let key = &it.meta.key;
    let name = format!("{}/{}", key.namespace, key.name);
    let mut page = Page::new("DestinationRule", name, Some(&it.meta.place));
    let section = page.section("bound to", &["what", "value"]);
    section.row(["host".to_owned(), it.host.to_string()], None);
    section.row(
        ["visible to".to_owned(), visible_to(&it.meta.export_to)],
        None,
    );
    if let Some(labels) = &it.workload_selector {
        section.row(["clients".to_owned(), pairs(labels)], None);
    }

    let governed: Vec<_> = known
        .table
        .clusters()
        .filter(|cluster| {
            let origin = cluster.policy.origin.as_ref();
            origin.is_some_and(|(own, _)| own == key)
        })
        .collect();
    let section = page.section("governs", &["backend", "ready", "balancing"]);
    for cluster in &governed {
        section.row(
            [
                cluster.label.to_string(),
                format!("{}/{}", cluster.ready().count(), cluster.endpoints.len()),
                format!("{:?}", cluster.policy.algorithm),
            ],
            Some(&cluster.place),
        );
    }

    let references = refers::all(known.world);
    let section = page.section("subsets", &["subset", "labels", "ready", "used by"]);
    for subset in &it.subsets {
        let own = |cluster: &&&Arc<pointsman_route::Cluster>| {
            cluster.name.subset.as_deref() == Some(&*subset.name)
        };
        let ready: usize = governed
            .iter()
            .filter(own)
            .map(|it| it.ready().count())
            .sum();
        let mut used: Vec<&str> = references
            .iter()
            .filter(|own| own.subset == Some(&*subset.name) && it.host.covers_host(own.host))
            .map(|own| &*own.rule)
            .collect();
        used.dedup();
        let used = match used.is_empty() {
            true => "no rule".to_owned(),
            false => used.join(", "),
        };
        let cells = [
            subset.name.to_string(),
            pairs(&subset.labels),
            ready.to_string(),
            used,
        ];
        section.row(cells, Some(&subset.place));
    }

    let others = known.world.destination_rules.values();
    let section = page.section("other rules for the host", &["name", "visible to"]);
    for other in others.filter(|other| other.meta.key != *key && other.host == it.host) {
        let name = format!("{}/{}", other.meta.key.namespace, other.meta.key.name);
        section.row(
            [name, visible_to(&other.meta.export_to)],
            Some(&other.meta.place),
        );
    }
    known.findings_about(&[key], &mut page);
    page
}

/// Does a pattern stand for a host?
trait Covers {
    fn covers_host(&self, host: &str) -> bool;
}

impl Covers for HostPattern {
    fn covers_host(&self, host: &str) -> bool {
        *self == Self::new(host) || self.matches(host)
    }
}

/// `app=web,version=v1`.
pub(super) fn pairs(labels: &Labels) -> String {
    if labels.is_empty() {
        return "-".to_owned();
    }
    let all: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    all.join(",")
}
