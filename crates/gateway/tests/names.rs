//! Names in documents, with DNS as a test wants it: in a network and with an `/etc/resolv.conf` of its
//! own.
mod common;

use common::*;
use pointsman_testkit::{free_port, fresh_ip};
use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::UdpSocket;

/// Where [`Process`] asks for names.
const SERVER: &str = "127.9.9.9";

/// A server that answers nobody, and how often it was asked.
async fn dead_dns() -> Arc<AtomicUsize> {
    let socket = UdpSocket::bind((SERVER, 53)).await.expect("port 53");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while socket.recv(&mut query).await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    asked
}

/// The binary on a machine that asks [`SERVER`], and waits longer than any test for its answer.
fn asks_the_server() -> Command {
    let mut shell = Command::new("unshare");
    let script = format!(
        "f=$(mktemp) && echo 'nameserver {SERVER}\noptions timeout:30 attempts:1' >$f \
         && mount --bind $f /etc/resolv.conf && rm $f && exec \"$0\" \"$@\""
    );
    shell.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_pointsman")]);
    shell
}

/// Each request that waited for a name of its own accord was a query, and a thread that held the end.
#[test]
fn a_flood_for_a_name_that_dns_does_not_answer_is_a_few_queries_and_a_clean_end() {
    // BE-106
    let test = "a_flood_for_a_name_that_dns_does_not_answer_is_a_few_queries_and_a_clean_end";
    enclosed(test, || async {
        let asked = dead_dns().await;
        let web = SocketAddr::from((fresh_ip(), free_port()));
        let text = format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop, namespace: default}}
spec:
  hosts: [shop.example]
  addresses: [{}]
  ports: [{{name: http, number: {}, protocol: HTTP}}]
  resolution: DNS
",
            web.ip(),
            web.port()
        );
        let mut binary = asks_the_server();
        binary.env("POINTSMAN_TIMEOUTS__CONNECT", "1s");
        let mut process = Process::start_as(binary, &text, &[]).await;
        let requests = (0..300).map(|_| {
            tokio::spawn(async move {
                let mut client = connect(web).await;
                let answer = client.get("shop.example", "/").await;
                answer.expect("an answer").status
            })
        });
        for request in requests.collect::<Vec<_>>() {
            assert_eq!(request.await.expect("asked"), 503);
        }
        // One of the control plane, and one of each shard; one that is sent twice is no flood.
        let queries = asked.load(Ordering::Relaxed);
        assert!((1..=9).contains(&queries), "{queries} queries");
        process.signal("TERM");
        let status = process.ended(Duration::from_secs(10)).await;
        let log = process.log();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("unclean"), "{log}");
    });
}
