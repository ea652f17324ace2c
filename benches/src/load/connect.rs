//! Connect, send, await the echo, close: the cost of a connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Progress;
use crate::epoll::{Interest, Poller, Ready, begin_connect};

/// Edge-triggered: one registration serves both the connect and the answer.
const BOTH: Interest = Interest::IN.union(Interest::OUT).union(Interest::ET);

struct Client {
    stream: TcpStream,
    sent: bool,
    echoed: usize,
}

pub(super) fn run(
    front: SocketAddr,
    payload: &[u8],
    concurrency: usize,
    progress: &Progress,
) -> io::Result<()> {
    let poller = Poller::new()?;
    let mut clients = Vec::new();
    for token in 0..concurrency {
        clients.push(open(&poller, front, token)?);
    }
    let mut buffer = vec![0; 16 * 1024];
    let mut ready = Vec::new();
    while !progress.stopped() {
        poller.wait(&mut ready, Some(Duration::from_millis(20)))?;
        for event in &ready {
            let Some(client) = clients.get_mut(event.token) else {
                continue;
            };
            match client.advance(*event, payload, &mut buffer) {
                Ok(false) => continue,
                Ok(true) => progress.done(1),
                Err(error) => progress.error(error),
            }
            // Replacing it closes the old one.
            *client = open(&poller, front, event.token)?;
        }
    }
    Ok(())
}

fn open(poller: &Poller, front: SocketAddr, token: usize) -> io::Result<Client> {
    let stream = begin_connect(front)?;
    poller.add(&stream, token, BOTH)?;
    Ok(Client {
        stream,
        sent: false,
        echoed: 0,
    })
}

impl Client {
    /// True when the whole payload has come back.
    fn advance(&mut self, event: Ready, payload: &[u8], buffer: &mut [u8]) -> Result<bool, String> {
        if !self.sent {
            if !event.writable() {
                return Ok(false);
            }
            self.stream
                .write_all(payload)
                .map_err(|error| format!("connect: {error}"))?;
            self.sent = true;
        }
        // Edge-triggered, so read until there is nothing left.
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("closed before the echo".into()),
                Ok(got) => {
                    let expected = payload.get(self.echoed..self.echoed + got);
                    if expected != buffer.get(..got) {
                        return Err("the echo is not what was sent".into());
                    }
                    self.echoed += got;
                    if self.echoed == payload.len() {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
