//! Check, warm up, measure. Rounds alternate between the proxies, so that whatever else the
//! machine does hits all of them alike; a figure is the median over rounds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pointsman_testkit::Child;
use pointsman_testkit::process::{machine_cpu_time, own_cpu_time};

use crate::epoll::pin;
use crate::load::{Load, Progress};
use crate::proxies::Running;
use crate::rows::Row;
use crate::traffic::answer_length;

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
    /// CPU time per unit, in the row's unit.
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
    /// Its load.
    pub load: Load,
}

/// What one proxy did in one row.
#[derive(Debug)]
pub struct Outcome {
    /// Its name in the table.
    pub name: String,
    /// Whether it counts for "best peer".
    pub is_peer: bool,
    /// Whether the row's other figures are compared with this one as the floor.
    pub is_floor: bool,
    /// One per round; empty after a failure.
    pub samples: Vec<Sample>,
    /// Why there are none.
    pub failure: Option<String>,
}

impl Outcome {
    /// The median of a figure over the rounds.
    #[must_use]
    pub fn median(&self, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        let mut values: Vec<f64> = self.samples.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get(values.len().saturating_sub(1) / 2)?;
        Some(f64::midpoint(lower, upper))
    }

    /// The smallest and the largest cost.
    #[must_use]
    pub fn cost_range(&self) -> Option<(f64, f64)> {
        let costs = || self.samples.iter().map(|sample| sample.cost);
        Some((costs().reduce(f64::min)?, costs().reduce(f64::max)?))
    }
}

/// Measures one row. A proxy that does not answer correctly drops out of the row and says why.
pub fn row(row: Row, contestants: &mut [Contestant<'_>], plan: &Plan) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = contestants
        .iter_mut()
        .map(|contestant| Outcome {
            name: contestant.proxy.name.clone(),
            is_peer: contestant.proxy.kind.is_peer(),
            is_floor: false,
            samples: Vec::new(),
            failure: await_correct(row, contestant, plan.ready).err(),
        })
        .collect();
    for round in 0..plan.rounds {
        for (contestant, outcome) in contestants.iter_mut().zip(&mut outcomes) {
            if outcome.failure.is_some() {
                continue;
            }
            eprintln!(
                "{} round {} of {}: {}",
                row.name(),
                round + 1,
                plan.rounds,
                outcome.name
            );
            match sample(row, contestant, plan) {
                Ok(sample) => outcome.samples.push(sample),
                Err(why) => {
                    outcome.samples.clear();
                    outcome.failure = Some(why);
                }
            }
        }
    }
    outcomes
}

fn sample(row: Row, contestant: &Contestant<'_>, plan: &Plan) -> Result<Sample, String> {
    let front = row.front(&contestant.proxy.fronts);
    let progress = Arc::new(Progress::default());
    let driver = {
        let (progress, load, cpu) = (Arc::clone(&progress), contestant.load.clone(), plan.cpu);
        thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                let _ = pin(cpu);
                load.run(front, &progress);
            })
            .map_err(|error| error.to_string())?
    };
    let read = || Reading::take(&contestant.proxy.child, &progress);
    thread::sleep(plan.warm_up);
    let before = read();
    thread::sleep(plan.measured);
    let after = read();
    progress.stop();
    driver
        .join()
        .map_err(|_| "the load generator panicked".to_owned())?;
    let (before, after) = (before?, after?);
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
    let units = units as f64 / row.units_per_rate();
    Ok(Sample {
        cost: cpu * row.costs_per_second() / units,
        rate: units / wall,
        busy: cpu / wall,
        others: (others / wall).max(0.0),
    })
}

/// All the counters at one instant.
struct Reading {
    at: Instant,
    units: u64,
    /// CPU time of the proxy.
    proxy: Duration,
    /// CPU time of this process: load and upstreams.
    own: Duration,
    /// CPU time of the whole machine.
    machine: Duration,
}

impl Reading {
    fn take(proxy: &Child, progress: &Progress) -> Result<Reading, String> {
        let told = |error: std::io::Error| error.to_string();
        Ok(Reading {
            at: Instant::now(),
            units: progress.units(),
            proxy: proxy
                .cpu_time()
                .map_err(|error| format!("it died: {error}"))?,
            own: own_cpu_time().map_err(told)?,
            machine: machine_cpu_time().map_err(told)?,
        })
    }
}

/// Tries until the proxy answers exactly as it should.
fn await_correct(row: Row, contestant: &mut Contestant<'_>, ready: Duration) -> Result<(), String> {
    let front = row.front(&contestant.proxy.fronts);
    let end = Instant::now() + ready;
    loop {
        let Err(why) = check(front, &contestant.load) else {
            return Ok(());
        };
        let exited = contestant.proxy.child.exited();
        if exited.is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        let status = exited
            .map(|status| format!("{status}; "))
            .unwrap_or_default();
        return Err(format!(
            "{status}{why}{}",
            last_words(&contestant.proxy.log)
        ));
    }
}

/// The end of a log, for a message.
fn last_words(log: &std::path::Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!(" (log: {})", line.chars().take(300).collect::<String>()),
        None => String::new(),
    }
}

/// One exchange of the row's kind, every byte of the answer's body looked at.
fn check(front: SocketAddr, load: &Load) -> Result<(), String> {
    let mut stream = TcpStream::connect(front).map_err(|error| format!("connect: {error}"))?;
    let limit = Some(Duration::from_secs(2));
    stream
        .set_read_timeout(limit)
        .map_err(|error| error.to_string())?;
    match load {
        Load::Http { requests, body, .. } => {
            // The last host is the one an index is most likely to have lost.
            for request in requests.first().into_iter().chain(requests.last()) {
                check_http(&mut stream, request, *body)?;
            }
            Ok(())
        }
        Load::Connect { payload, .. } => {
            stream
                .write_all(payload)
                .map_err(|error| error.to_string())?;
            let echoed = receive(&mut stream, payload.len())?;
            if echoed == *payload {
                Ok(())
            } else {
                Err("the echo is not what was sent".into())
            }
        }
        Load::Bulk { .. } => {
            stream.write_all(b"!").map_err(|error| error.to_string())?;
            let zeros = receive(&mut stream, 1 << 20)?;
            if zeros.iter().all(|byte| *byte == 0) {
                Ok(())
            } else {
                Err("not the stream".into())
            }
        }
    }
}

fn check_http(stream: &mut TcpStream, request: &[u8], body: usize) -> Result<(), String> {
    stream
        .write_all(request)
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    loop {
        if let Some(length) = answer_length(&answer, body)? {
            let content = answer.get(length - body..).unwrap_or_default();
            let right = length == answer.len() && content.iter().all(|byte| *byte == b'x');
            return if right {
                Ok(())
            } else {
                Err("the body is not what was sent".into())
            };
        }
        let mut byte = [0; 4096];
        match stream.read(&mut byte) {
            Ok(0) => return Err("closed without a whole answer".into()),
            Ok(got) => answer.extend(byte.iter().take(got)),
            Err(error) => return Err(format!("no answer: {error}")),
        }
    }
}

fn receive(stream: &mut TcpStream, length: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; length];
    stream
        .read_exact(&mut bytes)
        .map_err(|error| format!("no answer: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        let of = |costs: &[f64]| Outcome {
            name: String::new(),
            is_peer: false,
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
        assert_eq!(of(&[3.0, 1.0, 2.0]).cost_range(), Some((1.0, 3.0)));
    }
}
