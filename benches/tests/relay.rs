//! The relay copies faithfully: a floor that lost bytes or connections would be no floor.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use pointsman_benches::relay;
use pointsman_testkit::tcp::{Behaviour, GREETING};
use pointsman_testkit::{TcpUpstream, eventually, free_port, wait_for_port, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(20);

/// A relay in front of an upstream; its thread ends with the test process.
async fn relayed(behaviour: Behaviour) -> (TcpUpstream, SocketAddr) {
    let upstream = TcpUpstream::start(behaviour).await;
    let front = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let routes = [(front, upstream.addr())];
    thread::spawn(move || relay::run(&routes));
    wait_for_port(front, SOON).await.expect("the relay listens");
    (upstream, front)
}

/// What comes back for `say` when the client then ends its side.
async fn talk(front: SocketAddr, say: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(front).await.expect("connects");
    let mut heard = Vec::new();
    within(SOON, async {
        stream.write_all(say).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut heard).await
    })
    .await
    .expect("an orderly end");
    heard
}

#[tokio::test]
async fn half_closes_pass_in_both_directions() {
    let (upstream, front) = relayed(Behaviour::AnswerAfterEnd).await;
    assert_eq!(talk(front, b"12345").await, b"got 5 bytes");
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
    let (_upstream, front) = relayed(Behaviour::EndFirst(b"bye".to_vec())).await;
    assert_eq!(talk(front, b"hello").await, b"bye");
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let (_upstream, front) = relayed(Behaviour::ServerFirst(GREETING.to_vec())).await;
    assert_eq!(talk(front, b"x").await, [GREETING, b"x"].concat());
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    const BYTES: usize = 40_000_000;
    let (_upstream, front) = relayed(Behaviour::Source(BYTES as u64)).await;
    let mut stream = TcpStream::connect(front).await.expect("connects");
    let mut buffer = vec![0; 100_000];
    let mut total = 0;
    within(SOON, async {
        loop {
            match stream.read(&mut buffer).await.expect("open") {
                0 => return,
                got => total += got,
            }
            // Full buffers on the way: the relay must keep, and then resume.
            if total < 2_000_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    })
    .await;
    assert_eq!(total, BYTES);
}

#[tokio::test]
async fn bulk_in_both_directions_at_once() {
    let (upstream, front) = relayed(Behaviour::Echo).await;
    let sent: Vec<u8> = (0..3_000_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let (mut reading, mut writing) = TcpStream::connect(front)
        .await
        .expect("connects")
        .into_split();
    let mut heard = vec![0; sent.len()];
    within(SOON, async {
        let (wrote, read) = tokio::join!(writing.write_all(&sent), reading.read_exact(&mut heard));
        wrote.and(read).expect("open");
    })
    .await;
    assert!(heard == sent, "the echo differs");
    drop((reading, writing));
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

#[tokio::test]
async fn a_reset_upstream_ends_the_client() {
    let (_upstream, front) = relayed(Behaviour::ResetAtOnce).await;
    let mut stream = TcpStream::connect(front).await.expect("connects");
    let mut buffer = [0; 16];
    // An end or an error: either way the client is not left waiting.
    let _ = within(SOON, stream.read(&mut buffer)).await;
}
