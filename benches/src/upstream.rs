//! The servers behind the proxies, all in one epoll thread: as cheap as can be, so that the proxy
//! is what limits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use crate::epoll::{Interest, Poller, Ready, accept, listen, pin};
use crate::traffic;

/// What one listening address does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    /// A fixed answer per request head.
    Http,
    /// Everything back.
    Echo,
    /// After the first byte received: zeros for as long as they are taken.
    Source,
}

/// Where the servers listen.
#[derive(Debug, Clone, Copy)]
pub struct Upstreams {
    /// Fixed HTTP answers.
    pub http: SocketAddr,
    /// Echo.
    pub echo: SocketAddr,
    /// Endless zeros.
    pub source: SocketAddr,
}

struct Connection {
    stream: TcpStream,
    service: Service,
    /// A request head that has arrived in part.
    partial: Vec<u8>,
}

struct Server {
    poller: Poller,
    listeners: Vec<(TcpListener, Service)>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    emptied: Vec<usize>,
    buffer: Vec<u8>,
    zeros: Vec<u8>,
    small: Vec<u8>,
    realistic: Vec<u8>,
}

/// Starts the servers on loopback, in one thread on this CPU, until the process ends.
///
/// # Errors
/// When a port cannot be bound.
pub fn start(cpu: usize) -> io::Result<Upstreams> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let poller = Poller::new()?;
    let mut listeners = Vec::new();
    for service in [Service::Http, Service::Echo, Service::Source] {
        let listener = listen(any)?;
        poller.add(&listener, listeners.len(), Interest::IN)?;
        listeners.push((listener, service));
    }
    let of = |wanted| {
        let found = listeners.iter().find(|(_, service)| *service == wanted);
        found.map_or(Ok(any), |(listener, _)| listener.local_addr())
    };
    let addresses = Upstreams {
        http: of(Service::Http)?,
        echo: of(Service::Echo)?,
        source: of(Service::Source)?,
    };
    let mut server = Server {
        poller,
        listeners,
        connections: Vec::new(),
        free: Vec::new(),
        emptied: Vec::new(),
        buffer: vec![0; 64 * 1024],
        zeros: vec![0; 256 * 1024],
        small: traffic::answer(traffic::SMALL_BODY),
        realistic: traffic::answer(traffic::REALISTIC_BODY),
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
        let Some(Some(mut connection)) = self.connections.get_mut(slot).map(Option::take) else {
            return;
        };
        if matches!(self.serve(&mut connection, slot, event), Ok(true)) {
            if let Some(entry) = self.connections.get_mut(slot) {
                *entry = Some(connection);
            }
        } else {
            self.emptied.push(slot);
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
            if self
                .poller
                .add(&stream, self.listeners.len() + slot, Interest::IN)
                .is_err()
            {
                self.free.push(slot);
                continue;
            }
            if let Some(entry) = self.connections.get_mut(slot) {
                *entry = Some(Connection {
                    stream,
                    service: *service,
                    partial: Vec::new(),
                });
            }
        }
    }

    /// False when the connection has ended.
    fn serve(
        &mut self,
        connection: &mut Connection,
        slot: usize,
        event: Ready,
    ) -> io::Result<bool> {
        if event.writable() {
            return keep(connection.stream.write(&self.zeros));
        }
        let got = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return Ok(false),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let bytes = self.buffer.get(..got).unwrap_or_default();
        match connection.service {
            Service::Echo => connection.stream.write_all(bytes)?,
            Service::Source => {
                let token = self.listeners.len() + slot;
                self.poller
                    .modify(&connection.stream, token, Interest::OUT)?;
            }
            Service::Http => {
                let whole = connection.partial.is_empty() && bytes.ends_with(b"\r\n\r\n");
                if !whole {
                    connection.partial.extend(bytes);
                    if !connection.partial.ends_with(b"\r\n\r\n") {
                        return Ok(connection.partial.len() < 64 * 1024);
                    }
                }
                let head = if whole { bytes } else { &connection.partial };
                let realistic = head.starts_with(traffic::REALISTIC_PREFIX);
                let answer = if realistic {
                    &self.realistic
                } else {
                    &self.small
                };
                connection.stream.write_all(answer)?;
                connection.partial.clear();
            }
        }
        Ok(true)
    }
}

fn keep(written: io::Result<usize>) -> io::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
