//! One connection with one thing said on it, and what became of it.
use super::SOON;
use pointsman_testkit::{RawHttp, Response, client_hello, message::MessageError, within};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// Where clients dial from, unless told otherwise: an address that no document has.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 77, 1));

/// What is said.
#[derive(Clone, Debug)]
pub enum Probe {
    /// Bytes of no known protocol, or what a TLS client says first.
    Bytes(Vec<u8>),
    /// A request: its method and all its bytes.
    Request(String, Vec<u8>),
}

/// What became of it, where [`Everywhere`](super::Everywhere) answers.
#[derive(Debug)]
pub enum Fate {
    /// The bytes came to this address as they were sent.
    Bytes(SocketAddr),
    /// The request came to this address as the gateway wrote it: its head, and the response.
    Backend(SocketAddr, String, Response),
    /// The gateway answered.
    Answer(Response),
    /// Closed without a word.
    Closed,
}

impl Probe {
    /// No protocol says this.
    pub fn bytes() -> Self {
        Self::Bytes(b"\x00\x01pointsman\xff\r\n".to_vec())
    }

    /// What a TLS client says first.
    pub fn hello(sni: Option<&str>, alpn: &[&str]) -> Self {
        Self::Bytes(client_hello(sni, alpn))
    }

    /// A request that ends its connection. `Host` is among the fields, if it is sent.
    pub fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Self {
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("connection: close\r\n\r\n");
        Self::Request(method.to_owned(), text.into_bytes())
    }

    /// The same request in another version of HTTP/1.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        match self {
            Self::Request(method, bytes) if version != "1.1" => {
                let text = String::from_utf8(bytes).expect("text");
                let text = text.replacen("HTTP/1.1", &format!("HTTP/{version}"), 1);
                Self::Request(method, text.into_bytes())
            }
            other => other,
        }
    }

    /// Dials `to` and says it.
    ///
    /// # Panics
    /// When nothing comes of it for long, or bytes do not come back as they were sent.
    pub async fn send(&self, to: SocketAddr) -> Fate {
        self.send_from(CLIENT, to).await
    }

    /// As [`Probe::send`], from an address.
    pub async fn send_from(&self, from: IpAddr, to: SocketAddr) -> Fate {
        let stream = within(SOON, dial(from, to)).await.expect("connects");
        match self {
            Self::Bytes(bytes) => within(SOON, say(stream, bytes)).await,
            Self::Request(method, bytes) => {
                let mut client = RawHttp::over(stream);
                client.send(bytes).await.expect("sent");
                let response = match client.read_response_to(method).await {
                    Ok(response) => response,
                    Err(MessageError::Truncated { got, .. }) if got.is_empty() => {
                        return Fate::Closed;
                    }
                    Err(MessageError::Io(_)) => return Fate::Closed,
                    Err(other) => panic!("{to}: {other}"),
                };
                match response.field("x-at").map(|at| at.parse().expect("x-at")) {
                    None => Fate::Answer(response),
                    Some(at) if response.body == *bytes => Fate::Bytes(at),
                    Some(at) => Fate::Backend(at, response.text(), response),
                }
            }
        }
    }
}

async fn dial(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket
    } else {
        TcpSocket::new_v6()?
    };
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn say(mut stream: TcpStream, bytes: &[u8]) -> Fate {
    stream.write_all(bytes).await.expect("sent");
    // A connection that was reset meanwhile has no side to close.
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    // So is one that is closed with bytes unread.
    let _ = stream.read_to_end(&mut answer).await;
    let Some(bar) = answer.iter().position(|&byte| byte == b'|') else {
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        return Fate::Closed;
    };
    let (at, rest) = answer.split_at(bar);
    assert_eq!(&rest[1..], bytes, "the bytes as they were sent");
    let at = String::from_utf8_lossy(at);
    Fate::Bytes(at.parse().expect("an address"))
}
