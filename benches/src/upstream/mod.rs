//! The servers behind the proxies, all in one epoll thread: as cheap as can be, so that the proxy
//! is what limits.

mod http1;
mod http2;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::epoll::{Interest, Poller, Ready, accept, listen, pin};
use crate::traffic;
use http1::Next;

/// Requests answered by all servers of this process, of either version.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// Requests that the servers of this process have answered: units of a load whose generator tells
/// its own figures only when it has ended.
#[must_use]
pub fn answered() -> u64 {
    ANSWERED.load(Ordering::Relaxed)
}

/// What one listening address does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    /// HTTP/1, an answer per request head.
    Http,
    /// HTTP/2, the small answer on every stream.
    Http2,
    /// HTTP/2, one message and trailers on every stream.
    Grpc,
    /// Everything back.
    Echo,
    /// After the first byte received: zeros for as long as they are taken.
    Source,
}

/// Where the servers listen.
#[derive(Debug, Clone, Copy)]
pub struct Upstreams {
    /// HTTP/1 answers.
    pub http: SocketAddr,
    /// HTTP/2 answers, by prior knowledge.
    pub http2: SocketAddr,
    /// Answers of unary gRPC calls.
    pub grpc: SocketAddr,
    /// Echo.
    pub echo: SocketAddr,
    /// Endless zeros.
    pub source: SocketAddr,
}

/// How a connection is talked to.
enum Conversation {
    Http(http1::Conversation),
    Http2(http2::Conversation, Service),
    Echo,
    Source,
}

struct Connection {
    stream: TcpStream,
    conversation: Conversation,
    /// Written once there is room: first these bytes,
    pending: Vec<u8>,
    /// then this many of a large body.
    body: u64,
}

/// The bytes that are sent, made once.
struct Answers {
    small: Vec<u8>,
    realistic: Vec<u8>,
    large: Vec<u8>,
    zeros: Vec<u8>,
    http2: http2::Answer,
    grpc: http2::Answer,
}

struct Server {
    poller: Poller,
    listeners: Vec<(TcpListener, Service)>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    emptied: Vec<usize>,
    buffer: Vec<u8>,
    answers: Answers,
}

/// Starts the servers on loopback, in one thread on this CPU, until the process ends.
///
/// # Errors
/// When a port cannot be bound.
pub fn start(cpu: usize) -> io::Result<Upstreams> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let poller = Poller::new()?;
    let mut listeners = Vec::new();
    let mut serve = |service| {
        let listener = listen(any)?;
        let address = listener.local_addr();
        poller.add(&listener, listeners.len(), Interest::IN)?;
        listeners.push((listener, service));
        address
    };
    let addresses = Upstreams {
        http: serve(Service::Http)?,
        http2: serve(Service::Http2)?,
        grpc: serve(Service::Grpc)?,
        echo: serve(Service::Echo)?,
        source: serve(Service::Source)?,
    };
    let mut server = Server {
        poller,
        listeners,
        connections: Vec::new(),
        free: Vec::new(),
        emptied: Vec::new(),
        buffer: vec![0; 256 * 1024],
        answers: Answers {
            small: traffic::answer(traffic::SMALL_BODY),
            realistic: traffic::answer(traffic::REALISTIC_BODY),
            large: vec![b'x'; 256 * 1024],
            zeros: vec![0; 256 * 1024],
            http2: http2::Answer::small(),
            grpc: http2::Answer::grpc(),
        },
    };
    std::thread::Builder::new()
        .name("upstream".into())
        .spawn(move || {
            // Unpinned servers still measure; the operating system merely places them.
            let _ = pin(cpu);
            let mut ready = Vec::new();
            while server.poller.wait(&mut ready, None).is_ok() {
                for event in &ready {
                    server.handle(*event);
                }
                server.free.append(&mut server.emptied);
            }
        })?;
    Ok(addresses)
}

impl Server {
    fn handle(&mut self, event: Ready) {
        let Some(slot) = event.token.checked_sub(self.listeners.len()) else {
            self.accept_all(event.token);
            return;
        };
        let Some(entry) = self.connections.get_mut(slot) else {
            return;
        };
        let Some(connection) = entry else {
            return;
        };
        let alive = connection.serve(&self.answers, &mut self.buffer, event);
        let waits = connection.waits();
        if !matches!(alive, Ok(true)) {
            *entry = None;
            self.emptied.push(slot);
        } else if waits != event.flags.contains(Interest::OUT) {
            // Few answers do not fit a socket's buffer, so few pay for this.
            let interest = if waits { Interest::OUT } else { Interest::IN };
            let _ = self
                .poller
                .modify(&connection.stream, event.token, interest);
        }
    }

    fn accept_all(&mut self, token: usize) {
        let Some((listener, service)) = self.listeners.get(token) else {
            return;
        };
        while let Some(stream) = accept(listener) {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let token = self.listeners.len() + slot;
            if self.poller.add(&stream, token, Interest::IN).is_err() {
                self.free.push(slot);
                continue;
            }
            let conversation = match service {
                Service::Http => Conversation::Http(http1::Conversation::default()),
                Service::Http2 | Service::Grpc => {
                    Conversation::Http2(http2::Conversation::new(), *service)
                }
                Service::Echo => Conversation::Echo,
                Service::Source => Conversation::Source,
            };
            if let Some(entry) = self.connections.get_mut(slot) {
                *entry = Some(Connection {
                    stream,
                    conversation,
                    pending: Vec::new(),
                    body: 0,
                });
            }
        }
    }
}

impl Connection {
    /// False when the connection has ended.
    fn serve(&mut self, answers: &Answers, buffer: &mut [u8], event: Ready) -> io::Result<bool> {
        if event.writable() {
            let pending = std::mem::take(&mut self.pending);
            self.send(&pending)?;
            let body = match self.conversation {
                Conversation::Source => &answers.zeros,
                _ => &answers.large,
            };
            self.send_body(body)?;
            return Ok(true);
        }
        let got = match self.stream.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..got).unwrap_or_default();
        match &mut self.conversation {
            Conversation::Echo => self.send(bytes)?,
            Conversation::Source => self.body = u64::MAX,
            Conversation::Http(conversation) => {
                match conversation.take(bytes) {
                    Next::Wait => return Ok(true),
                    Next::Close => return Ok(false),
                    Next::Small => self.send(&answers.small)?,
                    Next::Realistic => self.send(&answers.realistic)?,
                    Next::Large(length) => {
                        self.send(&traffic::answer_head(length))?;
                        self.body = length;
                        self.send_body(&answers.large)?;
                    }
                }
                ANSWERED.fetch_add(1, Ordering::Relaxed);
            }
            Conversation::Http2(conversation, service) => {
                let answer = match service {
                    Service::Grpc => &answers.grpc,
                    _ => &answers.http2,
                };
                let mut out = Vec::with_capacity(4096);
                let Some(answered) = conversation.take(bytes, answer, &mut out) else {
                    return Ok(false);
                };
                self.send(&out)?;
                ANSWERED.fetch_add(answered, Ordering::Relaxed);
            }
        }
        Ok(true)
    }

    /// Whether something is left to be sent: until then nothing more is read, so that a client
    /// that does not read is not kept for.
    fn waits(&self) -> bool {
        self.body > 0 || !self.pending.is_empty()
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sent = if self.pending.is_empty() {
            some(self.stream.write(bytes))?
        } else {
            0
        };
        self.pending.extend(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    fn send_body(&mut self, piece: &[u8]) -> io::Result<()> {
        while self.body > 0 && self.pending.is_empty() {
            let length = usize::try_from(self.body).unwrap_or(usize::MAX);
            let piece = piece.get(..length).unwrap_or(piece);
            let sent = some(self.stream.write(piece))?;
            self.body -= sent as u64;
            if sent < piece.len() {
                break;
            }
        }
        Ok(())
    }
}

fn some(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
