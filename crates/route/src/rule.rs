//! Rules: what is asked, what is done, and where it was written.
use crate::{
    action::Effects,
    condition::Alternative,
    index::RuleIndex,
    retries::RetriesInForce,
    split::{Missing, Split},
    trace::Trace,
    traffic::{Fields, Request},
};
use pointsman_model::{
    HttpRoute, ObjectKey, Place, VirtualService,
    action::{DirectResponse, PartsPerMillion, Redirect},
};
use std::{sync::Arc, time::Duration};

/// Where a rule comes from: for logs, metrics and `explain`. Nothing here decides anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The VirtualService, or the service whose default route this is.
    pub object: ObjectKey,
    /// Index in its `http`, `tls` or `tcp` list; `None` for a default route. The rules of a
    /// delegate have the index of the rule that delegates.
    pub rule: Option<u32>,
    /// `name` of the rule (VS-H-8).
    pub name: Option<Arc<str>>,
    /// Where it is written.
    pub place: Place,
    /// Made once, to be cloned per request: `default/reviews#1`, `default/reviews.tcp#0`,
    /// `default/shop#1>team/cart#0` where a delegate wrote rule 0, or
    /// `default route of reviews.default.svc.cluster.local`.
    pub label: Arc<str>,
}

/// What becomes of a connection's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpRule {
    /// Where the rule comes from.
    pub origin: Origin,
    /// Where the bytes go, chosen once per connection (VS-S-13, VS-T-10).
    pub split: Split,
}

/// What a matched HTTP rule does (VS-H-36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `route`.
    Forward(Split),
    /// `redirect`.
    Redirect(Redirect),
    /// `directResponse`.
    Respond(DirectResponse),
}

/// A mirror with its destination looked up; an unknown one is ignored (VS-H-89).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledMirror {
    /// Where copies go.
    pub cluster: Result<crate::ClusterId, Missing>,
    /// Share of requests.
    pub share: PartsPerMillion,
}

/// One HTTP rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it comes from.
    pub origin: Origin,
    /// Any of them selects the rule; empty: everything does (VS-H-3).
    pub alternatives: Box<[Alternative]>,
    /// What is done.
    pub action: Action,
    /// `timeout`; absent: none (VS-H-63).
    pub timeout: Option<Duration>,
    /// `mirror`, `mirrors`.
    pub mirrors: Box<[CompiledMirror]>,
    /// Its own retries, or the mesh's (VS-H-71); `None`: the built-in ones. Here and not only in the
    /// table, so that rules with other retries are other rules.
    pub(crate) retries: Option<Arc<RetriesInForce>>,
    /// Fault, CORS and the like; `None` for most rules.
    pub effects: Option<Arc<Effects>>,
    /// The VirtualService, its delegates' rules in place, and the position in that list.
    pub(crate) source: Option<(Arc<VirtualService>, usize)>,
}

impl Rule {
    /// The rule with everything that is executed rather than decided: rewrite, headers, retries;
    /// as written, or merged with that of its delegate (VS-H-115). `None` for a
    /// default route, which has none of them (VSB-16).
    pub fn model(&self) -> Option<&HttpRoute> {
        let (service, index) = self.source.as_ref()?;
        service.http.get(*index)
    }
}

/// The ordered rules of a virtual host: the first that matches is taken, always (VS-H-1).
#[derive(Clone, Debug)]
pub struct RuleList {
    /// Shared one by one: a request that must remember its rule takes a count, not a table.
    pub(crate) rules: Box<[Arc<Rule>]>,
    /// Proposes candidates in a long list; follows from the rules.
    pub(crate) index: Option<Arc<RuleIndex>>,
}

impl PartialEq for RuleList {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}
impl Eq for RuleList {}

impl RuleList {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        let rules: Box<[Arc<Rule>]> = rules.into_iter().map(Arc::new).collect();
        let index = RuleIndex::build(&rules).map(Arc::new);
        Self { rules, index }
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The first rule that takes the request, and by which of its alternatives. Watched, all rules
    /// before it are checked one by one; the outcome is the same.
    pub fn find<F: Fields + ?Sized, T: Trace>(
        &self,
        request: &Request<'_, F>,
        trace: &mut T,
    ) -> Option<(&Arc<Rule>, Option<&Alternative>)> {
        let (position, number) = match &self.index {
            Some(index) if !T::ON => index.find(&self.rules, request),
            _ => self.walk(request, trace),
        }?;
        trace.matched(position, number);
        let rule = self.rules.get(position)?;
        Some((
            rule,
            number.and_then(|number| rule.alternatives.get(number)),
        ))
    }

    /// Every rule in order, until one takes the request: the positions of the rule and of its
    /// alternative.
    pub(crate) fn walk<F: Fields + ?Sized, T: Trace>(
        &self,
        request: &Request<'_, F>,
        trace: &mut T,
    ) -> Option<(usize, Option<usize>)> {
        for (position, rule) in self.rules.iter().enumerate() {
            if rule.alternatives.is_empty() {
                return Some((position, None));
            }
            for (number, alternative) in rule.alternatives.iter().enumerate() {
                let holds = if T::ON {
                    // Watched, all conditions are tried, so that "differs only in" can be told.
                    let mut holds = true;
                    for (index, condition) in alternative.conditions.iter().enumerate() {
                        if let Err(reason) = condition.check(request) {
                            trace.miss(position, number, index, reason);
                            holds = false;
                        }
                    }
                    holds
                } else {
                    alternative.holds(request)
                };
                if holds {
                    return Some((position, Some(number)));
                }
            }
        }
        None
    }
}
