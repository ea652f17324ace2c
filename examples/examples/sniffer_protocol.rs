//! A protocol of one's own beside HTTP on the same port.
#![allow(clippy::print_stdout, reason = "tells what to try")]
use pointsman_examples::{
    sniffer_protocol,
    stage::{Stage, sniffed_service},
};
use pointsman_testkit::HttpUpstream;

fn main() -> anyhow::Result<()> {
    pointsman_runtime::run(async {
        let web = HttpUpstream::named("web").start().await;
        let at = ([127, 81, 0, 2], 8080).into();
        let documents = sniffed_service("mixed", at, &[web.addr()]);
        let stage = Stage::open(&documents, sniffer_protocol::register).await?;
        println!("{at} speaks HTTP and @shout. The last line makes its actor panic:");
        println!("  curl http://{at}/ -H 'Host: mixed.example'");
        println!("  printf '@shout hello\\n' | nc -q 1 127.81.0.2 8080");
        println!("  printf '@shout panic\\n' | nc -q 1 127.81.0.2 8080");
        stage.until_interrupted().await
    })?
}
