//! A discovery source that a test speaks through: changes reach the catalogue at once, without
//! files and their debounce.
use super::{Gateway, settings};
use pointsman_gateway::{Gateway as Facade, Settings};
use pointsman_manifest::{Input, parse};
use pointsman_model::{Object, ObjectKey};
use pointsman_runtime::{Offered, Outlet, offer};
use pointsman_sdk::SourceChange;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const NAME: &str = "feed";

type Known = Arc<Mutex<BTreeMap<ObjectKey, Object>>>;

/// Documents in named groups; a group is replaced as a whole.
pub struct Feed {
    groups: BTreeMap<String, Vec<ObjectKey>>,
    known: Known,
    changes: UnboundedSender<SourceChange>,
}

impl Feed {
    /// A gateway that knows what this feed says, and `text` to begin with.
    pub async fn serve(text: &str) -> (Gateway, Feed) {
        Feed::serve_with(settings(), text).await
    }

    /// As [`Feed::serve`], with these settings.
    pub async fn serve_with(settings: Settings, text: &str) -> (Gateway, Feed) {
        let (changes, coming) = unbounded_channel();
        let known = Known::default();
        let mut feed = Feed {
            groups: BTreeMap::new(),
            known: Arc::clone(&known),
            changes,
        };
        feed.change(&[("base", text)]);
        // Run again after a restart of the catalogue: one run at a time has the receiver.
        let coming = Arc::new(tokio::sync::Mutex::new(coming));
        let builder = Facade::builder().settings(settings).extend(|host| {
            host.source(NAME, move |outlet| {
                run(outlet, Arc::clone(&known), Arc::clone(&coming))
            });
        });
        (Gateway::start(None, builder).await, feed)
    }

    /// Replaces these groups, in one change.
    pub fn change(&mut self, groups: &[(&str, &str)]) {
        let groups = groups.iter().map(|(group, text)| (*group, parsed(text)));
        self.put(groups.collect());
    }

    /// As [`Feed::change`], with objects instead of text.
    pub fn put(&mut self, groups: Vec<(&str, Vec<Object>)>) {
        let mut change = SourceChange {
            source: NAME.into(),
            ..SourceChange::default()
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, objects) in groups {
            let now: Vec<_> = objects.iter().map(|it| it.key().clone()).collect();
            let before = self.groups.insert(group.to_owned(), now.clone());
            for gone in before.unwrap_or_default() {
                if !now.contains(&gone) {
                    known.remove(&gone);
                    change.deletes.push(gone);
                }
            }
            for object in objects {
                let key = object.key().clone();
                if known.get(&key) != Some(&object) {
                    known.insert(key, object.clone());
                    change.upserts.push(object);
                }
            }
        }
        drop(known);
        // Without a receiver the gateway is gone, and the test about to notice.
        let _ = self.changes.send(change);
    }

    /// As [`Feed::change`], and waits until every shard serves it. It must change something.
    pub async fn swap(&mut self, gateway: &Gateway, groups: &[(&str, &str)]) {
        let before = gateway.progress.borrow().active;
        self.change(groups);
        gateway.past(before).await;
    }
}

/// The objects of a text that is right.
pub fn parsed(text: &str) -> Vec<Object> {
    let parsed = parse(&Input {
        file: "test.yaml".into(),
        text,
        default_namespace: "default",
        cluster_domain: "cluster.local",
    });
    parsed
        .documents
        .into_iter()
        .map(|it| {
            it.result
                .unwrap_or_else(|_| panic!("{:#?}\n{text}", parsed.findings))
        })
        .collect()
}

async fn run(
    outlet: Outlet<SourceChange>,
    known: Known,
    coming: Arc<tokio::sync::Mutex<UnboundedReceiver<SourceChange>>>,
) {
    let mut coming = coming.lock().await;
    let all = known
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .values()
        .cloned()
        .collect();
    let first = SourceChange {
        source: NAME.into(),
        upserts: all,
        synced: true,
        ..SourceChange::default()
    };
    say(&outlet, first).await;
    while let Some(change) = coming.recv().await {
        say(&outlet, change).await;
    }
    std::future::pending::<()>().await;
}

async fn say(outlet: &Outlet<SourceChange>, mut change: SourceChange) {
    loop {
        match offer(outlet, change) {
            Ok(()) | Err(Offered::Dead(_)) => return,
            Err(Offered::Full(back)) => change = back,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
