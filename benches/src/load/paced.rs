//! Requests at a fixed rate, and how long each took. The schedule does not wait for answers: the
//! time of a request runs from when it was due, not from when it could be sent, so that a pause of
//! the proxy is felt by every request that was due in it (no coordinated omission). What is not
//! answered at the end has taken as long as it has waited until then.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Paced, Progress};
use crate::epoll::{Interest, Poller, Ticker};

mod http1;
mod http2;

/// One connection's side of a protocol: what to send for a request, and which requests are done.
trait Protocol {
    /// Bytes to send before the first request.
    fn greeting(&mut self) -> Vec<u8>;
    /// Requests that may be under way at a time.
    fn capacity(&self) -> usize;
    /// Appends a request that was due then.
    fn request(&mut self, due: Instant, out: &mut Vec<u8>);
    /// Takes what has arrived, appends what it asks for, and gives each request that it completes.
    fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        done: &mut dyn FnMut(Instant),
    ) -> Result<(), String>;
    /// When the requests under way were due.
    fn waiting(&self) -> Vec<Instant>;
}

struct Client {
    stream: TcpStream,
    protocol: Box<dyn Protocol>,
}

pub(super) fn run(front: SocketAddr, job: &Paced, progress: &Progress) -> io::Result<()> {
    let poller = Poller::new()?;
    let mut clients = Vec::new();
    for token in 0..job.connections {
        clients.push(open(&poller, front, token, job)?);
    }
    // One entry for each request that a connection could take, in turns.
    let mut free: VecDeque<usize> = VecDeque::new();
    let streams = clients
        .first()
        .map_or(0, |client| client.protocol.capacity());
    for _ in 0..streams {
        free.extend(0..clients.len());
    }
    let every = Duration::from_secs(1) / job.rate;
    let ticker = Ticker::every(every)?;
    poller.add(&ticker, clients.len(), Interest::IN)?;
    let mut next = Instant::now() + every;
    let mut due = VecDeque::new();
    let mut latencies = Vec::new();
    let (mut buffer, mut out) = (vec![0; 64 * 1024], Vec::new());
    let mut ready = Vec::new();
    while !progress.stopped() {
        while next <= Instant::now() {
            due.push_back(next);
            next += every;
        }
        while let (Some(&at), Some(&token)) = (due.front(), free.front()) {
            due.pop_front();
            free.pop_front();
            let Some(client) = clients.get_mut(token) else {
                continue;
            };
            out.clear();
            client.protocol.request(at, &mut out);
            // Requests of this size fit a socket's buffer.
            client.stream.write_all(&out)?;
        }
        poller.wait(&mut ready, Some(Duration::from_millis(20)))?;
        for event in &ready {
            let Some(client) = clients.get_mut(event.token) else {
                ticker.take();
                continue;
            };
            out.clear();
            let now = Instant::now();
            let done = &mut |at: Instant| {
                latencies.push((at, now.saturating_duration_since(at)));
                free.push_back(event.token);
                progress.done(1);
            };
            if let Err(why) = client.receive(&mut buffer, &mut out, done) {
                return Err(io::Error::other(why));
            }
            if !out.is_empty() {
                client.stream.write_all(&out)?;
            }
        }
    }
    let now = Instant::now();
    due.extend(clients.iter().flat_map(|client| client.protocol.waiting()));
    latencies.extend(
        due.iter()
            .map(|at| (*at, now.saturating_duration_since(*at))),
    );
    progress.took(latencies);
    Ok(())
}

fn open(poller: &Poller, front: SocketAddr, token: usize, job: &Paced) -> io::Result<Client> {
    let mut protocol: Box<dyn Protocol> = if job.http2 {
        Box::new(http2::Http2::default())
    } else {
        Box::new(http1::Http1::default())
    };
    let mut stream = TcpStream::connect(front)?;
    stream.set_nodelay(true)?;
    stream.write_all(&protocol.greeting())?;
    stream.set_nonblocking(true)?;
    poller.add(&stream, token, Interest::IN)?;
    Ok(Client { stream, protocol })
}

impl Client {
    fn receive(
        &mut self,
        buffer: &mut [u8],
        out: &mut Vec<u8>,
        done: &mut dyn FnMut(Instant),
    ) -> Result<(), String> {
        match self.stream.read(buffer) {
            Ok(0) => Err("closed by the proxy".into()),
            Ok(got) => {
                let bytes = buffer.get(..got).unwrap_or_default();
                self.protocol.take(bytes, out, done)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
