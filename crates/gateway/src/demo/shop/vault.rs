//! The TLS server: a certificate made at start, and the server name each client asked for.
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

const NAME: &str = "vault.example.com";
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A server with a fresh self-signed certificate.
///
/// # Errors
/// When the system gives no randomness, or the key is not taken.
pub(super) fn acceptor() -> io::Result<TlsAcceptor> {
    let (certificate, key) = identity()?;
    acceptor_for(certificate, key)
}

fn acceptor_for(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> io::Result<TlsAcceptor> {
    // The provider is named: with two in the build, rustls would refuse to choose.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// `openssl x509 -subject` shows the common name, so it is set; clients check the other name.
fn identity() -> io::Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::new([NAME.to_owned()]).map_err(io::Error::other)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((certificate.der().clone(), key.into()))
}

/// The handshake; the stream and the server name.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: &TlsAcceptor,
    stream: S,
) -> io::Result<(TlsStream<S>, Option<String>)> {
    let tls = timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    let name = tls.get_ref().1.server_name().map(str::to_owned);
    Ok((tls, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{
        TlsConnector,
        rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
    };

    #[tokio::test]
    async fn a_client_that_trusts_the_certificate_is_served_under_its_name() {
        let (certificate, key) = identity().expect("randomness");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate");
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = acceptor_for(certificate, key).expect("a key");
        let (near, far) = tokio::io::duplex(16 * 1024);
        let name = ServerName::try_from(NAME).expect("a name");
        let (connected, accepted) = tokio::join!(
            TlsConnector::from(Arc::new(client)).connect(name, near),
            accept(&server, far),
        );
        let (mut near, (mut far, sni)) = (connected.expect("trusted"), accepted.expect("served"));
        assert_eq!(sni.as_deref(), Some(NAME));
        far.write_all(b"hello").await.expect("open");
        let mut heard = [0; 5];
        near.read_exact(&mut heard).await.expect("open");
        assert_eq!(&heard, b"hello");
    }
}
