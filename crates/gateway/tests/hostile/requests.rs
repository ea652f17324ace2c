//! Requests, byte by byte: what their client is told, and what the upstream sees of them.
//!
//! | line | |
//! | --- | --- |
//! | `# TEXT` | where the case comes from: the section of an RFC, an incident; first |
//! | `port undeclared` | dialled is a port whose protocol is to be found out; there is none at a Gateway |
//! | `> BYTES` | sent by the client; neighbouring lines are one write |
//! | `pause` | and a moment later: |
//! | `wait` | one more answer is read before anything else is sent |
//! | `end` | the client ends its side |
//! | `= STATUS [DETAILS [FLAGS]] [to METHOD]` | an answer, and what the access log says of it |
//! | `! STATUS DETAILS FLAGS` | only the access log says this: there is no answer, or only a part of one |
//! | `open`, `closed`, `reset` | afterwards another request is served, or the connection is closed in order, or reset |
//! | `< BYTES` | all that the upstream received, to the byte; without such a line nothing |
//! | `begins` | the upstream received more than that, and never a whole request |
//! | `alone` | nothing may be sent behind it: it is not at its end |
//! | `gateway LINE` | at the port of a Gateway's server this stands in place of all lines of the same word; `=` is in place of `!` too |
//!
//! Without DETAILS an answer comes from the upstream. Without FLAGS they are `DPE` where the details are
//! a word of docs/refusals.md, else none.
//!
//! Every case runs as it is written. Then byte by byte, and, where it is refused, with a whole request behind
//! it in the same write: the answers and the requests that reach the upstream stay the same. All of it but the
//! byte by byte runs once more against the port of a Gateway's server, whose clients are strangers.
//! There nothing is detected, so that what begins as no request does is a bad one; every Host is for the
//! same upstream; and what strangers say of others is dropped.
use crate::{
    cases::{Case, Shown, bytes, read},
    common::*,
};
use pointsman_gateway::Settings;
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply, Seen, free_port, fresh_ip,
    message::{Fields, MessageError},
    within,
};
use pointsman_wire::http1::Reason;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Long enough for the gateway to have looked at what was sent before.
const PAUSE: Duration = Duration::from_millis(40);
/// Longer cases are not sent byte by byte.
const SHORT: usize = 1500;
/// Reaches an upstream only if what stands before it was read as something else than it is.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n";
/// Shows that a connection is still served, and what the upstream sees of it.
fn probe(request: &Request) -> Vec<u8> {
    let host = match request.at {
        Port::Undeclared => "any",
        Port::Declared | Port::Gateway => "web",
    };
    format!("GET /probe HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// What is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// A port of a Service, that says to be HTTP.
    Declared,
    /// One that does not say what it is.
    Undeclared,
    /// The port of a Gateway's server.
    Gateway,
}

enum Step {
    Send(Vec<u8>),
    Pause,
    Wait,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Open,
    Closed,
    Reset,
}

struct Request {
    name: String,
    at: Port,
    steps: Vec<Step>,
    /// Statuses, in order, and the methods they answer.
    answers: Vec<(u16, String)>,
    told: Vec<Told>,
    then: Then,
    upstream: Vec<u8>,
    begins: bool,
    alone: bool,
}

impl Request {
    /// The cases that one in a file stands for.
    fn all(case: &Case) -> Vec<Self> {
        let (own, common): (Vec<_>, Vec<_>) = case
            .lines
            .iter()
            .cloned()
            .partition(|(word, _)| word == "gateway");
        let dialled = Self::new(&case.name, common.clone(), Port::Declared);
        if dialled.at == Port::Undeclared {
            return vec![dialled];
        }
        let own: Vec<_> = own
            .iter()
            .map(|(_, line)| line.split_once(' ').unwrap_or((line, "")))
            .map(|(word, rest)| (word.to_owned(), rest.to_owned()))
            .collect();
        let mut lines = common;
        let replaced = |word: &str| {
            let answers = word == "!" && own.iter().any(|(other, _)| other == "=");
            answers || own.iter().any(|(other, _)| word == other)
        };
        lines.retain(|(word, _)| !replaced(word));
        lines.extend(own);
        vec![dialled, Self::new(&case.name, lines, Port::Gateway)]
    }

    fn new(name: &str, lines: Vec<(String, String)>, at: Port) -> Self {
        let mut request = Self {
            name: name.to_owned(),
            at,
            steps: Vec::new(),
            answers: Vec::new(),
            told: Vec::new(),
            then: Then::Open,
            upstream: Vec::new(),
            begins: false,
            alone: false,
        };
        let mut ends = 0;
        for (word, rest) in lines {
            match (&*word, &*rest) {
                ("#", _) => {}
                ("port", "undeclared") => request.at = Port::Undeclared,
                (">", text) => match request.steps.last_mut() {
                    Some(Step::Send(sent)) => sent.extend(bytes(text)),
                    _ => request.steps.push(Step::Send(bytes(text))),
                },
                ("pause", "") => request.steps.push(Step::Pause),
                ("wait", "") => request.steps.push(Step::Wait),
                ("end", "") => request.steps.push(Step::End),
                ("=", answer) => request.answer(answer),
                ("!", told) => request.told.push(Told::parse(told)),
                ("<", text) => request.upstream.extend(bytes(text)),
                ("begins", "") => request.begins = true,
                ("alone", "") => request.alone = true,
                ("open" | "closed" | "reset", "") => {
                    ends += 1;
                    request.then = match &*word {
                        "open" => Then::Open,
                        "closed" => Then::Closed,
                        _ => Then::Reset,
                    };
                }
                _ => panic!("{}: what is `{word} {rest}`?", request.name),
            }
        }
        assert_eq!(ends, 1, "{}: open, closed or reset?", request.name);
        request
    }

    fn answer(&mut self, text: &str) {
        let (text, method) = text.split_once(" to ").unwrap_or((text, "GET"));
        let told = Told::parse(text);
        self.answers.push((told.status, method.to_owned()));
        if told.status >= 200 || told.status == 101 {
            self.told.push(told);
        }
    }

    fn is_refused(&self) -> bool {
        let last = self.told.last();
        self.then == Then::Closed && !self.alone && last.is_none_or(|told| told.status >= 400)
    }

    fn is_short(&self) -> bool {
        let length = |step: &Step| match step {
            Step::Send(bytes) => bytes.len(),
            Step::Pause | Step::Wait | Step::End => SHORT,
        };
        self.steps.iter().map(length).sum::<usize>() <= SHORT
    }
}

impl Told {
    /// `400 cl_and_te`, `405 connect_not_allowed NR`, `200`.
    fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let status = words.first().and_then(|it| it.parse().ok());
        let status = status.unwrap_or_else(|| panic!("a status: {text:?}"));
        let (details, flags) = match words.get(1..).unwrap_or_default() {
            [] => ("via_upstream", "-"),
            [details] if is_reason(details) => (*details, "DPE"),
            [details] => (*details, "-"),
            [details, flags] => (*details, *flags),
            _ => panic!("status, details and flags: {text:?}"),
        };
        Self {
            status,
            details: details.to_owned(),
            flags: flags.to_owned(),
            failure: String::new(),
        }
    }
}

/// A word of docs/refusals.md, which is counted.
fn is_reason(word: &str) -> bool {
    Reason::ALL.iter().any(|reason| reason.as_str() == word)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    AsWritten,
    ByteByByte,
    WithAnotherBehind,
}

/// What became of a connection.
struct Outcome {
    client: IpAddr,
    answers: Vec<u16>,
    then: Result<Then, String>,
}

async fn play(request: &Request, manner: Manner, to: SocketAddr) -> Outcome {
    let (stream, own) = dial(to).await;
    let mut client = RawHttp::over(stream);
    let mut outcome = Outcome {
        client: own,
        answers: Vec::new(),
        then: Err("an answer is missing".into()),
    };
    let mut methods = request.answers.iter().map(|(_, method)| method.as_str());
    for step in &request.steps {
        // The gateway may close before it has read everything: what it answered says enough.
        match step {
            Step::Send(bytes) if manner == Manner::ByteByByte => {
                for byte in bytes.chunks(1) {
                    if client.send(byte).await.is_err() {
                        break;
                    }
                    // Lets the gateway have a look now and then, so that not all of it is one segment.
                    tokio::task::yield_now().await;
                }
            }
            Step::Send(bytes) => drop(client.send(bytes).await),
            Step::Pause => tokio::time::sleep(PAUSE).await,
            Step::Wait => read_answer(&mut client, methods.next(), &mut outcome).await,
            Step::End => drop(client.half_close().await),
        }
    }
    if manner == Manner::WithAnotherBehind {
        let _ = client.send(SMUGGLED).await;
    }
    while outcome.answers.len() < request.answers.len() {
        let before = outcome.answers.len();
        read_answer(&mut client, methods.next(), &mut outcome).await;
        if outcome.answers.len() == before {
            return outcome;
        }
    }
    outcome.then = then(&mut client, request).await;
    outcome
}

/// Reads an answer with its interim ones; an error is told as how it ended.
async fn read_answer(client: &mut RawHttp, method: Option<&str>, outcome: &mut Outcome) {
    match client.read_response_to(method.unwrap_or("GET")).await {
        Ok(response) => {
            let interim = response.interim.iter().map(|(status, _)| *status);
            outcome.answers.extend(interim);
            outcome.answers.push(response.status);
        }
        Err(error) => outcome.then = Err(error.to_string()),
    }
}

/// How the connection goes on.
async fn then(client: &mut RawHttp, request: &Request) -> Result<Then, String> {
    if request.then == Then::Open {
        let sent = client.send(probe(request)).await;
        return match client.read_response().await {
            Ok(response) if response.status == 200 => Ok(Then::Open),
            other => Err(format!("not served after it: {sent:?} {other:?}")),
        };
    }
    match client.read_to_end().await {
        Ok(rest) if rest.is_empty() => Ok(Then::Closed),
        Ok(rest) => Err(format!("then came {}", Shown(&rest))),
        Err(MessageError::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            Ok(Then::Reset)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Head, body and trailers of a request.
type Essence = (Vec<u8>, Vec<u8>, Fields);

/// The requests of a client that an upstream saw whole, without what varies between runs.
fn essence(seen: &[Seen], client: IpAddr) -> Vec<Essence> {
    seen.iter()
        .filter(|it| it.target != "/probe")
        .map(|it| {
            let head = without_ours(&it.raw_head, client);
            (head, it.body.clone(), it.trailers.clone())
        })
        .collect()
}

/// Runs the cases of a file against one gateway, one after the other.
pub(crate) async fn run(file: &str, mut settings: Settings) {
    // They differ every time.
    settings.http.request_id = false;
    let cases = read("requests", file);
    let requests: Vec<_> = cases.iter().flat_map(Request::all).collect();
    let upstream = HttpUpstream::named("web")
        .recording()
        .otherwise(Reply::text(200, "ok"))
        .on("/upgrade", Reply::upgrade())
        .on("/upgrade-slowly", Reply::upgrade().after(3 * PAUSE))
        .on(
            "/no-content",
            Reply::raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
        )
        .on(
            "/interim",
            Reply::text(200, "ok").preceded_by(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        )
        .on("/hang", Reply::hang())
        .start()
        .await;
    let (ip, port, other, edge) = (fresh_ip(), free_port(), fresh_ip(), fresh_ip());
    let documents = http("web", ip, port, upstream.addr())
        + &service("any", other, port, "", &plain(&[upstream.addr()]))
        + &gateway_to("web", edge, port);
    let notes = Notes::default();
    let gateway = notes.serve(settings, &documents).await;
    let mut wrong = Vec::new();
    let mut expected = Vec::new();
    for request in &requests {
        let address = match request.at {
            Port::Declared => ip,
            Port::Undeclared => other,
            Port::Gateway => edge,
        };
        let address = SocketAddr::new(address, port);
        let mut first = Vec::new();
        for manner in [
            Manner::AsWritten,
            Manner::ByteByByte,
            Manner::WithAnotherBehind,
        ] {
            match manner {
                Manner::ByteByByte if !request.is_short() || request.at == Port::Gateway => {
                    continue;
                }
                Manner::WithAnotherBehind if !request.is_refused() => continue,
                _ => {}
            }
            let tape = upstream.received().len();
            let seen = upstream.seen().len();
            let outcome = within(SOON, play(request, manner, address)).await;
            let answers: Vec<u16> = request.answers.iter().map(|(status, _)| *status).collect();
            let mut complain = |what: String| {
                wrong.push(format!(
                    "{} ({:?}, {manner:?}): {what}",
                    request.name, request.at
                ))
            };
            if outcome.answers != answers {
                complain(format!(
                    "answers {:?}, not {answers:?}; {:?}",
                    outcome.answers, outcome.then
                ));
            }
            // Bytes that nobody reads any more turn a close into a reset, answers or not.
            let unread = manner != Manner::AsWritten && outcome.then == Ok(Then::Reset);
            if outcome.then != Ok(request.then) && !(unread && request.then == Then::Closed) {
                complain(format!("{:?}, not {:?}", outcome.then, request.then));
            }
            let mut told = request.told.clone();
            let mut bytes = request.upstream.clone();
            if request.then == Then::Open {
                told.push(Told::parse("200"));
                bytes.extend(probe(request));
            }
            let place = format!("{} ({:?}, {manner:?})", request.name, request.at);
            expected.push((place, manner, outcome.client, told));
            let got = settled(&upstream, tape, bytes.len(), outcome.client).await;
            let seen = upstream.seen().split_off(seen);
            let whole = essence(&seen, outcome.client);
            let as_expected = match manner {
                Manner::AsWritten if request.begins => got.starts_with(&bytes) && whole.is_empty(),
                Manner::AsWritten => got == bytes,
                Manner::ByteByByte | Manner::WithAnotherBehind => whole == first,
            };
            if !as_expected {
                let (got, bytes) = (Shown(&got), Shown(&bytes));
                complain(format!("the upstream saw {got}\n    not {bytes}"));
            }
            if manner == Manner::AsWritten {
                first = whole;
            }
        }
    }
    for what in upstream.malformed() {
        if !what.starts_with("closed in the middle") {
            wrong.push(format!("the upstream read {what}"));
        }
    }
    let mut reasons = BTreeMap::new();
    for (name, manner, client, told) in expected {
        let got = notes.of(client, told.len()).await;
        // The first look at a head that arrives in pieces may know less of what is wrong with it.
        let alike = |own: &Told, it: &Told| {
            own == it
                || (manner == Manner::ByteByByte
                    && own.status == it.status
                    && is_reason(&own.details)
                    && is_reason(&it.details))
        };
        let same = got.len() == told.len() && got.iter().zip(&told).all(|(a, b)| alike(a, b));
        if !same {
            wrong.push(format!("{name}: the log says {got:?}, not {told:?}"));
        }
        for told in got.iter().filter(|told| is_reason(&told.details)) {
            *reasons.entry(told.details.clone()).or_insert(0.0) += 1.0;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // Operators see what was refused, by its word.
    let counted =
        |it: &Scrape, reason: &str| it.sum("pointsman_refused_bytes_total", &[("reason", reason)]);
    let all = |it: &Scrape| {
        reasons
            .iter()
            .all(|(reason, count)| counted(it, reason) == *count)
    };
    gateway.metrics_until(all).await;
}

/// A Gateway on one address, everything that comes to which is for one service.
fn gateway_to(service: &str, bind: IpAddr, port: u16) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{bind: '{bind}', port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['*']}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: edge}}
spec:
  hosts: ['*']
  gateways: [edge]
  http: [{{route: [{{destination: {{host: {service}, port: {{number: {port}}}}}}}]}}]
"
    )
}

/// Without the lines that the gateway adds to every request of this client.
fn without_ours(received: &[u8], client: IpAddr) -> Vec<u8> {
    let lines = [
        "\r\nx-forwarded-proto: http\r\n".to_owned(),
        format!("\r\nx-forwarded-for: {client}\r\n"),
        format!("\r\nx-envoy-external-address: {client}\r\n"),
    ];
    let mut received = received.to_vec();
    for line in lines {
        let line = line.as_bytes();
        let mut rest = &received[..];
        let mut kept = Vec::new();
        while let Some(at) = rest.windows(line.len()).position(|it| it == line) {
            kept.extend_from_slice(&rest[..at]);
            rest = &rest[at + line.len() - 2..];
        }
        kept.extend_from_slice(rest);
        received = kept;
    }
    received
}

/// What the upstream has received of `client` since `from`, once that is as much as expected, and what has
/// begun is whole or broken.
async fn settled(upstream: &HttpUpstream, from: usize, length: usize, client: IpAddr) -> Vec<u8> {
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    loop {
        let received = without_ours(&upstream.received().split_off(from), client);
        let ended = upstream.seen().len() + upstream.malformed().len();
        let late = tokio::time::Instant::now() > end;
        if late || (received.len() >= length && ended >= upstream.requests()) {
            return received;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
