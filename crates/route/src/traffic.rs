//! What is known about the traffic that asks for a decision.
use pointsman_model::PathNormalization;
use pointsman_wire::path::{Normalization, normalize};
use std::net::{IpAddr, SocketAddr};

/// What the first bytes of a connection turned out to be (PS-48, PS-53).
///
/// A connection on a listener that is not inspected is `Tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// An HTTP request line or the HTTP/2 preface, in clear text.
    Http,
    /// A TLS ClientHello.
    Tls,
    /// Anything else.
    Tcp,
}

/// A connection, once enough of it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The address and port the client dialled.
    pub original: SocketAddr,
    /// The client, where it is known. No rule looks at it yet (VS-T-8).
    pub source: Option<SocketAddr>,
    /// What sniffing found.
    pub class: Class,
    /// Server name of the ClientHello, in any letter case.
    pub sni: Option<&'a str>,
    /// The ClientHello offers a protocol of the mesh's own (PS-63): `istio`, `istio-peer-exchange`,
    /// `istio-http/1.0`, `istio-http/1.1` or `istio-h2`. Only AUTO_PASSTHROUGH asks for it (PS-64).
    pub mesh_alpn: bool,
}

/// A request head, as far as routing looks at it.
#[derive(Debug)]
pub struct Request<'a, F: ?Sized> {
    /// Method, case-sensitive (VS-H-26).
    pub method: &'a str,
    /// `Host` or `:authority` as received, port included; empty if there is none (HST-17).
    pub authority: &'a str,
    /// Normalised path without query and fragment (PS-80, VS-H-20).
    pub path: &'a str,
    /// Raw query without the `?`.
    pub query: Option<&'a str>,
    /// `http`, or `https` where the gateway terminated TLS (VS-H-25).
    pub scheme: &'a str,
    /// The header fields.
    pub fields: &'a F,
}

// Not derived: that would ask for `F: Copy`, though only a reference to it is held.
impl<F: ?Sized> Clone for Request<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<F: ?Sized> Copy for Request<'_, F> {}

/// Header fields in whatever form the codec keeps them.
pub trait Fields {
    /// Calls `visit` with every value of the field `name`, in order of arrival. `name` is lower
    /// case; names are compared without letter case. Pseudo headers are not asked for.
    fn each<'s>(&'s self, name: &str, visit: &mut dyn FnMut(&'s [u8]));
}

/// The simplest fields: name and value pairs. For tests and `explain`.
impl Fields for [(String, String)] {
    fn each<'s>(&'s self, name: &str, visit: &mut dyn FnMut(&'s [u8])) {
        for (own, value) in self {
            if own.eq_ignore_ascii_case(name) {
                visit(value.as_bytes());
            }
        }
    }
}

impl Fields for Vec<(String, String)> {
    fn each<'s>(&'s self, name: &str, visit: &mut dyn FnMut(&'s [u8])) {
        self.as_slice().each(name, visit);
    }
}

/// Address and port as keys: an IPv4-mapped IPv6 address is its IPv4 address, and flow label and
/// scope of an IPv6 socket address play no role.
pub(crate) fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// The codec's word for how a mesh normalises paths (PS-80).
pub const fn normalization(of: PathNormalization) -> Normalization {
    match of {
        PathNormalization::None => Normalization::None,
        PathNormalization::Base => Normalization::Base,
        PathNormalization::MergeSlashes => Normalization::MergeSlashes,
        PathNormalization::DecodeAndMergeSlashes => Normalization::DecodeAndMergeSlashes,
    }
}

/// Can a request have this [`Request::path`]? CONNECT apart, which has none.
pub(crate) fn is_path(path: &str, mode: Normalization) -> bool {
    let sent = path == "*" || path.starts_with('/');
    sent && path.bytes().all(is_path_byte)
        && normalize(path, mode).is_ok_and(|normal| normal == path)
}

/// Visible, and neither a query nor a fragment begins with it.
pub(crate) fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')
}
