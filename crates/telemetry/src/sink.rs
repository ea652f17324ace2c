//! Where access log records go.
use crate::{
    access_log::{AccessRecord, Format},
    names,
    recorder::Recorder,
};
use metrics::Counter;
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Stdout, Write},
    path::Path,
    thread,
    time::Duration,
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

/// How long is waited for a reader that has no room, where the kernel does not wait itself: whoever shares
/// a pipe may have made it non-blocking.
const AGAIN: Duration = Duration::from_millis(5);

/// Writes lines to a file, to standard output, or to anything else that is [`Write`].
pub struct WriteSink<W> {
    name: String,
    format: Format,
    out: W,
    /// Whole lines, behind the rest of one that is `torn`.
    buffer: Vec<u8>,
    /// The last write ended in the middle of a line.
    torn: bool,
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
            torn: false,
            lost: Counter::noop(),
            failing: false,
        }
    }

    /// Counts lost records in [`names::ACCESS_LOG_LOST`].
    pub fn count_losses(mut self, recorder: &Recorder) -> Self {
        self.lost = recorder.counter(&names::ACCESS_LOG_LOST, [&self.name]);
        self
    }

    /// Writes out what is buffered. If that fails in the middle of a line, its rest goes before whatever is
    /// written next: lines behind half a one would be lost with it.
    fn write_out(&mut self) {
        let (written, result) = write_all(&mut self.out, &self.buffer);
        self.torn = match written.checked_sub(1) {
            None => self.torn,
            Some(last) => self.buffer.get(last) != Some(&b'\n'),
        };
        let end_of_line = |it: &u8| *it == b'\n';
        self.buffer.drain(..written);
        let kept = match self.buffer.iter().position(end_of_line) {
            Some(end) if self.torn => end + 1,
            _ => 0,
        };
        let lost = self.buffer.drain(kept..).filter(end_of_line).count();
        self.lost.increment(lost as u64);
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(sink = self.name, %error, "access log records are being lost");
                }
            }
        }
    }
}

/// Writes until all is written or it fails: how many bytes went out, and how it ended.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    loop {
        let rest = bytes.get(written..).unwrap_or_default();
        let result = match rest {
            [] => out.flush().map(|()| None),
            rest => out.write(rest).map(Some),
        };
        match result {
            Ok(None) => return (written, Ok(())),
            Ok(Some(0)) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(Some(taken)) => written += taken,
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => thread::sleep(AGAIN),
                _ => return (written, Err(error)),
            },
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
        for record in batch {
            self.format.write(record, &mut self.buffer);
            if self.buffer.len() >= CHUNK {
                self.write_out();
            }
        }
        if !self.buffer.is_empty() {
            self.write_out();
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

    /// Takes a few bytes at a time, and no more than it has room for: it is full then, or asks to be tried
    /// again.
    struct Narrow {
        room: usize,
        full: ErrorKind,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room).min(100);
            if taken == 0 {
                if self.full == ErrorKind::WouldBlock {
                    self.room = 1_000;
                }
                return Err(self.full.into());
            }
            self.room -= taken;
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// How many lines went out, all of them whole, and how many are counted as lost.
    fn went_out(sink: &WriteSink<Narrow>, recorder: &Recorder) -> (usize, u64) {
        let text = std::str::from_utf8(&sink.out.taken).expect("text");
        for line in text.lines() {
            let whole = serde_json::from_str::<serde_json::Value>(line);
            assert!(whole.is_ok(), "{line}");
        }
        let text_of_lost = recorder.render();
        let lost = text_of_lost
            .lines()
            .find_map(|line| line.strip_prefix("pointsman_access_log_lost_total{sink=\"test\"} "));
        let lost = lost.expect("a counter").parse().expect("a number");
        (text.lines().count(), lost)
    }

    #[test]
    fn a_disk_that_is_full_for_a_while_tears_no_line() {
        let batch = vec![AccessRecord::default(); 20];
        let mut line = Vec::new();
        Format::Json.write(&batch[0], &mut line);
        let line = line.len();
        // Full in the middle of a line, behind one, before the first.
        for room in [3 * line + 7, 3 * line, 0, 5 * line - 1, 1] {
            let recorder = Recorder::default();
            let out = Narrow {
                room,
                full: ErrorKind::StorageFull,
                taken: Vec::new(),
            };
            let mut sink = WriteSink::new("test", Format::Json, out).count_losses(&recorder);
            sink.records(&batch);
            sink.records(&batch);
            sink.out.room = 2;
            sink.records(&batch);
            sink.out.room = usize::MAX;
            sink.records(&batch);
            let (lines, lost) = went_out(&sink, &recorder);
            // The two bytes may be the last of a torn line, and begin another.
            let rest = (line - room % line) % line;
            let torn = usize::from(rest > 0) + usize::from(rest < 2);
            assert_eq!(lines, room / line + torn + batch.len(), "{room}");
            assert_eq!(lines as u64 + lost, 4 * batch.len() as u64, "{room}");
        }
    }

    #[test]
    fn a_pipe_that_does_not_block_loses_nothing() {
        let recorder = Recorder::default();
        let out = Narrow {
            room: 10,
            full: ErrorKind::WouldBlock,
            taken: Vec::new(),
        };
        let mut sink = WriteSink::new("test", Format::Json, out).count_losses(&recorder);
        sink.records(&vec![AccessRecord::default(); 20]);
        assert_eq!(went_out(&sink, &recorder), (20, 0));
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
