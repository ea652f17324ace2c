//! Keep-alive HTTP: the next request goes out as soon as the answer is there.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Progress;
use crate::epoll::{Interest, Poller};
use crate::traffic::answer_length;

struct Client<'r> {
    stream: TcpStream,
    request: &'r [u8],
    partial: Vec<u8>,
}

pub(super) fn run(
    front: SocketAddr,
    requests: &[Vec<u8>],
    body: usize,
    connections: usize,
    progress: &Progress,
) -> io::Result<()> {
    let poller = Poller::new()?;
    let mut clients = Vec::new();
    for (token, request) in requests.iter().cycle().take(connections).enumerate() {
        clients.push(open(&poller, front, token, request)?);
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut ready = Vec::new();
    while !progress.stopped() {
        poller.wait(&mut ready, Some(Duration::from_millis(20)))?;
        for event in &ready {
            let Some(client) = clients.get_mut(event.token) else {
                continue;
            };
            match client.answer(&mut buffer, body) {
                Ok(true) => progress.done(1),
                Ok(false) => {}
                Err(error) => {
                    progress.error(error);
                    *client = open(&poller, front, event.token, client.request)?;
                }
            }
        }
    }
    Ok(())
}

fn open<'r>(
    poller: &Poller,
    front: SocketAddr,
    token: usize,
    request: &'r [u8],
) -> io::Result<Client<'r>> {
    let mut stream = TcpStream::connect(front)?;
    stream.set_nodelay(true)?;
    stream.write_all(request)?;
    stream.set_nonblocking(true)?;
    poller.add(&stream, token, Interest::IN)?;
    Ok(Client {
        stream,
        request,
        partial: Vec::new(),
    })
}

impl Client<'_> {
    /// Reads once; true when an answer is complete and the next request has been sent.
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
        // A request of this size always fits an idle socket's buffer.
        self.stream
            .write_all(self.request)
            .map_err(|error| error.to_string())?;
        Ok(true)
    }
}
