//! A balancer of an extension, and changes of the documents under it.
mod common;

use common::*;
use pointsman_gateway::Gateway as Facade;
use pointsman_sdk::{Balancer, Candidates};
use pointsman_testkit::{HttpUpstream, free_port, fresh_ip};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Takes turns from the last endpoint to the first.
struct Backwards(usize);

impl Balancer for Backwards {
    fn pick(&mut self, candidates: &dyn Candidates) -> Option<usize> {
        self.0 += 1;
        // The fourth answer is one that cannot be used.
        let index = match self.0 {
            4 => usize::MAX,
            turn => candidates.len() - 1 - (turn - 1) % candidates.len(),
        };
        Some(index)
    }
}

fn rule(policy: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, labels: {{pointsman.dev/balancer: backwards}}}}
spec: {{host: web, trafficPolicy: {policy}}}
"
    )
}

#[tokio::test]
async fn its_state_survives_a_change_of_the_documents() {
    let a = HttpUpstream::named("a").at((fresh_ip(), 0)).start().await;
    let b = HttpUpstream::named("b").at((fresh_ip(), 0)).start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let endpoints = plain(&[a.addr(), b.addr()]);
    let documents =
        |policy: &str| service("web", web.ip(), web.port(), "http", &endpoints) + &rule(policy);
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let mut settings = settings();
    settings.process.shards = 1;
    let builder = Facade::builder().settings(settings).extend(move |host| {
        host.balancer("backwards", move || {
            count.fetch_add(1, Ordering::SeqCst);
            Backwards(0)
        });
    });
    let gateway = Gateway::start(Some(&documents("null")), builder).await;
    let mut client = connect(web).await;
    let mut heard = Vec::new();
    for turn in 0..3 {
        if turn == 2 {
            gateway
                .apply(&documents("{loadBalancer: {simple: RANDOM}}"))
                .await;
        }
        let reply = client.get("web", "/").await.expect("an answer");
        heard.push(reply.answered_by().expect("a name"));
    }
    assert_ne!(heard[0], heard[1]);
    assert_eq!(heard[0], heard[2]);
    // What no endpoint is behind is no choice.
    let reply = client.get("web", "/").await.expect("an answer");
    assert_eq!(reply.status, 503);
    assert_eq!(made.load(Ordering::SeqCst), 1);
}
