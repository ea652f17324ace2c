//! The floor: copies bytes between one client connection and one upstream connection, and parses
//! nothing. What a proxy costs above it is the price of what it does with the bytes.
//!
//! One thread, one shared buffer, edge-triggered epoll: a connection whose both ends keep up costs
//! no `epoll_ctl` after its registration. Half-closes are passed on; a side that does not read stops
//! the other from being read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::epoll::{Interest, Poller, Ready, accept, begin_connect, listen};

/// Bytes moved by one read. Large, because bulk cost falls with it; shared, because idle
/// connections then hold none of it.
const BUFFER: usize = 1 << 20;

/// Reads of one connection in a row before the others get their turn.
const ROUNDS: usize = 4;

/// What every side is watched for. `RDHUP` tells that a FIN is already queued behind the data: a
/// short read would otherwise leave it there without another edge.
const READING: Interest = Interest::IN.union(Interest::RDHUP).union(Interest::ET);

/// One direction's source and the other's sink.
struct Side {
    stream: TcpStream,
    /// Read from the other side, not yet taken by this one.
    pending: Vec<u8>,
    /// The peer has sent its FIN.
    ended: bool,
    /// The FIN has been passed on to this side.
    finished: bool,
}

/// Two sides that copy to each other.
struct Pair {
    client: Side,
    upstream: Side,
}

struct Relay {
    poller: Poller,
    listeners: Vec<(TcpListener, SocketAddr)>,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    /// Slots emptied in this batch: reused only after it, as later events of the batch may still
    /// name them.
    emptied: Vec<usize>,
    buffer: Vec<u8>,
}

/// Relays each `(listen, upstream)` pair of addresses until the process ends.
///
/// # Errors
/// When an address cannot be bound or epoll fails.
pub fn run(routes: &[(SocketAddr, SocketAddr)]) -> io::Result<()> {
    let mut relay = Relay {
        poller: Poller::new()?,
        listeners: Vec::new(),
        pairs: Vec::new(),
        free: Vec::new(),
        emptied: Vec::new(),
        buffer: vec![0; BUFFER],
    };
    for (token, (front, upstream)) in routes.iter().enumerate() {
        let listener = listen(*front)?;
        relay.poller.add(&listener, token, Interest::IN)?;
        relay.listeners.push((listener, *upstream));
    }
    let mut ready = Vec::new();
    loop {
        relay.poller.wait(&mut ready, None)?;
        for event in &ready {
            relay.handle(*event);
        }
        relay.free.append(&mut relay.emptied);
    }
}

impl Relay {
    /// Tokens: first the listeners, then two for each pair, client before upstream.
    fn handle(&mut self, event: Ready) {
        let Some(token) = event.token.checked_sub(self.listeners.len()) else {
            self.accept_all(event.token);
            return;
        };
        let slot = token / 2;
        let Some(Some(pair)) = self.pairs.get_mut(slot) else {
            return;
        };
        let base = self.listeners.len() + slot * 2;
        let alive = pair.handle(&self.poller, &mut self.buffer, base, event, token % 2 == 0);
        if !matches!(alive, Ok(true)) {
            if let Some(slot) = self.pairs.get_mut(slot) {
                *slot = None;
            }
            self.emptied.push(slot);
        }
    }

    fn accept_all(&mut self, token: usize) {
        let Some((listener, upstream)) = self.listeners.get(token) else {
            return;
        };
        while let Some(client) = accept(listener) {
            // Nothing to do for a client whose upstream is gone but to close.
            let Ok(upstream) = begin_connect(*upstream) else {
                continue;
            };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.pairs.push(None);
                self.pairs.len() - 1
            });
            let base = self.listeners.len() + slot * 2;
            let added = self
                .poller
                .add(&client, base, READING)
                .and_then(|()| self.poller.add(&upstream, base + 1, READING));
            if added.is_err() {
                self.free.push(slot);
                continue;
            }
            if let Some(entry) = self.pairs.get_mut(slot) {
                *entry = Some(Pair {
                    client: Side::new(client),
                    upstream: Side::new(upstream),
                });
            }
        }
    }
}

impl Pair {
    /// Moves bytes after an event on one side; false when both directions have ended.
    fn handle(
        &mut self,
        poller: &Poller,
        buffer: &mut [u8],
        base: usize,
        event: Ready,
        on_client: bool,
    ) -> io::Result<bool> {
        let (here, there) = if on_client {
            (&mut self.client, &mut self.upstream)
        } else {
            (&mut self.upstream, &mut self.client)
        };
        let (token, other) = if on_client {
            (base, base + 1)
        } else {
            (base + 1, base)
        };
        if event.failed() {
            return Ok(false);
        }
        if event.writable() && here.flush(poller, token)? {
            // The other side was not read while this one was full, and its edges are gone.
            there.pump((here, token), poller, other, buffer, true)?;
        }
        if event.readable() {
            let to_the_end = event.flags.intersects(Interest::RDHUP | Interest::HUP);
            here.pump((there, other), poller, token, buffer, to_the_end)?;
        }
        Ok(!(self.client.finished && self.upstream.finished))
    }
}

impl Side {
    fn new(stream: TcpStream) -> Side {
        Side {
            stream,
            pending: Vec::new(),
            ended: false,
            finished: false,
        }
    }

    /// Copies what has arrived here to the other side, until there is no more or it takes no more.
    fn pump(
        &mut self,
        (other, other_token): (&mut Side, usize),
        poller: &Poller,
        token: usize,
        buffer: &mut [u8],
        to_the_end: bool,
    ) -> io::Result<()> {
        if self.ended || !other.pending.is_empty() {
            return Ok(());
        }
        for _ in 0..ROUNDS {
            let got = match self.stream.read(buffer) {
                Ok(0) => {
                    self.ended = true;
                    other.finished = true;
                    return other.stream.shutdown(Shutdown::Write);
                }
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..got).unwrap_or_default();
            let rest = bytes
                .get(written(&mut other.stream, bytes)?..)
                .unwrap_or_default();
            if !rest.is_empty() {
                other.pending.extend(rest);
                return poller.modify(&other.stream, other_token, READING | Interest::OUT);
            }
            if got < buffer.len() && !to_the_end {
                return Ok(());
            }
        }
        // Others first; setting the interest anew gives another edge.
        poller.modify(&self.stream, token, READING)
    }

    /// Writes what was kept; true when that has just been done with.
    fn flush(&mut self, poller: &Poller, token: usize) -> io::Result<bool> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let sent = written(&mut self.stream, &self.pending)?;
        self.pending.drain(..sent);
        if self.pending.is_empty() {
            poller.modify(&self.stream, token, READING)?;
        }
        Ok(self.pending.is_empty())
    }
}

fn written(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Ok(sent) => Ok(sent),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}
