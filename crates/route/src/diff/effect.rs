//! What becomes of traffic, in a form that two tables can be compared by: names instead of numbers,
//! and nothing of where it is written.
use super::ExampleRequest;
use crate::{
    gateway::AfterTls,
    listener::ListenerId,
    retries::RetriesInForce,
    rule::{Action, Origin, Rule, TcpRule},
    split::Split,
    table::{ConnectionDecision, HttpTableId, Matched, RequestDecision, Table},
    trace::NoTrace,
    traffic::{Class as Traffic, Connection, Fields, Request},
};
use pointsman_model::{
    HttpRoute,
    action::{Abort, Cors, DirectResponse, FieldOps, HeaderOps, Redirect, Retries},
    gateway::{CertificateFiles, CertificateSource, ServerTls, TlsVersion},
    matches::StringMatch,
};
use pointsman_wire::{
    forwarded::{FieldList, Forwarded, Sender, Side, request_id},
    http1::{BodyLength, Field, FieldSet, RequestHead, Version},
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

/// What becomes of a connection or request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Effect {
    /// Where it ends.
    pub outcome: Outcome,
    /// What is done on the way, by the name of the field that asks for it; what is not asked for
    /// is not in it.
    pub details: BTreeMap<&'static str, String>,
}

/// Where traffic ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// At its original destination, unchanged.
    Passthrough,
    /// It is refused, as nothing recognises it, or no server of a gateway takes it.
    Blackhole,
    /// 404: no rule of the host takes the request, or a gateway does not know the host.
    NotFound,
    /// Requests are routed one by one.
    Http,
    /// Redirected: status and what is replaced.
    Redirect(u16, String),
    /// Answered: status and body.
    Respond(u16, Vec<u8>),
    /// Sent to one of these.
    Forward(Vec<Share>),
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// Full host.
    pub host: Arc<str>,
    /// Subset.
    pub subset: Option<Arc<str>>,
    /// Port; `None` where the destination does not exist and names none.
    pub port: Option<u16>,
    /// Parts per million, rounded: weights 1 and 1 are 50 and 50.
    pub share: u32,
    /// Why nothing can be sent there.
    pub missing: Option<String>,
    /// Header operations of this destination alone.
    pub headers: Option<String>,
}

impl Effect {
    pub(super) fn bare(outcome: Outcome) -> Self {
        Self {
            outcome,
            details: BTreeMap::new(),
        }
    }
}

/// What becomes of a connection, and who says so.
pub fn of_connection<'t>(
    table: &'t Table,
    connection: &Connection<'_>,
) -> (Effect, Option<&'t Origin>) {
    let id = table.listener(connection.original);
    match table.connection(id, connection, &mut NoTrace) {
        ConnectionDecision::Http(_) => (Effect::bare(Outcome::Http), server_of(table, id)),
        ConnectionDecision::Forward(rule) => (of_bytes(table, rule), Some(&rule.origin)),
        ConnectionDecision::Passthrough => (Effect::bare(Outcome::Passthrough), None),
        ConnectionDecision::Blackhole => (Effect::bare(Outcome::Blackhole), None),
        ConnectionDecision::Closed(_) => (Effect::bare(Outcome::Blackhole), None),
        ConnectionDecision::Terminate(server) => {
            let (mut effect, origin) = match &server.then {
                AfterTls::Http(_) => (Effect::bare(Outcome::Http), &server.origin),
                AfterTls::Forward(rule) => (of_bytes(table, rule), &rule.origin),
            };
            effect.details.insert("TLS", ended(&server.tls));
            (effect, Some(origin))
        }
    }
}

/// The server of a gateway that has a port to itself, or the first of those that share it.
fn server_of(table: &Table, id: ListenerId) -> Option<&Origin> {
    let mut servers = table.listener_at(id)?.servers().iter();
    let served = servers.find(|it| it.left_out.is_none());
    served.map(|it| &it.origin)
}

/// How a gateway ends TLS, in words: what was asked for.
fn ended(tls: &ServerTls) -> String {
    // By name, so that a new field is not forgotten here.
    let ServerTls {
        mode,
        // Of plain requests.
        https_redirect: _,
        certificates,
        client_ca_secret,
        client_crl,
        subject_alt_names,
        certificate_spki,
        certificate_hash,
        min_version,
        max_version,
        cipher_suites,
    } = tls;
    let mut text = match certificates {
        CertificateSource::None => mode.as_str().to_owned(),
        CertificateSource::Mesh => format!("{} as the mesh", mode.as_str()),
        CertificateSource::Secrets(names) => {
            format!("{} credentialName {}", mode.as_str(), names.join(","))
        }
        CertificateSource::Files(files) => {
            let names = |it: &CertificateFiles| {
                let mut paths = vec![&it.certificate, &it.key];
                paths.extend(&it.client_ca);
                let paths: Vec<_> = paths.iter().map(|it| it.display().to_string()).collect();
                paths.join("+")
            };
            let all: Vec<String> = files.iter().map(names).collect();
            format!("{} {}", mode.as_str(), all.join(","))
        }
    };
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!(", {name} {value}"));
        }
    };
    let list = |all: &[Arc<str>]| (!all.is_empty()).then(|| all.join(","));
    let secret = client_ca_secret.as_ref();
    add("caCertCredentialName", secret.map(|it| it.to_string()));
    let crl = client_crl.as_ref();
    add("caCrl", crl.map(|it| it.display().to_string()));
    add("subjectAltNames", list(subject_alt_names));
    add("verifyCertificateSpki", list(certificate_spki));
    add("verifyCertificateHash", list(certificate_hash));
    let version = |it: TlsVersion| format!("TLS{it:?}");
    add("minProtocolVersion", min_version.map(version));
    add("maxProtocolVersion", max_version.map(version));
    add("cipherSuites", list(cipher_suites));
    text
}

/// The table that routes the requests of a connection, or what becomes of all of them alike.
pub(super) fn routed<'t>(
    table: &'t Table,
    connection: &Connection<'_>,
) -> Result<HttpTableId, (Effect, Option<&'t Origin>)> {
    let id = table.listener(connection.original);
    match table.connection(id, connection, &mut NoTrace) {
        // A gateway's port that speaks HTTP reads TLS as a malformed request (PS-70): all fare alike.
        ConnectionDecision::Http(_) if connection.class == Traffic::Tls => {
            Err(of_connection(table, connection))
        }
        ConnectionDecision::Http(http) => Ok(http),
        ConnectionDecision::Terminate(server) => match server.then {
            AfterTls::Http(http) => Ok(http),
            AfterTls::Forward(_) => Err(of_connection(table, connection)),
        },
        _ => Err(of_connection(table, connection)),
    }
}

/// What becomes of a request on a connection to `original`: in TLS with this server name if its
/// scheme is `https`, else in clear text.
pub fn of_request<'t>(
    table: &'t Table,
    original: SocketAddr,
    sni: Option<&str>,
    request: &ExampleRequest,
) -> (Effect, Option<&'t Origin>) {
    let class = match request.scheme.as_str() {
        "https" => Traffic::Tls,
        _ => Traffic::Http,
    };
    let connection = Connection {
        original,
        source: None,
        class,
        sni: sni.filter(|_| class == Traffic::Tls),
        mesh_alpn: false,
    };
    let http = match routed(table, &connection) {
        Ok(http) => http,
        Err(instead) => return instead,
    };
    let fields: Vec<Field<'_>> = request
        .headers
        .iter()
        .map(|(name, value)| Field {
            name,
            value: value.as_bytes(),
        })
        .collect();
    let head = head(request, &fields);
    let context = table.context();
    // What the process was told of proxies in front is not known here: at a gateway it is a stranger.
    let sender = Sender {
        side: match context.role.is_gateway() {
            true => Side::Edge { peer: "" },
            false => Side::Mesh,
        },
        trusted: false,
        hops: match context.role.is_gateway() {
            true => context.trusted_hops,
            false => 0,
        },
        scheme: match class {
            Traffic::Tls => "https",
            _ => "http",
        },
    };
    let forwarded = Forwarded::new(&head, &sender, || Some(request_id(0)));
    let mut list = FieldList::new();
    // With more fields than can be it would be refused; it has as many as conditions.
    let head = forwarded.head(&head, &sender, &mut list).unwrap_or(head);
    let request = Request {
        method: head.method,
        authority: &request.authority,
        path: head.path,
        query: head.query,
        scheme: forwarded.scheme(),
        fields: &Seen(head.fields),
    };
    match table.request(http, &request, &mut NoTrace) {
        RequestDecision::Rule(matched) => (of_rule(table, &matched), Some(&matched.rule.origin)),
        RequestDecision::NotFound(_) | RequestDecision::UnknownHost => {
            (Effect::bare(Outcome::NotFound), None)
        }
        RequestDecision::ToHttps(host) => {
            let own = host.gateway.as_ref();
            let server = own.and_then(|own| own.https_redirect.as_ref());
            (
                Effect::bare(Outcome::Redirect(301, "to HTTPS".to_owned())),
                server,
            )
        }
        RequestDecision::Passthrough => (Effect::bare(Outcome::Passthrough), None),
        RequestDecision::Blackhole => (Effect::bare(Outcome::Blackhole), None),
    }
}

/// As a client sends it.
fn head<'r>(request: &'r ExampleRequest, fields: &'r [Field<'r>]) -> RequestHead<'r> {
    RequestHead {
        method: &request.method,
        target: &request.path,
        version: Version::Http11,
        fields,
        bytes: b"",
        len: 0,
        body: BodyLength::None,
        keep_alive: true,
        host: Some(&request.authority),
        path: &request.path,
        query: request.query.as_deref(),
        expect_continue: false,
        upgrade: None,
        te_trailers: false,
        drop: FieldSet::EMPTY,
        source: None,
    }
}

/// The fields that rules see: those of the client, and those that are made here (PS-84, GW-80..83).
struct Seen<'a>(&'a [Field<'a>]);

impl Fields for Seen<'_> {
    fn each<'s>(&'s self, name: &str, visit: &mut dyn FnMut(&'s [u8])) {
        for field in self.0 {
            if field.name.eq_ignore_ascii_case(name) {
                visit(field.value);
            }
        }
    }
}

fn of_bytes(table: &Table, rule: &TcpRule) -> Effect {
    Effect::bare(Outcome::Forward(shares(table, &rule.split)))
}

fn of_rule(table: &Table, matched: &Matched<'_>) -> Effect {
    let rule: &Rule = matched.rule;
    let mut details = BTreeMap::new();
    let outcome = match &rule.action {
        Action::Forward(split) => Outcome::Forward(shares(table, split)),
        Action::Redirect(redirect) => {
            if redirect.prefix_rewrite.is_some() {
                details.insert("matched prefix", format!("{} bytes", matched.prefix_len));
            }
            Outcome::Redirect(redirect.code, redirection(redirect))
        }
        Action::Respond(DirectResponse {
            status,
            body,
            body_is_text,
        }) => {
            if !body_is_text {
                details.insert("body", "of no declared type".to_owned());
            }
            Outcome::Respond(*status, body.to_vec())
        }
    };
    if let Some(model) = rule.model() {
        wishes(model, matched.prefix_len, &mut details);
    }
    let retries = rule.retries();
    if matches!(rule.action, Action::Forward(_))
        && let Some(text) = repeated(&retries.written)
    {
        details.insert("retries", text);
    }
    if let Some(timeout) = rule.timeout {
        details.insert("timeout", format!("{timeout:?}"));
    }
    let mirrors: Vec<String> = rule
        .mirrors
        .iter()
        .filter(|mirror| mirror.share > 0)
        .filter_map(|mirror| {
            let cluster = table.cluster(mirror.cluster.ok()?);
            Some(format!("{} {}%", cluster.label, percent(mirror.share)))
        })
        .collect();
    if !mirrors.is_empty() {
        details.insert("mirrors", mirrors.join(", "));
    }
    Effect { outcome, details }
}

/// Retries other than those that nobody has to ask for.
fn repeated(retries: &Retries) -> Option<String> {
    let acted_on = |it: &Retries| Retries {
        ignore_previous_hosts: Some(it.ignore_previous_hosts.unwrap_or(true)),
        // Nothing acts on it yet.
        remote_localities: None,
        ..it.clone()
    };
    if acted_on(retries) == acted_on(&RetriesInForce::built_in().written) {
        return None;
    }
    let mut text = format!("{} attempts", retries.attempts);
    if let Some(on) = &retries.retry_on {
        text.push_str(&format!(" on {on}"));
    }
    if let Some(limit) = retries.per_try_timeout {
        text.push_str(&format!(", each {limit:?}"));
    }
    if let Some(backoff) = retries.backoff {
        text.push_str(&format!(", backoff {backoff:?}"));
    }
    if retries.ignore_previous_hosts == Some(false) {
        text.push_str(", other hosts not first");
    }
    Some(text)
}

/// What a rule asks for beside its action.
fn wishes(model: &HttpRoute, matched: usize, details: &mut BTreeMap<&'static str, String>) {
    // Every field is named, so that a new one is not forgotten here.
    let HttpRoute {
        rewrite,
        headers,
        fault,
        cors,
        // Not only the rule may say what is tried again.
        retries: _,
        name: _,
        index: _,
        delegated: _,
        matches: _,
        action: _,
        timeout: _,
        mirrors: _,
        place: _,
        ..
    } = model;
    if let Some(rewrite) = rewrite {
        let mut parts = Vec::new();
        if let Some(uri) = &rewrite.uri {
            parts.push(format!("first {matched} bytes of the path to {uri:?}"));
        }
        if let Some((pattern, into)) = &rewrite.uri_regex {
            parts.push(format!("path by {pattern:?} to {into:?}"));
        }
        if let Some(authority) = &rewrite.authority {
            parts.push(format!("authority to {authority:?}"));
        }
        if !parts.is_empty() {
            details.insert("rewrite", parts.join(", "));
        }
    }
    if let Some(text) = operations(headers) {
        details.insert("headers", text);
    }
    if let Some(fault) = fault {
        let mut parts = Vec::new();
        if let Some((delay, share)) = fault.delay.filter(|it| it.1 > 0) {
            parts.push(format!("delay {delay:?} of {}%", percent(share)));
        }
        if let Some((abort, share)) = fault.abort.as_ref().filter(|it| it.1 > 0) {
            let abort = match abort {
                Abort::Http(status) => format!("{status}"),
                Abort::Grpc(status) => format!("gRPC {status}"),
            };
            parts.push(format!("abort {abort} of {}%", percent(*share)));
        }
        if !parts.is_empty() {
            details.insert("fault", parts.join(", "));
        }
    }
    if let Some(cors) = cors {
        details.insert("corsPolicy", cross_origin(cors));
    }
}

/// What other origins may do, by the names of the fields that are written.
fn cross_origin(cors: &Cors) -> String {
    // Every field is named, so that a new one is not forgotten here.
    let Cors {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        ignore_unmatched_preflights,
    } = cors;
    let mut parts: Vec<String> = Vec::new();
    let mut add = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join(" ")));
        }
    };
    let origin = |it: &StringMatch| match it {
        StringMatch::Exact(text) => text.to_string(),
        StringMatch::Prefix(text) => format!("{text}…"),
        StringMatch::Regex(text) => format!("~{text}"),
        StringMatch::Present => "any".to_owned(),
    };
    let texts = |all: &[Arc<str>]| all.iter().map(ToString::to_string).collect();
    add("allowOrigins", allow_origins.iter().map(origin).collect());
    add("allowMethods", texts(allow_methods));
    add("allowHeaders", texts(allow_headers));
    add("exposeHeaders", texts(expose_headers));
    let one = |text: Option<String>| text.into_iter().collect();
    add("maxAge", one(max_age.map(|it| format!("{it:?}"))));
    let credentials = allow_credentials.map(|it| it.to_string());
    add("allowCredentials", one(credentials));
    let ignored = ignore_unmatched_preflights.then(|| "IGNORE".to_owned());
    add("unmatchedPreflights", one(ignored));
    parts.join(", ")
}

fn redirection(redirect: &Redirect) -> String {
    let mut parts: Vec<String> = Vec::new();
    let texts = [
        ("scheme", &redirect.scheme),
        ("authority", &redirect.authority),
        ("path", &redirect.uri),
        ("prefix", &redirect.prefix_rewrite),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            parts.push(format!("{name} {text}"));
        }
    }
    if let Some(port) = redirect.port {
        parts.push(format!("port {port}"));
    }
    match redirect.port_from_request {
        Some(true) => parts.push("port of the request".to_owned()),
        Some(false) => parts.push("port of the scheme".to_owned()),
        None => {}
    }
    parts.join(", ")
}

fn operations(headers: &HeaderOps) -> Option<String> {
    let mut parts = Vec::new();
    for (direction, fields) in [
        ("request", &headers.request),
        ("response", &headers.response),
    ] {
        let acts = |name: &str| !FieldOps::is_of_the_hop(name);
        for (name, value) in fields.set.iter().filter(|it| acts(&it.0)) {
            parts.push(format!("{direction} {name}={value}"));
        }
        for (name, value) in fields.add.iter().filter(|it| acts(&it.0)) {
            parts.push(format!("{direction} {name}+={value}"));
        }
        for name in fields.remove.iter().filter(|it| acts(it)) {
            parts.push(format!("{direction} -{name}"));
        }
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The destinations, those of one kind added up, in the order of their names.
fn shares(table: &Table, split: &Split) -> Vec<Share> {
    let total = split.total_weight();
    let mut added: BTreeMap<Share, u64> = BTreeMap::new();
    for target in split.targets() {
        let (host, subset, port, missing) = match target.cluster {
            Ok(id) => {
                let name = &table.cluster(id).name;
                (
                    name.host.clone(),
                    name.subset.clone(),
                    Some(name.port),
                    None,
                )
            }
            Err(missing) => {
                let it = &target.destination;
                let missing = Some(missing.to_string());
                (it.host.clone(), it.subset.clone(), it.port, missing)
            }
        };
        let key = Share {
            host,
            subset,
            port,
            share: 0,
            missing,
            headers: operations(&target.headers),
        };
        let weight = match split.targets() {
            [_] => 1,
            _ => u64::from(target.weight),
        };
        *added.entry(key).or_default() += weight;
    }
    let whole = if split.targets().len() == 1 {
        1
    } else {
        total.max(1)
    };
    added
        .into_iter()
        .map(|(share, weight)| Share {
            share: u32::try_from((weight * 1_000_000 + whole / 2) / whole).unwrap_or(1_000_000),
            ..share
        })
        .collect()
}

/// Parts per million as percent, without needless zeros.
fn percent(parts: u32) -> String {
    let text = format!("{:.4}", f64::from(parts) / 10_000.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Share {
    /// `reviews.default:9080`.
    fn place(&self) -> String {
        let host = match self.host.split_once(".svc.") {
            Some((short, _)) => short,
            None => &self.host,
        };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

impl Outcome {
    /// A stable word, the same as in the answers of `explain`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Blackhole => "blackhole",
            Self::NotFound => "notfound",
            Self::Http => "http",
            Self::Redirect(..) => "redirect",
            Self::Respond(..) => "respond",
            Self::Forward(_) => "forward",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passthrough => f.write_str("passthrough"),
            Self::Blackhole => f.write_str("refused"),
            Self::NotFound => f.write_str("404"),
            Self::Http => f.write_str("routed by Host"),
            Self::Redirect(status, to) => write!(f, "redirect {status}: {to}"),
            Self::Respond(status, _) => write!(f, "answered {status}"),
            Self::Forward(shares) => {
                let mut said = String::new();
                for (index, share) in shares.iter().enumerate() {
                    f.write_str(if index > 0 { " / " } else { "" })?;
                    let place = share.place();
                    match &share.subset {
                        Some(subset) if place == said => write!(f, "{subset}")?,
                        Some(subset) => write!(f, "{place} {subset}")?,
                        None => write!(f, "{place}")?,
                    }
                    said = place;
                    if share.share != 1_000_000 {
                        write!(f, " {}%", percent(share.share))?;
                    }
                    if let Some(missing) = &share.missing {
                        write!(f, " ({missing})")?;
                    }
                }
                Ok(())
            }
        }
    }
}
