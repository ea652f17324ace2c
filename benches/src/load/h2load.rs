//! HTTP/2 by `h2load` (Debian's package nghttp2-client), the load generator others publish figures
//! of. It tells its own figures at its end, so requests are counted where they are answered.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Http2, Progress};
use crate::traffic::HTTP_HOST;

/// How long after its time it may still take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Runs for `length`; it cannot be stopped earlier without losing what it says about failures.
pub(super) fn run(
    front: SocketAddr,
    job: &Http2,
    length: Duration,
    progress: &Progress,
) -> io::Result<()> {
    let duration = format!("{}ms", length.as_millis());
    let (clients, streams) = (job.connections.to_string(), job.streams.to_string());
    let options = ["-D", &duration, "-c", &clients, "-m", &streams];
    let data = Data::write(job)?;
    let mut child = command(front, job, &data, &options)
        .spawn()
        .map_err(not_there)?;
    progress.helped_by(Some(child.id()));
    let end = Instant::now() + length + GRACE;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            progress.error("h2load does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
    progress.helped_by(None);
    let output = child.wait_with_output()?;
    if let Err(why) =
        Summary::of(&String::from_utf8_lossy(&output.stdout)).and_then(|it| it.clean())
    {
        progress.error(why);
    }
    Ok(())
}

/// One request; the answer must have the right status and as many bytes as it should.
pub(crate) fn check(front: SocketAddr, job: &Http2) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let data = Data::write(job).map_err(told)?;
    // One after the other on a connection: the second finds what the first left behind.
    let options = ["-n", "2", "-c", "1", "-m", "1", "-T", "2s"];
    let output = command(front, job, &data, &options)
        .output()
        .map_err(not_there)
        .map_err(told)?;
    let summary = Summary::of(&String::from_utf8_lossy(&output.stdout))?;
    summary.clean()?;
    let expected = 2 * job.answer as u64;
    if (summary.succeeded, summary.data) == (2, expected) {
        Ok(())
    } else {
        Err(format!(
            "{} of 2 requests, {} bytes of {expected}",
            summary.succeeded, summary.data
        ))
    }
}

fn command(front: SocketAddr, job: &Http2, data: &Data, options: &[&str]) -> Command {
    let mut command = Command::new("h2load");
    command.arg(format!("--connect-to={front}")).args(options);
    for (name, value) in job.fields {
        command.arg(format!("--header={name}: {value}"));
    }
    if let Some(path) = &data.0 {
        command.arg("-d").arg(path);
    }
    // Port 80, so that the authority is the host alone.
    command.arg(format!("http://{HTTP_HOST}{}", job.path));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn not_there(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        io::Error::other("h2load is not installed; on Debian it is in the package nghttp2-client")
    } else {
        error
    }
}

/// The request's body in a file, as h2load wants it.
struct Data(Option<PathBuf>);

impl Data {
    fn write(job: &Http2) -> io::Result<Data> {
        if job.body.is_empty() {
            return Ok(Data(None));
        }
        let name = format!("side-by-side-body-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, job.body)?;
        Ok(Data(Some(path)))
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What h2load says at its end.
#[derive(Debug, PartialEq)]
struct Summary {
    succeeded: u64,
    failed: u64,
    errored: u64,
    timeout: u64,
    /// Bytes of DATA received.
    data: u64,
}

impl Summary {
    fn of(text: &str) -> Result<Summary, String> {
        let count = |start: &str, word: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(start))?;
            let part = line.split(',').find_map(|part| part.strip_suffix(word))?;
            // `100B (100) data`: the figure in brackets is exact.
            let figure = part.trim().trim_end_matches(')');
            figure.rsplit(['(', ' ']).next()?.parse().ok()
        };
        let request = |word| count("requests: ", word);
        let summary = || {
            Some(Summary {
                succeeded: request(" succeeded")?,
                failed: request(" failed")?,
                errored: request(" errored")?,
                timeout: request(" timeout")?,
                data: count("traffic: ", " data")?,
            })
        };
        let last = || text.lines().rfind(|line| !line.trim().is_empty());
        summary().ok_or_else(|| format!("h2load said {:?}", last().unwrap_or_default()))
    }

    fn clean(&self) -> Result<(), String> {
        let Summary {
            failed,
            errored,
            timeout,
            ..
        } = self;
        if failed + errored + timeout == 0 {
            return Ok(());
        }
        Err(format!(
            "h2load: {failed} failed, {errored} errored, {timeout} timeout"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
finished in 1.00s, 100 req/s, 1.20KB/s
requests: 12 total, 12 started, 10 done, 10 succeeded, 1 failed, 2 errored, 0 timeout
status codes: 10 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.43KB (1463) total, 64B (64) headers (space savings 61.00%), 1000B (1000) data
";

    #[test]
    fn the_summary_is_understood() {
        let summary = Summary::of(SAID).expect("a summary");
        let expected = Summary {
            succeeded: 10,
            failed: 1,
            errored: 2,
            timeout: 0,
            data: 1000,
        };
        assert_eq!(summary, expected);
        assert!(summary.clean().is_err());
        assert!(Summary::of("starting benchmark...").is_err());
    }
}
