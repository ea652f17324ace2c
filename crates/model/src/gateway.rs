//! Istio Gateways: ports that are really listened on, and whom their traffic may be routed by.
use crate::{HostPattern, Meta, Place, Protocol, object::Labels};
use std::{net::IpAddr, path::PathBuf, sync::Arc};

/// A Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Identity.
    pub meta: Meta,
    /// Labels of the proxies it is for; empty: every gateway proxy (GW-1).
    pub selector: Labels,
    /// Servers in the order they are written, at least one.
    pub servers: Vec<Server>,
}

impl Gateway {
    /// The name VirtualServices bind themselves to: `namespace/name` (GW-60).
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.meta.key.namespace, self.meta.key.name)
    }
}

/// One item of `servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Index in `spec.servers`, from 0.
    pub index: u32,
    /// `name`, for statistics only (GW-8).
    pub name: Option<Arc<str>>,
    /// `port.number`: what rules call it (GW-67), and the port of a Service where one leads to the
    /// proxy (GW-3). 0 with a Unix socket.
    pub port: u16,
    /// `port.name`, unique in the Gateway.
    pub port_name: Arc<str>,
    /// `port.protocol`, never `Auto`: a gateway detects nothing (PS-36).
    pub protocol: Protocol,
    /// `bind`; absent: all addresses.
    pub bind: Option<ServerBind>,
    /// `hosts`, at least one.
    pub hosts: Vec<ServerHost>,
    /// `tls`; always there for HTTPS and TLS (GW-7).
    pub tls: Option<ServerTls>,
    /// Where the server begins.
    pub place: Place,
}

impl Server {
    /// Are its plain HTTP requests sent to HTTPS (GW-50)?
    pub fn redirects_to_https(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }
}

/// Where a server listens (GW-5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerBind {
    /// One address.
    Ip(IpAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// One item of `hosts`: `[namespace/]host` (GW-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHost {
    /// Whose VirtualServices may use the host; `None`: those of any namespace. `.` is already the
    /// namespace of the Gateway.
    pub namespace: Option<Arc<str>>,
    /// The host.
    pub host: HostPattern,
    /// Where it is written.
    pub place: Place,
}

impl ServerHost {
    /// May VirtualServices of a namespace use it (GW-64)?
    pub fn admits(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

/// `tls.mode` (GW-10..15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ServerTlsMode {
    /// Forwarded as it is, routed by server name.
    #[default]
    Passthrough,
    /// Terminated.
    Simple,
    /// Terminated; the client must present a certificate.
    Mutual,
    /// Terminated; a certificate of the client is verified if there is one.
    OptionalMutual,
    /// Terminated with certificates of the mesh.
    IstioMutual,
    /// Forwarded as it is, to the cluster that the server name spells out.
    AutoPassthrough,
}

impl ServerTlsMode {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passthrough => "PASSTHROUGH",
            Self::Simple => "SIMPLE",
            Self::Mutual => "MUTUAL",
            Self::OptionalMutual => "OPTIONAL_MUTUAL",
            Self::IstioMutual => "ISTIO_MUTUAL",
            Self::AutoPassthrough => "AUTO_PASSTHROUGH",
        }
    }

    /// Is TLS ended here, so that its content is routed?
    pub const fn terminates(self) -> bool {
        !matches!(self, Self::Passthrough | Self::AutoPassthrough)
    }
}

/// Where the certificate of a server comes from: exactly one source (GW-18).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum CertificateSource {
    /// Nowhere: PASSTHROUGH, AUTO_PASSTHROUGH and plain text.
    #[default]
    None,
    /// The mesh (GW-14).
    Mesh,
    /// Files; several (`tlsCertificates`) for several kinds of keys (GW-17).
    Files(Vec<CertificateFiles>),
    /// Secrets by name, in the namespace of the gateway (GW-26..28): `credentialName`, or at most
    /// two `credentialNames`.
    Secrets(Vec<Arc<str>>),
}

/// Paths of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `serverCertificate`.
    pub certificate: PathBuf,
    /// `privateKey`.
    pub key: PathBuf,
    /// `caCertificates`: verifies clients.
    pub client_ca: Option<PathBuf>,
}

/// `minProtocolVersion`, `maxProtocolVersion` (GW-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.0.
    V1_0,
    /// TLS 1.1.
    V1_1,
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// `tls` of a server.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerTls {
    /// Mode; without meaning where there is only `httpsRedirect`.
    pub mode: ServerTlsMode,
    /// `httpsRedirect` (GW-50..53).
    pub https_redirect: bool,
    /// The server's certificate.
    pub certificates: CertificateSource,
    /// `caCertCredentialName`: a Secret that verifies clients (GW-19).
    pub client_ca_secret: Option<Arc<str>>,
    /// `caCrl`: revocation list (GW-24).
    pub client_crl: Option<PathBuf>,
    /// `subjectAltNames` of accepted clients (GW-22).
    pub subject_alt_names: Vec<Arc<str>>,
    /// `verifyCertificateSpki`, base64 of SHA-256 (GW-23).
    pub certificate_spki: Vec<Arc<str>>,
    /// `verifyCertificateHash`, hexadecimal SHA-256 (GW-23).
    pub certificate_hash: Vec<Arc<str>>,
    /// Absent: 1.2.
    pub min_version: Option<TlsVersion>,
    /// Absent: 1.3.
    pub max_version: Option<TlsVersion>,
    /// `cipherSuites`, usable ones, each once (GW-21). Empty: the defaults.
    pub cipher_suites: Vec<Arc<str>>,
}
