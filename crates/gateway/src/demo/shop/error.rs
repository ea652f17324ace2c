//! Why the shop could not open, and what to do about it.
use super::roster::MEMBERS;
use std::{fmt, io, net::SocketAddr};

/// The shop could not open.
#[derive(Debug)]
pub enum ShopError {
    /// A server could not listen.
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No certificate for the TLS server could be made.
    Certificate(io::Error),
    /// No thread or event loop could be started.
    Thread(io::Error),
}

impl fmt::Display for ShopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } => bind(f, *address, source),
            Self::Certificate(source) => {
                write!(f, "the sample shop could not make a certificate: {source}")
            }
            Self::Thread(source) => {
                write!(f, "the sample shop could not start a thread: {source}")
            }
        }
    }
}

fn bind(f: &mut fmt::Formatter<'_>, address: SocketAddr, source: &io::Error) -> fmt::Result {
    write!(f, "the sample shop cannot listen on {address}: {source}")?;
    match source.kind() {
        io::ErrorKind::AddrInUse => write!(
            f,
            "\nIs another `pointsman demo` running? Stop it, or the program that uses port {} \
             (`ss -ltnp 'sport = :{}'` shows which one).",
            address.port(),
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            // Only Linux answers on all of 127.0.0.0/8 unasked. The cluster IPs are the gateway's
            // business, but whoever adds addresses wants to do it once.
            f.write_str(
                "\nThis machine does not have that address. Linux answers on every 127.x.y.z; \
                 elsewhere add them first, on macOS with\n  for ip in 127.77.0.10 127.77.0.11 \
                 127.77.0.12 127.77.0.13 127.77.0.20",
            )?;
            for member in MEMBERS {
                write!(f, " {}", member.address(super::NETWORK).ip())?;
            }
            f.write_str("; do sudo ifconfig lo0 alias $ip; done")
        }
        _ => Ok(()),
    }
}

impl std::error::Error for ShopError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Certificate(source) | Self::Thread(source) => {
                Some(source)
            }
        }
    }
}
