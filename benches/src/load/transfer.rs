//! Large bodies over kept-alive HTTP/1, down or up: the cost of a byte of a message. Bytes of
//! bodies count as they move, so that a body longer than the measured time counts too.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Progress, Transfer};
use crate::epoll::{Interest, Poller};
use crate::traffic::{SMALL_BODY, answer_head_length};

/// Bytes moved by one system call at most.
const PIECE: usize = 256 * 1024;

struct Client {
    stream: TcpStream,
    /// Of the request's body.
    unsent: u64,
    /// Whether the socket is watched for room to write.
    writing: bool,
    /// An answer's head that has arrived in part.
    partial: Vec<u8>,
    /// Bytes of the answer's body still to come, once its head is there.
    missing: Option<u64>,
}

pub(super) fn run(front: SocketAddr, job: &Transfer, progress: &Progress) -> io::Result<()> {
    let poller = Poller::new()?;
    let mut clients = Vec::new();
    for token in 0..job.connections {
        clients.push(open(&poller, front, token, job)?);
    }
    let mut buffer = vec![0; PIECE];
    let body = vec![b'x'; PIECE];
    let mut ready = Vec::new();
    while !progress.stopped() {
        poller.wait(&mut ready, Some(Duration::from_millis(20)))?;
        for event in &ready {
            let Some(client) = clients.get_mut(event.token) else {
                continue;
            };
            let done = if client.writing && event.writable() {
                client.send(job, &body, progress)
            } else {
                client.receive(job, &mut buffer, progress)
            };
            match done {
                Ok(()) => client.watch(&poller, event.token)?,
                Err(error) => {
                    progress.error(error);
                    *client = open(&poller, front, event.token, job)?;
                }
            }
        }
    }
    Ok(())
}

fn open(poller: &Poller, front: SocketAddr, token: usize, job: &Transfer) -> io::Result<Client> {
    let mut stream = TcpStream::connect(front)?;
    stream.set_nodelay(true)?;
    stream.write_all(&job.head)?;
    stream.set_nonblocking(true)?;
    let mut client = Client {
        stream,
        unsent: job.up,
        writing: false,
        partial: Vec::new(),
        missing: None,
    };
    poller.add(&client.stream, token, Interest::IN)?;
    client.watch(poller, token)?;
    Ok(client)
}

impl Client {
    fn watch(&mut self, poller: &Poller, token: usize) -> io::Result<()> {
        let writing = self.unsent > 0;
        if writing != self.writing {
            self.writing = writing;
            let out = if writing {
                Interest::OUT
            } else {
                Interest::empty()
            };
            poller.modify(&self.stream, token, Interest::IN | out)?;
        }
        Ok(())
    }

    fn send(&mut self, job: &Transfer, body: &[u8], progress: &Progress) -> Result<(), String> {
        let length = usize::try_from(self.unsent).unwrap_or(usize::MAX);
        match self.stream.write(body.get(..length).unwrap_or(body)) {
            Ok(sent) => {
                self.unsent -= sent as u64;
                progress.done(if job.up > 0 { sent as u64 } else { 0 });
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn receive(
        &mut self,
        job: &Transfer,
        buffer: &mut [u8],
        progress: &Progress,
    ) -> Result<(), String> {
        let got = match self.stream.read(buffer) {
            Ok(0) => return Err("closed in the middle of an answer".into()),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let mut of_body = got as u64;
        if self.missing.is_none() {
            self.partial.extend(buffer.iter().take(got));
            let Some(head) = answer_head_length(&self.partial, job.down)? else {
                return Ok(());
            };
            of_body = (self.partial.len() - head) as u64;
            self.partial.clear();
            self.missing = Some(job.down);
        }
        let missing = self.missing.unwrap_or_default();
        let missing = missing
            .checked_sub(of_body)
            .ok_or("bytes after the answer")?;
        progress.done(if job.up == 0 { of_body } else { 0 });
        self.missing = Some(missing);
        if missing == 0 {
            if self.unsent > 0 {
                return Err("answered before the whole request was sent".into());
            }
            self.missing = None;
            self.unsent = job.up;
            self.stream
                .write_all(&job.head)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Transfer {
    /// Bodies of `length` bytes from the upstream.
    #[must_use]
    pub fn down(length: u64, connections: usize) -> Transfer {
        Transfer {
            head: crate::traffic::large_request(length),
            up: 0,
            down: length,
            connections,
        }
    }

    /// Bodies of `length` bytes to the upstream.
    #[must_use]
    pub fn up(length: u64, connections: usize) -> Transfer {
        Transfer {
            head: crate::traffic::upload_head(length),
            up: length,
            down: SMALL_BODY as u64,
            connections,
        }
    }
}
