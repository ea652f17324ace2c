//! The machine form of an answer. `docs/explain.md` describes every field.
use super::{execute::Sent, trace::Step};
use pointsman_model::action::PartsPerMillion;
use pointsman_route::{Cluster, Origin};
use pointsman_wire::{grpc::status_of, http1::Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{net::SocketAddr, time::Duration};

/// What kind of answer it is: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Sent to an endpoint of a backend.
    Forward,
    /// Sent unchanged to its original destination.
    Passthrough,
    /// Answered with a redirect.
    Redirect,
    /// Answered by the gateway.
    Respond,
    /// 404: the host is known, none of its rules takes the request.
    NotFound,
    /// Refused as malformed; the connection is closed.
    Reject,
    /// Nothing recognises it, and unknown traffic is refused.
    Blackhole,
    /// A rule takes it, but its destination does not exist or has no usable endpoint.
    Unavailable,
}

/// A destination, its host completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Destination {
    pub(crate) host: String,
    pub(crate) subset: Option<String>,
    pub(crate) port: Option<u16>,
}

impl Kind {
    /// The word of the closed list.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Passthrough => "passthrough",
            Self::Redirect => "redirect",
            Self::Respond => "respond",
            Self::NotFound => "notfound",
            Self::Reject => "reject",
            Self::Blackhole => "blackhole",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Destination {
    pub(super) fn of_cluster(cluster: &Cluster) -> Self {
        Self {
            host: cluster.name.host.to_string(),
            subset: cluster.name.subset.as_deref().map(str::to_owned),
            port: Some(cluster.name.port),
        }
    }
}

/// One destination of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Weight {
    #[serde(flatten)]
    pub(crate) destination: Destination,
    pub(crate) weight: u32,
    /// Why nothing can be sent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// Only where the destinations of the rule differ in it.
    #[serde(flatten)]
    pub(crate) sent: Option<Sent>,
}

/// How the client of a call is told of an answer of the gateway's own if this destination is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    #[serde(flatten)]
    pub(crate) destination: Destination,
    pub(crate) weight: u32,
    /// As in [`Answer`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc_status: Option<u8>,
    /// The same.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) response_headers: Map<String, Value>,
}

/// `retries` in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Retries {
    pub(crate) attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_try_timeout: Option<String>,
    pub(crate) retry_on: String,
}

/// What is injected, and with which chances.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Faults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delay: Option<FaultDelay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) abort: Option<FaultAbort>,
}

/// `fault.delay`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FaultDelay {
    pub(super) time: String,
    pub(super) percentage: f64,
}

/// `fault.abort`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FaultAbort {
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grpc_status: Option<u8>,
    pub(super) percentage: f64,
}

/// A mirror.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Mirror {
    #[serde(flatten)]
    pub(crate) destination: Destination,
    pub(crate) percentage: f64,
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RuleOrigin {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u32>,
    pub(crate) file: String,
    pub(crate) line: u32,
    /// `default/reviews#1`, as in the access log; not in the machine form, which has its parts.
    #[serde(skip)]
    pub(crate) label: std::sync::Arc<str>,
    /// `name` of the rule.
    #[serde(skip)]
    pub(crate) rule_name: Option<std::sync::Arc<str>>,
}

impl RuleOrigin {
    pub(super) fn new(origin: &Origin) -> Self {
        Self {
            kind: origin.object.kind.as_str(),
            namespace: origin.object.namespace.to_string(),
            name: origin.object.name.to_string(),
            index: origin.rule,
            file: origin.place.file.to_string(),
            line: origin.place.line,
            label: origin.label.clone(),
            rule_name: origin.name.clone(),
        }
    }
}

/// The answer to one question. Fields that do not apply are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// What a call of gRPC is told in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc_status: Option<u8>,
    /// Instead of that and of `response_headers` where it is for chance to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) told: Vec<Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<Destination>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) weights: Vec<Weight>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) endpoints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    /// Of redirects and direct responses; of what is sent on it is in `sent`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) response_headers: Map<String, Value>,
    #[serde(flatten)]
    pub(crate) sent: Option<Sent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Faults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retries: Option<Retries>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mirrors: Vec<Mirror>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<RuleOrigin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<Vec<Step>>,
}

impl Answer {
    pub(super) fn new(kind: Kind, reason: Option<&'static str>) -> Self {
        Self {
            kind,
            reason,
            status: None,
            grpc_status: None,
            told: Vec::new(),
            destination: None,
            weights: Vec::new(),
            endpoints: Vec::new(),
            location: None,
            body: None,
            response_headers: Map::new(),
            sent: None,
            timeout: None,
            delay: None,
            fault: None,
            retries: None,
            mirrors: Vec::new(),
            rule: None,
            trace: None,
        }
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self {
            status: Some(refusal.status),
            ..Self::new(Kind::Reject, Some(refusal.reason.as_str()))
        }
    }

    /// What a call of gRPC is told of this answer of the gateway's own (VS-H-144).
    pub(super) fn status_of_call(&self, fields: &Map<String, Value>) -> Option<u8> {
        match self.status? {
            200..=299 => {
                let written = fields.get("grpc-status")?;
                written.as_str()?.parse().ok()
            }
            status => Some(status_of(status)),
        }
    }

    /// An answer of the gateway's own that calls of gRPC are told of by its status.
    pub(super) fn is_failure(&self) -> bool {
        self.status
            .is_some_and(|status| !(200..300).contains(&status))
    }

    /// Was it routed as a request, rather than as the bytes of a connection?
    pub(crate) fn is_of_a_request(&self) -> bool {
        self.status.is_some()
            || self.sent.is_some()
            || self.weights.iter().any(|weight| weight.sent.is_some())
    }

    pub(super) fn passthrough(original: SocketAddr, reason: &'static str) -> Self {
        Self {
            endpoints: match original.ip().is_unspecified() {
                true => Vec::new(),
                false => vec![original.to_string()],
            },
            ..Self::new(Kind::Passthrough, Some(reason))
        }
    }
}

/// Of all requests.
pub(super) fn percentage(share: PartsPerMillion) -> f64 {
    f64::from(share) / 10_000.0
}

/// `1.5s`: always seconds, so that nobody has to parse units.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds() {
        for (millis, text) in [(2000, "2s"), (500, "0.5s"), (1, "0.001s"), (90_000, "90s")] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}
