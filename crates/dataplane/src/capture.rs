//! How traffic reaches the gateway: sockets of its own, or redirected by the kernel.
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{io, net::SocketAddr};
use tokio::net::{TcpListener, TcpStream};

/// The way of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The gateway binds every frontend address itself.
    #[default]
    Bind,
    /// iptables REDIRECT sends traffic to one port.
    Redirect,
}

/// What shards must know about capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// The way.
    pub mode: Mode,
    /// The port that redirected traffic is sent to.
    pub port: u16,
    /// Listen on this network interface only (`lo` keeps a demonstration private).
    pub interface: Option<String>,
    /// Mark of our own packets (`SO_MARK`), for capture rules that leave them alone.
    pub mark: Option<u32>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            mode: Mode::Bind,
            port: 15001,
            interface: None,
            mark: None,
        }
    }
}

/// A listening socket of one shard. Every shard has its own for each address (`SO_REUSEPORT`), so
/// the kernel spreads connections and no thread hands sockets to another.
///
/// # Errors
/// As the kernel refuses: the address is not local, taken, or the port needs a privilege.
pub fn listen(
    address: SocketAddr,
    backlog: i32,
    interface: Option<&str>,
) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it, which saves a system call per connection.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        // IPv4 has sockets of its own; a dual-stack one would collide with them.
        socket.set_only_v6(true)?;
    }
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Where a redirected connection was going before the kernel redirected it (`SO_ORIGINAL_DST`).
/// Without redirection it is the local address.
///
/// # Errors
/// As `getsockname` fails: the connection is gone.
pub fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = stream.local_addr()?;
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() || local.ip().to_canonical().is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    // Without connection tracking there was no redirection either.
    Ok(original.ok().and_then(|it| it.as_socket()).unwrap_or(local))
}

/// Can packets be marked? Found out once at start, rather than by every connection that fails.
///
/// # Errors
/// As the kernel refuses: the privilege is missing.
pub fn check_mark(mark: u32) -> io::Result<()> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?.set_mark(mark)
}
