//! What a request asks for in time and tries: `grpc-timeout` of a call, and `x-envoy-*` of clients
//! that are believed. Those of others are gone before this looks (GW-82).
use super::RequestFacts;
use pointsman_route::{RetriesInForce, RetryWishes, Rule};
use pointsman_wire::{
    grpc::{parse_timeout, write_timeout},
    http1::{FieldSet, RequestHead},
};
use std::{sync::Arc, time::Duration};

/// The wishes of one request; none for most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes<'h> {
    /// Replaces the rule's `timeout`; zero: none (VS-H-64).
    timeout: Option<Duration>,
    retries: RetryWishes<'h>,
    /// Where `x-envoy-*` says this.
    said: FieldSet,
    /// What the caller of gRPC gives it (VS-H-65).
    deadline: Option<Duration>,
    /// Where the caller says that.
    deadlines: FieldSet,
}

/// What holds for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<Arc<RetriesInForce>>,
    /// The timeout is what the caller of gRPC gives it.
    pub(super) deadline: bool,
    /// What the endpoint is told in `grpc-timeout`, in place of whatever else says it.
    pub(super) told: Option<Vec<u8>>,
    /// Received fields that are not sent on: wishes that are acted upon here would be acted upon by
    /// the next proxy too, and tries multiply (VS-H-64).
    pub(super) drop: FieldSet,
}

impl<'h> Wishes<'h> {
    /// Reads a head.
    pub(super) fn of(head: &RequestHead<'h>, facts: &RequestFacts) -> Self {
        let mut wishes = Self::default();
        for (at, field) in head.fields.iter().enumerate() {
            // Told apart by length first: this runs for every field of every request.
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let text = || str::from_utf8(field.value).ok().map(str::trim);
            let millis = || Some(Duration::from_millis(text()?.parse().ok()?));
            match field.name.len() {
                12 if facts.grpc.is_some() && is("grpc-timeout") => {
                    wishes.deadline = parse_timeout(field.value);
                    wishes.deadlines.insert(at);
                    continue;
                }
                16 if is("x-envoy-retry-on") => wishes.retries.retry_on = text(),
                19 if is("x-envoy-max-retries") => {
                    wishes.retries.attempts = text().and_then(|text| text.parse().ok());
                }
                21 if is("x-envoy-retry-grpc-on") => wishes.retries.retry_grpc_on = text(),
                30 if is("x-envoy-upstream-rq-timeout-ms") => wishes.timeout = millis(),
                30 if is("x-envoy-retriable-status-codes") => wishes.retries.statuses = text(),
                38 if is("x-envoy-upstream-rq-per-try-timeout-ms") => {
                    wishes.retries.per_try = millis();
                }
                _ => continue,
            }
            wishes.said.insert(at);
        }
        wishes
    }

    /// What is granted of them where the rule says this.
    pub(super) fn granted(&self, rule: &Rule) -> Granted {
        let own = match self.timeout {
            Some(limit) => (!limit.is_zero()).then_some(limit),
            None => rule.timeout,
        };
        let retries = match self.retries == RetryWishes::default() {
            true => rule.own_retries().cloned(),
            false => Some(Arc::new(rule.retries().asked(&self.retries))),
        };
        let mut granted = Granted {
            timeout: own,
            retries,
            deadline: false,
            told: None,
            drop: self.said,
        };
        if let Some(limit) = self.deadline {
            match own {
                // The endpoint need not work for longer than it is waited for.
                Some(own) if own < limit => {
                    let mut text = Vec::new();
                    write_timeout(&mut text, own);
                    granted.told = Some(text);
                    granted.drop = granted.drop.union(self.deadlines);
                }
                _ => {
                    granted.timeout = Some(limit);
                    granted.deadline = true;
                }
            }
        }
        granted
    }
}
