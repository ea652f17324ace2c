//! What is tried again: as the rule says, else the mesh, else the built-in default (VS-H-70, VS-H-71).
//!
//! `conditions` reads the words of `retryOn` once, when the rule is compiled; `happened` is what a
//! try came to, in the terms they speak of; [`RetriesInForce`] puts both together, and says how long
//! to pause. Whether there is room for one more try (budgets, bodies, time) is not known here.
mod conditions;
mod happened;
#[cfg(test)]
mod tests;

use crate::rule::Rule;
use conditions::{Conditions, is_condition, is_of_grpc};
pub use happened::{Happened, Replied};
use pointsman_model::action::Retries;
use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

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

/// The retries in force for a rule, compiled once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetriesInForce {
    /// As somebody wrote them.
    pub written: Retries,
    /// Who did.
    pub from: RetriesFrom,
    conditions: Conditions,
}

/// What the headers of a believed client ask of the retries of its request (VS-H-64).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryWishes<'h> {
    /// `x-envoy-retry-on`: conditions beside the rule's.
    pub retry_on: Option<&'h str>,
    /// `x-envoy-retry-grpc-on`: the same, of gRPC alone.
    pub retry_grpc_on: Option<&'h str>,
    /// `x-envoy-retriable-status-codes`: statuses beside the rule's, where some condition is
    /// `retriable-status-codes`.
    pub statuses: Option<&'h str>,
    /// `x-envoy-max-retries`: instead of the rule's, [`MOST_ASKED`] at most.
    pub attempts: Option<u32>,
    /// `x-envoy-upstream-rq-per-try-timeout-ms`: instead of the rule's; zero: none.
    pub per_try: Option<Duration>,
}

/// Conditions of VS-H-70: the list of statuses that belongs to the last word is empty.
pub const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// What holds of these though nobody wrote them (VS-H-70): what certainly was not acted upon, and
/// statuses that a client lists.
const UNSAID: &str = "connect-failure,refused-stream,retriable-status-codes";

/// VS-H-70.
static BUILT_IN: LazyLock<RetriesInForce> = LazyLock::new(|| {
    let retries = Retries {
        attempts: 2,
        ..Retries::default()
    };
    RetriesInForce::new(retries, RetriesFrom::BuiltIn)
});

/// Repetitions that a client can ask for (VS-H-64): a request may go on for as long as its tries do, and
/// takes part of what its backend allows everybody meanwhile.
pub const MOST_ASKED: u32 = 25;

/// VS-H-76.
const BACKOFF: Duration = Duration::from_millis(25);
/// A pause is never longer than this many times the base (VS-H-76).
const LONGEST: u32 = 10;

impl RetriesInForce {
    /// Compiles what somebody wrote.
    pub fn new(written: Retries, from: RetriesFrom) -> Self {
        let words = words(&written);
        Self {
            conditions: Conditions::parse(words.unwrap_or(DEFAULT_RETRY_ON)),
            written,
            from,
        }
    }

    /// Those of a request that no rule speaks for.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// The words of `retryOn`; none written are the built-in ones (VS-H-74).
    pub fn retry_on(&self) -> &str {
        words(&self.written).unwrap_or(DEFAULT_RETRY_ON)
    }

    /// Tries after the first (VS-H-73); 0: none (VS-H-72).
    pub fn attempts(&self) -> u32 {
        self.written.attempts
    }

    /// How long one try may take until its response begins (VS-H-75).
    pub fn per_try_timeout(&self) -> Option<Duration> {
        self.written.per_try_timeout
    }

    /// Are endpoints that were not tried yet preferred (VS-H-77)?
    pub fn other_hosts_first(&self) -> bool {
        self.written.ignore_previous_hosts.unwrap_or(true)
    }

    /// May any response be a reason to try again? While none may, none has to be looked at before
    /// it goes to the client.
    pub fn heeds_responses(&self) -> bool {
        self.written.attempts > 0 && self.is_said() && self.conditions.heeds_responses()
    }

    /// May anything be one that leaves open whether the request was acted upon? Only then is the
    /// body of a request that was sent needed again.
    pub fn repeats_sent(&self) -> bool {
        self.written.attempts > 0 && self.is_said()
    }

    /// May a stream that an endpoint has refused? By then a body may be on its way there, and is needed
    /// again.
    pub fn repeats_refused(&self) -> bool {
        self.repeats(&Happened::Refused)
    }

    /// Is what happened a reason to try again, were there room for it (VS-H-79c)?
    ///
    /// A request that may have been acted upon is repeated only if somebody wrote the condition:
    /// the built-in ones do not order twice.
    pub fn repeats(&self, happened: &Happened) -> bool {
        self.written.attempts > 0
            && (self.is_said() || happened.is_harmless())
            && self.conditions.hold(happened)
    }

    /// The pause before try `number` (1: the first repetition): random below (2^number - 1) times
    /// the base, and below ten times the base (VS-H-76). `draw` is asked for a number below its
    /// argument, in microseconds.
    pub fn pause(&self, number: u32, draw: impl FnOnce(u64) -> u64) -> Duration {
        let base = self.written.backoff.unwrap_or(BACKOFF).as_micros();
        let factor = 1_u32
            .checked_shl(number)
            .map_or(LONGEST, |power| (power - 1).min(LONGEST));
        match u64::try_from(base.saturating_mul(factor.into())) {
            Ok(0) => Duration::ZERO,
            Ok(below) => Duration::from_micros(draw(below)),
            Err(_) => Duration::from_micros(draw(u64::MAX)),
        }
    }

    /// The same with what a believed client asks for. Words that are none are passed over, as Envoy
    /// does.
    #[must_use]
    pub fn asked(&self, wishes: &RetryWishes<'_>) -> Self {
        let mut written = self.written.clone();
        let own = match self.written.attempts {
            // No policy at all: whoever asks for one has said all of it (VS-H-72).
            0 => "",
            _ if self.is_said() => self.retry_on(),
            // Nobody asked for the others by asking for more.
            _ => UNSAID,
        };
        let mut words = own.to_owned();
        let conditions = wishes.retry_on.unwrap_or_default().split(',');
        let conditions = conditions.map(str::trim).filter(|word| is_condition(word));
        let calls = wishes.retry_grpc_on.unwrap_or_default().split(',');
        let calls = calls.map(str::trim).filter(|word| is_of_grpc(word));
        for more in conditions.chain(calls) {
            if !words.is_empty() {
                words.push(',');
            }
            words.push_str(more);
            // Envoy's number where only conditions are asked for.
            written.attempts = written.attempts.max(1);
        }
        if let Some(statuses) = wishes.statuses.filter(|_| heeds_statuses(&words)) {
            let statuses = statuses.split(',').map(str::trim);
            for status in statuses.filter(|it| it.parse::<u16>().is_ok()) {
                words.push(',');
                words.push_str(status);
            }
        }
        if words != own {
            written.retry_on = Some(words.into());
        }
        if let Some(attempts) = wishes.attempts.filter(|_| written.attempts > 0) {
            // What the rule grants anyway is no more for being asked for.
            written.attempts = attempts.min(MOST_ASKED.max(self.written.attempts));
        }
        if let Some(per_try) = wishes.per_try {
            written.per_try_timeout = (!per_try.is_zero()).then_some(per_try);
        }
        Self::new(written, self.from)
    }

    /// Did somebody write what to try again, rather than only how often?
    fn is_said(&self) -> bool {
        words(&self.written).is_some()
    }
}

/// Are listed statuses a condition among these words?
fn heeds_statuses(words: &str) -> bool {
    let mut words = words.split(',').map(str::trim);
    words.any(|word| word == "retriable-status-codes" || word.parse::<u16>().is_ok())
}

fn words(written: &Retries) -> Option<&str> {
    written
        .retry_on
        .as_deref()
        .filter(|words| !words.is_empty())
}

impl Rule {
    /// The retries in force for what the rule sends on.
    pub fn retries(&self) -> &RetriesInForce {
        self.retries.as_deref().unwrap_or(&BUILT_IN)
    }

    /// The same, to be kept; `None`: nobody wrote any.
    pub fn own_retries(&self) -> Option<&Arc<RetriesInForce>> {
        self.retries.as_ref()
    }
}
