//! Values of backends in the words of the documents.
use crate::cluster::ClusterKind;
use pointsman_model::{
    Protocol,
    policy::{Algorithm, Http2KeepAlive, RetryBudget, TcpKeepalive},
};
use std::{sync::Arc, time::Duration};

/// Says what it is. Two values of which the same is said act alike.
pub(super) trait Said {
    fn said(&self) -> String;
}

impl<T: Said> Said for Option<T> {
    fn said(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::said)
    }
}

impl Said for u32 {
    fn said(&self) -> String {
        self.to_string()
    }
}

impl Said for bool {
    fn said(&self) -> String {
        self.to_string()
    }
}

impl Said for Duration {
    fn said(&self) -> String {
        match self.is_zero() {
            true => "0s".to_owned(),
            false => format!("{self:?}"),
        }
    }
}

impl Said for Arc<str> {
    fn said(&self) -> String {
        self.to_string()
    }
}

impl Said for Protocol {
    fn said(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Said for Algorithm {
    fn said(&self) -> String {
        let word = match self {
            // What a hash asks for is not acted on yet: it has the default.
            Self::LeastRequest | Self::ConsistentHash(_) => "LEAST_REQUEST",
            Self::RoundRobin => "ROUND_ROBIN",
            Self::Random => "RANDOM",
            Self::Passthrough => "PASSTHROUGH",
        };
        word.to_owned()
    }
}

impl Said for ClusterKind {
    fn said(&self) -> String {
        match self {
            Self::Endpoints => "by endpoints".to_owned(),
            Self::OriginalDestination { port: None } => "where the client dialled".to_owned(),
            Self::OriginalDestination { port: Some(port) } => {
                format!("where the client dialled, on port {port}")
            }
            Self::Dns { first_only: false } => "by DNS, all addresses".to_owned(),
            Self::Dns { first_only: true } => "by DNS, the first address".to_owned(),
            Self::DynamicDns => "by DNS of the requested host".to_owned(),
        }
    }
}

impl Said for TcpKeepalive {
    fn said(&self) -> String {
        let of = |name: &str, value: Option<String>| value.map(|it| format!("{name} {it}"));
        let parts = [
            of("probes", self.probes.map(|it| it.said())),
            of("time", self.time.map(|it| it.said())),
            of("interval", self.interval.map(|it| it.said())),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => "as the system has it".to_owned(),
            false => parts.join(", "),
        }
    }
}

impl Said for Http2KeepAlive {
    fn said(&self) -> String {
        let (interval, timeout) = (self.interval.said(), self.timeout.said());
        format!("interval {interval}, timeout {timeout}")
    }
}

impl Said for RetryBudget {
    fn said(&self) -> String {
        let Self {
            percent,
            min_concurrency,
        } = self;
        format!("percent {percent}, minRetryConcurrency {min_concurrency}")
    }
}

/// `h2UpgradePolicy`.
pub(super) fn upgrade(asked: Option<bool>) -> &'static str {
    match asked {
        Some(true) => "UPGRADE",
        Some(false) => "DO_NOT_UPGRADE",
        None => "none",
    }
}
