//! First available.
mod common;

use common::{Bystander, SOON, ask, place};
use pointsman_examples::{
    balancer,
    stage::{Stage, http_service},
};
use pointsman_testkit::{HttpUpstream, RawHttp, Reply, eventually};
use std::time::Duration;

#[test]
fn the_second_endpoint_is_asked_only_while_the_first_is_busy() {
    pointsman_runtime::run(async {
        let first = HttpUpstream::named("first")
            .on("/slow", Reply::identity().after(Duration::from_secs(2)))
            .start()
            .await;
        let second = HttpUpstream::named("second").start().await;
        let at = place();
        let mut bystander = Bystander::new().await;
        let web = http_service("web", at, &[first.addr(), second.addr()]);
        let rest = balancer::destination_rule("web") + &bystander.document;
        let stage = Stage::open(&(web.clone() + &rest), |host| balancer::register(host, 1))
            .await
            .expect("a gateway");

        for _ in 0..20 {
            assert_eq!(ask(at, "web.example").await, "first");
        }
        let mut busy = RawHttp::connect(at).await.expect("a connection");
        busy.send("GET /slow HTTP/1.1\r\nHost: web.example\r\n\r\n")
            .await
            .expect("sent");
        eventually(SOON, || async { first.requests() == 21 }).await;
        for _ in 0..5 {
            assert_eq!(ask(at, "web.example").await, "second");
        }
        let slow = busy.read_response().await.expect("an answer");
        assert_eq!(slow.answered_by().as_deref(), Some("first"));
        eventually(SOON, || async { ask(at, "web.example").await == "first" }).await;

        // A weight that makes it panic: only requests for this backend lose their connection.
        let file = stage.folder().join("documents.yaml");
        let unlucky = web.replacen("ports: {main", "weight: 13, ports: {main", 1);
        bystander.is_served().await;
        std::fs::write(&file, unlucky + &rest).expect("written");
        eventually(SOON, || async { ask(at, "web.example").await.is_empty() }).await;
        for _ in 0..10 {
            assert_eq!(ask(at, "web.example").await, "");
            bystander.is_served().await;
        }
        std::fs::write(&file, web + &rest).expect("written");
        eventually(SOON, || async { ask(at, "web.example").await == "first" }).await;
        bystander.is_served().await;
        bystander.leave();
        assert_eq!(stage.close().await.cut, 0);
    })
    .expect("a runtime");
}

#[test]
fn a_balancer_nobody_registered_leaves_the_choice_to_the_policy() {
    pointsman_runtime::run(async {
        let web = HttpUpstream::named("web").start().await;
        let at = place();
        let documents = http_service("web", at, &[web.addr()]) + &balancer::destination_rule("web");
        let stage = Stage::open(&documents, |_| {}).await.expect("a gateway");
        assert_eq!(ask(at, "web.example").await, "web");
        stage.close().await;
    })
    .expect("a runtime");
}
