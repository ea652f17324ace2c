//! A program with a gateway in it.
mod common;

use common::{Bystander, SOON, ask, place, restarts};
use pointsman_examples::{embed, stage::http_service};
use pointsman_testkit::{HttpUpstream, RawHttp, eventually};

#[test]
fn the_program_changes_what_is_served_without_a_connection_noticing() {
    pointsman_runtime::run(async {
        let blue = HttpUpstream::named("blue").start().await;
        let green = HttpUpstream::named("green").start().await;
        let at = place();
        let mut bystander = Bystander::new().await;
        let to = |web: &HttpUpstream| http_service("web", at, &[web.addr()]) + &bystander.document;
        let (to_blue, to_green) = (to(&blue), to(&green));
        let (running, sender) = embed::start(to_blue.clone()).await.expect("a gateway");
        let mut client = RawHttp::connect(at).await.expect("a connection");
        let reply = client.get("web.example", "/").await.expect("an answer");
        assert_eq!(reply.answered_by().as_deref(), Some("blue"));
        let mut progress = running.progress();
        let now = progress.borrow().active;
        sender.send(to_green).expect("a gateway");
        progress
            .wait_for(|it| it.active > now)
            .await
            .expect("a catalogue");
        let reply = client.get("web.example", "/").await.expect("an answer");
        assert_eq!(reply.answered_by().as_deref(), Some("green"));

        bystander.is_served().await;
        sender.send("panic".into()).expect("a gateway");
        eventually(SOON, || async { restarts("program") == 1 }).await;
        bystander.is_served().await;
        assert_eq!(ask(at, "web.example").await, "green");
        sender.send(to_blue).expect("a gateway");
        eventually(SOON, || async { ask(at, "web.example").await == "blue" }).await;

        drop(client);
        bystander.leave();
        assert_eq!(running.drain().await.cut, 0);
    })
    .expect("a runtime");
}
