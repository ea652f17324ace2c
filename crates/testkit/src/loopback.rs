//! Addresses no other test uses: a `127.x.y.z` of one's own and ports outside the ephemeral range.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Addresses one process hands out before they repeat.
const BLOCK: u32 = 1024;
/// Blocks in use: `127.15.160.0` up to `127.250.0.0`, clear of `127.0.0.1` and `127.255.255.255`.
const BLOCKS: u32 = 15_000;
const FIRST_BLOCK: u32 = 1_000;

/// First port handed out. The kernel's ephemeral range begins at 32768 by default: a port drawn
/// from it with bind-to-0-and-close may be taken by any outgoing connection before its user binds.
const FIRST_PORT: u32 = 10_000;
const PORTS: u32 = 22_000;

/// A loopback IPv4 address that no other call in this process, nor (while process ids are within
/// 15 000 of each other) in another test process, is given. Linux answers on all of `127.0.0.0/8`
/// without configuration, so it can stand for the virtual IP of a service.
///
/// After 1024 calls in one process the addresses repeat.
#[must_use]
pub fn fresh_ip() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let block = FIRST_BLOCK + std::process::id() % BLOCKS;
    let within = NEXT.fetch_add(1, Ordering::Relaxed) % BLOCK;
    IpAddr::V4(Ipv4Addr::from(0x7f00_0000 + block * BLOCK + within))
}

/// A TCP port on which nothing listens on any IPv4 address at the time of the call; never given
/// twice by one process before 22 000 calls.
///
/// Prefer port 0 where the listener can report its address: another process may still take a port
/// between this call and the bind.
///
/// # Panics
/// When every port of the range is taken.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A stride prime to the range keeps processes with neighbouring ids apart.
    let start = std::process::id().wrapping_mul(101);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let candidate = FIRST_PORT + start.wrapping_add(step) % PORTS;
        let Ok(port) = u16::try_from(candidate) else {
            continue;
        };
        if TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).is_ok() {
            return port;
        }
    }
    panic!(
        "no free TCP port between {FIRST_PORT} and {}",
        FIRST_PORT + PORTS
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn addresses_are_distinct_and_can_be_bound() {
        let addresses: HashSet<_> = (0..100).map(|_| fresh_ip()).collect();
        assert_eq!(addresses.len(), 100);
        for ip in addresses {
            assert!(ip.is_loopback());
            TcpListener::bind((ip, 0)).expect("every 127.x.y.z can be bound on Linux");
        }
    }

    #[test]
    fn ports_are_distinct_and_free() {
        let ports: Vec<_> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 50);
        for port in ports {
            assert!((10_000..32_768).contains(&port));
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        }
    }
}
