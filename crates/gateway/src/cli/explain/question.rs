//! What is asked, whoever asked it: a target, a curl command, a log line or a line of JSON.
use anyhow::{Context, bail};
use pointsman_dataplane::settings::Limits;
use pointsman_route::{Listener, Table};
use pointsman_wire::{
    forwarded::{Sender, Side},
    http1::{HeadLimits, is_value},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Stands for "whatever address the client dialled": no service can have it.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// One connection, or one request on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Where the client dialled.
    pub(crate) original: SocketAddr,
    /// The client.
    pub(crate) source: Option<SocketAddr>,
    /// What it sends.
    pub(crate) traffic: Traffic,
    /// Inside TLS: the request, which is seen only where a gateway ends TLS.
    pub(crate) inside: Option<Head>,
    /// The ClientHello offers a protocol of the mesh's own.
    pub(crate) mesh_alpn: bool,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Bytes of no known protocol.
    Tcp,
    /// TLS, which is opaque: HTTPS too.
    Tls {
        /// The server name asked for.
        sni: Option<String>,
    },
    /// A request in clear text.
    Http(Head),
}

/// A request as its client means it; whether it may be sent so is for the parser to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// `Host` or `:authority`; `None`: not sent.
    pub(crate) host: Option<String>,
    /// Path and query.
    pub(crate) target: String,
    /// Without `Host`.
    pub(crate) headers: Vec<(String, String)>,
    /// HTTP/1.0.
    pub(crate) old: bool,
}

/// The limits of heads that the data path starts with.
pub(super) fn limits() -> HeadLimits {
    Limits::default().of_heads()
}

impl Question {
    /// By whom it is sent: at a gateway by a stranger, since what the process was told of proxies
    /// in front is not known here. `peer` is the text of [`peer`](Self::peer).
    pub(super) fn sender<'s>(
        &self,
        table: &Table,
        peer: &'s str,
        scheme: &'static str,
    ) -> Sender<'s> {
        let context = table.context();
        let (side, hops) = match context.role.is_gateway() {
            true => (Side::Edge { peer }, context.trusted_hops),
            false => (Side::Mesh, 0),
        };
        Sender {
            side,
            trusted: false,
            hops,
            scheme,
        }
    }

    /// The client's address without its port; empty if it is not known.
    pub(super) fn peer(&self) -> String {
        let source = self.source.map(|source| source.ip().to_canonical());
        source.map(|source| source.to_string()).unwrap_or_default()
    }
}

/// Stands for the id that a request without one is given.
pub(super) const SOME_ID: u128 = 0;

impl Head {
    /// The head as a client writes it, to be read by the data path's own parser.
    ///
    /// # Errors
    /// When a part of it would end its line: such a request cannot be sent at all.
    pub(super) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let version = if self.old { "1.0" } else { "1.1" };
        let mut text = format!("{} {} HTTP/{version}\r\n", self.method, self.target);
        let host = self.host.iter().map(|host| ("host", host.as_str()));
        let rest = self.headers.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in [("the method", &*self.method), ("the path", &*self.target)] {
            if value.contains(['\r', '\n']) {
                bail!("{name} has a line break in it");
            }
        }
        for (name, value) in host.chain(rest) {
            if name.contains(['\r', '\n']) || !is_value(value.as_bytes()) {
                bail!("header {name:?} has a control character in it");
            }
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        Ok(text.into_bytes())
    }

    /// Takes `Host` out of the headers; the last one counts.
    pub(super) fn settle_host(&mut self) {
        let (hosts, rest) = std::mem::take(&mut self.headers)
            .into_iter()
            .partition(|(name, _): &(String, String)| name.eq_ignore_ascii_case("host"));
        let hosts: Vec<_> = hosts;
        self.headers = rest;
        if let Some((_, host)) = hosts.into_iter().next_back() {
            self.host = Some(host);
        }
    }
}

impl Question {
    /// On a gateway nobody dials an address that is not listened on: a question that names none
    /// means the listener of its port, or the one whose server has that number where a Service
    /// translates it (GW-3).
    pub(super) fn settle_gateway(&mut self, table: &Table) {
        if !table.context().role.is_gateway() {
            return;
        }
        let asked = self.original;
        if table.listener_at(table.listener(asked)).is_some() {
            return;
        }
        let here = |listener: &&Listener| {
            asked.ip() == ANYWHERE
                || listener.address.is_none()
                || listener.address == Some(asked.ip().to_canonical())
        };
        let listeners = || table.listeners().iter().filter(here);
        let by_port = listeners().find(|it| it.port == asked.port());
        let found = by_port.or_else(|| {
            listeners().find(|it| it.servers().iter().any(|own| own.port == asked.port()))
        });
        if let Some(listener) = found {
            let ip = listener.address.unwrap_or(asked.ip());
            self.original = SocketAddr::new(ip, listener.port);
        }
    }

    /// Reads `http://HOST[:PORT]/PATH`, `https://...`, `tcp://IP:PORT` or `tls://NAME[:PORT]`.
    /// `to` is where the client dialled, if that is not what the target says.
    pub(crate) fn of_target(text: &str, to: Option<SocketAddr>) -> anyhow::Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            bail!(
                "`{text}`: write http://HOST[:PORT]/PATH, https://HOST, tcp://IP:PORT or tls://NAME"
            );
        };
        let mut inside = None;
        let (original, traffic) = match scheme.to_ascii_lowercase().as_str() {
            "http" => http(rest)?,
            "https" => {
                let (authority, _) = split_path(rest);
                if let (_, Traffic::Http(head)) = http(rest)? {
                    inside = Some(head);
                }
                opaque(authority)?
            }
            "tls" => opaque(rest)?,
            "tcp" => match to {
                Some(to) => (to, Traffic::Tcp),
                None => {
                    let to = rest.parse().with_context(|| {
                        format!("`{rest}`: raw TCP is routed by address, write tcp://IP:PORT")
                    })?;
                    (to, Traffic::Tcp)
                }
            },
            other => bail!("`{other}://`: the gateway knows http, https, tcp and tls"),
        };
        Ok(Self {
            original: to.unwrap_or(original),
            source: None,
            traffic,
            inside,
            mesh_alpn: false,
        })
    }
}

fn http(rest: &str) -> anyhow::Result<(SocketAddr, Traffic)> {
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = split_path(rest);
    let authority = without_user(authority);
    let (name, port) = split_port(authority)?;
    if name.is_empty() {
        bail!("`http://{rest}`: the host is missing");
    }
    let target = match path {
        "" => "/".to_owned(),
        path if path.starts_with('?') => format!("/{path}"),
        path => path.to_owned(),
    };
    let head = Head {
        method: "GET".to_owned(),
        host: Some(authority.to_owned()),
        target,
        ..Head::default()
    };
    Ok((dialled(name, port.unwrap_or(80)), Traffic::Http(head)))
}

fn opaque(authority: &str) -> anyhow::Result<(SocketAddr, Traffic)> {
    let (name, port) = split_port(without_user(authority))?;
    if name.is_empty() {
        bail!("`{authority}`: the server name is missing");
    }
    let original = dialled(name, port.unwrap_or(443));
    // A literal address is never sent as a server name (RFC 6066 section 3).
    let sni = original.ip().is_unspecified().then(|| name.to_owned());
    Ok((original, Traffic::Tls { sni }))
}

/// A literal address is where the client dialled; a name says nothing about it.
pub(super) fn dialled(name: &str, port: u16) -> SocketAddr {
    let address = name.trim_matches(['[', ']']).parse().unwrap_or(ANYWHERE);
    SocketAddr::new(address, port)
}

fn split_path(rest: &str) -> (&str, &str) {
    match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    }
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, it)| it)
}

/// Host and port of an authority; brackets of an IPv6 literal stay.
pub(crate) fn split_port(authority: &str) -> anyhow::Result<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            let port = port
                .parse()
                .with_context(|| format!("`{authority}`: `{port}` is not a port"))?;
            Ok((name, Some(port)))
        }
        _ => Ok((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, to: Option<&str>) -> Question {
        Question::of_target(text, to.map(|it| it.parse().unwrap())).unwrap()
    }

    fn get(host: &str, target: &str) -> Traffic {
        Traffic::Http(Head {
            method: "GET".into(),
            host: Some(host.into()),
            target: target.into(),
            ..Head::default()
        })
    }

    #[test]
    fn targets_are_read_as_written() {
        for (target, to, original, traffic) in [
            (
                "http://reviews:9080/a/b?c=d",
                None,
                "0.0.0.0:9080",
                get("reviews:9080", "/a/b?c=d"),
            ),
            (
                "http://[fd00::1]:81",
                None,
                "[fd00::1]:81",
                get("[fd00::1]:81", "/"),
            ),
            ("http://u:p@a?q#f", None, "0.0.0.0:80", get("a", "/?q")),
            (
                "tls://a.com",
                Some("192.0.2.1:8443"),
                "192.0.2.1:8443",
                Traffic::Tls {
                    sni: Some("a.com".into()),
                },
            ),
            (
                "https://a.com:444/x",
                None,
                "0.0.0.0:444",
                Traffic::Tls {
                    sni: Some("a.com".into()),
                },
            ),
            (
                "https://192.0.2.1",
                None,
                "192.0.2.1:443",
                Traffic::Tls { sni: None },
            ),
            ("tcp://192.0.2.1:5", None, "192.0.2.1:5", Traffic::Tcp),
        ] {
            let question = parse(target, to);
            assert_eq!(question.original.to_string(), original, "{target}");
            assert_eq!(question.traffic, traffic, "{target}");
        }
    }

    #[test]
    fn what_cannot_be_asked_says_what_can() {
        for (target, word) in [
            ("reviews", "http://"),
            ("ftp://x", "tcp"),
            ("tcp://name:80", "tcp://IP:PORT"),
            ("http:///x", "host"),
            ("http://a:b/", "not a port"),
            ("tls://:443", "server name"),
        ] {
            let error = format!("{:#}", Question::of_target(target, None).unwrap_err());
            assert!(error.contains(word), "{target}: {error}");
        }
    }

    #[test]
    fn a_head_cannot_be_two() {
        let mut head = Head {
            method: "GET".into(),
            host: Some("a".into()),
            target: "/".into(),
            ..Head::default()
        };
        assert_eq!(head.bytes().unwrap(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        head.headers = vec![("x".into(), "1\r\ny: 2".into())];
        assert!(head.bytes().is_err());
        head.headers.clear();
        head.target = "/ HTTP/1.1\r\n\r\nGET /".into();
        assert!(head.bytes().is_err());
    }
}
