//! What a rule does beside sending requests on, compiled once.
use super::{Cors, Substitution};
use pointsman_model::action::Fault;

/// Only rules that have one of these have them at all: all others pay one comparison a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// `fault` whose share of requests is not 0.
    pub fault: Option<Fault>,
    /// `corsPolicy`.
    pub cors: Option<Cors>,
    /// `rewrite.uriRegexRewrite`.
    pub substitution: Option<Substitution>,
}

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        self.fault.is_none() && self.cors.is_none() && self.substitution.is_none()
    }
}
