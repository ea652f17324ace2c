//! The hosts file.
mod common;

use common::{Bystander, SOON, ask, place, restarts};
use pointsman_examples::{source, stage::Stage};
use pointsman_testkit::{HttpUpstream, eventually};

#[test]
fn services_follow_the_file_and_a_panic_of_the_source() {
    pointsman_runtime::run(async {
        let one = HttpUpstream::named("one").start().await;
        let two = HttpUpstream::named("two").start().await;
        let (shop, late) = (place(), place());
        let folder = tempfile::tempdir().expect("a folder");
        let hosts = folder.path().join("hosts.txt");
        let write = |text: String| std::fs::write(&hosts, text).expect("written");
        write(format!("# a comment\nshop {shop} {}\n", one.addr()));

        let mut bystander = Bystander::new().await;
        let path = hosts.clone();
        let stage = Stage::open(&bystander.document, |host| source::register(host, path))
            .await
            .expect("a gateway");
        assert_eq!(ask(shop, "shop.example").await, "one");

        write(format!("shop {shop} {}\n", two.addr()));
        eventually(SOON, || async { ask(shop, "shop.example").await == "two" }).await;

        bystander.is_served().await;
        std::fs::write(hosts.with_extension("panic"), "").expect("written");
        eventually(SOON, || async { restarts("hosts-file") == 1 }).await;
        bystander.is_served().await;
        assert_eq!(ask(shop, "shop.example").await, "two");

        // The new one reads on.
        write(format!(
            "shop {shop} {}\nlate {late} {}\n",
            two.addr(),
            one.addr()
        ));
        eventually(SOON, || async { ask(late, "late.example").await == "one" }).await;
        write(format!("late {late} {}\n", one.addr()));
        eventually(SOON, || async {
            ask(shop, "shop.example").await.is_empty()
        })
        .await;
        bystander.is_served().await;
        bystander.leave();
        assert_eq!(stage.close().await.cut, 0);
    })
    .expect("a runtime");
}
