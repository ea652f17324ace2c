//! Rules that other VirtualServices contribute (VS-H-110..117).
//!
//! A VirtualService that delegates is replaced by a copy of it in which the delegates' rules stand
//! where they are asked for. Everything after this sees one list of rules and knows nothing of
//! delegates. A rule whose delegate cannot be followed stays in the copy as it was written, so
//! that `explain` can show it; it compiles to nothing.
use pointsman_model::{
    ClientContext, Finding, HttpAction, HttpRoute, Kind, Level, ObjectKey, VirtualService, World,
    action::{Delegated, HeaderOps},
    context::{ExportDefaults, Role},
    matches::HttpMatch,
};
use std::sync::Arc;

use super::{
    findings::{DELEGATE_LEFT_OUT, Findings},
    gateway,
    hosts::Known,
    merge,
};

/// The VirtualServices of the client's side that it may see, with the rules of their delegates in
/// place.
pub(crate) fn speakers(
    world: &World,
    context: &ClientContext,
    known: &Known<'_>,
    findings: &mut Findings,
) -> Vec<Arc<VirtualService>> {
    let is_bound = |service: &VirtualService| match context.role {
        Role::Mesh => service.applies_to_mesh(),
        Role::Gateway(_) => gateway::binds(service, world, context),
    };
    world
        .virtual_services
        .values()
        .filter(|service| !service.hosts.is_empty() && is_bound(service))
        .filter(|service| context.sees_rules(service))
        .map(|service| {
            if service.http.iter().any(|rule| target(rule).is_some()) {
                Arc::new(expand(service, world, &context.export_defaults, findings))
            } else {
                Arc::clone(service)
            }
        })
        .map(|service| known.speaker(service))
        .collect()
}

fn target(rule: &HttpRoute) -> Option<(&Arc<str>, &Arc<str>)> {
    match &rule.action {
        HttpAction::Delegate { namespace, name } => Some((namespace, name)),
        _ => None,
    }
}

fn expand(
    root: &VirtualService,
    world: &World,
    exports: &ExportDefaults,
    findings: &mut Findings,
) -> VirtualService {
    let mut rules = Vec::with_capacity(root.http.len());
    for rule in &root.http {
        let Some((namespace, name)) = target(rule) else {
            rules.push(rule.clone());
            continue;
        };
        match follow(namespace, name, root, world, exports) {
            Ok(delegate) => contribute(root, rule, delegate, &mut rules, findings),
            Err(cause) => {
                findings.push(not_followed(root, rule, &cause));
                rules.push(rule.clone());
            }
        }
    }
    VirtualService {
        http: rules,
        ..root.clone()
    }
}

/// Why a delegate is not followed.
struct Cause {
    message: String,
    help: String,
}

/// The delegate of a rule, if it exists, is one, and the root may see it (VS-H-110, VS-H-112).
fn follow<'w>(
    namespace: &Arc<str>,
    name: &Arc<str>,
    root: &VirtualService,
    world: &'w World,
    exports: &ExportDefaults,
) -> Result<&'w VirtualService, Cause> {
    let key = ObjectKey {
        kind: Kind::VirtualService,
        namespace: Arc::clone(namespace),
        name: Arc::clone(name),
    };
    let own = &root.meta.key.namespace;
    let Some(delegate) = world.virtual_services.get(&key) else {
        return Err(Cause {
            message: format!("the delegate {namespace}/{name} does not exist"),
            help: format!("create the VirtualService {name} in namespace {namespace}"),
        });
    };
    if !delegate.hosts.is_empty() {
        return Err(Cause {
            message: format!("{namespace}/{name} has hosts, so it is not a delegate"),
            help: format!("remove `hosts` of {namespace}/{name}, or write its rules here"),
        });
    }
    if !exports.shows(&delegate.meta, own) {
        return Err(Cause {
            message: format!("the delegate {namespace}/{name} is hidden from namespace {own}"),
            help: format!("add {own:?} to its `exportTo`"),
        });
    }
    Ok(delegate)
}

/// The rules of a delegate in its order, merged with the rule that delegates (VS-H-113).
fn contribute(
    root: &VirtualService,
    rule: &HttpRoute,
    delegate: &VirtualService,
    rules: &mut Vec<HttpRoute>,
    findings: &mut Findings,
) {
    for own in &delegate.http {
        let cause = if target(own).is_some() {
            // Validation refuses it; a hand-made model may not (VS-H-111).
            Err("a delegate cannot delegate further".to_owned())
        } else {
            merge::matches(&rule.matches, &own.matches).map_err(|lone| {
                let place = lone.map_or(&own.place, |lone| &lone.place);
                format!("the match at {place} asks for more than the rule that delegates gives")
            })
        };
        match cause {
            Ok(matches) => rules.push(merged(rule, own, matches, delegate)),
            Err(cause) => findings.push(incompatible(root, rule, own, delegate, &cause)),
        }
    }
}

/// VS-H-115. What a delegate can leave unset and does is taken from the root.
fn merged(
    root: &HttpRoute,
    own: &HttpRoute,
    matches: Vec<HttpMatch>,
    delegate: &VirtualService,
) -> HttpRoute {
    HttpRoute {
        name: merge::name(&root.name, &own.name),
        index: root.index,
        delegated: Some(Delegated {
            object: delegate.meta.key.clone(),
            index: own.index,
        }),
        matches,
        action: own.action.clone(),
        rewrite: own.rewrite.clone().or_else(|| root.rewrite.clone()),
        headers: if own.headers == HeaderOps::default() {
            root.headers.clone()
        } else {
            own.headers.clone()
        },
        timeout: own.timeout.or(root.timeout),
        retries: own.retries.clone().or_else(|| root.retries.clone()),
        fault: own.fault.clone().or_else(|| root.fault.clone()),
        mirrors: if own.mirrors.is_empty() {
            root.mirrors.clone()
        } else {
            own.mirrors.clone()
        },
        cors: own.cors.clone().or_else(|| root.cors.clone()),
        place: own.place.clone(),
    }
}

fn not_followed(root: &VirtualService, rule: &HttpRoute, cause: &Cause) -> Finding {
    Finding::new(
        DELEGATE_LEFT_OUT,
        Level::Error,
        format!("rule #{}: {}", rule.index, cause.message),
    )
    .of(&root.meta.key)
    .at(&rule.place)
    .effect("the rule contributes nothing; the rules after it are asked")
    .help(cause.help.clone())
}

fn incompatible(
    root: &VirtualService,
    rule: &HttpRoute,
    own: &HttpRoute,
    delegate: &VirtualService,
    cause: &str,
) -> Finding {
    let key = &delegate.meta.key;
    Finding::new(
        DELEGATE_LEFT_OUT,
        Level::Error,
        format!(
            "rule #{} of {key} cannot be used by {}: {cause}",
            own.index, root.meta.key
        ),
    )
    .of(key)
    .at(&own.place)
    .effect("the whole rule of the delegate is left out there; its other rules stay")
    .help("make every match of the rule at least as narrow as a match of the rule that delegates")
    .related(&rule.place, "the rule that delegates")
}
