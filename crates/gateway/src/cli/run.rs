//! `pointsman run`.
use super::{args, exit, output};
use crate::{Gateway, Running, settings::Log};
use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

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
    let _log = init_log(&loaded.settings.log);
    let mut builder = Gateway::builder().settings(loaded.settings);
    for file in &command.files {
        builder = builder.manifests(file);
    }
    pointsman_runtime::run(async move {
        let started = Instant::now();
        let signals = Signals::new()?;
        let running = builder.start().await?;
        let (running, signals) = match ready(running, signals).await {
            Ok(both) => both,
            Err(ended) => return ended,
        };
        tracing::info!(
            admin = %running.admin,
            generation = running.progress().borrow().active,
            took_ms = started.elapsed().as_millis() as u64,
            "serving"
        );
        report(&running).await;
        until_told_to_stop(running, signals).await
    })?
}

/// How long findings come before what follows them.
const REPORT: Duration = Duration::from_secs(1);

/// Findings as they are at the start, on standard error, so that nobody has to look for them. They are
/// written by a thread of their own: where nobody reads, it alone waits.
pub(super) async fn report(running: &Running) {
    let Ok(findings) = running.findings().await else {
        return;
    };
    let (done, written) = oneshot::channel();
    let write = move || {
        output::findings_to_stderr(&findings);
        let _ = done.send(());
    };
    if let Err(error) = thread::Builder::new().name("findings".into()).spawn(write) {
        tracing::warn!(%error, "findings cannot be shown: see pointsman analyze");
    }
    let _ = tokio::time::timeout(REPORT, written).await;
}

/// A second signal this soon after the first is the same wish: whoever stops a process group sends
/// two.
const SAME_WISH: Duration = Duration::from_secs(1);

/// The signals a gateway listens to. Made before anything is served, so that none is missed.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for SIGTERM or SIGINT. What other servers do on SIGHUP, USR1 or USR2 needs nobody to
    /// ask for it here: documents are followed by themselves.
    async fn stop(&mut self) -> &'static str {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => "SIGHUP",
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::info!(
                signal = ignored,
                "nothing to do: documents are followed by themselves"
            );
        }
    }
}

/// Waits for SIGTERM or SIGINT, then drains. A second signal ends the wait.
pub(super) async fn until_told_to_stop(
    running: Running,
    mut signals: Signals,
) -> anyhow::Result<ExitCode> {
    let signal = signals.stop().await;
    drain(running, signals, signal).await
}

async fn drain(
    running: Running,
    mut signals: Signals,
    signal: &'static str,
) -> anyhow::Result<ExitCode> {
    tracing::info!(
        signal,
        "draining: no new connections, requests in flight finish"
    );
    let begun = Instant::now();
    let again = async {
        loop {
            let signal = signals.stop().await;
            if begun.elapsed() >= SAME_WISH {
                return signal;
            }
        }
    };
    let drained = tokio::select! {
        drained = running.drain() => drained,
        signal = again => {
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

/// Waits until the documents are served; `Err` when told to stop before.
pub(super) async fn ready(
    mut running: Running,
    mut signals: Signals,
) -> Result<(Running, Signals), anyhow::Result<ExitCode>> {
    let told = tokio::select! {
        () = running.ready() => None,
        signal = signals.stop() => Some(signal),
    };
    match told {
        None => Ok((running, signals)),
        Some(signal) => Err(drain(running, signals, signal).await),
    }
}

/// Log lines that wait for a slow reader of standard error. What is more is lost: a log must never
/// hold up traffic, let alone end the process.
const LOG_LINES: usize = 8192;

/// Begins to log to standard error. The guard writes what still waits when it is dropped.
pub(super) fn init_log(log: &Log) -> WorkerGuard {
    // The file watcher warns of every folder that is replaced, which is how ConfigMaps change.
    let filter = format!("notify=error,{}", log.level);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LOG_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    // A second call (tests) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(output::colored(args::Color::Auto, &std::io::stderr()))
        .try_init();
    guard
}
