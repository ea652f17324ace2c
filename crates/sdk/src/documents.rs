//! Documents as text: the short way to write a source.
use crate::SourceChange;
use pointsman_manifest::{Input, parse};
use pointsman_model::{Object, ObjectKey};
use pointsman_runtime::{Offered, Outlet, offer};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Wait before a refused change is offered again.
const AGAIN: Duration = Duration::from_millis(20);

/// What a source has said so far, kept by the source so that it says only what changed.
///
/// Documents without a namespace are in `default`, and short host names end in `cluster.local`.
#[derive(Clone, Debug)]
pub struct Documents {
    source: Arc<str>,
    known: BTreeMap<ObjectKey, Object>,
    synced: bool,
}

impl Documents {
    /// Nothing said yet. `source` is the name the source was registered by.
    pub fn new(source: &str) -> Self {
        Self {
            source: source.into(),
            known: BTreeMap::new(),
            synced: false,
        }
    }

    /// The change from all documents of the last text to all documents of `yaml`, Kubernetes and
    /// Istio YAML separated by `---`, with findings whose file is the source's name.
    ///
    /// A document with an error changes nothing about its last good version. A text that cannot be
    /// read to its end deletes nothing.
    pub fn change(&mut self, yaml: &str) -> SourceChange {
        let parsed = parse(&Input {
            file: self.source.clone(),
            text: yaml,
            default_namespace: "default",
            cluster_domain: "cluster.local",
        });
        let whole = parsed.complete && parsed.documents.iter().all(|it| it.key.is_some());
        let mut gone = std::mem::take(&mut self.known);
        let mut upserts = Vec::new();
        for document in parsed.documents {
            let Some(key) = document.key else { continue };
            let before = gone.remove(&key);
            let now = match document.result {
                Ok(object) => {
                    if before.as_ref() != Some(&object) {
                        upserts.push(object.clone());
                    }
                    Some(object)
                }
                Err(_) => before,
            };
            if let Some(now) = now {
                self.known.insert(key, now);
            }
        }
        let deletes = if whole {
            gone.into_keys().collect()
        } else {
            self.known.append(&mut gone);
            Vec::new()
        };
        let first = whole && !self.synced;
        self.synced |= whole;
        SourceChange {
            source: self.source.clone(),
            upserts,
            deletes,
            findings: Some(parsed.findings),
            synced: first,
        }
    }
}

/// Offers a change until it is taken: changes must not be lost. Gives up only when the catalogue
/// is gone, which is when the process ends.
pub async fn say(to: &Outlet<SourceChange>, mut change: SourceChange) {
    while let Err(Offered::Full(back)) = offer(to, change) {
        change = back;
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{clusterIP: 127.0.0.9, ports: [{{port: {port}}}]}}\n"
        )
    }

    fn names(change: &SourceChange) -> (Vec<String>, Vec<String>) {
        let new = change.upserts.iter().map(|it| it.meta().key.to_string());
        let gone = change.deletes.iter().map(ToString::to_string);
        (new.collect(), gone.collect())
    }

    #[test]
    fn only_what_changed_is_said() {
        let mut documents = Documents::new("test");
        let first = documents.change(&(service("a", 80) + &service("b", 80)));
        assert_eq!(names(&first).0.len(), 2);
        assert!(first.synced && first.deletes.is_empty());
        let second = documents.change(&(service("a", 80) + &service("b", 81)));
        assert_eq!(names(&second), (vec!["Service default/b".into()], vec![]));
        assert!(!second.synced);
        let third = documents.change(&service("a", 80));
        assert_eq!(names(&third), (vec![], vec!["Service default/b".into()]));
    }

    #[test]
    fn what_cannot_be_read_changes_and_deletes_nothing() {
        let mut documents = Documents::new("test");
        assert!(!documents.change("kind: [").synced);
        let _ = documents.change(&service("a", 80));
        for broken in ["kind: [", "kind: Service\nmetadata: {name: }\n"] {
            let change = documents.change(broken);
            assert_eq!(names(&change), (vec![], vec![]), "{broken}");
            assert!(change.findings.is_some_and(|it| !it.is_empty()));
        }
        let wrong = service("a", 80).replace("port: 80", "port: eighty");
        let change = documents.change(&wrong);
        assert_eq!(names(&change), (vec![], vec![]));
        assert_eq!(names(&documents.change("")).1.len(), 1);
    }
}
