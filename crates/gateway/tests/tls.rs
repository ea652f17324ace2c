//! TLS that the gateway does not terminate: routed by the server name in the ClientHello, byte for
//! byte.
mod common;

use common::*;
use pointsman_testkit::{
    HttpUpstream, RawHttp, TcpUpstream, TlsUpstream, client_hello, eventually, free_port,
    tls::client_config, within,
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

/// How a client cuts its first flight.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// As rustls writes it.
    Whole,
    /// One byte in each segment.
    Bytes,
    /// The ClientHello in TLS records of 40 bytes each (RFC 8446 section 5.1).
    Records,
    /// Both.
    RecordsInBytes,
}

/// A stream that cuts its first write.
struct Cutting {
    stream: TcpStream,
    cut: Cut,
    /// What is left of the first flight.
    first: Option<Vec<u8>>,
}

impl AsyncRead for Cutting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Cutting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(pending) = &mut this.first else {
            this.first = Some(match this.cut {
                Cut::Whole | Cut::Bytes => bytes.to_vec(),
                Cut::Records | Cut::RecordsInBytes => in_records(bytes),
            });
            return Poll::Ready(Ok(bytes.len()));
        };
        if !pending.is_empty() {
            // `flush` sends it; rustls flushes before it waits for the answer.
            return match Pin::new(&mut *this).poll_flush(cx) {
                Poll::Ready(Ok(())) => Pin::new(&mut this.stream).poll_write(cx, bytes),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(pending) = &mut this.first {
            while !pending.is_empty() {
                let most = match this.cut {
                    Cut::Whole | Cut::Records => pending.len(),
                    Cut::Bytes | Cut::RecordsInBytes => 1,
                };
                let piece = pending.get(..most).unwrap_or_default();
                match Pin::new(&mut this.stream).poll_write(cx, piece) {
                    Poll::Ready(Ok(written)) => drop(pending.drain(..written)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The one handshake record of a first flight as many small ones.
fn in_records(record: &[u8]) -> Vec<u8> {
    let (header, message) = record.split_at(5);
    let mut out = Vec::new();
    for piece in message.chunks(40) {
        out.extend(&header[..3]);
        out.extend(u16::try_from(piece.len()).expect("short").to_be_bytes());
        out.extend(piece);
    }
    out
}

type Tls = tokio_rustls::client::TlsStream<Cutting>;

async fn handshake(to: SocketAddr, sni: &str, upstream: &TlsUpstream, cut: Cut) -> io::Result<Tls> {
    let name = ServerName::try_from(sni.to_owned()).expect("a name");
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let stream = Cutting {
        stream,
        cut,
        first: None,
    };
    within(
        SOON,
        TlsConnector::from(upstream.client_config()).connect(name, stream),
    )
    .await
}

/// Says something over TLS and returns the upstream's greeting.
async fn talk(mut tls: Tls) -> String {
    tls.write_all(b"ping").await.expect("open");
    let mut heard = Vec::new();
    while !heard.ends_with(b"ping") {
        let read = within(SOON, tls.read_buf(&mut heard)).await.expect("open");
        assert!(read > 0, "ended after {}", String::from_utf8_lossy(&heard));
    }
    let heard = String::from_utf8(heard).expect("text");
    heard.strip_suffix("\nping").expect("a greeting").to_owned()
}

/// A name each, told apart on one port of all addresses.
async fn vaults(port: u16) -> (Gateway, TlsUpstream, TlsUpstream) {
    let one = TlsUpstream::start("one", &["one.example.com", "other.org"]).await;
    let any = TlsUpstream::start("any", &["*.example.com", "a.b.example.com"]).await;
    let text = entry("one", &["one.example.com"], port, "TLS", one.addr())
        + &entry("any", &["*.example.com"], port, "TLS", any.addr());
    (Gateway::serve(&text).await, one, any)
}

/// LIS-27, LIS-45, VS-S-9, PS-53, PS-58; not a byte is changed: VS-S-13.
#[tokio::test]
async fn the_server_name_decides_and_the_backend_s_certificate_is_what_the_client_sees() {
    let port = free_port();
    let (_gateway, one, any) = vaults(port).await;
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    for (sni, upstream, said) in [
        ("one.example.com", &one, "one"),
        ("ONE.Example.COM", &one, "one"),
        ("two.example.com", &any, "any"),
        ("a.b.example.com", &any, "any"),
    ] {
        let tls = handshake(to, sni, upstream, Cut::Whole).await.expect(sni);
        assert_eq!(talk(tls).await, said, "{sni}");
    }
    let names: Vec<_> = any.seen_names().into_iter().flatten().collect();
    assert_eq!(names, ["two.example.com", "a.b.example.com"]);
    // The wrong certificate is noticed end to end: nobody in between vouches for anything.
    let wrong = handshake(to, "one.example.com", &any, Cut::Whole).await;
    assert!(wrong.is_err());
}

/// PS-53, PS-56.
#[tokio::test]
async fn a_hello_in_pieces_is_read_all_the_same() {
    let port = free_port();
    let (_gateway, one, any) = vaults(port).await;
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    for cut in [Cut::Bytes, Cut::Records, Cut::RecordsInBytes] {
        for (sni, upstream, said) in [
            ("one.example.com", &one, "one"),
            ("x.example.com", &any, "any"),
        ] {
            let tls = handshake(to, sni, upstream, cut).await;
            let tls = tls.unwrap_or_else(|error| panic!("{cut:?} {sni}: {error}"));
            assert_eq!(talk(tls).await, said, "{cut:?} {sni}");
        }
    }
}

/// LIS-64, PS-54.
#[tokio::test]
async fn a_name_nobody_has_and_no_name_are_closed_where_passing_through_would_be_a_loop() {
    let port = free_port();
    let (gateway, one, any) = vaults(port).await;
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    for sni in ["other.org", "example.com", "127.0.0.1"] {
        // rustls sends no server name for an IP address.
        assert!(handshake(to, sni, &one, Cut::Whole).await.is_err(), "{sni}");
    }
    // Neither is what only begins like TLS.
    let mut client = connect(to).await;
    client
        .send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\x00")
        .await
        .expect("sent");
    let end = client.read_to_end().await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    assert_eq!((one.connections(), any.connections()), (0, 0));
    gateway
        .metrics_until(|it| {
            it.sum("pointsman_self_connect_refused_total", &[]) == 3.0
                && it.sum("pointsman_detection_outcomes_total", &[("outcome", "tls")]) == 3.0
                && it.sum(
                    "pointsman_refused_bytes_total",
                    &[("reason", "client_hello")],
                ) == 1.0
        })
        .await;
}

/// PS-45, PS-46: the wait has an end on a port that looks for server names only.
#[tokio::test]
async fn a_hello_that_never_ends_is_let_go() {
    let upstream = TlsUpstream::start("one", &["one.example.com"]).await;
    let port = free_port();
    let mut settings = settings();
    settings.timeouts.client_hello = written("300ms");
    let text = entry("one", &["one.example.com"], port, "TLS", upstream.addr());
    let _gateway = Gateway::serve_with(settings, &text).await;
    let (end, took) = timed(async {
        let mut client: RawHttp = connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
        client
            .send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            .await
            .expect("sent");
        client.read_to_end().await
    })
    .await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    assert!(
        took >= Duration::from_millis(250) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert_eq!(upstream.connections(), 0);
}

/// PS-45, PS-56: where names are asked for, not even the first bytes of a ClientHello go on as plain bytes:
/// the rest of it would follow them, past the rules for its name.
#[tokio::test]
async fn half_a_hello_is_never_plain_bytes() {
    let (one, raw) = (
        TlsUpstream::start("one", &["one.example.com"]).await,
        TcpUpstream::echo().await,
    );
    let port = free_port();
    let mut settings = settings();
    settings.timeouts.client_hello = written("300ms");
    let text = entry("one", &["one.example.com"], port, "TLS", one.addr())
        + &entry("raw", &["raw.example.com"], port, "TCP", raw.addr());
    let gateway = Gateway::serve_with(settings, &text).await;
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let hello = client_hello(Some("one.example.com"), &[]);
    for length in [1, 3, 5, 6, 40] {
        for ends in [false, true] {
            let mut client = connect(to).await;
            let half = hello.get(..length).expect("longer");
            client.send(half).await.expect("sent");
            if ends {
                client.half_close().await.expect("half-closed");
            }
            let end = client.read_to_end().await;
            let closed = end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end);
            assert!(closed, "{length} {ends}: {end:?}");
        }
    }
    assert_eq!((one.connections(), raw.received()), (0, 0));
    gateway
        .metrics_until(|it| {
            let late = [("limit", "timeouts.client_hello")];
            let ended = [("reason", "client_hello")];
            it.sum("pointsman_limits_hit_total", &late) == 5.0
                && it.sum("pointsman_refused_bytes_total", &ended) == 5.0
        })
        .await;
    // What begins otherwise is plain bytes.
    let mut client = connect(to).await;
    client.send(b"\x16\x00\x00").await.expect("sent");
    assert_eq!(client.read_exact(3).await.expect("echoed"), b"\x16\x00\x00");
}

/// LIS-20, PS-57.
#[tokio::test]
async fn an_address_of_its_own_needs_no_server_name() {
    let upstream = TlsUpstream::start("vip", &["127.0.0.1", "any.example.com"]).await;
    let (vip, port) = (pointsman_testkit::fresh_ip(), free_port());
    let text = service("vault", vip, port, "tls", &plain(&[upstream.addr()]));
    let _gateway = Gateway::serve(&text).await;
    for sni in ["127.0.0.1", "any.example.com"] {
        let tls = handshake((vip, port).into(), sni, &upstream, Cut::Whole)
            .await
            .expect(sni);
        assert_eq!(talk(tls).await, "vip", "{sni}");
    }
}

/// PS-6, PS-58; what the client offers by ALPN decides nothing: PS-65.
#[tokio::test]
async fn requests_inside_the_tunnel_are_nobody_s_business() {
    // A TLS backend, and an HTTP one that must not be confused with it.
    let plain_http = HttpUpstream::named("plain").start().await;
    let upstream = TlsUpstream::start("one", &["one.example.com"]).await;
    let (tls_port, http_port) = (free_port(), free_port());
    let text = entry(
        "one",
        &["one.example.com"],
        tls_port,
        "HTTPS",
        upstream.addr(),
    ) + &entry(
        "plain",
        &["plain.example.com"],
        http_port,
        "HTTP",
        plain_http.addr(),
    );
    let _gateway = Gateway::serve(&text).await;
    let name = ServerName::try_from("one.example.com").expect("a name");
    let stream = TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, tls_port))
        .await
        .expect("connects");
    let config: Arc<_> = client_config(&upstream.certificate().der, &["http/1.1"]);
    // The upstream speaks no ALPN and takes what comes: bytes are echoed after its greeting.
    let tls = within(SOON, TlsConnector::from(config).connect(name, stream))
        .await
        .expect("trusted");
    let mut inside = RawHttp::over(tls);
    let request = "GET / HTTP/1.1\r\nHost: plain\r\n\r\n";
    inside.send(request).await.expect("sent");
    let heard = inside
        .read_exact("one\n".len() + request.len())
        .await
        .expect("echoed");
    assert_eq!(String::from_utf8_lossy(&heard), format!("one\n{request}"));
    assert_eq!(plain_http.requests(), 0);
    // On the HTTP port names are Hosts.
    let (status, _) = get(([127, 0, 0, 1], http_port).into(), "plain.example.com", "/").await;
    assert_eq!(status, 200);
    // Plain HTTP on the TLS port is not understood, and goes nowhere.
    let mut client = connect(([127, 0, 0, 1], tls_port).into()).await;
    client.send(request).await.expect("sent");
    let end = client.read_response().await;
    assert!(
        end.is_err() || end.is_ok_and(|it| it.status == 404),
        "nobody answers"
    );
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn ends_and_resets_pass_through() {
    let port = free_port();
    let (_gateway, one, _any) = vaults(port).await;
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let mut tls = handshake(to, "one.example.com", &one, Cut::Whole)
        .await
        .expect("trusted");
    tls.shutdown().await.expect("close_notify and FIN");
    let mut rest = Vec::new();
    within(SOON, tls.read_to_end(&mut rest))
        .await
        .expect("an orderly end");
    assert_eq!(rest, b"one\n");
    eventually(SOON, || async { one.connections() == 1 }).await;
}
