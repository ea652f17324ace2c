//! The second endpoint is asked only while the first one is busy.
#![allow(clippy::print_stdout, reason = "tells what to try")]
use pointsman_examples::{
    balancer,
    stage::{Stage, http_service},
};
use pointsman_testkit::{HttpUpstream, Reply};
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    pointsman_runtime::run(async {
        let slow = || Reply::identity().after(Duration::from_secs(5));
        let first = HttpUpstream::named("first")
            .on("/slow", slow())
            .start()
            .await;
        let second = HttpUpstream::named("second").start().await;
        let at = ([127, 81, 0, 4], 8080).into();
        let documents = http_service("web", at, &[first.addr(), second.addr()])
            + &balancer::destination_rule("web");
        let stage = Stage::open(&documents, |host| balancer::register(host, 1)).await?;
        println!("Always the first endpoint:");
        println!("  curl http://{at}/ -H 'Host: web.example'");
        println!("Keep it busy for five seconds, and ask again meanwhile: the second one.");
        println!("  curl http://{at}/slow -H 'Host: web.example' &");
        stage.until_interrupted().await
    })?
}
