//! Keep-alive HTTP: the next request goes out as soon as the answer is there.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Progress;
use crate::epoll::{Interest, Poller};
use crate::traffic::answer_length;

/// Which request comes next.
pub(super) struct Order<'r> {
    requests: &'r [Vec<u8>],
    at_random: bool,
    state: u64,
}

impl<'r> Order<'r> {
    pub(super) fn new(requests: &'r [Vec<u8>], at_random: bool) -> Order<'r> {
        Order {
            requests,
            at_random,
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// The next request of connection `token`.
    fn next(&mut self, token: usize) -> &'r [u8] {
        let mut index = token;
        if self.at_random {
            // Xorshift: even enough, and it costs the load next to nothing.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            index = usize::try_from(self.state >> 16).unwrap_or_default();
        }
        let index = index.checked_rem(self.requests.len()).unwrap_or_default();
        self.requests.get(index).map_or(&[], Vec::as_slice)
    }
}

struct Client {
    stream: TcpStream,
    partial: Vec<u8>,
}

pub(super) fn run(
    front: SocketAddr,
    mut order: Order<'_>,
    body: usize,
    connections: usize,
    progress: &Progress,
) -> io::Result<()> {
    let poller = Poller::new()?;
    let mut clients = Vec::new();
    for token in 0..connections {
        clients.push(open(&poller, front, token, order.next(token))?);
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut ready = Vec::new();
    while !progress.stopped() {
        poller.wait(&mut ready, Some(Duration::from_millis(20)))?;
        for event in &ready {
            let Some(client) = clients.get_mut(event.token) else {
                continue;
            };
            let step = client.answer(&mut buffer, body).and_then(|done| {
                if done {
                    progress.done(1);
                    client.ask(order.next(event.token))?;
                }
                Ok(())
            });
            if let Err(error) = step {
                progress.error(error);
                *client = open(&poller, front, event.token, order.next(event.token))?;
            }
        }
    }
    Ok(())
}

fn open(poller: &Poller, front: SocketAddr, token: usize, request: &[u8]) -> io::Result<Client> {
    let mut stream = TcpStream::connect(front)?;
    stream.set_nodelay(true)?;
    stream.write_all(request)?;
    stream.set_nonblocking(true)?;
    poller.add(&stream, token, Interest::IN)?;
    Ok(Client {
        stream,
        partial: Vec::new(),
    })
}

impl Client {
    /// Reads once; true when an answer is complete.
    fn answer(&mut self, buffer: &mut [u8], body: usize) -> Result<bool, String> {
        let got = match self.stream.read(buffer) {
            Ok(0) => return Err("closed in the middle of an answer".into()),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.to_string()),
        };
        let mut bytes = buffer.get(..got).unwrap_or_default();
        let continued = !self.partial.is_empty();
        if continued {
            self.partial.extend(bytes);
            bytes = &self.partial;
        }
        match answer_length(bytes, body)? {
            Some(length) if length == bytes.len() => self.partial.clear(),
            Some(_) => return Err("bytes after the answer".into()),
            None => {
                if !continued {
                    self.partial.extend(buffer.iter().take(got));
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A request of this size always fits an idle socket's buffer.
    fn ask(&mut self, request: &[u8]) -> Result<(), String> {
        self.stream
            .write_all(request)
            .map_err(|error| error.to_string())
    }
}
