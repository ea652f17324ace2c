//! A program that moves a service from one endpoint to another and asks itself what it sees.
#![allow(clippy::print_stdout, reason = "tells what to try")]
use pointsman_examples::{embed, stage::http_service};
use pointsman_testkit::{HttpUpstream, RawHttp};

fn main() -> anyhow::Result<()> {
    pointsman_runtime::run(async {
        let blue = HttpUpstream::named("blue").start().await;
        let green = HttpUpstream::named("green").start().await;
        let at = ([127, 81, 0, 5], 8080).into();
        let (running, documents) = embed::start(http_service("web", at, &[blue.addr()])).await?;
        println!("metrics: http://{}/metrics", running.admin);

        let mut client = RawHttp::connect(at).await?;
        let reply = client.get("web.example", "/").await?;
        println!("answered by {:?}", reply.answered_by());

        let mut progress = running.progress();
        let now = progress.borrow().active;
        documents.send(http_service("web", at, &[green.addr()]))?;
        progress.wait_for(|it| it.active > now).await?;
        let reply = client.get("web.example", "/").await?;
        println!("same connection, answered by {:?}", reply.answered_by());

        drop(client);
        let drained = running.drain().await;
        println!("drained, {} connections were cut", drained.cut);
        Ok(())
    })?
}
