//! @shout beside HTTP.
mod common;

use common::{Bystander, SOON, ask, place, restarts};
use pointsman_examples::{
    sniffer_protocol,
    stage::{Stage, sniffed_service},
};
use pointsman_testkit::{HttpUpstream, eventually, within};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn client(at: SocketAddr) -> TcpStream {
    within(SOON, TcpStream::connect(at))
        .await
        .expect("connects")
}

/// Sends a line and reads one; empty when the connection ends instead.
async fn shout(client: &mut TcpStream, line: &str) -> String {
    client.write_all(line.as_bytes()).await.expect("sent");
    let mut heard = Vec::new();
    within(SOON, async {
        while heard.last() != Some(&b'\n') && matches!(client.read_buf(&mut heard).await, Ok(1..)) {
        }
    })
    .await;
    String::from_utf8(heard).expect("text")
}

#[test]
fn lines_are_answered_beside_http_and_the_actor_is_made_anew() {
    pointsman_runtime::run(async {
        let web = HttpUpstream::named("web").start().await;
        let at = place();
        let mut bystander = Bystander::new().await;
        let documents = sniffed_service("mixed", at, &[web.addr()]) + &bystander.document;
        let stage = Stage::open(&documents, sniffer_protocol::register)
            .await
            .expect("a gateway");

        let mut first = client(at).await;
        assert_eq!(shout(&mut first, "@shout hello\n").await, "1 HELLO\n");
        assert_eq!(shout(&mut first, "@shout again\n").await, "2 AGAIN\n");
        assert_eq!(ask(at, "mixed.example").await, "web");
        // In pieces: the sniffer needs more before it can tell.
        let mut pieces = client(at).await;
        pieces.set_nodelay(true).expect("a socket");
        for piece in ["@", "sho", "ut"] {
            pieces.write_all(piece.as_bytes()).await.expect("sent");
            // So that it arrives alone; nothing tells when it has.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(shout(&mut pieces, " in pieces\n").await, "3 IN PIECES\n");

        bystander.is_served().await;
        assert_eq!(shout(&mut client(at).await, "@shout panic\n").await, "");
        eventually(SOON, || async { restarts("shout") == 1 }).await;
        bystander.is_served().await;
        // A session of the old actor goes on; the new actor counts from one.
        assert_eq!(shout(&mut first, "still\n").await, "4 STILL\n");
        assert_eq!(
            shout(&mut client(at).await, "@shout back\n").await,
            "1 BACK\n"
        );
        assert_eq!(ask(at, "mixed.example").await, "web");
        drop((first, pieces));
        bystander.leave();
        assert_eq!(stage.close().await.cut, 0);
    })
    .expect("a runtime");
}
