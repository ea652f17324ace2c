//! `--log-line`: a line of the access log, in Istio's default text format or as JSON. This
//! gateway's own log has the same two forms.
use super::{
    answer::{Answer, Kind},
    question::{Head, Question, Traffic, dialled, split_port},
    refused::{Refused, Subject},
};
use anyhow::{Context, bail};
use pointsman_wire::http1::Reason;
use serde_json::Value;
use std::net::SocketAddr;

/// What is read from a line; `None`: `-`, null or not there.
#[derive(Default)]
struct Line {
    method: Option<String>,
    path: Option<String>,
    protocol: Option<String>,
    code: Option<String>,
    flags: Option<String>,
    details: Option<String>,
    forwarded_for: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    authority: Option<String>,
    upstream_host: Option<String>,
    upstream_cluster: Option<String>,
    dialled: Option<String>,
    client: Option<String>,
    server_name: Option<String>,
}

/// The question of a log line, and what the line says of its answer.
pub(super) fn question(
    text: &str,
    to: Option<SocketAddr>,
) -> anyhow::Result<(Subject, Vec<String>)> {
    let text = text.trim();
    let line = if text.starts_with('{') {
        json(text)?
    } else {
        plain(text)?
    };
    let mut notes = line.notes();
    if let Some(refused) = line.unread() {
        return Ok((Subject::Refused(Box::new(refused)), notes));
    }
    let question = line.question(to)?;
    if matches!(question.traffic, Traffic::Http(_)) {
        notes.push("a log line has few headers: rules on others see none".to_owned());
    }
    Ok((Subject::Traffic(Box::new(question)), notes))
}

impl Line {
    fn notes(&self) -> Vec<String> {
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        // What is refused behind its head was routed before: its reason stands nowhere else.
        let details = self.details.as_ref();
        vec![format!(
            "the log says: {} {}{}, backend {}, endpoint {}",
            said(&self.code),
            said(&self.flags),
            details.map_or_else(String::new, |it| format!(" {it}")),
            said(&self.upstream_cluster),
            said(&self.upstream_host)
        )]
    }

    /// What could not be read as a request has a line without one: it differs from that of a
    /// connection by its status, or by the flag of broken protocol.
    fn unread(&self) -> Option<Refused> {
        if self.method.is_some() {
            return None;
        }
        let code = self.code.as_deref().and_then(|it| it.parse::<u16>().ok());
        let status = code.filter(|code| *code > 0);
        let broken = self
            .flags
            .iter()
            .any(|it| it.split(',').any(|it| it == "DPE"));
        if status.is_none() && !broken {
            return None;
        }
        let details = self.details.as_deref().unwrap_or("-");
        let known = Reason::ALL.iter().find(|it| it.as_str() == details);
        Some(Refused {
            answer: Answer {
                status,
                ..Answer::new(Kind::Reject, known.map(|it| it.as_str()))
            },
            why: known.map_or_else(
                || format!("docs/refusals.md says what {details} is"),
                |it| it.sentence().to_owned(),
            ),
        })
    }

    fn question(self, to: Option<SocketAddr>) -> anyhow::Result<Question> {
        let given = self.dialled.as_deref().and_then(|it| it.parse().ok());
        let original = to.or(given);
        let source = self.client.as_deref().and_then(|it| it.parse().ok());
        let missing = "the line does not say where the client dialled; say it with --to";
        let (original, traffic) = match (self.method, self.server_name) {
            (Some(method), _) => {
                let authority = self.authority.unwrap_or_default();
                let (name, port) = split_port(&authority)?;
                let original = original.unwrap_or_else(|| dialled(name, port.unwrap_or(80)));
                let headers = [
                    ("x-forwarded-for", self.forwarded_for),
                    ("user-agent", self.user_agent),
                    ("x-request-id", self.request_id),
                ];
                let headers = headers
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?)));
                let head = Head {
                    method,
                    host: Some(authority),
                    target: self.path.unwrap_or_else(|| "/".to_owned()),
                    headers: headers.collect(),
                    old: self.protocol.as_deref() == Some("HTTP/1.0"),
                };
                (original, Traffic::Http(head))
            }
            (None, Some(name)) => {
                let original = original.unwrap_or_else(|| dialled(&name, 443));
                (original, Traffic::Tls { sni: Some(name) })
            }
            (None, None) => (original.context(missing)?, Traffic::Tcp),
        };
        Ok(Question {
            original,
            source,
            traffic,
            inside: None,
            mesh_alpn: false,
        })
    }
}

fn json(text: &str) -> anyhow::Result<Line> {
    let value: Value = serde_json::from_str(text).context("the log line is not JSON")?;
    let get = |key: &str| match value.get(key) {
        Some(Value::String(text)) => set(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    Ok(Line {
        method: get("method"),
        path: get("path"),
        protocol: get("protocol"),
        code: get("response_code"),
        flags: get("response_flags"),
        details: get("response_code_details"),
        forwarded_for: get("x_forwarded_for"),
        user_agent: get("user_agent"),
        request_id: get("request_id"),
        // Before a rule rewrote it, as rules see it.
        authority: get("received_authority").or_else(|| get("authority")),
        upstream_host: get("upstream_host"),
        upstream_cluster: get("upstream_cluster"),
        dialled: get("downstream_local_address"),
        client: get("downstream_remote_address"),
        server_name: get("requested_server_name"),
    })
}

/// `[time] "METHOD PATH PROTOCOL" code flags details termination "failure" received sent duration
/// service-time "xff" "agent" "id" "authority" "upstream" cluster local local remote sni route`.
/// Fields are counted from the quotes, so that a format with further words at the end is read too.
fn plain(text: &str) -> anyhow::Result<Line> {
    let fields = fields(text)?;
    let quoted: Vec<usize> = fields
        .iter()
        .enumerate()
        .filter(|(_, field)| field.quoted)
        .map(|(at, _)| at)
        .collect();
    let &[request, _, forwarded, agent, id, authority, upstream, ..] = quoted.as_slice() else {
        bail!("the log line is neither JSON nor Istio's default text format");
    };
    let get = |at: usize| fields.get(at).and_then(|field| set(&field.text));
    let request = get(request).unwrap_or_default();
    let mut parts = request.splitn(2, ' ');
    let method = parts.next().and_then(set);
    let (path, protocol) = match parts.next().and_then(|rest| rest.rsplit_once(' ')) {
        Some((path, protocol)) => (set(path), set(protocol)),
        None => bail!("the log line has no `METHOD PATH PROTOCOL`"),
    };
    let start = quoted.first().copied().unwrap_or_default();
    Ok(Line {
        method,
        path,
        protocol,
        code: get(start + 1),
        flags: get(start + 2),
        details: get(start + 3),
        forwarded_for: get(forwarded),
        user_agent: get(agent),
        request_id: get(id),
        authority: get(authority),
        upstream_host: get(upstream),
        upstream_cluster: get(upstream + 1),
        dialled: get(upstream + 3),
        client: get(upstream + 4),
        server_name: get(upstream + 5),
    })
}

fn set(text: &str) -> Option<String> {
    (!text.is_empty() && text != "-").then(|| text.to_owned())
}

struct Field {
    text: String,
    quoted: bool,
}

/// Words, `[...]` and `"..."`; `\"`, `\\` and `\xNN` inside any of them are this gateway's escapes.
fn fields(text: &str) -> anyhow::Result<Vec<Field>> {
    let mut fields = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (open, end) = match first {
            '"' => (1, '"'),
            '[' => (1, ']'),
            _ => (0, ' '),
        };
        let body = rest.get(open..).unwrap_or_default();
        let mut escaped = false;
        let found = body.char_indices().find(|&(_, c)| {
            let hit = c == end && !escaped;
            escaped = c == '\\' && !escaped;
            hit
        });
        let at = match found {
            Some((at, _)) => at,
            None if open == 0 => body.len(),
            None => bail!("the log line ends inside {first}"),
        };
        let (value, after) = body.split_at(at);
        fields.push(Field {
            text: unescape(value),
            quoted: first == '"',
        });
        rest = after.get(open..).unwrap_or_default().trim_start();
    }
    Ok(fields)
}

fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'\\', c @ (b'"' | b'\\'), rest @ ..] => {
                out.push(*c);
                rest
            }
            [b'\\', b'x', high, low, rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
                out.push(digit(*high) << 4 | digit(*low));
                rest
            }
            [c, rest @ ..] => {
                out.push(*c);
                rest
            }
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_telemetry::{AccessRecord, Format};

    fn asked(line: &str, to: Option<SocketAddr>) -> (Question, Vec<String>) {
        match question(line, to).unwrap() {
            (Subject::Traffic(question), notes) => (*question, notes),
            (Subject::Refused(refused), _) => panic!("{refused:?}"),
        }
    }

    const HTTP: &str = r#"[2026-11-22T10:00:00.123Z] "GET /status/418?x=1 HTTP/1.1" 418 - via_upstream - "-" 0 135 4 3 "192.0.2.7" "curl/7.73 (x; y)" "84961386-6d84" "httpbin:8000" "10.44.1.27:80" outbound|8000||httpbin.foo.svc.cluster.local 10.44.1.23:37652 10.0.45.184:8000 10.44.1.23:46520 - default"#;
    const TCP: &str = r#"[2026-11-22T10:00:00.123Z] "- - -" 0 - - - "-" 5 7 12 - "-" "-" "-" "-" "10.1.1.1:3306" outbound|3306||db.default.svc.cluster.local 10.44.1.23:1 10.96.0.30:3306 10.44.1.23:2 - -"#;

    #[test]
    fn istios_text_format_is_read() {
        let (question, notes) = asked(HTTP, None);
        assert_eq!(question.original, "10.0.45.184:8000".parse().unwrap());
        assert_eq!(question.source, Some("10.44.1.23:46520".parse().unwrap()));
        let Traffic::Http(head) = question.traffic else {
            panic!("{question:?}")
        };
        assert_eq!((&*head.method, &*head.target), ("GET", "/status/418?x=1"));
        assert_eq!(head.host.as_deref(), Some("httpbin:8000"));
        assert_eq!(head.headers[1].1, "curl/7.73 (x; y)");
        assert!(
            notes[0].contains("418 - via_upstream, backend outbound|8000||"),
            "{notes:?}"
        );
    }

    #[test]
    fn connections_are_told_by_their_dashes() {
        let (tcp, _) = asked(TCP, None);
        assert_eq!(tcp.original, "10.96.0.30:3306".parse().unwrap());
        assert_eq!(tcp.traffic, Traffic::Tcp);
        let tls = TCP.replace(":2 - -", ":2 a.com -");
        assert_eq!(
            asked(&tls, None).0.traffic,
            Traffic::Tls {
                sni: Some("a.com".into())
            }
        );
        let to = "192.0.2.1:1".parse().unwrap();
        assert_eq!(asked(TCP, Some(to)).0.original, to);
    }

    #[test]
    fn a_routed_request_that_was_refused_keeps_its_reason() {
        let line = r#"[2026-11-22T10:00:00.123Z] "POST /p HTTP/1.1" 400 DPE bad_chunk_size - "-" 0 68 0 - "-" "-" "-" "shop" "10.0.0.2:8080" outbound|80||shop - 10.96.0.1:80 10.0.0.9:4000 - -"#;
        let (question, notes) = asked(line, None);
        assert!(matches!(question.traffic, Traffic::Http(_)));
        let said = "the log says: 400 DPE bad_chunk_size, backend outbound|80||shop";
        assert!(notes[0].starts_with(said), "{notes:?}");
    }

    #[test]
    fn what_could_not_be_read_is_no_connection() {
        let refused = |code: &str| match question(&TCP.replace("0 - - -", code), None).unwrap() {
            (Subject::Refused(refused), _) => *refused,
            (Subject::Traffic(question), _) => panic!("{question:?}"),
        };
        let known = refused("400 DPE bad_target -");
        assert_eq!(known.answer.status, Some(400));
        assert_eq!(known.answer.reason, Some("bad_target"));
        assert_eq!(known.why, Reason::BadTarget.sentence());
        // Not of a head, or of a gateway that is no Pointsman.
        let flood = refused("0 DPE http2_flood -");
        assert_eq!((flood.answer.status, flood.answer.reason), (None, None));
        assert!(flood.why.contains("http2_flood"), "{}", flood.why);
        assert_eq!(refused("408 DC - -").answer.status, Some(408));
    }

    #[test]
    fn our_own_log_is_read_back_in_both_forms() {
        let record = AccessRecord {
            method: Some((*b"POST").into()),
            path: Some((*b"/a b\"?\xff").into()),
            protocol: Some("HTTP/1.1"),
            response_code: 503,
            user_agent: Some((*b"say \"hi\" \\o/").into()),
            authority: Some((*b"other").into()),
            received_authority: Some((*b"shop").into()),
            downstream_local: Some("10.96.0.12:9080".parse().unwrap()),
            downstream_remote: Some("10.0.0.1:5".parse().unwrap()),
            rule: Some("default/shop#1 shop.yaml:3".into()),
            revision: 7,
            ..AccessRecord::default()
        };
        for format in [
            Format::Text { extras: false },
            Format::Text { extras: true },
            Format::Json,
        ] {
            let mut line = Vec::new();
            format.write(&record, &mut line);
            let line = String::from_utf8(line).unwrap();
            let (question, notes) = asked(&line, None);
            assert_eq!(question.original, "10.96.0.12:9080".parse().unwrap());
            let Traffic::Http(head) = question.traffic else {
                panic!("{line}")
            };
            assert_eq!(&*head.method, "POST");
            // Istio's format has the authority after a rewrite, and no other.
            let host = if format == Format::Json {
                "shop"
            } else {
                "other"
            };
            assert_eq!(head.host.as_deref(), Some(host));
            assert_eq!(head.target, "/a b\"?\u{fffd}", "{line}");
            assert_eq!(
                head.headers,
                [("user-agent".to_owned(), "say \"hi\" \\o/".to_owned())]
            );
            assert!(notes[0].contains("503"), "{notes:?}");
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "GET / 200",
            "{\"method\":",
            "[x \"a",
            "\"a\" \"b\" \"c\"",
        ] {
            assert!(question(line, None).is_err(), "{line}");
        }
        let nowhere = TCP.replace("10.96.0.30:3306", "-");
        let error = question(&nowhere, None).unwrap_err().to_string();
        assert!(error.contains("--to"), "{error}");
    }
}
