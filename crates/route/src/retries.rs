//! What is tried again: as the rule says, else the mesh, else the built-in default (VS-H-70, VS-H-71).
use crate::rule::Rule;
use pointsman_model::action::Retries;
use std::fmt;

/// Who says so. One replaces the other as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetriesFrom {
    /// `retries` of the rule.
    Rule,
    /// `defaultHttpRetryPolicy` of the mesh.
    Mesh,
    /// Nobody.
    BuiltIn,
}

impl fmt::Display for RetriesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "rule",
            Self::Mesh => "mesh",
            Self::BuiltIn => "default",
        })
    }
}

/// The retries in force for a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetriesInForce<'r> {
    /// As somebody wrote them.
    pub written: &'r Retries,
    /// Who did.
    pub from: RetriesFrom,
}

impl<'r> RetriesInForce<'r> {
    /// The words of `retryOn`; none written are the built-in ones (VS-H-74).
    pub fn retry_on(&self) -> &'r str {
        self.written.retry_on.as_deref().unwrap_or(DEFAULT_RETRY_ON)
    }
}

/// Conditions of VS-H-70: the list of statuses that belongs to the last word is empty.
pub const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// VS-H-70.
static BUILT_IN: Retries = Retries {
    attempts: 2,
    per_try_timeout: None,
    retry_on: None,
    remote_localities: None,
    ignore_previous_hosts: None,
    backoff: None,
};

impl Rule {
    /// The retries in force for what the rule sends on.
    pub fn retries(&self) -> RetriesInForce<'_> {
        let own = self.model().and_then(|model| model.retries.as_ref());
        let (written, from) = match (own, self.mesh_retries.as_deref()) {
            (Some(own), _) => (own, RetriesFrom::Rule),
            (None, Some(mesh)) => (mesh, RetriesFrom::Mesh),
            (None, None) => (&BUILT_IN, RetriesFrom::BuiltIn),
        };
        RetriesInForce { written, from }
    }
}
