//! What a matched rule does.
use crate::{HeaderValue, ObjectKey, Place, matches::HttpMatch, matches::StringMatch};
use std::{sync::Arc, time::Duration};

/// A destination as written, its host completed to a full name (BE-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Full host name, lower case.
    pub host: Arc<str>,
    /// `subset`.
    pub subset: Option<Arc<str>>,
    /// `port.number`; absent: see BE-5.
    pub port: Option<u16>,
    /// Where the destination is written.
    pub place: Place,
}

/// One item of `route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative weight (VS-H-61). Ignored when the item is alone.
    pub weight: u32,
    /// `headers` of this destination.
    pub headers: HeaderOps,
}

/// Header operations of one level: all removes, then `set`, then `add` (VS-H-100).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HeaderOps {
    /// On the request.
    pub request: FieldOps,
    /// On the response.
    pub response: FieldOps,
}

/// Operations on one direction.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FieldOps {
    /// Names to remove.
    pub remove: Vec<Arc<str>>,
    /// Names to overwrite or create.
    pub set: Vec<(Arc<str>, HeaderValue)>,
    /// Names to append.
    pub add: Vec<(Arc<str>, HeaderValue)>,
}

impl FieldOps {
    /// Does a field frame a message, or belong to one hop? Such are written anew, whatever rules do
    /// (VS-H-104).
    pub fn is_of_the_hop(name: &str) -> bool {
        const NAMES: [&str; 8] = [
            "connection",
            "content-length",
            "transfer-encoding",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "proxy-connection",
        ];
        NAMES.iter().any(|it| it.eq_ignore_ascii_case(name))
    }

    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// `redirect` (VS-H-40..49).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Redirect {
    /// Replaces the whole path.
    pub uri: Option<Arc<str>>,
    /// Replaces the matched prefix.
    pub prefix_rewrite: Option<Arc<str>>,
    /// New host.
    pub authority: Option<Arc<str>>,
    /// `http` or `https`.
    pub scheme: Option<Arc<str>>,
    /// Explicit port.
    pub port: Option<u16>,
    /// `derivePort: FROM_REQUEST_PORT` (true) or `FROM_PROTOCOL_DEFAULT` (false).
    pub port_from_request: Option<bool>,
    /// 301, 302, 303, 307 or 308.
    pub code: u16,
}

/// `directResponse` (VS-H-50).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// 200..=599.
    pub status: u16,
    /// Body, at most 1 MiB.
    pub body: Arc<[u8]>,
    /// A `string` body is `text/plain` (VS-H-51); `bytes` declare nothing.
    pub body_is_text: bool,
}

/// `rewrite` (VS-H-53..60).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// `uri`.
    pub uri: Option<Arc<str>>,
    /// `uriRegexRewrite`: pattern and replacement.
    pub uri_regex: Option<(Arc<str>, Arc<str>)>,
    /// `authority`.
    pub authority: Option<Arc<str>>,
}

/// `retries` (VS-H-70..79).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Retries {
    /// Retries after the first try; 0 disables.
    pub attempts: u32,
    /// `perTryTimeout`.
    pub per_try_timeout: Option<Duration>,
    /// `retryOn`, as written.
    pub retry_on: Option<Arc<str>>,
    /// `retryRemoteLocalities`.
    pub remote_localities: Option<bool>,
    /// `retryIgnorePreviousHosts`.
    pub ignore_previous_hosts: Option<bool>,
    /// `backoff`.
    pub backoff: Option<Duration>,
}

/// A share of requests in parts per million: 100 % is 1,000,000 (resolution of VS-H-80).
pub type PartsPerMillion = u32;

/// `fault` (VS-H-80..85).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Fault {
    /// Delay and its share.
    pub delay: Option<(Duration, PartsPerMillion)>,
    /// Abort and its share.
    pub abort: Option<(Abort, PartsPerMillion)>,
}

/// How a request is aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status, 200..=599.
    Http(u16),
    /// A gRPC status number.
    Grpc(u8),
}

/// One mirror (VS-H-86).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where the copy goes.
    pub destination: Destination,
    /// Share of requests copied.
    pub share: PartsPerMillion,
}

/// `corsPolicy` (VS-H-90..99).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cors {
    /// `allowOrigins`; a deprecated `allowOrigin` is in here as exact matches.
    pub allow_origins: Vec<StringMatch>,
    /// `allowMethods`.
    pub allow_methods: Vec<Arc<str>>,
    /// `allowHeaders`.
    pub allow_headers: Vec<Arc<str>>,
    /// `exposeHeaders`.
    pub expose_headers: Vec<Arc<str>>,
    /// `maxAge`.
    pub max_age: Option<Duration>,
    /// `allowCredentials`.
    pub allow_credentials: Option<bool>,
    /// `unmatchedPreflights: IGNORE`.
    pub ignore_unmatched_preflights: bool,
}

/// The one action of a rule (VS-H-36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAction {
    /// `route`.
    Route(Vec<WeightedDestination>),
    /// `redirect`.
    Redirect(Redirect),
    /// `directResponse`.
    Respond(DirectResponse),
    /// `delegate` (VS-H-110): namespace and name.
    Delegate {
        /// Namespace of the delegate.
        namespace: Arc<str>,
        /// Name of the delegate.
        name: Arc<str>,
    },
}

/// Where a rule that a delegate contributed is written (VS-H-113).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegated {
    /// The delegate.
    pub object: ObjectKey,
    /// Index in its `spec.http`, from 0.
    pub index: u32,
}

/// One rule: an item of `spec.http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute {
    /// `name`, for logs (VS-H-8).
    pub name: Option<Arc<str>>,
    /// Index in `spec.http`, from 0: the `#N` of outputs. Of a delegated rule the index of the
    /// rule that delegates, in the VirtualService that has the hosts.
    pub index: u32,
    /// The delegate the rule comes from; `None` in a document as written.
    pub delegated: Option<Delegated>,
    /// Alternatives; empty matches everything (VS-H-3).
    pub matches: Vec<HttpMatch>,
    /// What to do.
    pub action: HttpAction,
    /// `rewrite`.
    pub rewrite: Option<Rewrite>,
    /// `headers` of the rule.
    pub headers: HeaderOps,
    /// `timeout`; absent: none (VS-H-63).
    pub timeout: Option<Duration>,
    /// `retries`; absent: the default of VS-H-70.
    pub retries: Option<Retries>,
    /// `fault`.
    pub fault: Option<Fault>,
    /// `mirror` or `mirrors`.
    pub mirrors: Vec<Mirror>,
    /// `corsPolicy`.
    pub cors: Option<Cors>,
    /// Where the rule begins.
    pub place: Place,
}

impl HttpRoute {
    /// How outputs name the rule inside its VirtualService: `#1`, or `#1>team/reviews#0` where a
    /// delegate wrote it.
    pub fn number(&self) -> String {
        match &self.delegated {
            None => format!("#{}", self.index),
            Some(Delegated { object, index }) => {
                format!(
                    "#{}>{}/{}#{index}",
                    self.index, object.namespace, object.name
                )
            }
        }
    }
}
