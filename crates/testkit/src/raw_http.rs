//! A client that sends exactly the bytes it is given, and reads strictly what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::message::{self, Body, Fields, Framing, Head, MessageError, MessageReader};
use crate::serve::reset_on_close;

/// A complete response.
#[derive(Debug, Clone)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The fields, in order.
    pub fields: Fields,
    /// The exact bytes of the head.
    pub raw_head: Vec<u8>,
    /// How the end of the body was found.
    pub framing: Framing,
    /// The body, unframed.
    pub body: Vec<u8>,
    /// Chunk sizes as framed.
    pub chunks: Vec<usize>,
    /// Trailer fields.
    pub trailers: Fields,
    /// Interim responses (1xx other than 101) that came first.
    pub interim: Vec<(u16, Fields)>,
}

impl Response {
    /// The first value of a field (any letter case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        message::field(&self.fields, name)
    }

    /// Every value of a field (any letter case).
    pub fn values<'f>(&'f self, name: &str) -> impl Iterator<Item = &'f str> + use<'f> {
        message::values(&self.fields, name)
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {}", self.text()),
        }
    }

    /// The upstream that answered, for [`Reply::identity`](crate::Reply::identity).
    #[must_use]
    pub fn answered_by(&self) -> Option<String> {
        let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        value.get("name")?.as_str().map(str::to_owned)
    }

    /// Whether the connection may carry another request after this response.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        let says = |token| message::has_token(&self.fields, "connection", token);
        let framed = self.framing != Framing::UntilClose;
        framed && !says("close") && (self.version == "HTTP/1.1" || says("keep-alive"))
    }
}

/// One client connection. Every read gives up after a deadline (10 s unless changed).
#[derive(Debug)]
pub struct RawHttp<S = TcpStream> {
    reader: MessageReader<S>,
    deadline: Duration,
}

impl RawHttp<TcpStream> {
    /// Connects.
    ///
    /// # Errors
    /// When the connection is refused or does not come about within 10 s.
    pub async fn connect(addr: SocketAddr) -> Result<Self, MessageError> {
        let deadline = Duration::from_secs(10);
        let stream = timeout(deadline, TcpStream::connect(addr))
            .await
            .map_err(|_| MessageError::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(RawHttp::over(stream))
    }

    /// Closes with a reset (RST).
    pub fn reset(mut self) {
        reset_on_close(self.reader.stream());
    }

    /// The client's own address.
    ///
    /// # Panics
    /// When the socket is no longer connected.
    #[must_use]
    pub fn local_addr(&mut self) -> SocketAddr {
        self.reader
            .stream()
            .local_addr()
            .expect("a connected socket")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawHttp<S> {
    /// Speaks over an existing stream, such as a TLS session.
    pub fn over(stream: S) -> Self {
        RawHttp {
            reader: MessageReader::new(stream),
            deadline: Duration::from_secs(10),
        }
    }

    /// Changes the deadline of each following read.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut S {
        self.reader.stream()
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), MessageError> {
        self.reader.stream().write_all(bytes.as_ref()).await?;
        Ok(self.reader.stream().flush().await?)
    }

    /// Ends the sending side (FIN) and keeps reading.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn half_close(&mut self) -> Result<(), MessageError> {
        Ok(self.reader.stream().shutdown().await?)
    }

    /// A GET without a body, and its response.
    ///
    /// # Errors
    /// As [`RawHttp::read_response`].
    pub async fn get(&mut self, host: &str, target: &str) -> Result<Response, MessageError> {
        self.request("GET", host, target, &[], None).await
    }

    /// A request with these extra fields and, where given, a body with `Content-Length`, and its
    /// response.
    ///
    /// # Errors
    /// As [`RawHttp::read_response`].
    pub async fn request(
        &mut self,
        method: &str,
        host: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response, MessageError> {
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in fields {
            bytes += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            bytes += &format!("Content-Length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend(body.unwrap_or_default());
        self.send(bytes).await?;
        self.read_response_to(method).await
    }

    /// The response to a request whose method is neither HEAD nor CONNECT.
    ///
    /// # Errors
    /// `Malformed` for anything RFC 9112 does not allow, `Truncated` when the peer closes first
    /// (with nothing got: it closed without a word), `TimedOut`.
    pub async fn read_response(&mut self) -> Result<Response, MessageError> {
        self.read_response_to("GET").await
    }

    /// The response to a request with this method, which decides whether there is a body
    /// (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// As [`RawHttp::read_response`].
    pub async fn read_response_to(&mut self, method: &str) -> Result<Response, MessageError> {
        timeout(self.deadline, read_response(&mut self.reader, method))
            .await
            .map_err(|_| MessageError::TimedOut)?
    }

    /// The head alone of a final response, for bodies read piece by piece.
    ///
    /// # Errors
    /// As [`RawHttp::read_response`].
    pub async fn read_head(&mut self) -> Result<Head, MessageError> {
        let head = timeout(self.deadline, self.reader.head());
        match head.await.map_err(|_| MessageError::TimedOut)?? {
            Some(head) => Ok(head),
            None => Err(MessageError::Truncated {
                what: "response",
                got: Vec::new(),
            }),
        }
    }

    /// The next chunk of a chunked body; `None` at the last one.
    ///
    /// # Errors
    /// As [`RawHttp::read_response`].
    pub async fn read_chunk(&mut self) -> Result<Option<Vec<u8>>, MessageError> {
        timeout(self.deadline, self.reader.chunk())
            .await
            .map_err(|_| MessageError::TimedOut)?
    }

    /// Exactly this many raw bytes.
    ///
    /// # Errors
    /// `Truncated` or `TimedOut`.
    pub async fn read_exact(&mut self, length: usize) -> Result<Vec<u8>, MessageError> {
        timeout(self.deadline, self.reader.exact(length))
            .await
            .map_err(|_| MessageError::TimedOut)?
    }

    /// All raw bytes up to the peer's end.
    ///
    /// # Errors
    /// `Io` on a reset, or `TimedOut`.
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>, MessageError> {
        timeout(self.deadline, self.reader.until_close())
            .await
            .map_err(|_| MessageError::TimedOut)?
    }
}

async fn read_response<S: AsyncRead + Unpin>(
    reader: &mut MessageReader<S>,
    method: &str,
) -> Result<Response, MessageError> {
    let mut interim = Vec::new();
    loop {
        let Some(head) = reader.head().await? else {
            return Err(MessageError::Truncated {
                what: "response",
                got: Vec::new(),
            });
        };
        let (version, status, reason) = status_line(&head.first_line)?;
        let declared = head.declared_framing()?;
        if (100..200).contains(&status) && status != 101 {
            interim.push((status, head.fields));
            continue;
        }
        let tunnel = status == 101 || (method == "CONNECT" && (200..300).contains(&status));
        let framing = match declared {
            _ if method == "HEAD" || matches!(status, 204 | 304) || tunnel => Framing::None,
            Some(declared) => declared,
            None => Framing::UntilClose,
        };
        let Body {
            bytes,
            chunks,
            trailers,
        } = reader.body(framing).await?;
        return Ok(Response {
            version,
            status,
            reason,
            fields: head.fields,
            raw_head: head.raw,
            framing,
            body: bytes,
            chunks,
            trailers,
            interim,
        });
    }
}

fn status_line(line: &str) -> Result<(String, u16, String), MessageError> {
    let bad = || MessageError::Malformed(format!("status line {line:?}"));
    // RFC 9112 section 4: the blank after the status is required even before an empty reason.
    let mut words = line.splitn(3, ' ');
    let (Some(version), Some(digits), Some(reason)) = (words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let status = match digits.parse() {
        Ok(status) if digits.len() == 3 && (100..600).contains(&status) => status,
        _ => return Err(bad()),
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(bad());
    }
    Ok((version.to_owned(), status, reason.to_owned()))
}
