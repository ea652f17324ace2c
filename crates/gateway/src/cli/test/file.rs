//! The file of a `pointsman test`: a list of cases. `docs/test.md` describes every field.
use crate::cli::explain::{
    Asked, Kind, Protocol, Retries, Source, Target, TargetTraffic, Tls, Values, Via, split_port,
};
use anyhow::{Context, anyhow, bail};
use pointsman_control::{FilesSettings, read_text};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// One file.
pub(super) struct Suite {
    pub(super) file: String,
    pub(super) cases: Vec<Case>,
}

/// One case.
pub(super) struct Case {
    pub(super) name: String,
    /// Where it begins.
    pub(super) line: u64,
    pub(super) asked: Asked,
    pub(super) expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseForm {
    name: Spanned<String>,
    #[serde(default)]
    from: Option<FromForm>,
    #[serde(default)]
    via: Via,
    request: Option<RequestForm>,
    connect: Option<ConnectForm>,
    expect: Expect,
}

/// Who asks; what is left out is as the command line says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromForm {
    ip: Option<IpAddr>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestForm {
    url: String,
    method: Option<String>,
    /// Instead of the URL's.
    host: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Values>,
    version: Option<String>,
    to: Option<SocketAddr>,
    /// Instead of the URL's host, where the URL is https.
    sni: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectForm {
    to: Option<SocketAddr>,
    port: Option<u16>,
    sni: Option<String>,
    /// TLS without a server name.
    #[serde(default)]
    tls: bool,
}

/// What must come of it. Everything that is written must hold; what is left out may be anything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) outcome: Option<Kind>,
    pub(super) kind: Option<Protocol>,
    pub(super) reason: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) service: Option<String>,
    pub(super) subset: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) cluster: Option<String>,
    pub(super) weights: Option<BTreeMap<String, u32>>,
    pub(super) endpoints: Option<Vec<String>>,
    pub(super) status: Option<u16>,
    pub(super) location: Option<String>,
    pub(super) body: Option<String>,
    pub(super) path: Option<String>,
    pub(super) authority: Option<String>,
    #[serde(default)]
    pub(super) request_headers: BTreeMap<String, Values>,
    #[serde(default)]
    pub(super) response_headers: BTreeMap<String, Values>,
    pub(super) timeout: Option<String>,
    pub(super) delay: Option<String>,
    pub(super) retries: Option<RetriesForm>,
    pub(super) mirrors: Option<BTreeMap<String, f64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RetriesForm {
    attempts: Option<u32>,
    per_try_timeout: Option<String>,
    retry_on: Option<String>,
}

impl RetriesForm {
    pub(super) fn holds(&self, got: &Retries) -> bool {
        self.attempts.is_none_or(|it| it == got.attempts)
            && self.retry_on.as_ref().is_none_or(|it| *it == got.retry_on)
            && (self.per_try_timeout.is_none() || self.per_try_timeout == got.per_try_timeout)
    }
}

impl Suite {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or holds what no case can mean: with the place.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let file = path.display().to_string();
        let text = std::fs::File::open(path)
            .and_then(|open| read_text(open, FilesSettings::default().max_file_bytes))
            .with_context(|| file.clone())?;
        let cases = parse(&text, &file)?;
        Ok(Self { file, cases })
    }
}

fn parse(text: &str, file: &str) -> anyhow::Result<Vec<Case>> {
    let forms: Vec<CaseForm> =
        serde_saphyr::from_str(text).map_err(|error| wrong(error.without_snippet(), file))?;
    forms
        .into_iter()
        .map(|form| {
            let (name, line) = (form.name.value.clone(), form.name.referenced.line());
            form.case(line)
                .with_context(|| format!("{file}:{line}: case {name:?}"))
        })
        .collect()
}

/// Cause first, then what was probably meant.
fn wrong(error: &serde_saphyr::Error, file: &str) -> anyhow::Error {
    let place = match error.location() {
        Some(place) => format!("{file}:{}:{}", place.line(), place.column()),
        None => file.to_owned(),
    };
    let (serde_saphyr::Error::SerdeUnknownField {
        field, expected, ..
    }
    | serde_saphyr::Error::SerdeUnknownVariant {
        variant: field,
        expected,
        ..
    }) = error
    else {
        return anyhow!("{place}: {error}");
    };
    match pointsman_manifest::near(field, expected.iter().copied()) {
        Some(meant) => anyhow!("{place}: {field:?} is not known here: did you mean {meant:?}?"),
        None => anyhow!(
            "{place}: {field:?} is not known here: it is one of {}",
            expected.join(", ")
        ),
    }
}

impl CaseForm {
    fn case(self, line: u64) -> anyhow::Result<Case> {
        if self.expect.is_empty() {
            bail!("`expect` is empty: it would pass whatever comes of it");
        }
        let mut asked = match (self.request, self.connect) {
            (Some(request), None) => request.asked()?,
            (None, Some(connect)) => connect.asked()?,
            _ => bail!("it needs one of `request` and `connect`"),
        };
        asked.via = self.via;
        asked.source = self.from.map(|from| Source {
            ip: from.ip,
            namespace: from.namespace,
            labels: from.labels,
        });
        Ok(Case {
            name: self.name.value,
            line,
            asked,
            expect: self.expect,
        })
    }
}

impl RequestForm {
    fn asked(self) -> anyhow::Result<Asked> {
        // The part after the scheme is read the same way; of_target looks no further into https.
        let (secure, url) = match self.url.strip_prefix("https://") {
            Some(rest) => (true, format!("http://{rest}")),
            None => (false, self.url),
        };
        let target = Target::of_target(&url, self.to)?;
        let TargetTraffic::Http(head) = target.traffic else {
            bail!("`{url}`: a request has an http or https URL; `connect` is for connections");
        };
        let named = head.host.unwrap_or_default();
        let (name, port) = split_port(&named)?;
        let port = match (self.to, port) {
            (Some(to), _) => to.port(),
            (None, Some(port)) => port,
            (None, None) if secure => 443,
            (None, None) => 80,
        };
        let literal = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let sni = self.sni.or_else(|| (!literal).then(|| name.to_owned()));
        let given = self.host.or_else(|| host_field(&self.headers));
        let ip = target.original.ip();
        Ok(Asked {
            protocol: Protocol::Http,
            ip: (!ip.is_unspecified()).then_some(ip),
            port: Some(port),
            method: self.method,
            host: Some(given.unwrap_or(named)),
            path: Some(head.target),
            headers: self.headers,
            version: self.version,
            tls: secure.then_some(Tls {
                sni,
                ..Tls::default()
            }),
            ..Asked::default()
        })
    }
}

/// `Host` among the headers counts instead of the URL's, as with curl.
fn host_field(headers: &BTreeMap<String, Values>) -> Option<String> {
    let (_, values) = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"))?;
    match values {
        Values::One(value) => Some(value.clone()),
        Values::Several(values) => values.last().cloned(),
    }
}

impl ConnectForm {
    fn asked(self) -> anyhow::Result<Asked> {
        let tls = self.tls || self.sni.is_some();
        if self.to.is_none() && !tls {
            bail!("`connect` needs `to: IP:PORT`: raw TCP is routed by it");
        }
        if let (Some(to), Some(port)) = (self.to, self.port)
            && to.port() != port
        {
            bail!("`connect` has two ports: {port} and that of `to: {to}`");
        }
        Ok(Asked {
            protocol: if tls { Protocol::Tls } else { Protocol::Tcp },
            ip: self.to.map(|to| to.ip()),
            port: self.to.map(|to| to.port()).or(self.port),
            sni: self.sni,
            ..Asked::default()
        })
    }
}

impl Expect {
    fn is_empty(&self) -> bool {
        let Self {
            outcome,
            kind,
            reason,
            rule,
            service,
            subset,
            port,
            cluster,
            weights,
            endpoints,
            status,
            location,
            body,
            path,
            authority,
            request_headers,
            response_headers,
            timeout,
            delay,
            retries,
            mirrors,
        } = self;
        let texts = [
            reason, rule, service, subset, cluster, location, body, path, authority, timeout, delay,
        ];
        texts.iter().all(|it| it.is_none())
            && (outcome.is_none() && kind.is_none() && port.is_none() && status.is_none())
            && (weights.is_none() && endpoints.is_none() && mirrors.is_none())
            && (retries.is_none() && request_headers.is_empty() && response_headers.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        match parse(text, "t.yaml") {
            Ok(_) => panic!("it was read: {text}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn what_no_case_can_mean_is_told_with_its_place() {
        for (text, place, word) in [
            ("- nme: a\n", "t.yaml:1:3", "did you mean \"name\""),
            (
                "- name: a\n  request: {url: http://a/, header: {}}\n  expect: {status: 1}\n",
                "t.yaml:2:",
                "\"headers\"",
            ),
            (
                "- name: a\n  connect: {to: 192.0.2.1:5}\n  expect: {outcome: pasthrough}\n",
                "t.yaml:3:",
                "\"passthrough\"",
            ),
            ("- name: a\n  expect: {status: 1}\n", "t.yaml:1:", "request"),
            (
                "\n- name: a\n  connect: {to: 192.0.2.1:5}\n  expect: {}\n",
                "t.yaml:2:",
                "empty",
            ),
            (
                "- name: a\n  connect: {port: 5}\n  expect: {outcome: forward}\n",
                "t.yaml:1:",
                "IP:PORT",
            ),
            (
                "- name: a\n  request: {url: tcp://192.0.2.1:5}\n  expect: {outcome: forward}\n",
                "t.yaml:1:",
                "connect",
            ),
        ] {
            let error = error(text);
            assert!(error.starts_with(place), "{text}: {error}");
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn urls_are_read_as_written() {
        let asked = |request: &str| {
            let text = format!("- name: a\n  request: {request}\n  expect: {{status: 1}}\n");
            parse(&text, "t.yaml").unwrap().remove(0).asked
        };
        let it = asked("{url: 'http://reviews:9080/a?b=c', to: 192.0.2.1:81}");
        assert_eq!(it.host.as_deref(), Some("reviews:9080"));
        assert_eq!(it.path.as_deref(), Some("/a?b=c"));
        assert_eq!((it.ip, it.port), (Some([192, 0, 2, 1].into()), Some(81)));
        assert!(it.tls.is_none());
        let it = asked("{url: 'https://a.example/x', headers: {Host: b.example}}");
        assert_eq!(it.host.as_deref(), Some("b.example"));
        assert_eq!(it.port, Some(443));
        assert_eq!(it.tls.unwrap().sni.as_deref(), Some("a.example"));
        let it = asked("{url: 'https://192.0.2.7:444'}");
        assert_eq!(it.tls.unwrap().sni, None);
        assert_eq!((it.ip, it.port), (Some([192, 0, 2, 7].into()), Some(444)));
    }
}
