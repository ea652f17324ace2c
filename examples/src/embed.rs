//! A program that contains a gateway and decides itself what it serves.
use pointsman_gateway::{Gateway, Running, Settings};
use pointsman_sdk::{Documents, Outlet, SourceChange, say};
use std::net::SocketAddr;
use tokio::sync::watch;

/// A gateway whose documents the program holds. Keep the sender: each text sent through it
/// replaces the one before, and no connection notices.
///
/// To be called inside [`pointsman_runtime::run`], which gives the thread an actix system.
///
/// # Errors
/// When threads cannot be started or the admin address is taken.
pub async fn start(yaml: String) -> anyhow::Result<(Running, watch::Sender<String>)> {
    let (sender, texts) = watch::channel(yaml);
    let mut settings = Settings::default();
    settings.process.shards = 1;
    settings.process.admin = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut running = Gateway::builder()
        .settings(settings)
        .extend(|host| {
            host.source("program", move |catalogue| follow(texts.clone(), catalogue));
        })
        .start()
        .await?;
    // From here on the first text is served.
    running.ready().await;
    Ok((running, sender))
}

/// The program's end inside the gateway: a source that says what the channel brings.
async fn follow(mut texts: watch::Receiver<String>, catalogue: Outlet<SourceChange>) {
    let mut documents = Documents::new("program");
    let mut text = texts.borrow_and_update().clone();
    loop {
        // Begun anew after its panic it finds this text again, says nothing, and what it said
        // before keeps serving.
        if text != "panic" {
            say(&catalogue, documents.change(&text)).await;
        }
        if texts.changed().await.is_err() {
            // The program has dropped its end: what was said last is served on.
            std::future::pending::<()>().await;
        }
        text = texts.borrow_and_update().clone();
        assert!(text != "panic", "the program's source was told to panic");
    }
}
