//! `pointsman explain`: why traffic would go where it goes, by the same code as the data path's.
use super::{args, documents::Documents, exit, output};
use anyhow::{Context, bail};
use pointsman_route::{
    Class, Connection, Request, Table,
    explain::{Candidate, Explanation, Outcome, Verdict, explain_connection, explain_request},
};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

/// Stands for "whatever address the client dialled": no service can have it.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What is asked about.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Http {
        authority: String,
        path: String,
        query: Option<String>,
        original: SocketAddr,
    },
    Tcp {
        original: SocketAddr,
    },
    Tls {
        name: String,
        original: SocketAddr,
    },
}

pub(super) fn explain(command: &args::Explain) -> anyhow::Result<ExitCode> {
    let target = match Target::parse(&command.target, command.to) {
        Ok(target) => target,
        Err(error) => {
            eprintln!("pointsman: {error:#}");
            return Ok(exit::wrong_use());
        }
    };
    let client = args::load(
        &args::ConfigArgs::default(),
        &command.client,
        &args::ProcessArgs::default(),
        Vec::new(),
    )?
    .settings
    .client;
    let documents = Documents::read(&command.files, &client)?;
    let table = Table::compile(&documents.world, &client.context(), None).table;
    let explanation = ask(&table, &target, command)?;
    match command.output {
        args::Output::Json => println!("{}", machine(&explanation)),
        args::Output::Text => {
            let color = output::colored(command.color, &std::io::stdout());
            print!("{}", paint(&explanation.to_string(), color));
        }
    }
    Ok(match explanation.outcome {
        Outcome::NoRule | Outcome::Refused => exit::no_route(),
        Outcome::NoCluster(_) | Outcome::NoEndpoint => exit::no_endpoint(),
        Outcome::Forwarded | Outcome::Answered(_) | Outcome::Passthrough => exit::FINE,
    })
}

fn ask(table: &Table, target: &Target, command: &args::Explain) -> anyhow::Result<Explanation> {
    let bytes = |original: SocketAddr, class: Class, sni: Option<&str>| {
        explain_connection(
            table,
            &Connection {
                original,
                source: None,
                class,
                sni,
            },
        )
    };
    Ok(match target {
        Target::Tcp { original } => bytes(*original, Class::Tcp, None),
        Target::Tls { name, original } => bytes(*original, Class::Tls, Some(name)),
        Target::Http {
            authority,
            path,
            query,
            original,
        } => {
            let path = pointsman_wire::path::normalize(path).map_err(|refusal| {
                anyhow::anyhow!("the gateway would refuse this path: {refusal}")
            })?;
            let headers = headers(&command.headers)?;
            let host = headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("host"))
                .map_or(authority.as_str(), |(_, value)| value);
            explain_request(
                table,
                *original,
                &Request {
                    method: &command.method,
                    authority: host,
                    path: &path,
                    query: query.as_deref(),
                    scheme: "http",
                    fields: &headers,
                },
            )
        }
    })
}

fn headers(given: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    given
        .iter()
        .map(|header| {
            header
                .split_once(':')
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .with_context(|| format!("-H '{header}': write it as 'Name: value'"))
        })
        .collect()
}

impl Target {
    fn parse(text: &str, to: Option<SocketAddr>) -> anyhow::Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            bail!("`{text}`: write http://HOST[:PORT]/PATH, tcp://IP:PORT or tls://NAME");
        };
        match scheme {
            "http" => Self::http(rest, to),
            "tcp" => {
                let original = match to {
                    Some(to) => to,
                    None => rest.parse().with_context(|| {
                        format!("`{rest}`: raw TCP is routed by address, write tcp://IP:PORT")
                    })?,
                };
                Ok(Self::Tcp { original })
            }
            "tls" => {
                let (name, port) = split_port(rest);
                Ok(Self::Tls {
                    name: name.to_owned(),
                    original: to.unwrap_or(SocketAddr::new(ANYWHERE, port.unwrap_or(443))),
                })
            }
            "https" => bail!(
                "https is opaque to the gateway: ask about tls://NAME, which is routed by its server name"
            ),
            other => bail!("`{other}://`: the gateway knows http, tcp and tls"),
        }
    }

    fn http(rest: &str, to: Option<SocketAddr>) -> anyhow::Result<Self> {
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        let (name, port) = split_port(authority);
        if name.is_empty() {
            bail!("`http://{rest}`: the host is missing");
        }
        let port = port.unwrap_or(80);
        // A literal address is where the client dialled; a name says nothing about it.
        let address = name.trim_matches(['[', ']']).parse().unwrap_or(ANYWHERE);
        Ok(Self::Http {
            authority: authority.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query,
            original: to.unwrap_or(SocketAddr::new(address, port)),
        })
    }
}

fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse().ok())
        }
        _ => (authority, None),
    }
}

/// Winners in green, the closing sentence in bold: never colour alone, `+` and `=>` are there.
fn paint(text: &str, color: bool) -> String {
    if !color {
        return text.to_owned();
    }
    text.lines()
        .map(|line| {
            let trimmed = line.trim_start();
            if trimmed.starts_with("+ ") {
                format!("\u{1b}[32m{line}\u{1b}[0m\n")
            } else if trimmed.starts_with("=>") {
                format!("\u{1b}[1m{line}\u{1b}[0m\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect()
}

fn machine(explanation: &Explanation) -> Value {
    let candidates = |list: &[Candidate]| list.iter().map(candidate).collect::<Vec<_>>();
    json!({
        "version": 1,
        "outcome": explanation.outcome.as_str(),
        "status": match explanation.outcome {
            Outcome::Answered(status) => Some(status),
            _ => None,
        },
        "sentence": explanation.sentence,
        "protocol": explanation.protocol,
        "frontends": candidates(&explanation.frontends),
        "rules": explanation.rules.as_ref().map(|rules| json!({
            "title": rules.title,
            "candidates": candidates(&rules.candidates),
            "closest": rules.closest,
        })),
        "backends": explanation.backends.iter().map(|backend| json!({
            "cluster": backend.label,
            "share": backend.share,
            "missing": backend.missing.map(|it| it.to_string()),
            "policy": backend.policy,
            "choice": backend.choice,
            "usable": backend.usable,
            "endpoints": candidates(&backend.endpoints),
        })).collect::<Vec<_>>(),
    })
}

fn candidate(candidate: &Candidate) -> Value {
    json!({
        "what": candidate.what,
        "verdict": match candidate.verdict {
            Verdict::Match => "match",
            Verdict::NotUsed => "not_used",
            Verdict::No(reason) => reason.as_str(),
        },
        "detail": candidate.detail,
        "file": candidate.place.as_ref().map(|it| &*it.file),
        "line": candidate.place.as_ref().map(|it| it.line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_written() {
        assert_eq!(
            Target::parse("http://reviews:9080/a/b?c=d", None).unwrap(),
            Target::Http {
                authority: "reviews:9080".into(),
                path: "/a/b".into(),
                query: Some("c=d".into()),
                original: "0.0.0.0:9080".parse().unwrap(),
            }
        );
        assert_eq!(
            Target::parse("http://[fd00::1]:81", None).unwrap(),
            Target::Http {
                authority: "[fd00::1]:81".into(),
                path: "/".into(),
                query: None,
                original: "[fd00::1]:81".parse().unwrap(),
            }
        );
        assert_eq!(
            Target::parse("tls://a.com", Some("192.0.2.1:8443".parse().unwrap())).unwrap(),
            Target::Tls {
                name: "a.com".into(),
                original: "192.0.2.1:8443".parse().unwrap(),
            }
        );
    }

    #[test]
    fn what_cannot_be_asked_says_what_can() {
        for (target, word) in [
            ("reviews", "http://"),
            ("ftp://x", "tcp"),
            ("tcp://name:80", "tcp://IP:PORT"),
            ("https://x", "tls://"),
            ("http:///x", "host"),
        ] {
            let error = format!("{:#}", Target::parse(target, None).unwrap_err());
            assert!(error.contains(word), "{target}: {error}");
        }
    }
}
