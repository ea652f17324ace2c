//! Watching a decision. The data path passes [`NoTrace`], and every call below compiles to nothing.
use crate::{gateway::TlsServer, hosts::HostForm, hosts::VirtualHost, rule::TcpRule};
use ipnet::IpNet;
use std::fmt;

/// Why a candidate was not taken: a closed list, stable in machine-readable output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Host, or the `authority` of a rule.
    HostDiffers,
    /// Port of the listener.
    PortDiffers,
    /// `uri`.
    PathDiffers,
    /// `method`.
    MethodDiffers,
    /// A header the rule asks for is not there.
    HeaderAbsent,
    /// A header (or the scheme) has another value, or is there and must not be.
    HeaderDiffers,
    /// A query parameter is absent or has another value.
    QueryDiffers,
    /// `sourceLabels`, `sourceNamespace` or `gateways` speak of another client.
    SourceDiffers,
    /// The connection has no server name.
    SniAbsent,
    /// The connection has another server name.
    SniDiffers,
    /// No server of a gateway is on that address and port.
    NoListener,
    /// The port of a gateway is for TLS, and the client speaks something else.
    NotTls,
    /// The server is for clients of the mesh, and the client offers none of the mesh's protocols.
    AlpnDiffers,
    /// The destination address is outside.
    CidrMisses,
    /// An earlier rule takes everything this one would.
    ShadowedBy,
    /// An earlier candidate was taken.
    NotReached,
    /// The rule cannot be used.
    SetAside,
}

impl Reason {
    /// The word of the closed list.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostDiffers => "host_differs",
            Self::PortDiffers => "port_differs",
            Self::PathDiffers => "path_differs",
            Self::MethodDiffers => "method_differs",
            Self::HeaderAbsent => "header_absent",
            Self::HeaderDiffers => "header_differs",
            Self::QueryDiffers => "query_differs",
            Self::SourceDiffers => "source_differs",
            Self::SniAbsent => "sni_absent",
            Self::SniDiffers => "sni_differs",
            Self::NoListener => "no_listener",
            Self::NotTls => "not_tls",
            Self::AlpnDiffers => "alpn_differs",
            Self::CidrMisses => "cidr_misses",
            Self::ShadowedBy => "shadowed_by",
            Self::NotReached => "not_reached",
            Self::SetAside => "set_aside",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a chain of a listener came to be chosen (LIS-41, LIS-42).
#[derive(Clone, Copy, Debug)]
pub enum ChainStep<'t> {
    /// The listener has chains for address ranges, and none contains the destination.
    NoSubnet,
    /// The longest range that contains the destination; from here on no other range counts.
    Subnet(IpNet),
    /// A chain for this server name.
    Name(&'t TcpRule),
    /// Server names are asked for, and this one is not among them.
    NoName {
        /// `SniAbsent` or `SniDiffers`.
        reason: Reason,
    },
    /// The HTTP chain.
    Http,
    /// The chain of an address-less entry whose host has this address.
    KnownAddress(&'t TcpRule),
    /// The address-less entries of the port know other addresses only.
    UnknownAddress,
    /// The chain without criteria.
    Open(&'t TcpRule),
    /// The server of a gateway that ends TLS for this server name.
    Server(&'t TlsServer),
    /// No server of a gateway takes the connection.
    NoServer {
        /// `SniAbsent`, `SniDiffers`, `NotTls` or `AlpnDiffers`.
        reason: Reason,
    },
    /// No chain: passthrough, or refused.
    FallThrough,
}

/// Watches one decision.
pub trait Trace {
    /// False compiles the watching away.
    const ON: bool;
    /// A step of choosing the chain.
    fn frontend(&mut self, _step: ChainStep<'_>) {}
    /// The virtual host that takes the request, and by which of its names; `None`: none does.
    fn host(&mut self, _found: Option<(HostForm, &VirtualHost)>) {}
    /// A condition of an alternative of a rule does not hold. Positions are those of the compiled
    /// lists; `condition` counts inside the alternative.
    fn miss(&mut self, _rule: usize, _alternative: usize, _condition: usize, _reason: Reason) {}
    /// A rule takes the request, by this alternative if it has any.
    fn matched(&mut self, _rule: usize, _alternative: Option<usize>) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    const ON: bool = false;
}
