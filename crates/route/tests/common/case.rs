//! Cases of a golden file: documents, a client, and inputs with what must come of them.
use super::{add, fixture, notation};
use pointsman_model::{ClientContext, Given, OutboundPolicy, World, context::EntryCapture};
use pointsman_route::{
    Action, AfterTls, Class, Connection, ConnectionDecision, HttpTableId, NoTrace, Request,
    RequestDecision, Split, Table, action::https_location,
};
use std::net::SocketAddr;

/// Where an input without `@` goes.
pub const HOME: &str = "10.0.0.10:80";

/// One `##` block.
pub struct Case {
    pub title: String,
    pub world: World,
    pub given: Given,
    /// Its inputs come to the ports of Gateways.
    pub at_gateway: bool,
    /// (line number, input, expected).
    pub lines: Vec<(usize, String, Expected)>,
}

/// `pass each`; or `pass each (wire: 400)`, where a running gateway does not let the input through
/// to the table.
pub struct Expected {
    pub table: String,
    pub wire: Option<String>,
}

impl Expected {
    fn read(text: &str) -> Self {
        let (table, wire) = match text
            .strip_suffix(')')
            .and_then(|it| it.split_once(" (wire: "))
        {
            Some((table, wire)) => (table, Some(wire.to_owned())),
            None => (text, None),
        };
        Self {
            table: table.to_owned(),
            wire,
        }
    }
}

impl Case {
    /// In whose eyes its documents are read.
    pub fn context(&self) -> ClientContext {
        match self.at_gateway {
            false => self.given.context(&self.world),
            true => self.given.gateway(&self.world),
        }
    }

    /// What its client sees.
    pub fn table(&self) -> Table {
        Table::compile(&self.world, &self.context(), None).table
    }
}

/// Reads a golden file.
pub fn read(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut block: Vec<(usize, &str)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("## ") && !block.is_empty() {
            cases.push(read_block(&block));
            block.clear();
        }
        if !(line.trim().is_empty() || line.starts_with("# ")) {
            block.push((number + 1, line));
        }
    }
    cases.push(read_block(&block));
    cases
}

fn read_block(block: &[(usize, &str)]) -> Case {
    let mut case = Case {
        title: String::new(),
        world: fixture(),
        given: Given {
            labels: notation::labels("app=client"),
            ..Given::default()
        },
        at_gateway: false,
        lines: Vec::new(),
    };
    let mut documents = Vec::new();
    for &(number, line) in block {
        if let Some(title) = line.strip_prefix("## ") {
            case.title = title.to_owned();
        } else if let Some(document) = line.strip_prefix("+ ") {
            documents.push(document);
        } else if let Some(rest) = line.strip_prefix("client ") {
            for word in rest.split_whitespace() {
                match word.split_once('=').expect("key=value") {
                    ("ns", value) => case.given.namespace = value.into(),
                    ("node", value) => case.given.node = Some(value.into()),
                    ("addr", value) => case.given.addresses = vec![value.parse().expect("ip")],
                    ("outside", _) => case.given.outside.external_addresses = true,
                    ("nodes", value) => {
                        case.given.outside.nodes = vec![value.parse().expect("ip")];
                    }
                    ("labels", value) => case.given.labels = notation::labels(value),
                    (other, _) => panic!("client {other}"),
                }
            }
        } else if let Some(rest) = line.strip_prefix("gateway ") {
            // The side of Gateways; with labels only those that select them.
            case.at_gateway = true;
            for word in rest.split_whitespace() {
                match word.split_once('=').expect("key=value") {
                    ("ns", value) => case.given.gateway_namespace = Some(value.into()),
                    ("labels", value) => {
                        case.given.gateway_labels = Some(notation::labels(value));
                    }
                    (other, _) => panic!("gateway {other}"),
                }
            }
        } else if let Some(rest) = line.strip_prefix("exports ") {
            let defaults = &mut case.given.export_defaults;
            for word in rest.split_whitespace() {
                let (kind, list) = word.split_once('=').expect("kind=list");
                let list = list.split(',').map(Into::into).collect();
                match kind {
                    "services" => defaults.services = list,
                    "vs" => defaults.virtual_services = list,
                    "dr" => defaults.destination_rules = list,
                    other => panic!("exports {other}"),
                }
            }
        } else if line == "registry only" {
            case.given.outbound_policy = Some(OutboundPolicy::RegistryOnly);
        } else if line == "capture port" {
            case.given.entry_capture = EntryCapture::Port;
        } else {
            let (input, expected) = line.split_once(" => ").expect("input => expected");
            let entry = (
                number,
                input.trim().to_owned(),
                Expected::read(expected.trim()),
            );
            case.lines.push(entry);
        }
    }
    add(&mut case.world, &documents);
    case
}

/// What becomes of one input, in the words of the golden files.
pub fn outcome(table: &Table, input: &str) -> String {
    let (input, place) = match input.rsplit_once(" @") {
        Some((input, place)) => (input.trim(), place),
        None => (input, HOME),
    };
    let original: SocketAddr = place.parse().expect("address");
    let listener = table.listener(original);
    let (verb, rest) = input.split_once(' ').unwrap_or((input, ""));
    let mut connection = Connection {
        original,
        source: None,
        class: Class::Tcp,
        sni: None,
        mesh_alpn: false,
    };
    let (mut inside, mut scheme) = (input, "http");
    match verb {
        "conn" => {}
        "tls" => {
            connection.class = Class::Tls;
            connection.mesh_alpn = rest.ends_with("alpn=istio");
            let name = rest.trim_end_matches("alpn=istio").trim();
            connection.sni = (!name.is_empty()).then_some(name);
        }
        // `inside SNI GET host/`: a request in TLS that a gateway ends.
        "inside" => {
            let (sni, request) = rest.split_once(' ').expect("a request");
            connection.class = Class::Tls;
            connection.sni = Some(sni);
            (inside, scheme) = (request, "https");
        }
        // `trusted GET host/`: somebody who is believed says that it came by HTTPS.
        "trusted" => {
            connection.class = Class::Http;
            (inside, scheme) = (rest, "https");
        }
        _ => connection.class = Class::Http,
    }
    // What is not inspected is bytes, whatever it is.
    let inspection = table.inspection(listener);
    if (connection.class == Class::Http && !inspection.http)
        || (connection.class == Class::Tls && inspection.is_none())
    {
        connection.class = Class::Tcp;
        connection.sni = None;
    }
    match table.connection(listener, &connection, &mut NoTrace) {
        ConnectionDecision::Passthrough => "pass".to_owned(),
        ConnectionDecision::Blackhole => "close".to_owned(),
        ConnectionDecision::Closed(reason) => format!("closed {reason}"),
        ConnectionDecision::Forward(rule) => {
            format!("bytes {}", split(table, &rule.split, original))
        }
        ConnectionDecision::Terminate(server) => match &server.then {
            AfterTls::Forward(rule) => format!(
                "ends {} bytes {}",
                server.origin.label,
                split(table, &rule.split, original)
            ),
            AfterTls::Http(_) if verb == "tls" => format!("ends {}", server.origin.label),
            AfterTls::Http(http) => answered(table, *http, inside, scheme, original),
        },
        ConnectionDecision::Http(http) => answered(table, http, inside, scheme, original),
    }
}

fn answered(
    table: &Table,
    http: HttpTableId,
    text: &str,
    scheme: &str,
    original: SocketAddr,
) -> String {
    let parsed = request(text);
    let request = Request {
        scheme,
        ..parsed.as_request()
    };
    match table.request(http, &request, &mut NoTrace) {
        RequestDecision::Passthrough => "pass each".to_owned(),
        RequestDecision::Blackhole => "502".to_owned(),
        RequestDecision::NotFound(_) => "404".to_owned(),
        RequestDecision::UnknownHost => "404 unknown".to_owned(),
        RequestDecision::ToHttps(_) => format!(
            "301 {}",
            https_location(request.authority, request.path, request.query).unwrap_or_default()
        ),
        RequestDecision::Rule(matched) => match &matched.rule.action {
            Action::Respond(response) => response.status.to_string(),
            Action::Redirect(redirect) => redirect.code.to_string(),
            Action::Forward(targets) => format!("http {}", split(table, targets, original)),
        },
    }
}

/// A request in notation: `GET web/path?query {name: value}{name: value}`.
pub struct Parsed {
    pub method: String,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    pub fields: Vec<(String, String)>,
}

impl Parsed {
    pub fn as_request(&self) -> Request<'_, Vec<(String, String)>> {
        Request {
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            scheme: "http",
            fields: &self.fields,
        }
    }
}

pub fn request(text: &str) -> Parsed {
    let (method, rest) = text.split_once(' ').expect("method");
    let (target, fields) = rest.split_once(" {").unwrap_or((rest, ""));
    let slash = target.find('/').expect("path");
    let (authority, target) = target.split_at(slash);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let field = |text: &str| {
        let (name, value) = text
            .trim_end_matches('}')
            .split_once(':')
            .expect("name: value");
        (name.to_owned(), value.trim().to_owned())
    };
    Parsed {
        method: method.to_owned(),
        authority: if authority == "-" {
            String::new()
        } else {
            authority.to_owned()
        },
        path: path.to_owned(),
        query,
        fields: fields
            .split('{')
            .filter(|text| !text.is_empty())
            .map(field)
            .collect(),
    }
}

/// `web:80 [10.1.0.1:8080 10.1.0.2:8080]`; several targets with their weights.
fn split(table: &Table, split: &Split, original: SocketAddr) -> String {
    let several = split.targets().len() > 1;
    let one = |target: &pointsman_route::Target| {
        let weight = if several {
            format!("*{}", target.weight)
        } else {
            String::new()
        };
        let id = match target.cluster {
            Ok(id) => id,
            Err(missing) => return format!("missing {missing:?}{weight}").to_lowercase(),
        };
        let cluster = table.cluster(id);
        let host = cluster.name.host.strip_suffix(".svc.cluster.local");
        let host = host.map_or(&*cluster.name.host, |host| {
            host.strip_suffix(".default").unwrap_or(host)
        });
        let subset = cluster.name.subset.as_deref();
        let subset = subset
            .map(|subset| format!("/{subset}"))
            .unwrap_or_default();
        let addresses = match cluster.original_destination(original) {
            Some(address) => format!("original {address}"),
            None => {
                let ready: Vec<String> = cluster.ready().map(|it| it.address.to_string()).collect();
                ready.join(" ")
            }
        };
        format!("{host}:{}{subset}{weight} [{addresses}]", cluster.name.port)
    };
    let all: Vec<String> = split.targets().iter().map(one).collect();
    all.join(" ")
}

/// Runs a golden file; all wrong lines are told at once.
pub fn run(text: &str) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in read(text) {
        let table = case.table();
        for (line, input, expected) in &case.lines {
            count += 1;
            let actual = outcome(&table, input);
            let expected = &expected.table;
            if actual != *expected {
                wrong.push(format!(
                    "line {line}, {}: {input}\n   expected {expected}\n   actual   {actual}",
                    case.title
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} are wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count > 0);
}
