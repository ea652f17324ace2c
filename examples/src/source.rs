//! A discovery source: services from a text file, one a line.
//!
//! ```text
//! # name  address       endpoints
//! shop    127.81.0.1:80 127.0.0.1:18081 127.0.0.1:18082
//! ```
use crate::stage::http_service;
use pointsman_sdk::{Documents, Host, Outlet, SourceChange, say};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The extension: `pointsman` with services from the file at `path`.
pub fn register(host: &mut Host, path: PathBuf) {
    host.source("hosts-file", move |catalogue| {
        watch(path.clone(), catalogue)
    });
}

/// Runs on the control thread until the process ends. It is run again, and begins by saying
/// everything, when it panics or when the catalogue asks for it.
async fn watch(path: PathBuf, catalogue: Outlet<SourceChange>) {
    // Remembers what was said, so that a change says only what is new or gone.
    let mut documents = Documents::new("hosts-file");
    let mut before: Option<String> = None;
    loop {
        // A file next to it makes the source panic, once: what a defect would do.
        if std::fs::remove_file(path.with_extension("panic")).is_ok() {
            panic!("the hosts file source was told to panic");
        }
        // A small local file; one that could hang belongs in `tokio::task::spawn_blocking`.
        let read = std::fs::read_to_string(&path);
        // A file that cannot be read changes nothing. At the start it is an empty one: the gateway
        // becomes ready only when every source has said what it knows.
        let text = read.unwrap_or_else(|_| before.clone().unwrap_or_default());
        if before.as_ref() != Some(&text) {
            say(&catalogue, documents.change(&translate(&text))).await;
            before = Some(text);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The file as documents. Lines that make no sense are left out; a real source would report them
/// in [`SourceChange::findings`].
fn translate(text: &str) -> String {
    text.lines().filter_map(service).collect()
}

fn service(line: &str) -> Option<String> {
    let mut words = line.split('#').next()?.split_whitespace();
    let name = words.next()?;
    let at: SocketAddr = words.next()?.parse().ok()?;
    let endpoints: Vec<SocketAddr> = words.filter_map(|word| word.parse().ok()).collect();
    Some(http_service(name, at, &endpoints))
}
