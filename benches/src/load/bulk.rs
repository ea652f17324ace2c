//! Streams that only receive: the cost of a byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Progress;
use crate::epoll::{Interest, Poller};

pub(super) fn run(front: SocketAddr, streams: usize, progress: &Progress) -> io::Result<()> {
    let poller = Poller::new()?;
    let mut clients = Vec::new();
    for token in 0..streams {
        let mut stream = TcpStream::connect(front)?;
        stream.write_all(b"!")?;
        stream.set_nonblocking(true)?;
        poller.add(&stream, token, Interest::IN)?;
        clients.push(stream);
    }
    let mut buffer = vec![0; 256 * 1024];
    let mut ready = Vec::new();
    while !progress.stopped() {
        poller.wait(&mut ready, Some(Duration::from_millis(20)))?;
        for event in &ready {
            let Some(stream) = clients.get_mut(event.token) else {
                continue;
            };
            match stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the stream ended")),
                Ok(got) => progress.done(got as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
