//! Rules of several VirtualServices for one host of a gateway, which are one list there (VS-H-121,
//! VS-H-122): those of one document may take everything of another's.
use crate::compile::{Effort, Findings, is_catch_all, shadowed, shadowed_by};
use foldhash::{HashMap, HashSet};
use pointsman_model::{
    HostPattern, HttpRoute, ObjectKey, VirtualService, World,
    matches::{ClientMatch, HttpMatch},
};
use std::sync::Arc;

/// One match of a rule, as a rule of its own.
struct Piece<'w> {
    owner: &'w VirtualService,
    /// Position in `owner.http`.
    at: usize,
    rule: HttpRoute,
}

pub(super) fn check(world: &World, findings: &mut Findings) {
    let mut lists: HashMap<(&Arc<str>, &HostPattern), Vec<&VirtualService>> = HashMap::default();
    for service in world.virtual_services.values() {
        for gateway in service.gateways.iter().filter(|it| &***it != "mesh") {
            for host in &service.hosts {
                lists.entry((gateway, host)).or_default().push(service);
            }
        }
    }
    let mut told: HashSet<(&ObjectKey, usize)> = HashSet::default();
    for ((gateway, _), services) in &mut lists {
        if services.len() < 2 {
            continue;
        }
        services.sort_by(|a, b| a.meta.age_key().cmp(&b.meta.age_key()));
        for (owner, at, taker) in taken(gateway, services) {
            if told.insert((&owner.meta.key, at))
                && let (Some(rule), Some(other)) = (owner.http.get(at), taker)
            {
                let (by, rule_of) = other;
                let number = format!("{} of {}", rule_of.number(), by.meta.key);
                findings.push(shadowed(
                    owner,
                    (rule.number(), &rule.place),
                    (number, &rule_of.place),
                ));
            }
        }
    }
}

/// A rule, and the one of another document that takes its first match.
type Taken<'w> = (
    &'w VirtualService,
    usize,
    Option<(&'w VirtualService, &'w HttpRoute)>,
);

fn taken<'w>(gateway: &Arc<str>, services: &[&'w VirtualService]) -> Vec<Taken<'w>> {
    let mut pieces: Vec<Piece<'w>> = Vec::new();
    for owner in services {
        // What a document has behind its own catch-all is gone (VS-H-5).
        let mut ended = false;
        for (at, rule) in owner.http.iter().enumerate() {
            let mut add = |matches: Vec<HttpMatch>| {
                if ended {
                    return;
                }
                ended = goes_last(&matches);
                pieces.push(Piece {
                    owner,
                    at,
                    rule: HttpRoute {
                        matches,
                        ..rule.clone()
                    },
                });
            };
            if rule.matches.is_empty() {
                add(Vec::new());
            }
            for one in &rule.matches {
                let listed = &one.client.gateways;
                if listed.is_empty() || listed.contains(gateway) {
                    add(vec![one.clone()]);
                }
            }
        }
    }
    // Stable: catch-alls go behind all others and keep their order.
    pieces.sort_by_key(|piece| goes_last(&piece.rule.matches));
    let rules: Vec<HttpRoute> = pieces.iter().map(|piece| piece.rule.clone()).collect();
    let mut fates: HashMap<(&ObjectKey, usize), Option<Taken<'w>>> = HashMap::default();
    for (index, piece) in pieces.iter().enumerate() {
        let taker = shadowed_by(&rules, index, Effort::Run).and_then(|rule| {
            let at = rules.iter().position(|it| std::ptr::eq(it, rule))?;
            pieces.get(at)
        });
        let fate = taker.map(|by| -> Taken<'w> {
            let other = (by.owner.meta.key != piece.owner.meta.key)
                .then(|| Some((by.owner, by.owner.http.get(by.at)?)))
                .flatten();
            (piece.owner, piece.at, other)
        });
        let key = (&piece.owner.meta.key, piece.at);
        match fates.get_mut(&key) {
            None => drop(fates.insert(key, fate)),
            // A rule lives as long as one of its matches does.
            Some(known) => match (known.as_mut(), fate) {
                (Some(own), Some(new)) => own.2 = own.2.or(new.2),
                _ => *known = None,
            },
        }
    }
    let mut found: Vec<Taken<'w>> = fates.into_values().flatten().collect();
    found.retain(|(_, _, taker)| taker.is_some());
    found
}

/// Is a piece without conditions on the request? Those on the client are settled before the order.
fn goes_last(matches: &[HttpMatch]) -> bool {
    matches.iter().all(|one| {
        is_catch_all(&HttpMatch {
            client: ClientMatch::default(),
            ..one.clone()
        })
    })
}
