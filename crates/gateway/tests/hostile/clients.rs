//! Clients that say how their answers ended, whatever they are.
use crate::{cases::Shown, common::*};
use pointsman_testkit::{
    http2::{Http2Client, Http2Error, Http2Request},
    message::{Body, Fields, Framing, MessageError, MessageReader, has_token, parse_head},
    within,
};
use std::net::{IpAddr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: String,
    pub(crate) version: String,
    pub(crate) path: String,
    pub(crate) upgrade: bool,
}

impl Question {
    pub(crate) fn get(path: &str) -> Self {
        Self {
            method: "GET".into(),
            version: "1.1".into(),
            path: path.into(),
            upgrade: false,
        }
    }
}

/// What the client got.
#[derive(Debug, Default)]
pub(crate) struct Got {
    /// The answer came to its end; else something told that it did not.
    pub(crate) whole: bool,
    /// 0: not even a head.
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    pub(crate) interim: Vec<u16>,
    /// RST_STREAM with this code ended it.
    pub(crate) reset: Option<u32>,
    /// Why it ended, for people.
    #[allow(dead_code, reason = "shown where a case fails")]
    pub(crate) end: String,
}

/// A connection to the gateway.
pub(crate) enum Client {
    Http1(Http1),
    Http2(Http2Client),
}

impl Client {
    /// Connects, from an address of its own.
    pub(crate) async fn connect(speech: Speech, to: SocketAddr) -> (Client, IpAddr) {
        let (stream, own) = dial(to).await;
        let client = match speech {
            Speech::Http1 => Client::Http1(Http1 {
                stream,
                received: Vec::new(),
            }),
            Speech::Http2 => {
                let client = within(SOON, Http2Client::over(stream, |_| {})).await;
                Client::Http2(client.expect("HTTP/2"))
            }
        };
        (client, own)
    }

    /// Asks, and reads as much of the answer as there is.
    pub(crate) async fn ask(&mut self, question: &Question) -> Got {
        match self {
            Client::Http1(client) => client.ask(question).await,
            Client::Http2(client) => within(SOON, ask_http2(client, question)).await,
        }
    }

    /// Can this connection be asked again?
    pub(crate) fn goes_on(&self, question: &Question, got: &Got) -> bool {
        match self {
            Client::Http1(_) => {
                got.whole
                    && question.version == "1.1"
                    && !has_token(&got.fields, "connection", "close")
                    && got.status != 101
            }
            // What became of a stream is nothing to the others.
            Client::Http2(_) => true,
        }
    }
}

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Http1,
    Http2,
}

async fn ask_http2(client: &mut Http2Client, question: &Question) -> Got {
    let mut got = Got::default();
    let request = Http2Request::new(&question.method, "web", &question.path);
    let mut stream = match client.begin(&request, true).await {
        Ok(stream) => stream,
        Err(error) => {
            got.end = error.to_string();
            return got;
        }
    };
    let end = async {
        got.status = stream.status().await?;
        while let Some(piece) = stream.piece().await? {
            got.body.extend_from_slice(&piece);
        }
        stream.rest().await
    };
    match end.await {
        Ok(rest) => {
            got.whole = true;
            got.fields = rest.fields;
            got.trailers = rest.trailers.unwrap_or_default();
            got.interim = rest.interim.iter().map(|(status, _)| *status).collect();
        }
        // Anything else would not be about this stream alone.
        Err(Http2Error::Reset(code)) => got.reset = Some(code),
        Err(error) => got.end = error.to_string(),
    }
    got
}

/// As HTTP/1.
pub(crate) struct Http1 {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Http1 {
    async fn ask(&mut self, question: &Question) -> Got {
        let Question {
            method,
            version,
            path,
            upgrade,
        } = question;
        let upgrade = match upgrade {
            true => "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            false => "",
        };
        let text = format!("{method} {path} HTTP/{version}\r\nHost: web\r\n{upgrade}\r\n");
        if let Err(error) = self.stream.write_all(text.as_bytes()).await {
            return Got {
                end: error.to_string(),
                ..Got::default()
            };
        }
        loop {
            match answer(&self.received, false, method).await {
                Ok(got) => {
                    self.received.clear();
                    return got;
                }
                Err(MessageError::Truncated { .. }) => {}
                Err(error) => {
                    return Got {
                        end: error.to_string(),
                        ..Got::default()
                    };
                }
            }
            match within(SOON, self.stream.read_buf(&mut self.received)).await {
                Ok(1..) => {}
                // Close-delimited answers are whole only if the end is one in order.
                Ok(0) => {
                    return match answer(&self.received, true, method).await {
                        Ok(got) => got,
                        Err(_) => part(&self.received, "the end came first").await,
                    };
                }
                Err(error) => return part(&self.received, &error.to_string()).await,
            }
        }
    }
}

/// The answer in these bytes. `ended`: no more will come, in order.
async fn answer(received: &[u8], ended: bool, method: &str) -> Result<Got, MessageError> {
    let mut reader = MessageReader::new(received);
    let mut got = Got {
        whole: true,
        ..Got::default()
    };
    loop {
        let truncated = || MessageError::Truncated {
            what: "head",
            got: Vec::new(),
        };
        let head = reader.head().await?.ok_or_else(truncated)?;
        let status = head
            .first_line
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok());
        let status: u16 = status.ok_or_else(|| MessageError::Malformed(head.first_line.clone()))?;
        let framing = head.declared_framing()?;
        if (100..200).contains(&status) && status != 101 {
            got.interim.push(status);
            continue;
        }
        let framing = match framing {
            _ if method == "HEAD" || matches!(status, 101 | 204 | 304) => Framing::None,
            Some(framing) => framing,
            None if ended => Framing::UntilClose,
            None => return Err(truncated()),
        };
        let Body {
            bytes, trailers, ..
        } = reader.body(framing).await?;
        let rest = reader.ahead();
        if !rest.is_empty() {
            return Err(MessageError::Malformed(format!(
                "{} behind it",
                Shown(rest)
            )));
        }
        return Ok(Got {
            status,
            fields: head.fields,
            body: bytes,
            trailers,
            ..got
        });
    }
}

/// As much as there is of a broken answer.
async fn part(received: &[u8], end: &str) -> Got {
    let mut reader = MessageReader::new(received);
    let mut got = Got {
        end: end.into(),
        ..Got::default()
    };
    loop {
        let Ok(Some(head)) = reader.head().await else {
            return got;
        };
        let status = head
            .first_line
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok());
        got.status = status.unwrap_or_default();
        if (100..200).contains(&got.status) {
            got.interim.push(got.status);
            got.status = 0;
            continue;
        }
        let chunked = matches!(head.declared_framing(), Ok(Some(Framing::Chunked)));
        got.fields = head.fields;
        if !chunked {
            got.body = reader.ahead().to_vec();
            return got;
        }
        loop {
            match reader.chunk().await {
                Ok(Some(chunk)) => got.body.extend(chunk),
                Err(MessageError::Truncated {
                    what: "body",
                    got: rest,
                }) => {
                    got.body.extend(rest);
                    return got;
                }
                _ => return got,
            }
        }
    }
}

#[tokio::test]
async fn parts_of_answers_are_told_from_whole_ones() {
    let whole = answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
        "GET",
    )
    .await;
    assert_eq!(whole.expect("whole").body, b"ok");
    let head = parse_head(b"HTTP/1.1 200 OK\r\n\r\n").expect("a head");
    assert!(answer(&head.raw, false, "GET").await.is_err());
    assert!(answer(&head.raw, true, "GET").await.is_ok());
    let got = part(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n5\r\ncd",
        "cut",
    )
    .await;
    assert_eq!(
        (got.status, got.whole, &*got.body),
        (200, false, &b"abcd"[..])
    );
}
