//! `pointsman demo`: the sample shop and a gateway in front of it, in one process.
use super::{args, exit, output, run};
use crate::{Gateway, demo};
use std::process::ExitCode;

pub(super) fn demo(command: &args::Demo) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &command.write {
        let written = demo::write(dir, command.force)?;
        output::say!("The shop's documents are in {}.", dir.display());
        if let Some(notice) = written.notice(dir) {
            output::say!("{notice}");
        }
        return Ok(exit::FINE);
    }
    // The shop is nobody else's business: listen on the loopback interface only.
    let flags = vec![("capture.interface", "lo".to_owned())];
    let mut process = command.process.clone();
    process.shards.get_or_insert(1);
    // Ctrl-C stops everything: nobody's work is in flight in a demonstration.
    process.drain_time.get_or_insert_with(|| "1s".to_owned());
    let mut loaded = args::load(
        &args::ConfigArgs::default(),
        &args::ClientArgs::default(),
        &process,
        flags,
    )?;
    if loaded.settings.log.level == "info" {
        loaded.settings.log.level = "warn".into();
    }
    let _log = run::init_log(&loaded.settings.log);
    let written = demo::write(&command.dir, command.force)?;
    if let Some(notice) = written.notice(&command.dir) {
        output::say!("{notice}");
    }
    let shop = demo::Shop::start()?;
    let builder = Gateway::builder()
        .settings(loaded.settings)
        .manifests(&command.dir);
    let dir = command.dir.clone();
    let code = pointsman_runtime::run(async move {
        let signals = run::Signals::new()?;
        let running = builder.start().await?;
        let (running, signals) = match run::ready(running, signals).await {
            Ok(both) => both,
            Err(ended) => return ended,
        };
        run::report(&running).await;
        let banner = demo::banner(&demo::Facts::here(Some(running.admin), &dir));
        output::print(format_args!("{banner}"));
        run::until_told_to_stop(running, signals).await
    })?;
    drop(shop);
    code
}
