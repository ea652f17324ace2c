//! `pointsman_config_*`: the catalogue's part of the metrics.
use super::status::Revision;
use pointsman_model::{Code, Finding, Level};
use pointsman_telemetry::{Recorder, names};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Sets gauges once per change; handles are resolved each time, which is cheap enough for that.
pub(crate) struct Gauges {
    recorder: Option<Recorder>,
    /// Series of `config_findings` that exist.
    findings: BTreeSet<(Code, Level)>,
}

impl Gauges {
    pub(crate) fn new(recorder: Option<Recorder>) -> Self {
        Self {
            recorder,
            findings: BTreeSet::new(),
        }
    }

    pub(crate) fn compiled(&self, took: Duration) {
        if let Some(recorder) = &self.recorder {
            recorder
                .histogram(&names::CONFIG_COMPILE_SECONDS, [])
                .record(took.as_secs_f64());
        }
    }

    pub(crate) fn revision(&self, revision: &Revision) {
        if let Some(recorder) = &self.recorder {
            let seen = unix_seconds(revision.seen);
            recorder.gauge(&names::CONFIG_SEEN, []).set(seen);
            let compiled = unix_seconds(revision.compiled);
            recorder.gauge(&names::CONFIG_COMPILED, []).set(compiled);
        }
    }

    pub(crate) fn active(&self, generation: u64, at: SystemTime) {
        if let Some(recorder) = &self.recorder {
            // Exact up to 2^53 generations.
            #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
            let number = generation as f64;
            recorder.gauge(&names::CONFIG_GENERATION, []).set(number);
            let at = unix_seconds(at);
            recorder.gauge(&names::CONFIG_ACTIVE, []).set(at);
        }
    }

    pub(crate) fn findings(&mut self, findings: &[Finding]) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        let mut counts: BTreeMap<(Code, Level), u32> = BTreeMap::new();
        for finding in findings {
            *counts.entry((finding.code, finding.level)).or_default() += 1;
        }
        for ((code, level), count) in &counts {
            recorder
                .gauge(&names::CONFIG_FINDINGS, [&code.to_string(), level.as_str()])
                .set(f64::from(*count));
        }
        let before = mem::replace(&mut self.findings, counts.keys().copied().collect());
        for (code, level) in before.difference(&self.findings) {
            let values = [&*code.to_string(), level.as_str()];
            recorder.retire(&names::CONFIG_FINDINGS, values);
        }
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
