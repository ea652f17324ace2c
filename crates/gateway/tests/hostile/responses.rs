//! Responses, byte by byte: what an upstream sends, and what its client sees of it.
//!
//! | line | |
//! | --- | --- |
//! | `# TEXT` | where the case comes from: the section of an RFC, an incident; first |
//! | `method METHOD` | of the request; else GET |
//! | `version 1.0` | of the client; else 1.1 |
//! | `upgrade` | the request asks for WebSocket |
//! | `< BYTES` | sent by the upstream; neighbouring lines are one write |
//! | `pause` | and a moment later: |
//! | `close`, `reset`, `stall` | then it ends the connection in order, resets it, or never says anything again |
//! | `= STATUS [BODY]` | the client gets a whole answer |
//! | `refused WORD` | counted under this word of docs/refusals.md, which the log has too, with `UPE` |
//! | `cut STATUS [BODY]` | the client gets this much of an answer, and sees that it is not whole |
//! | `interim STATUS...` | interim answers that come first |
//! | `+ NAME: VALUE`, `- NAME` | the client gets this field, or no field of this name |
//! | `trailer NAME: VALUE` | the client gets this trailer |
//! | `log STATUS DETAILS FLAGS` | what the access log says; else that it came from the upstream and went well |
//! | `repeated` | on a connection that was used before nothing is lost by asking again on a fresh one |
//! | `reused` | the upstream's connection carries the next request; without this line it must not |
//!
//! Every case runs on a fresh connection to the upstream and on one that was used before. Behind it, the client
//! asks for something else, and gets that.
use crate::{
    cases::{Case, Shown, bytes, read},
    clients::{Client, Got, Question, Speech},
    common::*,
};
use pointsman_testkit::{
    HttpUpstream, Reply, free_port, fresh_ip,
    message::{Fields, field},
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

const PAUSE: Duration = Duration::from_millis(40);

/// What the client is to get.
#[derive(Debug, Default)]
struct Expected {
    whole: bool,
    status: u16,
    body: Vec<u8>,
    interim: Vec<u16>,
    present: Vec<(String, String)>,
    absent: Vec<String>,
    trailers: Fields,
}

struct Response {
    name: String,
    request: Question,
    reply: Reply,
    expected: Expected,
    refused: Option<String>,
    told: Told,
    reused: bool,
    repeated: bool,
}

impl Response {
    fn new(number: usize, case: Case) -> Self {
        let mut response = Self {
            name: case.name,
            request: Question::get(&format!("/{number}")),
            reply: Reply::raw(b""),
            expected: Expected::default(),
            refused: None,
            told: Told {
                status: 0,
                details: "via_upstream".into(),
                flags: "-".into(),
                failure: String::new(),
            },
            reused: false,
            repeated: false,
        };
        let mut sent = Vec::new();
        let mut told = None;
        for (word, rest) in case.lines {
            if word != "<" && !sent.is_empty() {
                response.reply = response.reply.then(Reply::raw(&std::mem::take(&mut sent)));
            }
            let then = |reply: Reply, next| reply.then(next);
            match &*word {
                "#" => {}
                "method" => response.request.method = rest,
                "version" => response.request.version = rest,
                "upgrade" => response.request.upgrade = true,
                "<" => sent.extend(bytes(&rest)),
                "pause" => response.reply = then(response.reply, Reply::raw(b"").after(PAUSE)),
                "close" => response.reply = then(response.reply, Reply::close()),
                "reset" => response.reply = then(response.reply, Reply::reset().after(PAUSE)),
                "stall" => response.reply = then(response.reply, Reply::hang()),
                "=" | "cut" => {
                    let (status, body) = rest.split_once(' ').unwrap_or((&rest, ""));
                    response.expected.whole = word == "=";
                    response.expected.status = status.parse().expect("a status");
                    response.expected.body = bytes(body);
                }
                "refused" => response.refused = Some(rest),
                "interim" => {
                    let statuses = rest.split(' ').map(|it| it.parse().expect("a status"));
                    response.expected.interim = statuses.collect();
                }
                "+" => response.expected.present.push(pair(&rest)),
                "-" => response.expected.absent.push(rest),
                "trailer" => response.expected.trailers.push(pair(&rest)),
                "log" => told = Some(rest),
                "repeated" => response.repeated = true,
                "reused" => response.reused = true,
                _ => panic!("{}: what is `{word} {rest}`?", response.name),
            }
        }
        response.told.status = response.expected.status;
        if let Some(reason) = &response.refused {
            let when = match response.expected.whole {
                true => "before",
                false => "after",
            };
            let details = format!("upstream_reset_{when}_response_started{{protocol_error}}");
            response.told.details = details;
            response.told.flags = "UPE".into();
            response.told.failure = reason.clone();
        }
        if let Some(told) = told {
            let words: Vec<&str> = told.split(' ').collect();
            let [status, details, flags] = words.as_slice() else {
                panic!("{}: status, details and flags?", response.name);
            };
            response.told.status = status.parse().expect("a status");
            response.told.details = (*details).to_owned();
            response.told.flags = (*flags).to_owned();
        }
        response
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once(':').expect("a name and a value");
    (name.to_owned(), value.trim().to_owned())
}

fn compare(expected: &Expected, got: &Got) -> Vec<String> {
    let mut wrong = Vec::new();
    // RST_STREAM overtakes what was not yet sent of its stream.
    if let (false, Some(_)) = (expected.whole, got.reset) {
        if ![0, expected.status].contains(&got.status) || !expected.body.starts_with(&got.body) {
            wrong.push(format!("got {got:?}"));
        }
        return wrong;
    }
    if (expected.whole, expected.status) != (got.whole, got.status) {
        wrong.push(format!("got {got:?}"));
    }
    let ours = expected.whole && expected.status >= 500 && expected.body.is_empty();
    if !ours && expected.body != got.body {
        wrong.push(format!(
            "body {}, not {}",
            Shown(&got.body),
            Shown(&expected.body)
        ));
    }
    if expected.interim != got.interim {
        wrong.push(format!(
            "interim {:?}, not {:?}",
            got.interim, expected.interim
        ));
    }
    for (name, value) in &expected.present {
        if !got
            .fields
            .iter()
            .any(|(own, it)| own.eq_ignore_ascii_case(name) && it == value)
        {
            wrong.push(format!("no {name}: {value} in {:?}", got.fields));
        }
    }
    for name in &expected.absent {
        if let Some(value) = field(&got.fields, name) {
            wrong.push(format!("{name}: {value}"));
        }
    }
    let small = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
    if !expected
        .trailers
        .iter()
        .map(small)
        .eq(got.trailers.iter().map(small))
    {
        wrong.push(format!(
            "trailers {:?}, not {:?}",
            got.trailers, expected.trailers
        ));
    }
    wrong
}

/// Runs the cases of a file against one gateway, one after the other.
pub(crate) async fn run(file: &str, speech: Speech) {
    let cases = read("responses", file).into_iter().enumerate();
    let cases: Vec<_> = cases
        .map(|(number, case)| Response::new(number, case))
        .collect();
    let mut upstream = HttpUpstream::named("web")
        .on("/last", Reply::text(200, "last").closing())
        .otherwise(Reply::text(200, "next"));
    for case in &cases {
        upstream = upstream.on(&case.request.path, case.reply.clone());
    }
    let upstream = upstream.start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    // A repetition would hide what the first answer was.
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &rules(
            "web",
            "- route: [{destination: {host: web}}]\n  retries: {attempts: 0}",
        );
    let mut settings = settings();
    // One pool of connections.
    settings.process.shards = 1;
    settings.timeouts.response = written("400ms");
    let notes = Notes::default();
    let gateway = notes.serve(settings, &documents).await;
    let mut wrong = Vec::new();
    let mut expected = Vec::new();
    let mut reasons = BTreeMap::new();
    let manners = [false, true].map(|warm| (speech, warm));
    for (case, (speech, warm)) in cases
        .iter()
        .flat_map(|it| manners.map(|manner| (it, manner)))
    {
        let about_http1 = case.request.version != "1.1" || case.request.upgrade;
        if speech == Speech::Http2 && about_http1 {
            continue;
        }
        let name = format!("{} ({speech:?}, warm: {warm})", case.name);
        let mut complain = |what: String| wrong.push(format!("{name}: {what}"));
        // Leaves one idle connection to the upstream, or none.
        let before = match warm {
            true => "/warm",
            false => "/last",
        };
        let (mut client, _) = Client::connect(Speech::Http1, web).await;
        let before = client.ask(&Question::get(before)).await;
        assert_eq!(before.status, 200, "{before:?}");
        let seen = upstream.seen().len();
        let (mut client, own) = Client::connect(speech, web).await;
        let got = client.ask(&case.request).await;
        for what in compare(&case.expected, &got) {
            complain(what);
        }
        let mut told = vec![case.told.clone()];
        // What comes next is not touched by it, on the same connection where that is kept.
        let goes_on = client.goes_on(&case.request, &got);
        if got.whole && got.status == 502 && !goes_on {
            complain("the client did nothing wrong, and loses its connection".into());
        }
        if goes_on {
            told.push(Told {
                status: 200,
                details: "via_upstream".into(),
                flags: "-".into(),
                failure: String::new(),
            });
        } else {
            (client, _) = Client::connect(speech, web).await;
        }
        let next = client.ask(&Question::get("/next")).await;
        if (next.whole, next.status, &*next.body) != (true, 200, b"next") {
            complain(format!("then came {next:?}"));
        }
        if let Some(reason) = &case.refused {
            *reasons.entry(reason.clone()).or_insert(0.0) += 1.0;
        }
        let mut seen: Vec<_> = upstream.seen().split_off(seen);
        if case.repeated && warm {
            let first = seen.remove(0);
            if first.target != case.request.path || first.connection == seen[0].connection {
                complain("it is not asked again".into());
            }
        }
        match seen.as_slice() {
            [own, next] => {
                let reused = own.connection == next.connection;
                if reused != case.reused {
                    complain(format!("its connection is used again: {reused}"));
                }
            }
            other => complain(format!("the upstream saw {} requests", other.len())),
        }
        expected.push((name, own, told));
    }
    for (name, client, told) in expected {
        let got = notes.of(client, told.len()).await;
        if got != told {
            wrong.push(format!("{name}: the log says {got:?}, not {told:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        upstream.malformed().is_empty(),
        "{:?}",
        upstream.malformed()
    );
    let counted =
        |it: &Scrape, reason: &str| it.sum("pointsman_refused_bytes_total", &[("reason", reason)]);
    let all = |it: &Scrape| {
        reasons
            .iter()
            .all(|(reason, count)| counted(it, reason) == *count)
    };
    gateway.metrics_until(all).await;
}
