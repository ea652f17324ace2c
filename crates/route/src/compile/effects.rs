//! Compiling what a rule does beside sending requests on.
use super::{findings::Findings, rules::Compiler};
use crate::{
    action::{Cors, Effects, Substitution},
    rule::RuleList,
};
use pointsman_model::{Finding, HttpRoute, Level, ObjectKey, action::Fault};
use std::sync::Arc;

use super::findings::BAD_PATTERN;

impl Compiler<'_, '_> {
    /// `None` for a rule that has none of them. `before` are the rules of this list in the previous
    /// table: patterns are taken from there where the rule did not change.
    pub(super) fn effects(
        &mut self,
        rule: &HttpRoute,
        before: Option<&RuleList>,
        key: &ObjectKey,
        findings: &mut Findings,
    ) -> Option<Arc<Effects>> {
        let written = rule.rewrite.as_ref().and_then(|it| it.uri_regex.as_ref());
        if rule.fault.is_none() && rule.cors.is_none() && written.is_none() {
            return None;
        }
        let cors = rule.cors.as_ref().map(|policy| {
            let origins = policy.allow_origins.iter();
            let origins = origins.map(|it| self.text(it, &rule.place, key, findings));
            Cors::new(policy, origins.collect())
        });
        let substitution = written.and_then(|(pattern, replacement)| {
            let before = before.into_iter().flat_map(RuleList::rules);
            let mut same = before.filter(|old| {
                old.model()
                    .is_some_and(|model| model.rewrite == rule.rewrite)
            });
            // One that cannot be used is not there, and is told of again.
            if let Some(kept) = same.find_map(|old| old.effects.as_ref()?.substitution.clone()) {
                return Some(kept);
            }
            match Substitution::compile(pattern, replacement) {
                Ok(made) => Some(made),
                Err(error) => {
                    let cause = format!("`uriRegexRewrite` {pattern:?} cannot be used: {error}");
                    let finding = Finding::new(BAD_PATTERN, Level::Error, cause);
                    let finding = finding.of(key).at(&rule.place);
                    findings.push(finding.effect("the path is sent on as it came"));
                    None
                }
            }
        });
        let effects = Effects {
            fault: rule.fault.as_ref().and_then(injected),
            cors,
            substitution,
        };
        (!effects.is_empty()).then(|| Arc::new(effects))
    }
}

/// The fault without what is never injected (VS-H-81).
fn injected(fault: &Fault) -> Option<Fault> {
    let made = Fault {
        delay: fault.delay.filter(|&(_, share)| share > 0),
        abort: fault.abort.clone().filter(|&(_, share)| share > 0),
    };
    (made != Fault::default()).then_some(made)
}
