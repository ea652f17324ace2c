//! The conditions of a VirtualService rule.
use crate::{Place, object::Labels};
use ipnet::IpNet;
use std::sync::Arc;

/// How a text is compared (VS-H-15..19). Always case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Starts with.
    Prefix(Arc<str>),
    /// RE2 syntax, the whole value (VS-H-17). Already known to compile.
    Regex(Arc<str>),
    /// Present with any value (VS-H-18).
    Present,
}

/// One item of `http[].match` (VS-H-10..35): all conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpMatch {
    /// `name`, for logs only.
    pub name: Option<Arc<str>>,
    /// `uri`; absent behaves as prefix `/` (VS-H-4).
    pub uri: Option<StringMatch>,
    /// `ignoreUriCase`: exact and prefix of `uri` only (VS-H-24).
    pub ignore_uri_case: bool,
    /// `scheme`.
    pub scheme: Option<StringMatch>,
    /// `method`.
    pub method: Option<StringMatch>,
    /// `authority`: the Host as received, port included (VS-H-27).
    pub authority: Option<StringMatch>,
    /// `headers`, names lower case.
    pub headers: Vec<(Arc<str>, StringMatch)>,
    /// `withoutHeaders`, names lower case (VS-H-31).
    pub without_headers: Vec<(Arc<str>, StringMatch)>,
    /// `queryParams`, names case-sensitive (VS-H-32).
    pub query: Vec<(Arc<str>, StringMatch)>,
    /// Static part.
    pub client: ClientMatch,
    /// Where the item is written.
    pub place: Place,
}

/// The part of a match that configuration decides, not the request (VS-H-10..14, VSB-30).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClientMatch {
    /// `port`: the service port of the listener.
    pub port: Option<u16>,
    /// `sourceLabels`.
    pub source_labels: Labels,
    /// `sourceNamespace`.
    pub source_namespace: Option<Arc<str>>,
    /// `gateways`, completed to `namespace/name`, or `mesh`.
    pub gateways: Vec<Arc<str>>,
}

/// One item of `tls[].match` (VS-S-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsMatch {
    /// `sniHosts`, at least one.
    pub sni_hosts: Vec<crate::HostPattern>,
    /// `destinationSubnets`.
    pub destination_subnets: Vec<IpNet>,
    /// Static part.
    pub client: ClientMatch,
    /// Where the item is written.
    pub place: Place,
}

/// One item of `tcp[].match` (VS-T-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpMatch {
    /// `destinationSubnets`.
    pub destination_subnets: Vec<IpNet>,
    /// Static part.
    pub client: ClientMatch,
    /// Where the item is written.
    pub place: Place,
}
