//! Which addresses are this gateway itself. Connecting to one would be a loop: every turn of it
//! takes two descriptors, until there are none.
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// How long a verdict that needed a look at the machine is believed.
const BELIEVED: Duration = Duration::from_secs(5);

/// The addresses the shards listen on, and what was found out about others.
#[derive(Debug, Default)]
pub(crate) struct Ourselves {
    bound: RefCell<HashSet<SocketAddr>>,
    verdicts: RefCell<HashMap<SocketAddr, (Instant, bool)>>,
}

impl Ourselves {
    /// The addresses that are bound now.
    pub(crate) fn bind(&self, addresses: impl Iterator<Item = SocketAddr>) {
        *self.bound.borrow_mut() = addresses.collect();
        self.verdicts.borrow_mut().clear();
    }

    /// Would a connection to `address` end here?
    ///
    /// A socket on all addresses of a port takes what no more specific one takes, so for a local
    /// address on such a port the machine is asked whether somebody else listens there.
    pub(crate) fn is(&self, address: SocketAddr) -> bool {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let bound = self.bound.borrow();
        if bound.contains(&address) {
            return true;
        }
        let any: IpAddr = if address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        if !bound.contains(&SocketAddr::new(any, address.port())) {
            return false;
        }
        let now = Instant::now();
        if let Some((at, verdict)) = self.verdicts.borrow().get(&address)
            && now.saturating_duration_since(*at) < BELIEVED
        {
            return *verdict;
        }
        let verdict = is_local(address.ip()) && !somebody_listens(address);
        let mut verdicts = self.verdicts.borrow_mut();
        if verdicts.len() > 4096 {
            verdicts.clear();
        }
        verdicts.insert(address, (now, verdict));
        verdict
    }
}

/// Does the address belong to this machine? Only a local one can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// Is there a listening socket on exactly this address, by the kernel's own table?
fn somebody_listens(address: SocketAddr) -> bool {
    let (table, ip) = match address.ip() {
        IpAddr::V4(ip) => (
            "/proc/net/tcp",
            format!("{:08X}", u32::from_le_bytes(ip.octets())),
        ),
        IpAddr::V6(ip) => (
            "/proc/net/tcp6",
            ip.octets()
                .chunks_exact(4)
                .map(|word| {
                    word.iter()
                        .rev()
                        .map(|byte| format!("{byte:02X}"))
                        .collect::<String>()
                })
                .collect(),
        ),
    };
    let wanted = format!("{ip}:{:04X}", address.port());
    let Ok(text) = fs::read_to_string(table) else {
        return false;
    };
    // "  0: 0100007F:1F90 00000000:0000 0A ...": local address, remote address, state (0A: listen).
    text.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        words.next() == Some(&*wanted) && words.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_bound_address_is_us_and_another_port_is_not() {
        let ours = Ourselves::default();
        ours.bind([at("127.1.2.3:80")].into_iter());
        assert!(ours.is(at("127.1.2.3:80")));
        assert!(ours.is(at("[::ffff:127.1.2.3]:80")));
        assert!(!ours.is(at("127.1.2.3:81")));
        assert!(!ours.is(at("127.1.2.4:80")));
    }

    #[test]
    fn a_wildcard_takes_local_addresses_that_nobody_else_has() {
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs_v6 = TcpListener::bind("[::1]:0").ok();
        let port = theirs.local_addr().unwrap().port();
        let ours = Ourselves::default();
        ours.bind([SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)].into_iter());
        assert!(
            !ours.is(theirs.local_addr().unwrap()),
            "somebody listens there"
        );
        assert!(ours.is(SocketAddr::new([127, 0, 0, 2].into(), port)));
        assert!(
            !ours.is(SocketAddr::new([192, 0, 2, 1].into(), port)),
            "not local"
        );
        if let Some(theirs) = theirs_v6.as_ref().and_then(|it| it.local_addr().ok()) {
            ours.bind([SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), theirs.port())].into_iter());
            assert!(!ours.is(theirs));
        }
    }
}
