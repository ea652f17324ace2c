//! A TLS upstream with a certificate made for the occasion, and a client that trusts it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use crate::serve::Listening;

/// A self-signed certificate and its key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, DER.
    pub der: CertificateDer<'static>,
    /// The private key, PKCS #8 DER.
    pub key: PrivateKeyDer<'static>,
    /// The certificate as PEM.
    pub pem: String,
    /// The private key as PEM.
    pub key_pem: String,
}

impl Certificate {
    /// A fresh certificate valid for these DNS names (wildcards allowed) and IP addresses.
    ///
    /// # Panics
    /// When a name is not one.
    #[must_use]
    pub fn for_names(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("valid certificate names");
        Certificate {
            der: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
            pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }
}

/// A client's TLS settings that trust exactly this certificate and offer these ALPN protocols.
///
/// # Panics
/// When `certificate` is not one.
#[must_use]
pub fn client_config(certificate: &CertificateDer<'static>, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    // The provider is named: with two in the build, rustls would refuse to choose.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// The least a TLS 1.3 client says first (RFC 8446 section 4.1.2): with this server name (RFC 6066)
/// and these protocols (RFC 7301), if any. For routing; no handshake can follow it.
///
/// # Panics
/// When a name is longer than its length field can say.
#[must_use]
pub fn client_hello(sni: Option<&str>, alpn: &[&str]) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("a short list");
        [&length.to_be_bytes(), bytes].concat()
    };
    let mut extensions = vec![0, 43, 0, 3, 2, 3, 4];
    if let Some(name) = sni {
        let entry = [&[0], &*sized(name.as_bytes())].concat();
        extensions.extend([&[0, 0], &*sized(&sized(&entry))].concat());
    }
    if !alpn.is_empty() {
        let named = |name: &&str| {
            let length = u8::try_from(name.len()).expect("a short name");
            [&[length], name.as_bytes()].concat()
        };
        let names: Vec<u8> = alpn.iter().flat_map(named).collect();
        extensions.extend([&[0, 16], &*sized(&sized(&names))].concat());
    }
    let body = [
        &[3, 3],
        &[7; 32][..],
        &[0, 0, 2, 0x13, 0x01, 1, 0],
        &sized(&extensions),
    ]
    .concat();
    let handshake = [&[1, 0], &*sized(&body)].concat();
    [&[22, 3, 1], &*sized(&handshake)].concat()
}

/// Connects to `addr` and completes a TLS handshake, sending `sni`.
///
/// # Errors
/// When the connection fails, or the certificate is not trusted or not valid for `sni`.
pub async fn tls_connect(
    addr: SocketAddr,
    sni: &str,
    config: Arc<ClientConfig>,
) -> io::Result<client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(sni.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(name, stream).await
}

/// A TLS server on loopback that sends its name and a line feed, then echoes. Stops when dropped.
#[derive(Debug)]
pub struct TlsUpstream {
    listening: Listening,
    certificate: Certificate,
    seen: Arc<Mutex<Vec<Option<String>>>>,
}

impl TlsUpstream {
    /// Starts on `127.0.0.1`, port 0, with a fresh certificate for these names.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub async fn start(name: &str, certificate_names: &[&str]) -> TlsUpstream {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        TlsUpstream::start_at(addr, name, certificate_names, &[])
            .await
            .expect("a loopback port can be bound")
    }

    /// Starts on an address of the caller's choice, accepting these ALPN protocols.
    ///
    /// # Errors
    /// When the address cannot be bound.
    ///
    /// # Panics
    /// When a certificate name is not one.
    pub async fn start_at(
        addr: SocketAddr,
        name: &str,
        certificate_names: &[&str],
        alpn: &[&str],
    ) -> io::Result<TlsUpstream> {
        let certificate = Certificate::for_names(certificate_names);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der.clone()], certificate.key.clone_key())
            .expect("the key belongs to the certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let of_connections = Arc::clone(&seen);
        let greeting = format!("{name}\n");
        let listening = Listening::start(addr, move |stream, _| {
            let (acceptor, greeting) = (acceptor.clone(), greeting.clone());
            let seen = Arc::clone(&of_connections);
            async move {
                let _ = serve(stream, &acceptor, &greeting, &seen).await;
            }
        })
        .await?;
        Ok(TlsUpstream {
            listening,
            certificate,
            seen,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listening.addr()
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// TCP connections accepted so far, failed handshakes included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listening.counts().accepted()
    }

    /// The server name of each completed handshake, in order; `None` where the client sent none.
    #[must_use]
    pub fn seen_names(&self) -> Vec<Option<String>> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Client settings that trust this upstream.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        client_config(&self.certificate.der, &[])
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    greeting: &str,
    seen: &Mutex<Vec<Option<String>>>,
) -> io::Result<()> {
    let mut tls = acceptor.accept(stream).await?;
    let name = tls.get_ref().1.server_name().map(str::to_owned);
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(name);
    tls.write_all(greeting.as_bytes()).await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let got = tls.read(&mut buffer).await?;
        if got == 0 {
            return tls.shutdown().await;
        }
        tls.write_all(buffer.get(..got).unwrap_or_default()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::within;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn echoes_and_remembers_the_server_name() {
        let upstream = TlsUpstream::start("secure", &["a.test", "*.b.test"]).await;
        for name in ["a.test", "x.b.test"] {
            let connect = tls_connect(upstream.addr(), name, upstream.client_config());
            let mut tls = within(SOON, connect).await.expect("trusted");
            tls.write_all(b"ping").await.expect("open");
            let mut heard = [0; 11];
            within(SOON, tls.read_exact(&mut heard))
                .await
                .expect("answers");
            assert_eq!(&heard, b"secure\nping");
        }
        assert_eq!(
            upstream.seen_names(),
            [Some("a.test".to_owned()), Some("x.b.test".to_owned())]
        );
    }

    #[tokio::test]
    async fn a_name_the_certificate_lacks_is_refused() {
        let upstream = TlsUpstream::start("secure", &["a.test"]).await;
        let connect = tls_connect(upstream.addr(), "c.test", upstream.client_config());
        assert!(within(SOON, connect).await.is_err());
        assert_eq!(upstream.connections(), 1);
        assert!(upstream.seen_names().is_empty());
    }
}
