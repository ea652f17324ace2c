//! Check, warm up, measure. Rounds alternate between the proxies, so that whatever else the
//! machine does hits all of them alike; a figure is the median over rounds.
#![allow(clippy::print_stderr, reason = "tells how far it is")]

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pointsman_testkit::Child;
use pointsman_testkit::process::{cpu_time, machine_cpu_time, own_cpu_time};

use crate::check::await_correct;

use crate::epoll::pin;
use crate::load::{Load, Progress};
use crate::proxies::{Kind, Running};
use crate::rows::{Row, Unit};

/// How much longer a load runs that has to be told its end beforehand.
const MARGIN: Duration = Duration::from_millis(300);

/// In which a tail is looked at by itself: a few hundred requests, and shorter than the time between
/// most disturbances.
const WINDOW: Duration = Duration::from_millis(50);

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds; each measures every proxy once.
    pub rounds: usize,
    /// Load before the measured part of a round.
    pub warm_up: Duration,
    /// The measured part.
    pub measured: Duration,
    /// How long a proxy may take to answer correctly for the first time.
    pub ready: Duration,
    /// The CPU of the load.
    pub cpu: usize,
}

/// One measured part.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What a unit costs, in the row's unit: CPU time, memory, or the time of the slowest hundredth.
    pub cost: f64,
    /// Units per second, in the row's unit.
    pub rate: f64,
    /// Share of one CPU the proxy was busy, 0 to 1: well below 1 means the load was the limit.
    pub busy: f64,
    /// CPUs kept busy meanwhile by processes that have no part in this: above some 0.1 the figures
    /// are worth less.
    pub others: f64,
}

/// One proxy in one row.
#[derive(Debug)]
pub struct Contestant<'p> {
    /// The proxy.
    pub proxy: &'p mut Running,
    /// Whether the row's other figures are compared with this one as the floor.
    pub is_floor: bool,
    /// Its load.
    pub load: Load,
}

/// What one proxy did in one row.
#[derive(Debug)]
pub struct Outcome {
    /// What it is.
    pub kind: Kind,
    /// Its name in the table.
    pub name: String,
    /// Whether the row's other figures are compared with this one as the floor.
    pub is_floor: bool,
    /// One per round; empty after a failure.
    pub samples: Vec<Sample>,
    /// Why there are none.
    pub failure: Option<String>,
}

impl Outcome {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(proxy: &Running, is_floor: bool) -> Outcome {
        Outcome {
            kind: proxy.kind,
            name: proxy.name.clone(),
            is_floor,
            samples: Vec::new(),
            failure: None,
        }
    }

    /// Takes what a round gave; a failure ends the proxy's part in the row.
    pub fn take(&mut self, result: Result<Sample, String>) {
        match result {
            Ok(sample) => self.samples.push(sample),
            Err(why) => {
                self.samples.clear();
                self.failure = Some(why);
            }
        }
    }

    /// The median of a figure over the rounds.
    #[must_use]
    pub fn median(&self, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.iter().map(figure).collect())
    }

    /// The cost as a share of another's: the median of what it was in each round. What makes a round
    /// dear makes it dear for both, so this is steadier than the ratio of the two medians.
    #[must_use]
    pub fn against(&self, other: &Outcome) -> Option<f64> {
        let rounds = self.samples.iter().zip(&other.samples);
        median(
            rounds
                .map(|(ours, theirs)| ours.cost / theirs.cost)
                .collect(),
        )
    }

    /// The smallest and the largest cost.
    #[must_use]
    pub fn cost_range(&self) -> Option<(f64, f64)> {
        let costs = || self.samples.iter().map(|sample| sample.cost);
        Some((costs().reduce(f64::min)?, costs().reduce(f64::max)?))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Measures one row. A proxy that does not answer correctly drops out of the row and says why; one
/// that has no entry for it takes no part.
pub fn row(row: Row, contestants: &mut [Contestant<'_>], plan: &Plan) -> Vec<Outcome> {
    let mut parts: Vec<_> = contestants
        .iter_mut()
        .filter_map(|contestant| Some((row.front(&contestant.proxy.fronts)?, contestant)))
        .map(|(front, contestant)| {
            let mut outcome = Outcome::new(contestant.proxy, contestant.is_floor);
            outcome.failure = await_correct(front, contestant, plan.ready).err();
            (front, contestant, outcome)
        })
        .collect();
    for round in 0..plan.rounds {
        let measure = |part: &mut (_, &mut Contestant<'_>, Outcome)| {
            let (front, contestant, outcome) = part;
            if outcome.failure.is_none() {
                plan.tell(row, round, &outcome.name);
                outcome.take(sample(row, *front, contestant, plan));
            }
        };
        // Nobody always comes after the same one.
        if round % 2 == 0 {
            parts.iter_mut().for_each(measure);
        } else {
            parts.iter_mut().rev().for_each(measure);
        }
    }
    parts.into_iter().map(|(.., outcome)| outcome).collect()
}

impl Plan {
    /// Says what is being measured.
    pub fn tell(&self, row: Row, round: usize, name: &str) {
        let (row, round, rounds) = (row.name(), round + 1, self.rounds);
        eprintln!("{row} round {round} of {rounds}: {name}");
    }
}

fn sample(
    row: Row,
    front: SocketAddr,
    contestant: &Contestant<'_>,
    plan: &Plan,
) -> Result<Sample, String> {
    let length = plan.warm_up + plan.measured + MARGIN;
    let progress = Arc::new(Progress::default());
    let driver = {
        let (progress, load, cpu) = (Arc::clone(&progress), contestant.load.clone(), plan.cpu);
        thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                let _ = pin(cpu);
                load.run(front, length, &progress);
            })
            .map_err(|error| error.to_string())?
    };
    let read = || Reading::take(&contestant.proxy.child, &contestant.load, &progress);
    thread::sleep(plan.warm_up);
    let before = read();
    thread::sleep(plan.measured);
    let after = read();
    progress.stop();
    driver
        .join()
        .map_err(|_| "the load generator panicked".to_owned())?;
    let (before, after) = (before?, after?);
    let latencies = progress.latencies();
    if let Some(failure) = progress.failure() {
        return Err(failure);
    }
    let units = after.units.saturating_sub(before.units);
    if units == 0 {
        return Err("nothing was completed".into());
    }
    let seconds =
        |of: fn(&Reading) -> Duration| of(&after).saturating_sub(of(&before)).as_secs_f64();
    let cpu = seconds(|reading| reading.proxy);
    let wall = after.at.duration_since(before.at).as_secs_f64();
    let others = seconds(|reading| reading.machine) - seconds(|reading| reading.own) - cpu;
    // Counts stay far below 2^53.
    #[expect(clippy::cast_precision_loss)]
    let units = units as f64 / row.unit().units_per_rate();
    let cost = if row.unit() == Unit::Tail {
        undisturbed_tail(&latencies, before.at..after.at).ok_or("no request was measured")?
    } else {
        cpu * row.unit().costs_per_second() / units
    };
    Ok(Sample {
        cost,
        rate: units / wall,
        busy: cpu / wall,
        others: (others / wall).max(0.0),
    })
}

/// What a proxy does to the slowest hundredth of requests while nothing else disturbs it, in
/// microseconds: the 99th percentile of each [`WINDOW`], of which the first quartile. The host of a
/// virtual machine stops its processors for milliseconds dozens of times a second, and over all
/// requests that would be what is measured, of whichever proxy.
fn undisturbed_tail(latencies: &[(Instant, Duration)], measured: Range<Instant>) -> Option<f64> {
    let length = measured.end.saturating_duration_since(measured.start);
    let windows = usize::try_from(length.as_nanos() / WINDOW.as_nanos()).ok()?;
    let mut took = vec![Vec::new(); windows];
    for (due, it) in latencies {
        let Some(at) = due.checked_duration_since(measured.start) else {
            continue;
        };
        let window = usize::try_from(at.as_nanos() / WINDOW.as_nanos()).ok()?;
        // The last window is not a whole one.
        if let Some(took) = took.get_mut(window) {
            took.push(*it);
        }
    }
    let mut tails: Vec<_> = took.into_iter().filter_map(slowest_hundredth).collect();
    tails.sort_by(f64::total_cmp);
    tails.get(tails.len() / 4).copied()
}

/// The 99th percentile in microseconds.
fn slowest_hundredth(mut took: Vec<Duration>) -> Option<f64> {
    took.sort_unstable();
    let index = (took.len() * 99).div_ceil(100).checked_sub(1)?;
    Some(took.get(index)?.as_secs_f64() * 1e6)
}

/// All the counters at one instant.
struct Reading {
    at: Instant,
    units: u64,
    /// CPU time of the proxy.
    proxy: Duration,
    /// CPU time of this process, load and upstreams, and of a load generator of its own.
    own: Duration,
    /// CPU time of the whole machine.
    machine: Duration,
}

impl Reading {
    fn take(proxy: &Child, load: &Load, progress: &Progress) -> Result<Reading, String> {
        let told = |error: std::io::Error| error.to_string();
        // One that has ended early has failed, and says so itself.
        let helper = progress.helper().and_then(|pid| cpu_time(pid).ok());
        Ok(Reading {
            at: Instant::now(),
            units: load.units(progress),
            proxy: proxy
                .cpu_time()
                .map_err(|error| format!("it died: {error}"))?,
            own: own_cpu_time().map_err(told)? + helper.unwrap_or_default(),
            machine: machine_cpu_time().map_err(told)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        let of = |costs: &[f64]| Outcome {
            kind: Kind::Pointsman,
            name: String::new(),
            is_floor: false,
            samples: costs
                .iter()
                .map(|cost| Sample {
                    cost: *cost,
                    rate: 0.0,
                    busy: 0.0,
                    others: 0.0,
                })
                .collect(),
            failure: None,
        };
        let median = |costs: &[f64]| of(costs).median(|sample| sample.cost);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let (ours, theirs) = (of(&[8.0, 30.0, 9.0]), of(&[10.0, 40.0, 10.0]));
        assert_eq!(ours.against(&theirs), Some(0.8));
        assert_eq!(ours.against(&of(&[])), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]).cost_range(), Some((1.0, 3.0)));
    }

    #[test]
    fn a_machine_that_stops_is_not_the_tail_of_a_proxy() {
        let start = Instant::now();
        let micros = Duration::from_micros;
        // One in a hundred takes long in each window, and nobody is served in half of them.
        let at = |number: u64| start + micros(200 * number);
        let took = |number: u64| match (number / 250 % 2, number % 100) {
            (1, _) => 4_000,
            (_, 0) => 150,
            _ => 100,
        };
        let all = |took: &dyn Fn(u64) -> u64| -> Vec<_> {
            (0..2_000).map(|it| (at(it), micros(took(it)))).collect()
        };
        let measured = start..at(2_000);
        assert_eq!(undisturbed_tail(&all(&took), measured.clone()), Some(150.0));
        // What a proxy does in every window is its own.
        let stalls = |number: u64| if number % 250 < 5 { 4_000 } else { 100 };
        assert_eq!(undisturbed_tail(&all(&stalls), measured), Some(4_000.0));
        assert_eq!(undisturbed_tail(&[], start..start), None);
    }

    #[test]
    fn the_slowest_hundredth_is_a_percentile() {
        let micros = |range: std::ops::RangeInclusive<u64>| {
            slowest_hundredth(range.rev().map(Duration::from_micros).collect())
        };
        assert_eq!(micros(1..=200), Some(198.0));
        assert_eq!(micros(7..=7), Some(7.0));
        assert_eq!(slowest_hundredth(Vec::new()), None);
    }
}
