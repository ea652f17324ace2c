//! Requests per route, as JSON lines on standard error.
#![allow(clippy::print_stdout, reason = "tells what to try")]
use pointsman_examples::{
    sink,
    stage::{Stage, http_service},
};
use pointsman_testkit::HttpUpstream;
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    pointsman_runtime::run(async {
        let web = HttpUpstream::named("web").start().await;
        let at = ([127, 81, 0, 3], 8080).into();
        let stage = Stage::open(&http_service("web", at, &[web.addr()]), |host| {
            sink::register(host, Duration::from_secs(1), std::io::stderr);
        })
        .await?;
        println!("Counts appear here about once a second while there is traffic:");
        println!("  curl http://{at}/ -H 'Host: web.example'");
        println!("Make the sink panic; the request is answered all the same:");
        println!("  curl http://{at}/ -H 'Host: web.example' -A panic");
        stage.until_interrupted().await
    })?
}
