//! Inside the rules of one VirtualService: matches that are covered, weights, timeouts.
use crate::{
    compile::{Effort, Findings, covering_match, shadowed, shadowed_by},
    retries::{Happened, RetriesFrom, RetriesInForce},
};
use pointsman_model::{
    Finding, HttpAction, HttpRoute, Level, Place, VirtualService, WeightedDestination, World,
    matches::{ClientMatch, TcpMatch},
};

use super::codes::{COVERED_MATCH, RETRIES_CUT_OFF, WEIGHTS};

pub(super) fn check(world: &World, findings: &mut Findings) {
    for service in world.virtual_services.values() {
        for (at, rule) in service.http.iter().enumerate() {
            shadows(service, at, rule, findings);
            covered(service, at, findings);
            if let HttpAction::Route(route) = &rule.action {
                weights(service, &rule.number(), &rule.place, route, findings);
            }
            retries(service, rule, findings);
        }
        raw_shadows(service, findings);
        for rule in &service.tls {
            let number = format!("tls#{}", rule.index);
            weights(service, &number, &rule.place, &rule.route, findings);
        }
        for rule in &service.tcp {
            let number = format!("tcp#{}", rule.index);
            weights(service, &number, &rule.place, &rule.route, findings);
        }
    }
}

/// Rules that compiling has not told about, for it runs no patterns.
fn shadows(service: &VirtualService, at: usize, rule: &HttpRoute, findings: &mut Findings) {
    if shadowed_by(&service.http, at, Effort::Compare).is_none()
        && let Some(earlier) = shadowed_by(&service.http, at, Effort::Run)
    {
        let taker = (earlier.number(), &earlier.place);
        findings.push(shadowed(service, (rule.number(), &rule.place), taker));
    }
}

/// `tls` and `tcp` rules: an equal match before counts (VS-S-6), and so does a rule without subnets,
/// behind which nothing is looked at (VS-T-3).
fn raw_shadows(service: &VirtualService, findings: &mut Findings) {
    let covers =
        |early: &ClientMatch, late: &ClientMatch| early == late || *early == ClientMatch::default();
    for (at, late) in service.tls.iter().enumerate() {
        let earlier = service.tls.get(..at).unwrap_or_default();
        let taker = earlier.iter().find(|early| {
            late.matches.iter().all(|one| {
                early.matches.iter().any(|it| {
                    it.sni_hosts == one.sni_hosts
                        && it.destination_subnets == one.destination_subnets
                        && covers(&it.client, &one.client)
                })
            })
        });
        if let Some(early) = taker {
            let taker = (format!("tls#{}", early.index), &early.place);
            let rule = (format!("tls#{}", late.index), &late.place);
            findings.push(shadowed(service, rule, taker));
        }
    }
    for (at, late) in service.tcp.iter().enumerate() {
        let earlier = service.tcp.get(..at).unwrap_or_default();
        let nothing = [ClientMatch::default()];
        let taker = earlier.iter().find(|early| {
            let open = |one: &&TcpMatch| one.destination_subnets.is_empty();
            let terminal: Vec<&ClientMatch> = match early.matches.as_slice() {
                [] => nothing.iter().collect(),
                all => all.iter().filter(open).map(|one| &one.client).collect(),
            };
            let wanted: Vec<&ClientMatch> = match late.matches.as_slice() {
                [] => nothing.iter().collect(),
                all => all.iter().map(|one| &one.client).collect(),
            };
            wanted
                .iter()
                .all(|late| terminal.iter().any(|early| covers(early, late)))
        });
        if let Some(early) = taker {
            let taker = (format!("tcp#{}", early.index), &early.place);
            let rule = (format!("tcp#{}", late.index), &late.place);
            findings.push(shadowed(service, rule, taker));
        }
    }
}

/// Single matches (VS-H-169); whole rules are told of when they are compiled.
fn covered(service: &VirtualService, at: usize, findings: &mut Findings) {
    for (late, rule, early) in covering_match(&service.http, at) {
        findings.push(
            Finding::new(
                COVERED_MATCH,
                Level::Info,
                format!("this match of rule #{at} takes nothing that rule {rule} has not taken"),
            )
            .of(&service.meta.key)
            .at(late)
            .effect("none: requests take the same way without it")
            .help("remove it, or move it before the other")
            .related(early, "the match that takes its requests"),
        );
    }
}

/// VS-H-61, VS-T-10.
fn weights(
    service: &VirtualService,
    number: &str,
    place: &Place,
    route: &[WeightedDestination],
    findings: &mut Findings,
) {
    if route.len() < 2 {
        return;
    }
    let sum: u64 = route.iter().map(|it| u64::from(it.weight)).sum();
    if sum != 100 && sum > 0 {
        let shares: Vec<String> = route
            .iter()
            .map(|it| {
                let percent = u64::from(it.weight) * 1000 / sum;
                format!(
                    "{} {}.{} %",
                    it.destination.host,
                    percent / 10,
                    percent % 10
                )
            })
            .collect();
        findings.push(
            Finding::new(
                WEIGHTS,
                Level::Info,
                format!("the weights of rule {number} sum to {sum}"),
            )
            .of(&service.meta.key)
            .at(place)
            .effect(format!(
                "only their proportions count: {}",
                shares.join(", ")
            )),
        );
    }
    for one in route.iter().filter(|it| it.weight == 0) {
        let subset = one.destination.subset.as_deref();
        findings.push(
            Finding::new(
                WEIGHTS,
                Level::Info,
                format!(
                    "{}{} has the weight 0",
                    one.destination.host,
                    subset.map_or_else(String::new, |it| format!(" subset {it}"))
                ),
            )
            .of(&service.meta.key)
            .at(&one.destination.place)
            .effect("it gets nothing while the others have a weight"),
        );
    }
}

/// VS-H-63, VS-H-75.
fn retries(service: &VirtualService, rule: &HttpRoute, findings: &mut Findings) {
    let Some(retries) = rule.retries.as_ref().filter(|it| it.attempts > 0) else {
        return;
    };
    let Some(each) = retries.per_try_timeout else {
        return;
    };
    if let Some(total) = rule.timeout
        && each >= total
    {
        findings.push(
            Finding::new(
                RETRIES_CUT_OFF,
                Level::Warning,
                format!(
                    "`perTryTimeout` of rule {} is as long as `timeout`, which all tries share",
                    rule.number()
                ),
            )
            .of(&service.meta.key)
            .at(&rule.place)
            .effect("a try that takes too long is never followed by another one")
            .help("make `timeout` longer than the tries together, or leave it out"),
        );
    }
    let in_force = RetriesInForce::new(retries.clone(), RetriesFrom::Rule);
    if !in_force.repeats(&Happened::TryTimeout) {
        findings.push(
            Finding::new(
                RETRIES_CUT_OFF,
                Level::Info,
                format!(
                    "`perTryTimeout` of rule {} ends tries, and `retryOn` does not say to go on",
                    rule.number()
                ),
            )
            .of(&service.meta.key)
            .at(&rule.place)
            .effect("a try that takes too long is answered 504 (VS-H-75)")
            .help("add 5xx, gateway-error or reset to `retryOn`"),
        );
    }
}
