//! Services from a text file: edit it while it runs.
#![allow(clippy::print_stdout, reason = "tells what to try")]
use pointsman_examples::{source, stage::Stage};
use pointsman_testkit::HttpUpstream;

fn main() -> anyhow::Result<()> {
    pointsman_runtime::run(async {
        let one = HttpUpstream::named("one").start().await;
        let two = HttpUpstream::named("two").start().await;
        let hosts = std::env::temp_dir().join("pointsman-hosts.txt");
        std::fs::write(&hosts, format!("shop 127.81.0.1:8080 {}\n", one.addr()))?;
        let path = hosts.clone();
        let stage = Stage::open("", |host| source::register(host, path)).await?;
        println!("The file {} says where `shop` is. Ask it:", hosts.display());
        println!("  curl http://127.81.0.1:8080/ -H 'Host: shop.example'");
        println!("Add the second endpoint and ask again:");
        println!(
            "  echo 'shop 127.81.0.1:8080 {} {}' > {}",
            one.addr(),
            two.addr(),
            hosts.display()
        );
        println!("Make the source panic, and see that everything goes on:");
        println!("  touch {}", hosts.with_extension("panic").display());
        stage.until_interrupted().await
    })?
}
