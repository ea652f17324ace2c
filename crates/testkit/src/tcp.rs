//! Raw TCP upstreams, one behaviour each.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::serve::{Listening, reset_on_close};

/// What a server that speaks first says: the start of a MySQL protocol 10 handshake, length prefix
/// and packet number 0 included.
pub const GREETING: &[u8] = b"\x16\x00\x00\x00\x0a8.0.36-scripted\x00\x2a\x00\x00\x00\x00";

/// What the server does with each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Sends back what it receives; ends when the client does.
    Echo,
    /// Sends this at once, then echoes: a client that waits for it must not have to speak.
    ServerFirst(Vec<u8>),
    /// Reads to the end of the stream, then answers `got N bytes` and closes: only a proxy that
    /// passes half-closes on lets the answer through.
    AnswerAfterEnd,
    /// Sends this, closes its sending side at once, and reads on: the mirror half-close.
    EndFirst(Vec<u8>),
    /// Closes with a reset (RST) right after accepting.
    ResetAtOnce,
    /// Reads some bytes, then closes with a reset.
    ResetAfterRead,
    /// Sends zeros: this many bytes, then the end.
    Source(u64),
    /// Reads and counts; answers nothing.
    Sink,
    /// Accepts, then neither reads nor writes: buffers fill up.
    Stall,
}

/// A raw TCP server on loopback; stops when dropped. Its TCP handshake always succeeds; for one
/// that does not answer at all see [`Deaf`].
#[derive(Debug)]
pub struct TcpUpstream {
    listening: Listening,
    received: Arc<AtomicUsize>,
}

impl TcpUpstream {
    /// Starts on `127.0.0.1`, port 0.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub async fn start(behaviour: Behaviour) -> TcpUpstream {
        TcpUpstream::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), behaviour)
            .await
            .expect("a loopback port can be bound")
    }

    /// Starts on an address of the caller's choice.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn start_at(addr: SocketAddr, behaviour: Behaviour) -> io::Result<TcpUpstream> {
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let listening = Listening::start(addr, move |stream, _| {
            let behaviour = behaviour.clone();
            let count = Arc::clone(&count);
            async move {
                // The client's side of a failure is what tests look at.
                let _ = serve(stream, behaviour, &count).await;
            }
        })
        .await?;
        Ok(TcpUpstream {
            listening,
            received,
        })
    }

    /// Echoes; on `127.0.0.1`, port 0.
    pub async fn echo() -> TcpUpstream {
        TcpUpstream::start(Behaviour::Echo).await
    }

    /// Speaks first, with [`GREETING`]; on `127.0.0.1`, port 0.
    pub async fn server_first() -> TcpUpstream {
        TcpUpstream::start(Behaviour::ServerFirst(GREETING.to_vec())).await
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listening.addr()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listening.counts().accepted()
    }

    /// Connections open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.listening.counts().open()
    }

    /// Bytes received so far, all connections together.
    #[must_use]
    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour, count: &AtomicUsize) -> io::Result<()> {
    match behaviour {
        Behaviour::Echo => echo(&mut stream, count).await,
        Behaviour::ServerFirst(greeting) => {
            stream.write_all(&greeting).await?;
            echo(&mut stream, count).await
        }
        Behaviour::AnswerAfterEnd => {
            let got = drain(&mut stream, count).await?;
            stream
                .write_all(format!("got {got} bytes").as_bytes())
                .await
        }
        Behaviour::EndFirst(last_words) => {
            stream.write_all(&last_words).await?;
            stream.shutdown().await?;
            drain(&mut stream, count).await.map(drop)
        }
        Behaviour::ResetAtOnce => {
            reset_on_close(&stream);
            Ok(())
        }
        Behaviour::ResetAfterRead => {
            let mut buffer = [0; 4096];
            let got = stream.read(&mut buffer).await?;
            count.fetch_add(got, Ordering::SeqCst);
            reset_on_close(&stream);
            Ok(())
        }
        Behaviour::Source(bytes) => {
            let mut zeros = tokio::io::repeat(0).take(bytes);
            tokio::io::copy(&mut zeros, &mut stream).await?;
            stream.shutdown().await
        }
        Behaviour::Sink => drain(&mut stream, count).await.map(drop),
        Behaviour::Stall => std::future::pending().await,
    }
}

async fn echo(stream: &mut TcpStream, count: &AtomicUsize) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return stream.shutdown().await;
        }
        count.fetch_add(got, Ordering::SeqCst);
        stream
            .write_all(buffer.get(..got).unwrap_or_default())
            .await?;
    }
}

async fn drain(stream: &mut TcpStream, count: &AtomicUsize) -> io::Result<usize> {
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(total),
            got => {
                total += got;
                count.fetch_add(got, Ordering::SeqCst);
            }
        }
    }
}

/// An address whose TCP handshake never completes: it listens, never accepts, and its queue is
/// full, so the kernel drops every further SYN. For connect timeouts.
#[derive(Debug)]
pub struct Deaf {
    listener: std::net::TcpListener,
    _fillers: Vec<std::net::TcpStream>,
}

impl Deaf {
    /// Listens on `127.0.0.1`, port 0, and fills its queue.
    ///
    /// # Panics
    /// When the socket cannot be set up.
    #[must_use]
    pub fn start() -> Deaf {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a TCP socket");
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .expect("a loopback port can be bound");
        socket.listen(0).expect("listen");
        let listener = std::net::TcpListener::from(socket);
        let addr = listener.local_addr().expect("bound");
        let fillers = std::iter::from_fn(|| {
            std::net::TcpStream::connect_timeout(&addr, std::time::Duration::from_millis(100)).ok()
        })
        // A queue of length 0 takes one connection on Linux; the bound is for other kernels.
        .take(16)
        .collect();
        Deaf {
            listener,
            _fillers: fillers,
        }
    }

    /// The address that does not answer.
    ///
    /// # Panics
    /// Never on a socket that was bound.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{eventually, within};
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(10);

    async fn talk(behaviour: Behaviour, say: &[u8]) -> (io::Result<Vec<u8>>, TcpUpstream) {
        let upstream = TcpUpstream::start(behaviour).await;
        let mut stream = TcpStream::connect(upstream.addr()).await.expect("connects");
        let mut heard = Vec::new();
        let result = within(SOON, async {
            stream.write_all(say).await?;
            stream.shutdown().await?;
            stream.read_to_end(&mut heard).await.map(drop)
        })
        .await;
        (result.map(|()| heard), upstream)
    }

    #[tokio::test]
    async fn behaviours() {
        assert_eq!(talk(Behaviour::Echo, b"abc").await.0.expect("echo"), b"abc");
        let greeting = Behaviour::ServerFirst(GREETING.to_vec());
        assert_eq!(
            talk(greeting, b"x").await.0.expect("greets"),
            [GREETING, b"x"].concat()
        );
        assert_eq!(
            talk(Behaviour::AnswerAfterEnd, b"abc")
                .await
                .0
                .expect("answers"),
            b"got 3 bytes"
        );
        assert_eq!(
            talk(Behaviour::Source(70_000), b"")
                .await
                .0
                .expect("sends")
                .len(),
            70_000
        );
        let (heard, upstream) = talk(Behaviour::Sink, b"12345").await;
        assert_eq!(heard.expect("silent"), b"");
        assert_eq!((upstream.received(), upstream.connections()), (5, 1));
        eventually(SOON, || async { upstream.open_connections() == 0 }).await;
        let (heard, _) = talk(Behaviour::ResetAfterRead, b"x").await;
        assert_eq!(
            heard.map_err(|error| error.kind()),
            Err(io::ErrorKind::ConnectionReset)
        );
    }

    #[tokio::test]
    async fn a_greeting_needs_no_word_from_the_client() {
        let upstream = TcpUpstream::server_first().await;
        let mut stream = TcpStream::connect(upstream.addr()).await.expect("connects");
        let mut heard = vec![0; GREETING.len()];
        within(SOON, stream.read_exact(&mut heard))
            .await
            .expect("greets");
        assert_eq!(heard, GREETING);
    }

    #[tokio::test]
    async fn dropping_an_upstream_closes_its_connections() {
        let upstream = TcpUpstream::start(Behaviour::Stall).await;
        let mut stream = TcpStream::connect(upstream.addr()).await.expect("connects");
        eventually(SOON, || async { upstream.open_connections() == 1 }).await;
        drop(upstream);
        let mut rest = Vec::new();
        within(SOON, stream.read_to_end(&mut rest))
            .await
            .expect("an orderly end");
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn a_deaf_address_lets_nobody_in() {
        let deaf = Deaf::start();
        let connect = TcpStream::connect(deaf.addr());
        assert!(
            tokio::time::timeout(Duration::from_millis(200), connect)
                .await
                .is_err()
        );
    }
}
