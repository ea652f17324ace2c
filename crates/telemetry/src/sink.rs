//! Where access log records go.
use crate::{
    access_log::{AccessRecord, Format},
    names,
    recorder::Recorder,
};
use metrics::Counter;
use std::{
    fs::{File, OpenOptions},
    io::{self, Stdout, Write},
    path::Path,
};

/// Takes batches of records off the traffic threads' hands. Runs on one thread, not that of a
/// shard, and may block it.
pub trait Sink: Send {
    /// Its name in metrics and log messages.
    fn name(&self) -> &str;

    /// Takes a batch. A sink that fails loses records rather than hold them: it says so in its own
    /// way and takes the next batch.
    fn records(&mut self, batch: &[AccessRecord]);
}

/// Text is handed on when this many bytes are ready, so that a large batch needs no large buffer.
const CHUNK: usize = 64 * 1024;

/// Writes lines to a file, to standard output, or to anything else that is [`Write`].
pub struct WriteSink<W> {
    name: String,
    format: Format,
    out: W,
    buffer: Vec<u8>,
    lost: Counter,
    /// The last write failed: say it once, not for every batch.
    failing: bool,
}

impl<W: Write + Send> WriteSink<W> {
    /// Lines in `format` to `out`.
    pub fn new(name: impl Into<String>, format: Format, out: W) -> Self {
        Self {
            name: name.into(),
            format,
            out,
            buffer: Vec::new(),
            lost: Counter::noop(),
            failing: false,
        }
    }

    /// Counts lost records in [`names::ACCESS_LOG_LOST`].
    pub fn count_losses(mut self, recorder: &Recorder) -> Self {
        self.lost = recorder.counter(&names::ACCESS_LOG_LOST, [&self.name]);
        self
    }

    /// Writes out what is buffered, which are `records` records.
    fn write_out(&mut self, records: u64) {
        let result = self
            .out
            .write_all(&self.buffer)
            .and_then(|()| self.out.flush());
        self.buffer.clear();
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.lost.increment(records);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(sink = self.name, %error, "access log records are being lost");
                }
            }
        }
    }
}

impl WriteSink<Stdout> {
    /// Lines in `format` to standard output.
    pub fn stdout(format: Format) -> Self {
        Self::new("stdout", format, io::stdout())
    }
}

impl WriteSink<File> {
    /// Lines in `format` to the end of the file at `path`, which is made if need be.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn file(path: &Path, format: Format) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self::new(path.display().to_string(), format, file))
    }
}

impl<W: Write + Send> Sink for WriteSink<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn records(&mut self, batch: &[AccessRecord]) {
        let mut waiting = 0;
        for record in batch {
            self.format.write(record, &mut self.buffer);
            waiting += 1;
            if self.buffer.len() >= CHUNK {
                self.write_out(std::mem::take(&mut waiting));
            }
        }
        if waiting > 0 {
            self.write_out(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails from the `fail_from`th write on, counted from 0.
    struct Flaky {
        writes: usize,
        fail_from: usize,
        largest: usize,
        lines: usize,
    }

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            if self.writes > self.fail_from {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.largest = self.largest.max(bytes.len());
            self.lines += bytes.iter().filter(|b| **b == b'\n').count();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn large_batches_go_in_chunks_and_losses_are_counted() {
        let recorder = Recorder::default();
        let out = Flaky {
            writes: 0,
            fail_from: 3,
            largest: 0,
            lines: 0,
        };
        let mut sink = WriteSink::new("test", Format::Json, out).count_losses(&recorder);
        let batch = vec![AccessRecord::default(); 2_000];
        sink.records(&batch);
        assert!(sink.out.writes > 3, "{}", sink.out.writes);
        assert!(sink.out.largest < 2 * CHUNK, "{}", sink.out.largest);
        let lost = 2_000 - sink.out.lines;
        let line = format!("pointsman_access_log_lost_total{{sink=\"test\"}} {lost}\n");
        let text = recorder.render();
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn files_are_appended_to() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("pointsman-sink-{}", std::process::id()));
        for _ in 0..2 {
            WriteSink::file(&path, Format::default())?.records(&[AccessRecord::default()]);
        }
        let text = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with("[1970-01-01T00:00:00.000Z] \"- - -\" 0 -"));
        Ok(())
    }
}
