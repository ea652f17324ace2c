//! A client: whole exchanges for most tests, single streams for the rest.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{fields_of, header_map, owned, send_all};
use crate::message::{self, Fields};

/// Why a stream or connection ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Http2Error {
    /// RST_STREAM of the peer, with its code.
    #[error("reset by the peer, code {0}")]
    Reset(u32),
    /// GOAWAY of the peer, with its code.
    #[error("the peer went away, code {0}")]
    GoAway(u32),
    /// The peer broke the protocol, says h2.
    #[error("protocol: {0}")]
    Protocol(String),
    /// The connection ended.
    #[error("closed: {0}")]
    Closed(String),
}

impl From<h2::Error> for Http2Error {
    fn from(error: h2::Error) -> Self {
        let code = error.reason().map(u32::from);
        match code {
            Some(code) if error.is_remote() && error.is_reset() => Self::Reset(code),
            Some(code) if error.is_remote() => Self::GoAway(code),
            _ if error.is_io() => Self::Closed(error.to_string()),
            _ => Self::Protocol(error.to_string()),
        }
    }
}

/// A request and all of its body.
#[derive(Debug, Clone)]
#[must_use]
pub struct Http2Request {
    method: String,
    scheme: String,
    authority: String,
    path: String,
    fields: Fields,
    protocol: Option<String>,
    pieces: Vec<Bytes>,
    trailers: Option<Fields>,
}

impl Http2Request {
    /// A request with this method; `:scheme` is `http`.
    pub fn new(method: &str, authority: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            scheme: "http".to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
            fields: Vec::new(),
            protocol: None,
            pieces: Vec::new(),
            trailers: None,
        }
    }

    /// GET.
    pub fn get(authority: &str, path: &str) -> Self {
        Self::new("GET", authority, path)
    }

    /// POST.
    pub fn post(authority: &str, path: &str) -> Self {
        Self::new("POST", authority, path)
    }

    /// A field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another `:scheme`.
    pub fn scheme(mut self, scheme: &str) -> Self {
        scheme.clone_into(&mut self.scheme);
        self
    }

    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub fn protocol(mut self, protocol: &str) -> Self {
        self.protocol = Some(protocol.to_owned());
        self
    }

    /// A piece of body.
    pub fn piece(mut self, bytes: &[u8]) -> Self {
        self.pieces.push(Bytes::copy_from_slice(bytes));
        self
    }

    /// Trailers.
    pub fn trailers(mut self, fields: &[(&str, &str)]) -> Self {
        self.trailers = Some(owned(fields));
        self
    }

    fn head(&self) -> Request<()> {
        let uri = http::Uri::builder()
            .scheme(self.scheme.as_str())
            .authority(self.authority.as_str())
            .path_and_query(self.path.as_str())
            .build();
        let (Ok(uri), Ok(method)) = (uri, self.method.parse::<Method>()) else {
            panic!("{self:?} is no request");
        };
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = header_map(&self.fields);
        if let Some(protocol) = &self.protocol {
            let protocol = h2::ext::Protocol::from(protocol.as_str());
            request.extensions_mut().insert(protocol);
        }
        request
    }
}

/// A response received whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2Response {
    /// `:status`.
    pub status: u16,
    /// The fields.
    pub fields: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// Trailer fields; `None`: the body ended without.
    pub trailers: Option<Fields>,
    /// 1xx responses that came before.
    pub interim: Vec<(u16, Fields)>,
}

impl Http2Response {
    /// The first value of a field (any letter case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        message::field(&self.fields, name)
    }

    /// The first value of a trailer field (any letter case).
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&str> {
        message::field(self.trailers.as_ref()?, name)
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        match std::str::from_utf8(&self.body) {
            Ok(text) => text,
            Err(error) => panic!("body {:?}: {error}", self.body),
        }
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("body {:?}: {error}", self.text()),
        }
    }
}

/// One connection to a server that speaks HTTP/2 by prior knowledge. Closed when dropped.
#[derive(Debug)]
pub struct Http2Client {
    send: SendRequest<Bytes>,
    local: SocketAddr,
    remote: SocketAddr,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Http2Client {
    /// Connects.
    ///
    /// # Errors
    /// As connecting fails.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Self::connect_tuned(addr, |_| {}).await
    }

    /// Connects, with settings of its own: windows, header list size.
    ///
    /// # Errors
    /// As connecting fails.
    pub async fn connect_tuned(
        addr: SocketAddr,
        tune: impl FnOnce(&mut client::Builder),
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Self::over(stream, tune).await
    }

    /// Speaks over a connection that is there already.
    ///
    /// # Errors
    /// As sending the preface fails.
    pub async fn over(
        stream: TcpStream,
        tune: impl FnOnce(&mut client::Builder),
    ) -> io::Result<Self> {
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        let mut builder = client::Builder::new();
        builder.enable_push(false);
        tune(&mut builder);
        let (send, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        Ok(Self {
            send,
            local,
            remote,
            driver: tokio::spawn(connection),
        })
    }

    /// This end's address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Where it is connected to.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// Streams the server allows at a time, as far as it has said so.
    #[must_use]
    pub fn allowed_streams(&self) -> usize {
        self.send.current_max_send_streams()
    }

    /// Does the server take extended CONNECT?
    #[must_use]
    pub fn takes_extended_connect(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// GET, whole.
    ///
    /// # Errors
    /// As the stream ends.
    pub async fn get(&mut self, authority: &str, path: &str) -> Result<Http2Response, Http2Error> {
        self.exchange(Http2Request::get(authority, path)).await
    }

    /// Sends the request and reads the response, at the same time.
    ///
    /// # Errors
    /// As the stream ends.
    pub async fn exchange(&mut self, request: Http2Request) -> Result<Http2Response, Http2Error> {
        let Http2Request {
            pieces, trailers, ..
        } = &request;
        let bare = pieces.is_empty() && trailers.is_none();
        let mut stream = self.begin(&request, bare).await?;
        if bare {
            return stream.rest().await;
        }
        let out = stream.out.take();
        let sending = async {
            let Some(mut out) = out else {
                return std::future::pending().await;
            };
            for (at, piece) in pieces.iter().enumerate() {
                let last = at + 1 == pieces.len() && trailers.is_none();
                if send_all(&mut out, piece.clone(), last).await.is_err() {
                    break;
                }
            }
            if let Some(trailers) = trailers {
                // The response says what became of it.
                let _ = out.send_trailers(header_map(trailers));
            }
            // Dropping it before the response is here would reset the stream.
            std::future::pending::<Http2Response>().await
        };
        tokio::select! {
            response = stream.rest() => response,
            never = sending => Ok(never),
        }
    }

    /// Begins a stream; `end`: without a body.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn begin(
        &mut self,
        request: &Http2Request,
        end: bool,
    ) -> Result<Http2Stream, Http2Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, out) = send.send_request(request.head(), end)?;
        Ok(Http2Stream {
            out: Some(out),
            response: Some(response),
            head: None,
            body: None,
            interim: Vec::new(),
        })
    }

    /// Waits until the server has ended the connection.
    ///
    /// # Errors
    /// What it ended with: GOAWAY with a code other than NO_ERROR, or no GOAWAY at all.
    pub async fn ended(&mut self) -> Result<(), Http2Error> {
        match (&mut self.driver).await {
            Ok(ended) => Ok(ended?),
            Err(error) => Err(Http2Error::Closed(error.to_string())),
        }
    }

    /// Has the server ended the connection?
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Drop for Http2Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// One stream. Dropping it before its end resets it (CANCEL).
#[derive(Debug)]
pub struct Http2Stream {
    out: Option<SendStream<Bytes>>,
    response: Option<ResponseFuture>,
    head: Option<(u16, Fields)>,
    body: Option<RecvStream>,
    interim: Vec<(u16, Fields)>,
}

impl Http2Stream {
    /// Sends a piece of body, as the peer's windows let it.
    ///
    /// # Errors
    /// The stream ended.
    pub async fn send(&mut self, bytes: &[u8], end: bool) -> Result<(), Http2Error> {
        match &mut self.out {
            Some(out) => Ok(send_all(out, Bytes::copy_from_slice(bytes), end).await?),
            None => Err(Http2Error::Closed("the way out was taken".to_owned())),
        }
    }

    /// Ends the request with trailers.
    ///
    /// # Errors
    /// The stream ended.
    pub fn send_trailers(&mut self, fields: &[(&str, &str)]) -> Result<(), Http2Error> {
        match &mut self.out {
            Some(out) => Ok(out.send_trailers(header_map(&owned(fields)))?),
            None => Err(Http2Error::Closed("the way out was taken".to_owned())),
        }
    }

    /// RST_STREAM with this code.
    pub fn reset(&mut self, code: u32) {
        if let Some(out) = &mut self.out {
            out.send_reset(code.into());
        }
    }

    /// Waits for the response's head: its status.
    ///
    /// # Errors
    /// The stream ended.
    pub async fn status(&mut self) -> Result<u16, Http2Error> {
        if let Some(response) = &mut self.response {
            let received = poll_fn(|cx| {
                while let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                    match interim {
                        Ok(interim) => self
                            .interim
                            .push((interim.status().as_u16(), fields_of(interim.headers()))),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Pin::new(&mut *response).poll(cx)
            })
            .await;
            self.response = None;
            let (head, body) = received?.into_parts();
            self.head = Some((head.status.as_u16(), fields_of(&head.headers)));
            self.body = Some(body);
        }
        match &self.head {
            Some((status, _)) => Ok(*status),
            None => Err(Http2Error::Closed("the head failed before".to_owned())),
        }
    }

    /// The next piece of the response's body; `None` at its end. Its room in the window is given
    /// back.
    ///
    /// # Errors
    /// The stream ended.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Http2Error> {
        self.status().await?;
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        match body.data().await {
            None => Ok(None),
            Some(piece) => {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                Ok(Some(piece))
            }
        }
    }

    /// The rest of the response.
    ///
    /// # Errors
    /// The stream ended.
    pub async fn rest(&mut self) -> Result<Http2Response, Http2Error> {
        let status = self.status().await?;
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            bytes.extend_from_slice(&piece);
        }
        let trailers = match &mut self.body {
            Some(body) => body.trailers().await?,
            None => None,
        };
        Ok(Http2Response {
            status,
            fields: self
                .head
                .take()
                .map(|(_, fields)| fields)
                .unwrap_or_default(),
            body: bytes,
            trailers: trailers.as_ref().map(fields_of),
            interim: std::mem::take(&mut self.interim),
        })
    }
}
