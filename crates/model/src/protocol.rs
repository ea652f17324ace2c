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
    use super::{
        Protocol::{self, *},
        ProtocolClass,
    };

    /// (rule, L4, appProtocol, name, number, expected).
    type Case = (
        &'static str,
        &'static str,
        Option<&'static str>,
        &'static str,
        u16,
        Protocol,
    );

    #[rustfmt::skip]
    const TABLE: &[Case] = &[
        ("PS-20", "UDP", Some("http"), "http", 80, Udp),
        ("PS-21", "TCP", Some("nobody-knows"), "http", 80, Auto),
        ("PS-21", "TCP", Some("tcp"), "http", 80, Tcp),
        ("PS-22", "TCP", Some("kubernetes.io/h2c"), "x", 80, Http2),
        ("PS-22b", "TCP", Some("kubernetes.io/ws"), "x", 80, Http),
        ("PS-22c", "TCP", Some("kubernetes.io/wss"), "x", 80, Https),
        ("PS-23", "TCP", None, "GRPC-Web-x", 80, GrpcWeb),
        ("PS-23", "TCP", Some("grpc-web"), "x", 80, GrpcWeb),
        ("PS-24", "TCP", None, "tcp-a-b", 80, Tcp),
        ("PS-24", "TCP", Some("http-foo"), "x", 80, Http),
        ("PS-25", "TCP", None, "redis-master", 6379, Redis),
        ("PS-26", "TCP", None, "x", 3306, Tcp),
        ("PS-26", "TCP", Some("example.com/custom"), "http", 3306, Tcp),
        ("PS-27", "TCP", None, "x", 3307, Auto),
        ("PS-29a", "TCP", None, "http", 80, Http),
        ("PS-29a", "TCP", None, "http-web", 80, Http),
        ("PS-29a", "TCP", None, "HTTP-admin", 80, Http),
        ("PS-29b", "TCP", None, "httpfoo", 80, Auto),
        ("PS-29b", "TCP", None, "web", 80, Auto),
        ("PS-29b", "TCP", None, "foo-http", 80, Auto),
        ("PS-29b", "TCP", None, "", 80, Auto),
        ("PS-29c", "TCP", None, "grpc-web", 80, GrpcWeb),
        ("PS-29c", "TCP", None, "grpc-web-x", 80, GrpcWeb),
        ("PS-29c", "TCP", None, "grpc-webby", 80, GrpcWeb),
        ("PS-29d", "TCP", None, "grpc-foo", 80, Grpc),
        ("PS-29e", "TCP", Some("http"), "tcp-web", 80, Http),
        ("PS-29f", "TCP", Some("example.com/custom"), "http-web", 80, Auto),
        ("PS-29g", "TCP", None, "x", 3306, Tcp),
        ("PS-29h", "TCP", None, "http-x", 3306, Http),
        ("PS-29i", "TCP", Some("kubernetes.io/H2C"), "x", 80, Auto),
        ("PS-29j", "TCP", None, "kubernetes.io/h2c", 80, Auto),
        ("PS-29k", "TCP", None, "h2c", 80, Auto),
        ("PS-29k", "TCP", None, "http1", 80, Auto),
        ("PS-29k", "TCP", None, "ws", 80, Auto),
        ("PS-29k", "TCP", None, "postgres", 5432, Auto),
        ("PS-29l", "TCP", None, "udp-dns", 53, Udp),
        ("PS-29m", "SCTP", None, "http", 80, Http),
        ("PS-30", "TCP", None, "", 25, Tcp),
        ("PS-30", "TCP", None, "", 53, Tcp),
        ("PS-30", "TCP", None, "", 3306, Tcp),
        ("PS-30", "TCP", None, "", 27017, Tcp),
    ];

    #[test]
    fn a_service_port_declares_its_protocol() {
        for &(rule, l4, app, name, number, expected) in TABLE {
            assert_eq!(
                Protocol::of_service_port(l4, app, name, number),
                expected,
                "{rule}: {l4} {app:?} {name:?} {number}"
            );
        }
    }

    /// PS-28, and in any letter case PS-33.
    #[test]
    fn words_are_whole_and_in_any_letter_case() {
        let all = [
            Http, Http2, Grpc, GrpcWeb, HttpProxy, Https, Tls, Tcp, Mongo, Redis, Mysql, Udp,
        ];
        for protocol in all {
            let word = protocol.as_str();
            for word in [word.to_owned(), word.to_lowercase(), word.to_uppercase()] {
                assert_eq!(Protocol::from_word(&word), Some(protocol), "{word}");
            }
        }
        for unknown in ["http-foo", "h2c", "auto", "", " http", "grpc_web"] {
            assert_eq!(Protocol::from_word(unknown), None, "{unknown:?}");
        }
    }

    /// PS-14 and PS-15: every protocol is in one class.
    #[test]
    fn each_protocol_has_its_class() {
        let classes = [
            ("PS-1", Http, ProtocolClass::Http, false),
            ("PS-2", Http2, ProtocolClass::Http, true),
            ("PS-3", Grpc, ProtocolClass::Http, true),
            ("PS-4", GrpcWeb, ProtocolClass::Http, true),
            ("PS-5", HttpProxy, ProtocolClass::Http, false),
            ("PS-6", Https, ProtocolClass::Tls, false),
            ("PS-7", Tls, ProtocolClass::Tls, false),
            ("PS-8", Tcp, ProtocolClass::Tcp, false),
            ("PS-9", Mongo, ProtocolClass::Tcp, false),
            ("PS-10", Redis, ProtocolClass::Tcp, false),
            ("PS-11", Mysql, ProtocolClass::Tcp, false),
            ("PS-12", Udp, ProtocolClass::Udp, false),
            ("PS-13", Auto, ProtocolClass::Auto, false),
        ];
        for (rule, protocol, class, http2) in classes {
            assert_eq!(protocol.class(), class, "{rule}");
            assert_eq!(protocol.wants_http2(), http2, "{rule}, PS-60");
        }
    }
}
