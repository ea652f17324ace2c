//! One exchange, whatever the client speaks and whatever the endpoint speaks.
use super::{Gateway, SOON, connect, http, http2, settings};
use pointsman_gateway::Settings;
use pointsman_testkit::{
    Http2Client, Http2Reply, Http2Request, Http2Upstream, HttpUpstream, Reply, free_port, fresh_ip,
    message::Fields, within,
};
use std::net::SocketAddr;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// Client and endpoint.
pub const PAIRS: [(Speaks, Speaks); 4] = [
    (Speaks::Http1, Speaks::Http1),
    (Speaks::Http1, Speaks::Http2),
    (Speaks::Http2, Speaks::Http1),
    (Speaks::Http2, Speaks::Http2),
];

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub path: &'static str,
    pub fields: Vec<(String, String)>,
    /// `None`: no body.
    pub body: Option<Vec<u8>>,
    /// Over HTTP/1: `Content-Length` rather than chunks.
    pub sized: bool,
    pub trailers: Vec<(&'static str, &'static str)>,
}

impl Ask {
    pub fn new(method: &'static str, path: &'static str) -> Self {
        Self {
            method,
            path,
            fields: Vec::new(),
            body: None,
            sized: false,
            trailers: Vec::new(),
        }
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, bytes: &[u8]) -> Self {
        self.body = Some(bytes.to_vec());
        self
    }

    pub fn sized(mut self) -> Self {
        self.sized = true;
        self
    }

    pub fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self
    }

    pub fn http1(&self, host: &str) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.fields {
            bytes += &format!("{name}: {value}\r\n");
        }
        let Some(body) = &self.body else {
            return (bytes + "\r\n").into_bytes();
        };
        if self.sized {
            bytes += &format!("Content-Length: {}\r\n\r\n", body.len());
            return [bytes.as_bytes(), body].concat();
        }
        let mut bytes = (bytes + "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for piece in body.chunks(10_000) {
            bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
            bytes.extend(piece);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n");
        for (name, value) in &self.trailers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(b"\r\n");
        bytes
    }

    fn http2(&self, host: &str) -> Http2Request {
        let mut request = Http2Request::new(self.method, host, self.path);
        for (name, value) in &self.fields {
            request = request.field(name, value);
        }
        if let Some(body) = &self.body {
            if self.sized {
                request = request.field("content-length", &body.len().to_string());
            }
            request = match body.len() {
                // An empty DATA frame.
                0 => request.piece(b""),
                _ => body
                    .chunks(10_000)
                    .fold(request, |request, piece| request.piece(piece)),
            };
        }
        match self.trailers.is_empty() {
            true => request,
            false => request.trailers(&self.trailers),
        }
    }
}

/// A response, in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub status: u16,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Interim responses.
    pub interim: Vec<u16>,
}

impl Got {
    pub fn field(&self, name: &str) -> Option<&str> {
        pointsman_testkit::message::field(&self.fields, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn small(fields: &[(String, String)]) -> Fields {
    let small = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
    fields.iter().map(small).collect()
}

/// Asks on a connection of its own.
pub async fn ask(speaks: Speaks, at: SocketAddr, host: &str, ask: &Ask) -> Result<Got, String> {
    match speaks {
        Speaks::Http1 => {
            let mut client = connect(at).await;
            // The answer may come before all of it is sent.
            let bytes = ask.http1(host);
            let sent = client.send(bytes).await;
            let got = client.read_response_to(ask.method).await;
            let got = got.map_err(|error| format!("{error}, sent: {sent:?}"))?;
            Ok(Got {
                status: got.status,
                fields: small(&got.fields),
                body: got.body.clone(),
                trailers: small(&got.trailers),
                interim: got.interim.iter().map(|(status, _)| *status).collect(),
            })
        }
        Speaks::Http2 => {
            let mut client = Http2Client::connect(at).await.expect("connects");
            let got = within(SOON, client.exchange(ask.http2(host))).await;
            let got = got.map_err(|error| error.to_string())?;
            Ok(Got {
                status: got.status,
                fields: got.fields,
                body: got.body,
                trailers: got.trailers.unwrap_or_default(),
                interim: got.interim.iter().map(|(status, _)| *status).collect(),
            })
        }
    }
}

/// What an endpoint saw, in small letters.
#[derive(Clone, Debug)]
pub struct Saw {
    pub method: String,
    pub path: String,
    pub host: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

/// The services `one` and `two` in front of an HTTP/1 and an HTTP/2 endpoint, declared as such.
pub struct Pairs {
    pub gateway: Gateway,
    pub one: HttpUpstream,
    pub two: Http2Upstream,
    at: [SocketAddr; 2],
}

impl Pairs {
    /// Endpoints that answer these paths with these replies.
    pub async fn serve(replies: Vec<(&str, Reply, Http2Reply)>) -> Self {
        Self::serve_with(settings(), replies, "").await
    }

    /// The same with settings and more documents.
    pub async fn serve_with(
        settings: Settings,
        replies: Vec<(&str, Reply, Http2Reply)>,
        more: &str,
    ) -> Self {
        let (mut one, mut two) = (HttpUpstream::named("one"), Http2Upstream::named("two"));
        for (path, reply1, reply2) in replies {
            one = one.on(path, reply1);
            two = two.on(path, reply2);
        }
        let (one, two) = (one.start().await, two.start().await);
        let port = free_port();
        let at = [fresh_ip(), fresh_ip()].map(|ip| SocketAddr::new(ip, port));
        let text = [
            &http("one", at[0].ip(), port, one.addr()),
            &http2("two", at[1].ip(), port, two.addr()),
            more,
        ]
        .map(str::to_owned)
        .concat();
        Self {
            gateway: Gateway::serve_with(settings, &text).await,
            one,
            two,
            at,
        }
    }

    /// Where the service is that speaks this.
    pub fn at(&self, endpoint: Speaks) -> (SocketAddr, &'static str) {
        match endpoint {
            Speaks::Http1 => (self.at[0], "one"),
            Speaks::Http2 => (self.at[1], "two"),
        }
    }

    pub async fn ask(&self, pair: (Speaks, Speaks), what: &Ask) -> Result<Got, String> {
        let (at, host) = self.at(pair.1);
        ask(pair.0, at, host, what).await
    }

    /// The latest request that an endpoint received whole.
    pub fn last_seen(&self, endpoint: Speaks) -> Option<Saw> {
        match endpoint {
            Speaks::Http1 => self.one.last_seen().map(|seen| Saw {
                method: seen.method.clone(),
                path: seen.target.clone(),
                host: seen.host().to_owned(),
                fields: small(&seen.fields),
                body: seen.body.clone(),
                trailers: small(&seen.trailers),
            }),
            Speaks::Http2 => self.two.last_seen().map(|seen| Saw {
                method: seen.method,
                path: seen.path,
                host: seen.authority.unwrap_or_default(),
                fields: seen.fields,
                body: seen.body,
                trailers: seen.trailers.unwrap_or_default(),
            }),
        }
    }

    /// Nothing an endpoint received was wrong.
    pub fn assert_clean(&self) {
        assert_eq!(self.one.malformed(), [""; 0]);
        assert_eq!(self.two.errors(), [""; 0]);
    }
}
