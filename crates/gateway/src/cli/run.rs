//! `pointsman run`.
use super::{args, exit, output};
use crate::{Gateway, Running, settings::Log};
use std::{process::ExitCode, time::Instant};
use tokio::signal::unix::{SignalKind, signal};

pub(super) fn run(command: &args::Run) -> anyhow::Result<ExitCode> {
    let mut flags = Vec::new();
    match command.capture {
        Some(args::Capture::Bind) => flags.push(("capture.mode", "bind".to_owned())),
        Some(args::Capture::Redirect) => flags.push(("capture.mode", "redirect".to_owned())),
        None => {}
    }
    if let Some(port) = command.capture_port {
        flags.push(("capture.port", port.to_string()));
    }
    if let Some(mark) = command.capture_mark {
        flags.push(("capture.mark", mark.to_string()));
    }
    let loaded = args::load(&command.config, &command.client, &command.process, flags)?;
    init_log(&loaded.settings.log);
    let mut builder = Gateway::builder().settings(loaded.settings);
    for file in &command.files {
        builder = builder.manifests(file);
    }
    pointsman_runtime::run(async move {
        let started = Instant::now();
        let mut running = builder.start().await?;
        running.ready().await;
        tracing::info!(
            admin = %running.admin,
            generation = running.progress().borrow().active,
            took_ms = started.elapsed().as_millis() as u64,
            "serving"
        );
        report(&running).await;
        until_told_to_stop(running).await
    })?
}

/// Findings as they are at the start, on standard error, so that nobody has to look for them.
pub(super) async fn report(running: &Running) {
    if let Ok(findings) = running.findings().await {
        output::findings_to_stderr(&findings);
    }
}

/// Waits for SIGTERM or SIGINT, then drains. A second signal ends the wait.
pub(super) async fn until_told_to_stop(running: Running) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut told = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let signal = told().await;
    tracing::info!(
        signal,
        "draining: no new connections, requests in flight finish"
    );
    let drained = tokio::select! {
        drained = running.drain() => drained,
        signal = told() => {
            tracing::warn!(signal, "told again: ending at once");
            return Ok(exit::FAILED);
        }
    };
    if drained.cut > 0 {
        tracing::warn!(
            cut = drained.cut,
            "the drain time is over; open connections were cut"
        );
    }
    tracing::info!("stopped");
    Ok(exit::FINE)
}

pub(super) fn init_log(log: &Log) {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.level).unwrap_or_else(|error| {
        eprintln!(
            "pointsman: log.level `{}` is not understood ({error}); using info",
            log.level
        );
        tracing_subscriber::EnvFilter::new("info")
    });
    // A second call (tests) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(output::colored(args::Color::Auto, &std::io::stderr()))
        .try_init();
}
