//! Requests per route.
mod common;

use common::{Bystander, SOON, place, restarts};
use pointsman_examples::{
    sink,
    stage::{Stage, http_service},
};
use pointsman_testkit::{HttpUpstream, RawHttp, eventually};
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What the sink wrote.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn says(&self, line: &str) -> bool {
        let text = self.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(text).expect("text");
        text.lines().any(|own| own == line)
    }
}

async fn get(at: SocketAddr, path: &str, agent: &str) -> u16 {
    let mut client = RawHttp::connect(at).await.expect("a connection");
    let fields = [("User-Agent", agent)];
    let reply = client.request("GET", "web.example", path, &fields, None);
    reply.await.expect("an answer").status
}

const ROUTES: &str = "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web.example]
  http:
  - name: teapot
    match: [{uri: {prefix: /tea}}]
    directResponse: {status: 418}
  - route: [{destination: {host: web.example}}]
";

#[test]
fn requests_are_counted_by_route_and_a_panic_costs_one_batch() {
    pointsman_runtime::run(async {
        let web = HttpUpstream::named("web").start().await;
        let at = place();
        let mut bystander = Bystander::new().await;
        let documents = http_service("web", at, &[web.addr()]) + ROUTES + &bystander.document;
        let paper = Paper::default();
        let out = paper.clone();
        let stage = Stage::open(&documents, |host| {
            sink::register(host, Duration::ZERO, move || out.clone());
        })
        .await
        .expect("a gateway");

        assert_eq!(get(at, "/tea", "test").await, 418);
        for _ in 0..3 {
            assert_eq!(get(at, "/", "test").await, 200);
        }
        eventually(SOON, || async {
            paper.says(r#"{"route":"teapot","code":418,"requests":1}"#)
                && paper.says(r#"{"route":"default/web#1","code":200,"requests":3}"#)
        })
        .await;

        bystander.is_served().await;
        assert_eq!(get(at, "/", "panic").await, 200);
        eventually(SOON, || async { restarts("route-counts") == 1 }).await;
        bystander.is_served().await;
        // The new one counts from zero.
        assert_eq!(get(at, "/tea", "test").await, 418);
        assert_eq!(get(at, "/tea", "test").await, 418);
        bystander.leave();
        assert_eq!(stage.close().await.cut, 0);
        // Whatever was recorded last has reached the sink before the end.
        assert!(paper.says(r#"{"route":"teapot","code":418,"requests":2}"#));
    })
    .expect("a runtime");
}
