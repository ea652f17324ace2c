//! The text of all metrics: made off this thread, one at a time, for all who ask meanwhile.
use bytes::Bytes;
use pointsman_telemetry::Recorder;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Mutex,
    task::{spawn_blocking, spawn_local},
    time::{Instant, sleep},
};

/// Texts of this size and more are given to all who ask within [`LARGE_FOR`]: with many series one is made
/// of a hundred megabytes in a second, which scrapers that do not read would each hold.
const LARGE: usize = 1024 * 1024;

/// How old a large text may be.
const LARGE_FOR: Duration = Duration::from_secs(1);

/// What scrapes are answered with.
pub(crate) struct Exposition {
    recorder: Recorder,
    last: Mutex<Option<Made>>,
}

struct Made {
    text: Bytes,
    at: Instant,
}

impl Exposition {
    pub(crate) fn new(recorder: Recorder) -> Arc<Self> {
        Arc::new(Self {
            recorder,
            last: Mutex::default(),
        })
    }

    /// All metrics. `None` when rendering panicked, or the process ends.
    pub(crate) async fn text(self: Arc<Self>) -> Option<Bytes> {
        let asked = Instant::now();
        // A task of its own: were it to end with a scraper that goes away, the next one would begin
        // a second rendering beside the first.
        let made = spawn_local(async move {
            let mut last = self.last.lock().await;
            if let Some(Made { text, at }) = &*last
                && (*at >= asked || text.len() >= LARGE)
            {
                return Some(text.clone());
            }
            *last = None;
            let recorder = self.recorder.clone();
            let text = Bytes::from(spawn_blocking(move || recorder.render()).await.ok()?);
            let at = Instant::now();
            *last = Some(Made {
                text: text.clone(),
                at,
            });
            drop(last);
            if text.len() >= LARGE {
                spawn_local(self.forget(at));
            }
            Some(text)
        });
        made.await.ok()?
    }

    /// Lets go of the text that was made `at`, in time.
    async fn forget(self: Arc<Self>, at: Instant) {
        sleep(LARGE_FOR).await;
        self.last.lock().await.take_if(|made| made.at == at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_telemetry::names;
    use std::future::Future;
    use tokio::{runtime::Builder, task::LocalSet};

    fn run(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_all().build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), test);
    }

    #[test]
    fn a_large_text_is_made_once_for_all_who_ask() {
        let recorder = Recorder::default();
        let set = |index: usize| {
            let code = index.to_string();
            let findings = recorder.gauge(&names::CONFIG_FINDINGS, [&code, &"x".repeat(2_000)]);
            findings.set(1.0);
        };
        (0..600).for_each(set);
        run(async {
            let exposition = Exposition::new(recorder.clone());
            let [one, two] = [(); 2].map(|()| exposition.clone().text());
            let (one, two) = tokio::join!(one, two);
            let one = one.expect("rendered");
            assert!(one.len() > LARGE);
            assert_eq!(one.as_ptr(), two.expect("rendered").as_ptr());
            let forgotten = async {
                while exposition.last.lock().await.is_some() {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            let deadline = Duration::from_secs(10);
            let forgotten = tokio::time::timeout(deadline, forgotten).await;
            forgotten.expect("it is not kept");
        });
    }

    #[test]
    fn a_small_text_is_of_now() {
        let recorder = Recorder::default();
        run(async {
            let exposition = Exposition::new(recorder.clone());
            for generation in ["3", "7"] {
                let gauge = recorder.gauge(&names::CONFIG_GENERATION, []);
                gauge.set(generation.parse::<f64>().expect("a number"));
                let text = exposition.clone().text().await.expect("rendered");
                let line = format!("pointsman_config_generation {generation}\n");
                let text = std::str::from_utf8(&text).expect("text");
                assert!(text.contains(&line), "{text}");
            }
        });
    }
}
