//! From the world to a snapshot. Pure, and safe against panics of the compiler.
use crate::{codes, source::files::panic_message};
use pointsman_model::{ClientContext, Finding, Level, World};
use pointsman_route::{Compiled, Contexts, Snapshot, Table, Tables};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

/// Makes a table of a world; [`Table::compile`] except in tests.
pub type Compiler =
    Arc<dyn Fn(&World, &ClientContext, Option<&Table>) -> Compiled + Send + Sync + 'static>;

/// One compilation, to be run on a blocking thread.
pub(crate) struct Job {
    pub(crate) world: Arc<World>,
    pub(crate) contexts: Arc<Contexts>,
    /// Unchanged parts are shared with it, and an equal result is not a new generation.
    pub(crate) previous: Option<Arc<Snapshot>>,
    /// Number of the snapshot, should there be one.
    pub(crate) generation: u64,
    pub(crate) compiler: Compiler,
}

/// What came of it.
pub(crate) struct Outcome {
    /// `None`: nothing that matters to traffic changed, or it failed.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// About the documents, or about the failure.
    pub(crate) findings: Vec<Finding>,
    pub(crate) took: Duration,
    pub(crate) failed: bool,
}

impl Job {
    pub(crate) fn run(self) -> Outcome {
        let begun = Instant::now();
        // The previous table is immutable and the new one is lost with the panic, so nothing
        // half-done is seen by anybody.
        let compiled = catch_unwind(AssertUnwindSafe(|| {
            let previous = self.previous.as_ref().map(|snapshot| &snapshot.tables);
            Tables::compile(&self.world, &self.contexts, previous, |w, c, p| {
                (self.compiler)(w, c, p)
            })
        }));
        let took = begun.elapsed();
        match compiled {
            Ok(compiled) => Outcome {
                snapshot: compiled.changed.then(|| {
                    Arc::new(Snapshot {
                        generation: self.generation,
                        tables: compiled.tables,
                    })
                }),
                findings: compiled.findings,
                took,
                failed: false,
            },
            Err(payload) => Outcome {
                snapshot: None,
                findings: vec![self.failure(panic_message(&*payload))],
                took,
                failed: true,
            },
        }
    }

    fn failure(&self, cause: &str) -> Finding {
        let serving = match &self.previous {
            Some(snapshot) => format!("generation {} keeps serving", snapshot.generation),
            None => "no document is served".to_owned(),
        };
        Finding::new(
            codes::INTERNAL,
            Level::Error,
            format!("compiling the documents failed inside Pointsman: {cause}"),
        )
        .effect(serving)
        .help(
            "this is a defect of Pointsman; please report it with the last change, and take that \
             change back meanwhile",
        )
    }
}
