//! Declared protocols and how a port declares one (PS-1..PS-37).
use std::fmt;

/// The declared protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 to the backend (PS-1).
    Http,
    /// HTTP/2 (PS-2).
    Http2,
    /// gRPC, which is HTTP/2 (PS-3).
    Grpc,
    /// gRPC-Web, translated to gRPC (PS-4).
    GrpcWeb,
    /// Clients speak explicit-proxy syntax (PS-5).
    HttpProxy,
    /// Opaque TLS (PS-6).
    Https,
    /// Opaque TLS (PS-7).
    Tls,
    /// Raw bytes (PS-8).
    Tcp,
    /// Raw bytes; never delayed by an inspector (PS-9, LIS-57).
    Mongo,
    /// Raw bytes (PS-10).
    Redis,
    /// Raw bytes; never delayed by an inspector (PS-11, LIS-57).
    Mysql,
    /// Not proxied at all (PS-12, PS-67).
    Udp,
    /// Nothing usable is declared: the first bytes decide, per connection (PS-13).
    Auto,
}

/// What kind of processing a port gets (PS-14, PS-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolClass {
    /// Requests are parsed and routed one by one.
    Http,
    /// Opaque TLS: the SNI may route.
    Tls,
    /// Raw bytes.
    Tcp,
    /// Decided by the first bytes.
    Auto,
    /// No frontend.
    Udp,
}

/// Ports that default to TCP on a Service when nothing is declared, because their servers speak
/// first: SMTP, DNS, MySQL, MongoDB (PS-30).
const SERVER_FIRST_PORTS: [u16; 4] = [25, 53, 3306, 27017];

impl Protocol {
    /// The word of a whole string, letter case ignored (PS-28).
    pub fn from_word(word: &str) -> Option<Self> {
        const WORDS: [(&str, Protocol); 12] = [
            ("http", Protocol::Http),
            ("http2", Protocol::Http2),
            ("http_proxy", Protocol::HttpProxy),
            ("grpc", Protocol::Grpc),
            ("grpc-web", Protocol::GrpcWeb),
            ("https", Protocol::Https),
            ("tls", Protocol::Tls),
            ("tcp", Protocol::Tcp),
            ("mongo", Protocol::Mongo),
            ("redis", Protocol::Redis),
            ("mysql", Protocol::Mysql),
            ("udp", Protocol::Udp),
        ];
        WORDS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word))
            .map(|&(_, protocol)| protocol)
    }

    /// The protocol of a Kubernetes Service port (PS-20..PS-27): L4 protocol, `appProtocol`, name,
    /// well-known number, in this order.
    pub fn of_service_port(l4: &str, app_protocol: Option<&str>, name: &str, number: u16) -> Self {
        if l4 == "UDP" {
            return Self::Udp;
        }
        match app_protocol {
            Some("kubernetes.io/h2c") => return Self::Http2,
            Some("kubernetes.io/ws") => return Self::Http,
            Some("kubernetes.io/wss") => return Self::Https,
            _ => {}
        }
        let declared = app_protocol.unwrap_or(name);
        if declared
            .get(..8)
            .is_some_and(|head| head.eq_ignore_ascii_case("grpc-web"))
        {
            return Self::GrpcWeb;
        }
        let word = declared.split('-').next().unwrap_or_default();
        if let Some(protocol) = Self::from_word(word) {
            return protocol;
        }
        if SERVER_FIRST_PORTS.contains(&number) {
            Self::Tcp
        } else {
            Self::Auto
        }
    }

    /// The class of processing (PS-14, PS-15).
    pub const fn class(self) -> ProtocolClass {
        match self {
            Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::HttpProxy => {
                ProtocolClass::Http
            }
            Self::Https | Self::Tls => ProtocolClass::Tls,
            Self::Tcp | Self::Mongo | Self::Redis | Self::Mysql => ProtocolClass::Tcp,
            Self::Auto => ProtocolClass::Auto,
            Self::Udp => ProtocolClass::Udp,
        }
    }

    /// Does a declared port of this protocol want HTTP/2 towards the backend (PS-14, PS-60)?
    pub const fn wants_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Mongo and MySQL must never be delayed by an inspector, so they share a port with nobody
    /// of another protocol (LIS-57).
    pub const fn refuses_inspection(self) -> bool {
        matches!(self, Self::Mongo | Self::Mysql)
    }

    /// The word used in documents and outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-Web",
            Self::HttpProxy => "HTTP_PROXY",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Mongo => "Mongo",
            Self::Redis => "Redis",
            Self::Mysql => "MySQL",
            Self::Udp => "UDP",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Protocol::{self, *};

    /// (L4, appProtocol, name, number, expected): the quirk rows a..m of PS-29 and their kin.
    const TABLE: &[(&str, Option<&str>, &str, u16, Protocol)] = &[
        ("TCP", None, "http", 80, Http),
        ("TCP", None, "HTTP-admin", 80, Http),
        ("TCP", None, "httpfoo", 80, Auto),
        ("TCP", None, "foo-http", 80, Auto),
        ("TCP", None, "", 80, Auto),
        ("TCP", None, "grpc-webby", 80, GrpcWeb),
        ("TCP", None, "GRPC-Web-x", 80, GrpcWeb),
        ("TCP", None, "grpc-foo", 80, Grpc),
        ("TCP", Some("http"), "tcp-web", 80, Http),
        ("TCP", Some("example.com/custom"), "http-web", 80, Auto),
        ("TCP", Some("example.com/custom"), "http", 3306, Tcp),
        ("TCP", None, "x", 3306, Tcp),
        ("TCP", None, "http-x", 3306, Http),
        ("TCP", None, "", 25, Tcp),
        ("TCP", None, "", 53, Tcp),
        ("TCP", None, "", 27017, Tcp),
        ("TCP", Some("kubernetes.io/h2c"), "x", 80, Http2),
        ("TCP", Some("kubernetes.io/H2C"), "x", 80, Auto),
        ("TCP", Some("kubernetes.io/ws"), "x", 80, Http),
        ("TCP", Some("kubernetes.io/wss"), "x", 80, Https),
        ("TCP", Some("http-foo"), "x", 80, Http),
        ("TCP", None, "h2c", 80, Auto),
        ("TCP", None, "postgres", 5432, Auto),
        ("TCP", None, "udp-dns", 53, Udp),
        ("UDP", Some("http"), "http", 80, Udp),
        ("SCTP", None, "http", 80, Http),
        ("TCP", None, "redis-master", 6379, Redis),
        ("TCP", None, "mysql", 1, Mysql),
    ];

    #[test]
    fn a_service_port_declares_its_protocol() {
        for &(l4, app, name, number, expected) in TABLE {
            assert_eq!(
                Protocol::of_service_port(l4, app, name, number),
                expected,
                "{l4} {app:?} {name:?} {number}"
            );
        }
    }

    #[test]
    fn service_entry_words_are_whole() {
        assert_eq!(Protocol::from_word("Grpc-Web"), Some(GrpcWeb)); // PS-33
        assert_eq!(Protocol::from_word("http-foo"), None);
    }
}
