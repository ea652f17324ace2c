//! Answers that break off never look whole.
mod common;

use common::*;
use pointsman_testkit::{
    Http2Client, Http2Request, RawHttp, free_port, fresh_ip,
    message::MessageError, within,
};
use std::{
    net::SocketAddr,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
};

/// A listener of an endpoint whose kernel takes little that it does not read.
fn small_endpoint() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2304).expect("a size");
    let any = SocketAddr::from((fresh_ip(), 0));
    socket.bind(any).expect("a free port");
    let endpoint = socket.listen(8).expect("listens");
    let at = endpoint.local_addr().expect("an address");
    (endpoint, at)
}

async fn accepted(endpoint: &TcpListener) -> TcpStream {
    let accepted = within(SOON, endpoint.accept()).await;
    accepted.expect("a connection").0
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut got = Vec::new();
    while !got.windows(end.len()).any(|it| it == end) {
        let read = within(SOON, stream.read_buf(&mut got)).await;
        assert!(matches!(read, Ok(1..)), "{read:?}");
    }
}

fn reset(stream: &TcpStream) {
    let now = Some(Duration::ZERO);
    socket2::SockRef::from(stream)
        .set_linger(now)
        .expect("a socket");
}

/// Repeats `send` until it waits.
async fn until_full(mut send: impl AsyncFnMut()) {
    while tokio::time::timeout(Duration::from_millis(300), send())
        .await
        .is_ok()
    {}
}

/// Without a length, the end of an answer is that of its connection. That is one only if the endpoint has ended
/// it in order: if not, the kernel may tell that to the upload, which is under way, and then to nobody else.
#[tokio::test]
async fn an_answer_whose_endpoint_resets_it_in_the_middle_of_an_upload_never_looks_whole() {
    const PIECE: &[u8] = &[b'y'; 10_000];
    let (endpoint, at) = small_endpoint();
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let notes = Notes::default();
    let gateway = http("web", web.ip(), web.port(), at);
    let _gateway = notes.serve(settings(), &gateway).await;
    for (version, framing, piece) in [
        ("1.1", "Content-Length: 90000000", PIECE.to_vec()),
        ("1.0", "Content-Length: 90000000", PIECE.to_vec()),
        (
            "1.1",
            "Transfer-Encoding: chunked",
            [b"2710\r\n", PIECE, b"\r\n"].concat(),
        ),
        ("2", "", PIECE.to_vec()),
    ] {
        let (full, is_full) = oneshot::channel();
        let answering = async {
            let mut stream = accepted(&endpoint).await;
            read_until(&mut stream, b"\r\n\r\n").await;
            let begun = b"HTTP/1.1 200 OK\r\n\r\nline 1 of 1000\n";
            stream.write_all(begun).await.expect("sent");
            within(SOON, is_full).await.expect("it gets there");
            reset(&stream);
        };
        let asking = async {
            let (client, own) = dial(web).await;
            if version == "2" {
                let client = Http2Client::over(client, |_| {}).await;
                let mut client = client.expect("connects");
                let request = Http2Request::post("web", "/");
                let mut stream = client.begin(&request, false).await.expect("begins");
                until_full(async || stream.send(&piece, false).await.expect("sent")).await;
                full.send(()).expect("somebody waits");
                let end = within(SOON, stream.rest()).await;
                assert!(end.is_err(), "{end:?}");
                return own;
            }
            let mut client = RawHttp::over(client);
            let head = format!("POST / HTTP/{version}\r\nHost: web\r\n{framing}\r\n\r\n");
            client.send(&head).await.expect("sent");
            until_full(async || client.send(&piece).await.expect("sent")).await;
            full.send(()).expect("somebody waits");
            let end = client.read_response().await;
            assert!(
                matches!(
                    end,
                    Err(MessageError::Io(_) | MessageError::Truncated { .. })
                ),
                "{version}, {framing}: {end:?}"
            );
            own
        };
        let ((), own) = tokio::join!(answering, asking);
        let told = notes.of(own, 1).await;
        assert_eq!(
            (told[0].status, &*told[0].flags),
            (200, "UC"),
            "{version}, {framing}"
        );
    }
}

