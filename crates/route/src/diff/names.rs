//! Hosts: every name either table has, in all its spellings, grouped by what it finds in the two.
use super::{Diff, Limits, fronts::Door, requests, words};
use crate::{cluster::ClusterId, hosts::VirtualHost, rule::Action, table::Table};
use foldhash::HashMap;
use std::{net::IpAddr, sync::Arc};

/// A host that no table has (RFC 6761).
const UNKNOWN: &str = "unknown.invalid";

/// Spellings that find the same virtual host in the old table, and the same in the new one.
pub(super) struct Group<'t> {
    pub(super) old: Option<&'t Arc<VirtualHost>>,
    pub(super) new: Option<&'t Arc<VirtualHost>>,
    /// The handiest first.
    pub(super) spellings: Vec<String>,
}

impl Group<'_> {
    /// Can nothing differ? The same rules mean the same if their clusters do: the number of one that
    /// is gone may be given to another.
    fn is_shared(&self, old: &Table, new: &Table) -> bool {
        let (Some(before), Some(after)) = (self.old, self.new) else {
            return false;
        };
        let same = |id: ClusterId| old.cluster(id).name == new.cluster(id).name;
        let to_https = |host: &VirtualHost| {
            let own = host.gateway.as_ref();
            own.is_some_and(|own| own.https_redirect.is_some())
        };
        Arc::ptr_eq(&before.rules, &after.rules)
            && to_https(before) == to_https(after)
            && before.rules.rules().iter().all(|rule| {
                let mut mirrors = rule.mirrors.iter().filter_map(|it| it.cluster.ok());
                let targets = match &rule.action {
                    Action::Forward(split) => split.targets(),
                    _ => &[],
                };
                let mut targets = targets.iter().filter_map(|it| it.cluster.ok());
                targets.all(same) && mirrors.all(same)
            })
    }

    /// A host is called by its own name, not by that of an alias that happens to be shorter.
    fn own_name_first(&mut self) {
        let Some(host) = self.new.or(self.old) else {
            return;
        };
        let own = |it: &String| {
            let rest = host.host.strip_prefix(it.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(at) = self.spellings.iter().position(own) {
            self.spellings[..=at].rotate_right(1);
        }
    }

    /// Does this spelling belong to the group?
    pub(super) fn has(&self, old: &Table, new: &Table, door: &Door, spelling: &str) -> bool {
        let find = |table: &Table, at| find(table, at, spelling).map(Arc::as_ptr);
        find(old, Old(door)) == self.old.map(Arc::as_ptr)
            && find(new, New(door)) == self.new.map(Arc::as_ptr)
    }
}

use Side::{New, Old};

#[derive(Clone, Copy)]
enum Side<'d> {
    Old(&'d Door),
    New(&'d Door),
}

fn find<'t>(table: &'t Table, side: Side<'_>, spelling: &str) -> Option<&'t Arc<VirtualHost>> {
    let id = match side {
        Old(door) => door.old,
        New(door) => door.new,
    };
    let (_, host) = table.http_table(id?)?.find(spelling)?;
    Some(host)
}

/// Compares the requests that come in by one door.
pub(super) fn compare(old: &Table, new: &Table, door: &Door, limits: &Limits, diff: &mut Diff) {
    let mut spellings = Vec::new();
    if door.any_host {
        // Where any Host will do, the address is the one that clients send.
        spellings.push(door.original.ip().to_string());
    }
    if door.names {
        spellings.push(UNKNOWN.to_owned());
    }
    for (table, id) in [(old, door.old), (new, door.new)] {
        if let Some(hosts) = id.and_then(|id| table.http_table(id)) {
            spellings.extend(hosts.spellings());
        }
    }
    diff.probes += spellings.len();
    // Names before addresses, short ones first.
    spellings.sort_by_cached_key(|it| (it.parse::<IpAddr>().is_ok(), it.len(), it.clone()));
    spellings.dedup();
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut by_hosts: HashMap<_, usize> = HashMap::default();
    for spelling in spellings {
        let (before, after) = (
            find(old, Old(door), &spelling),
            find(new, New(door), &spelling),
        );
        let key = (before.map(Arc::as_ptr), after.map(Arc::as_ptr));
        let at = *by_hosts.entry(key).or_insert_with(|| {
            groups.push(Group {
                old: before,
                new: after,
                spellings: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(at) {
            group.spellings.push(spelling);
        }
    }
    for group in &mut groups {
        group.own_name_first();
    }
    let first = diff.classes.len();
    for group in groups.iter().filter(|group| !group.is_shared(old, new)) {
        if diff.probes > limits.probes {
            diff.cut("not all hosts were looked at".to_owned());
            return;
        }
        requests::compare(old, new, door, group, limits, diff);
    }
    if door.bytes {
        one_class(door, first, diff);
    }
}

/// A port that turns from bytes to requests, or back, does so for every Host there is: one class,
/// and the hosts by name.
fn one_class(door: &Door, first: usize, diff: &mut Diff) {
    let rest = diff.classes.split_off((first + 1).min(diff.classes.len()));
    if let Some(class) = diff.classes.get_mut(first) {
        class.also = rest
            .iter()
            .map(|it| words::host_of(&it.what).to_owned())
            .collect();
        class.also.dedup();
        class.what = format!("HTTP {} with a Host of another service", door.original);
    }
}
