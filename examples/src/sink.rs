//! A telemetry sink: how many requests each route had, and how they ended, as JSON lines.
use pointsman_sdk::{AccessRecord, Host, Sink};
use std::{
    collections::BTreeMap,
    io::Write,
    time::{Duration, Instant},
};

/// The extension: a table to `out` at most once every `every`. `out` is made anew with the sink.
pub fn register<W: Write + Send + 'static>(
    host: &mut Host,
    every: Duration,
    out: impl Fn() -> W + Send + Sync + 'static,
) {
    host.sink("route-counts", move || RouteCounts {
        counts: BTreeMap::new(),
        every,
        told: Instant::now(),
        out: out(),
    });
}

/// Counts by route and status. Lives on no traffic thread, so it may take its time; records that
/// it has no time for are counted in `pointsman_access_log_lost_total`.
struct RouteCounts<W> {
    counts: BTreeMap<(String, u16), u64>,
    every: Duration,
    told: Instant,
    out: W,
}

impl<W: Write + Send> Sink for RouteCounts<W> {
    fn name(&self) -> &str {
        "route-counts"
    }

    fn records(&mut self, batch: &[AccessRecord]) {
        for record in batch {
            // What a defect would do: this batch and the counts so far are lost, nothing else.
            assert!(
                record.user_agent.as_deref() != Some(b"panic"),
                "the sink was told to panic"
            );
            let route = record.route_name.as_deref().unwrap_or("-").to_owned();
            *self
                .counts
                .entry((route, record.response_code))
                .or_default() += 1;
        }
        if self.told.elapsed() >= self.every {
            self.told = Instant::now();
            for ((route, code), count) in &self.counts {
                // A sink that cannot write loses lines rather than hold them.
                let _ = writeln!(
                    self.out,
                    r#"{{"route":{route:?},"code":{code},"requests":{count}}}"#
                );
            }
        }
    }
}
