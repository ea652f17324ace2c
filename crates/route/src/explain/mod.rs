//! Why traffic goes where it goes, for people: the same decision as the data path's, watched.
//!
//! [`explain_connection`] and [`explain_request`] run the table's own code with a [`Recorder`] and
//! put its notes in order: protocol, frontend, rules, backend, policy, endpoints, outcome.
//! [`Explanation`] is typed; its `Display` is the plain text, which the command line may colour.
mod backend;
mod frontend;
mod gateway;
mod recorder;
mod render;
mod rules;

use crate::{
    action::{Received, https_location, location},
    gateway::AfterTls,
    rule::{Action, Rule, TcpRule},
    split::{Missing, Split},
    table::{ConnectionDecision, Matched, RequestDecision, Table},
    trace::Reason,
    traffic::{Class, Connection, Fields, Request},
};
use pointsman_model::Place;
use std::net::SocketAddr;

pub use recorder::{Note, Recorder};

/// Whether a candidate was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It decides.
    Match,
    /// It could not count here.
    NotUsed,
    /// It was looked at, and differs, or was not looked at for this reason.
    No(Reason),
}

/// One thing that was, or could have been, considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it is: `host reviews -> reviews.default.svc.cluster.local`, `#1  path = "/a"`.
    pub what: String,
    /// Taken or not.
    pub verdict: Verdict,
    /// In words: `value is "jason"`.
    pub detail: String,
    /// Where it is written.
    pub place: Option<Place>,
}

/// The rules of the host or chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesStep {
    /// `VirtualService default/reviews`, or whose default route it is.
    pub title: String,
    /// Where that is written.
    pub place: Option<Place>,
    /// The rules in order.
    pub candidates: Vec<Candidate>,
    /// If none matched: the one that missed least, in words.
    pub closest: Option<String>,
}

/// One possible backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendStep {
    /// `outbound|80|v1|host`, or the destination that does not exist.
    pub label: String,
    /// Share of the traffic in percent, rounded.
    pub share: u32,
    /// What is missing, if anything.
    pub missing: Option<Missing>,
    /// What the subset selects, and the like.
    pub detail: String,
    /// Where the port or the subset is declared.
    pub place: Option<Place>,
    /// The policy in force, in words.
    pub policy: String,
    /// How an endpoint is found: `least request, 2 of 3 usable`.
    pub choice: String,
    /// The endpoints, the first ten.
    pub endpoints: Vec<Candidate>,
    /// Endpoints that can be used now, as far as the documents tell.
    pub usable: usize,
}

/// What becomes of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is sent to a backend.
    Forwarded,
    /// The gateway answers by itself with this status.
    Answered(u16),
    /// It goes unchanged to its original destination.
    Passthrough,
    /// Nothing recognises it, and such traffic is refused.
    Refused,
    /// 404 NR: the host is known, none of its rules matches.
    NoRule,
    /// 404 NR: no server of a gateway has the host.
    NoHost,
    /// Closed: no server of a gateway takes the connection.
    NoServer(Reason),
    /// A gateway ends TLS, and what is inside was not asked about.
    EndsTls,
    /// 503 NC, or closed: a destination does not exist.
    NoCluster(Missing),
    /// 503 UH, or closed: no endpoint can be used.
    NoEndpoint,
}

impl Outcome {
    /// A stable word for machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Answered(_) => "answered",
            Self::Passthrough => "passthrough",
            Self::Refused => "refused",
            Self::NoRule => "host_known_no_rule",
            Self::NoHost => "host_unknown",
            Self::NoServer(_) => "no_server",
            Self::EndsTls => "ends_tls",
            Self::NoCluster(_) => "no_cluster",
            Self::NoEndpoint => "no_endpoint",
        }
    }
}

/// A whole explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was seen: `HTTP`, `TLS, server name a.com`, `bytes`.
    pub protocol: String,
    /// How that is known.
    pub protocol_why: String,
    /// Listeners, chains and hosts.
    pub frontends: Vec<Candidate>,
    /// Rules; `None` if nothing was recognised.
    pub rules: Option<RulesStep>,
    /// Backends, the heaviest first as written.
    pub backends: Vec<BackendStep>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The same in one sentence.
    pub sentence: String,
}

/// Explains a connection that is (or is treated as) bytes. For HTTP use [`explain_request`].
pub fn explain_connection(table: &Table, connection: &Connection<'_>) -> Explanation {
    let mut recorder = Recorder::default();
    let id = table.listener(connection.original);
    let decision = table.connection(id, connection, &mut recorder);
    let mut made = begin(table, connection, &recorder);
    match decision {
        ConnectionDecision::Forward(rule) => {
            forward_bytes(table, connection.original, rule, &mut made)
        }
        ConnectionDecision::Http(_) => {
            made.outcome = Outcome::Forwarded;
            made.sentence = "its requests would be routed one by one".to_owned();
        }
        ConnectionDecision::Terminate(server) => match &server.then {
            AfterTls::Forward(rule) => {
                forward_bytes(table, connection.original, rule, &mut made);
            }
            AfterTls::Http(_) => {
                made.outcome = Outcome::EndsTls;
                made.sentence = format!(
                    "TLS ends at {}; the requests inside are routed one by one",
                    server.origin.label
                );
            }
        },
        ConnectionDecision::Closed(reason) => closed(reason, &mut made),
        ConnectionDecision::Passthrough => pass(connection.original, &mut made),
        ConnectionDecision::Blackhole => {
            made.outcome = Outcome::Refused;
            made.sentence =
                "would be closed: nothing recognises it, and unknown traffic is refused".to_owned();
        }
    }
    narrowed(table, &mut made);
    made
}

/// Explains a request on a connection to `original`; an unspecified address is one that is not known.
pub fn explain_request<F: Fields + ?Sized>(
    table: &Table,
    original: SocketAddr,
    request: &Request<'_, F>,
) -> Explanation {
    explain_request_on(
        table,
        &Connection {
            original,
            source: None,
            class: Class::Http,
            sni: None,
            mesh_alpn: false,
        },
        request,
    )
}

/// Explains a request on a connection; of class [`Class::Tls`]: inside TLS, which only a gateway
/// ends.
pub fn explain_request_on<F: Fields + ?Sized>(
    table: &Table,
    connection: &Connection<'_>,
    request: &Request<'_, F>,
) -> Explanation {
    let original = connection.original;
    let id = table.listener(original);
    let mut recorder = Recorder::default();
    let http = match table.connection(id, connection, &mut recorder) {
        ConnectionDecision::Http(http) => http,
        ConnectionDecision::Terminate(server) => match server.then {
            AfterTls::Http(http) => http,
            AfterTls::Forward(_) => return explain_connection(table, connection),
        },
        // A listener that does not look for HTTP sees bytes only.
        _ => return explain_connection(table, connection),
    };
    let decision = table.request(http, request, &mut recorder);
    let mut made = begin(table, connection, &recorder);
    frontend::hosts(
        table,
        http,
        original,
        request.authority,
        &recorder,
        &mut made.frontends,
    );
    match decision {
        RequestDecision::Rule(matched) => {
            made.rules = Some(rules::of_request(table, matched.host, request, &recorder));
            forward_request(table, original, &matched, request, &mut made);
        }
        RequestDecision::NotFound(host) => {
            let step = rules::of_request(table, host, request, &recorder);
            made.outcome = Outcome::NoRule;
            made.sentence = format!(
                "404 NR: {} is known on port {}, but none of its rules matches",
                host.host, host.port
            );
            made.rules = Some(step);
        }
        RequestDecision::UnknownHost => {
            made.outcome = Outcome::NoHost;
            made.sentence = format!("404 NR: no server has the host {:?}", request.authority);
        }
        RequestDecision::ToHttps(host) => {
            let by = host
                .gateway
                .as_ref()
                .and_then(|own| own.https_redirect.as_ref());
            let by = by.map_or("a server", |origin| &*origin.label);
            let location = https_location(request.authority, request.path, request.query);
            (made.outcome, made.sentence) = match location {
                Some(location) => (
                    Outcome::Answered(301),
                    format!("would be redirected with 301 to {location} by httpsRedirect of {by}"),
                ),
                None => (
                    Outcome::Answered(400),
                    format!("400: httpsRedirect of {by}, and the request names no host"),
                ),
            };
        }
        RequestDecision::Passthrough => pass(original, &mut made),
        RequestDecision::Blackhole => {
            made.outcome = Outcome::Refused;
            made.sentence =
                "502: no service has this host, and unknown traffic is refused".to_owned();
        }
    }
    narrowed(table, &mut made);
    made
}

fn begin(table: &Table, connection: &Connection<'_>, recorder: &Recorder) -> Explanation {
    let inspection = table.inspection(table.listener(connection.original));
    let protocol = match (connection.class, connection.sni) {
        (Class::Http, _) => "HTTP".to_owned(),
        (Class::Tls, Some(name)) => format!("TLS, server name {name}"),
        (Class::Tls, None) => "TLS without a server name".to_owned(),
        (Class::Tcp, _) => "bytes".to_owned(),
    };
    let why = if inspection.is_none() {
        "this port is not looked into: everything on it is bytes"
    } else {
        "the first bytes tell"
    };
    Explanation {
        protocol,
        protocol_why: why.to_owned(),
        frontends: frontend::chains(table, connection, recorder),
        rules: None,
        backends: Vec::new(),
        outcome: Outcome::Passthrough,
        sentence: String::new(),
    }
}

fn closed(reason: Reason, made: &mut Explanation) {
    made.outcome = Outcome::NoServer(reason);
    made.sentence = match reason {
        Reason::NoListener => "no server of a Gateway listens there: the connection is refused",
        Reason::SniAbsent => "would be closed: it names no server, and no server takes every name",
        Reason::SniDiffers => "would be closed: no server has this server name",
        Reason::NotTls => "would be closed: the port is for TLS",
        Reason::AlpnDiffers => "would be closed: the server is for clients of the mesh only",
        _ => "would be closed: no server takes it",
    }
    .to_owned();
}

/// What nothing recognises may be something that the client's Sidecar does not list (VIS-10).
fn narrowed(table: &Table, made: &mut Explanation) {
    let unknown = matches!(made.outcome, Outcome::Passthrough | Outcome::Refused);
    let sidecar = table.context().sidecar.as_ref();
    if let Some(sidecar) = sidecar.filter(|it| unknown && !it.egress.is_empty()) {
        let (key, place) = (&sidecar.meta.key, &sidecar.meta.place);
        made.sentence
            .push_str(&format!("; {key} ({place}) says what this client can see"));
    }
}

fn pass(original: SocketAddr, made: &mut Explanation) {
    made.outcome = Outcome::Passthrough;
    let to = match original.ip().is_unspecified() {
        true => "where the client dialled".to_owned(),
        false => original.to_string(),
    };
    made.sentence = format!("would pass unchanged to {to}: nothing recognises it");
}

fn forward_bytes(table: &Table, original: SocketAddr, rule: &TcpRule, made: &mut Explanation) {
    made.rules = Some(rules::of_bytes(rule));
    forward(table, original, &rule.split, "closed", None, made);
}

fn forward_request<F: Fields + ?Sized>(
    table: &Table,
    original: SocketAddr,
    matched: &Matched<'_>,
    request: &Request<'_, F>,
    made: &mut Explanation,
) {
    let rule = matched.rule;
    match &rule.action {
        Action::Forward(split) => forward(table, original, split, "503", Some(rule), made),
        Action::Redirect(redirect) => {
            let received = Received {
                scheme: request.scheme,
                authority: request.authority,
                path: request.path,
                query: request.query,
                matched: matched.prefix_len,
                port: matched.port(original),
            };
            let code = redirect.code;
            (made.outcome, made.sentence) = match location(redirect, &received) {
                Some(location) => (
                    Outcome::Answered(code),
                    format!("would be redirected with {code} to {location}"),
                ),
                None => (
                    Outcome::Answered(400),
                    "400: a redirect to another scheme or port, and the request names no host"
                        .to_owned(),
                ),
            };
        }
        Action::Respond(response) => {
            made.outcome = Outcome::Answered(response.status);
            made.sentence = format!("would be answered {} by the gateway", response.status);
        }
    }
}

fn forward(
    table: &Table,
    original: SocketAddr,
    split: &Split,
    failure: &str,
    rule: Option<&Rule>,
    made: &mut Explanation,
) {
    made.backends = backend::steps(table, original, split, rule);
    let (outcome, sentence) = backend::outcome(&made.backends, failure);
    made.outcome = outcome;
    made.sentence = sentence;
}
