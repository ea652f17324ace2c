//! Who listens where. The manifests say the same; a test compares them.
use std::net::{Ipv4Addr, SocketAddr};

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Page,
    Details,
    Reviews,
    Ratings,
    Orders,
    Payments,
    Mysql,
    Vault,
}

/// One server.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pod: &'static str,
    pub(super) service: &'static str,
    pub(super) version: &'static str,
    pub(super) role: Role,
    /// The last two octets of the address.
    host: [u8; 2],
    port: u16,
}

impl Member {
    pub(super) fn address(&self, network: u8) -> SocketAddr {
        let [third, fourth] = self.host;
        SocketAddr::from((Ipv4Addr::new(127, network, third, fourth), self.port))
    }
}

const fn member(
    pod: &'static str,
    service: &'static str,
    version: &'static str,
    role: Role,
    host: [u8; 2],
    port: u16,
) -> Member {
    Member {
        pod,
        service,
        version,
        role,
        host,
        port,
    }
}

/// All servers. Their ports are seldom used by others, and never the number of a service port.
#[rustfmt::skip]
pub(super) const MEMBERS: &[Member] = &[
    member("productpage-v1", "productpage", "v1", Role::Page,     [2, 10], 18080),
    member("details-v1",     "details",     "v1", Role::Details,  [2, 11], 18080),
    member("reviews-v1",     "reviews",     "v1", Role::Reviews,  [2, 12], 18080),
    member("reviews-v2",     "reviews",     "v2", Role::Reviews,  [2, 13], 18080),
    member("reviews-v3",     "reviews",     "v3", Role::Reviews,  [2, 14], 18080),
    member("ratings-v1",     "ratings",     "v1", Role::Ratings,  [2, 15], 18080),
    member("payments-v1",    "payments",    "v1", Role::Payments, [2, 22], 18080),
    member("orders-0",       "orders",      "v1", Role::Orders,   [1, 1],  9001),
    member("orders-1",       "orders",      "v1", Role::Orders,   [1, 2],  9001),
    member("orders-2",       "orders",      "v1", Role::Orders,   [1, 3],  9001),
    member("mysql-0",        "mysql",       "v1", Role::Mysql,    [2, 20], 13307),
    member("vault-v1",       "vault",       "v1", Role::Vault,    [2, 21], 18443),
];

/// Services that the shop asks through the gateway: name, and the last octet of the cluster IP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) host: &'static str,
    fourth: u8,
}

pub(super) const DETAILS: Asked = Asked {
    host: "details:9080",
    fourth: 11,
};
pub(super) const REVIEWS: Asked = Asked {
    host: "reviews:9080",
    fourth: 12,
};
pub(super) const RATINGS: Asked = Asked {
    host: "ratings:9080",
    fourth: 13,
};

impl Asked {
    /// The cluster IP and port: where the gateway answers.
    pub(super) fn address(self, network: u8) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, network, 0, self.fourth), 9080))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::files;
    use std::collections::BTreeSet;

    #[test]
    fn every_endpoint_of_the_manifests_is_served() {
        let mut wanted = BTreeSet::new();
        for (_, text) in files() {
            let mut lines = text.lines().map(str::trim).peekable();
            let mut slice_port = 0;
            let mut in_slice = false;
            while let Some(line) = lines.next() {
                match line.split_once(": ") {
                    Some(("kind", kind)) => in_slice = kind == "EndpointSlice",
                    Some(("port" | "- port", port)) if in_slice => {
                        slice_port = port.parse().expect("a port");
                    }
                    Some(("- addresses", address)) => {
                        wanted.insert(format!("{}:{slice_port}", address.trim_matches(['[', ']'])));
                    }
                    Some(("- address", address)) => {
                        assert_eq!(lines.next(), Some("ports:"));
                        let port = lines.next().and_then(|line| line.split_once(": "));
                        wanted.insert(format!("{address}:{}", port.expect("a port").1));
                    }
                    _ => {}
                }
            }
        }
        let served: BTreeSet<_> = MEMBERS
            .iter()
            .map(|member| member.address(77).to_string())
            .collect();
        assert_eq!(served, wanted);
    }

    #[test]
    fn asked_addresses_are_cluster_ips() {
        for (asked, file) in [
            (DETAILS, "details"),
            (REVIEWS, "reviews"),
            (RATINGS, "ratings"),
        ] {
            let name = format!("{file}.yaml");
            let (_, text) = files().iter().find(|file| file.0 == name).expect("there");
            let address = asked.address(77).ip();
            assert!(text.contains(&format!("clusterIP: {address}\n")), "{name}");
            assert!(asked.host.starts_with(file));
        }
    }
}
