//! The floor.

use std::process::Command;

use anyhow::Context;

use super::{Fronts, Kind, Running, Site};

pub(super) fn start(site: &Site<'_>) -> anyhow::Result<Running> {
    let this = std::env::current_exe()?;
    let binary = this
        .parent()
        .context("this program lies in a folder")?
        .join("relay");
    anyhow::ensure!(
        binary.is_file(),
        "{} is missing: build it with `cargo build --release -p pointsman-benches`",
        binary.display()
    );
    let mut fronts = Fronts::allocate();
    fronts.large = fronts.http;
    fronts.rules = [fronts.http; 3];
    // What it copies is the client's version, so it cannot show what a translation costs.
    (fronts.h2_h1, fronts.h2_h2, fronts.grpc) = (None, None, None);
    let to = site.upstreams;
    let mut command = Command::new(binary);
    for (front, upstream) in [
        (fronts.http, to.http),
        (fronts.tcp, to.echo),
        (fronts.bulk, to.source),
        (fronts.sni, to.echo),
    ] {
        command.arg(front.to_string()).arg(upstream.to_string());
    }
    let (child, log) = site.spawn(command)?;
    let version = "epoll, copies bytes, parses nothing".to_owned();
    Ok(Running {
        kind: Kind::Relay,
        name: "relay".into(),
        version,
        fronts,
        child,
        log,
    })
}
