//! How long a configuration takes to be loaded, and the memory it then occupies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use anyhow::Context;

use crate::proxies::Running;

/// What loading cost a process, from its start until it said that it was ready.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loading {
    /// Wall-clock time.
    pub took: Duration,
    /// CPU time; more than `took` if several CPUs helped.
    pub cpu: Duration,
    /// Resident memory when it was ready, KiB.
    pub resident: u64,
    /// The most it was until then, KiB: documents and their compiled form side by side.
    pub peak: u64,
}

impl fmt::Display for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ready after {:.1} s ({:.1} s of CPU), {} MiB resident, {} MiB at most",
            self.took.as_secs_f64(),
            self.cpu.as_secs_f64(),
            self.resident / 1024,
            self.peak / 1024
        )
    }
}

/// Waits until a process started at `since` answers `/ready` on `admin` with 200.
///
/// # Errors
/// When it exits, or is not ready `limit` after `since`.
pub fn await_ready(
    running: &mut Running,
    admin: SocketAddr,
    since: Instant,
    limit: Duration,
) -> anyhow::Result<Loading> {
    loop {
        let why = match ready(admin) {
            Ok(200) => break,
            // Asked wrongly: waiting would not help.
            Ok(status @ 400..500) => anyhow::bail!("{}: /ready says {status}", running.name),
            Ok(status) => format!("/ready says {status}"),
            Err(error) => format!("/ready: {error}"),
        };
        if let Some(status) = running.child.exited() {
            anyhow::bail!("{} ended while it loaded: {status}", running.name);
        }
        anyhow::ensure!(
            since.elapsed() < limit,
            "{} is not ready after {limit:?}: {why}",
            running.name
        );
        thread::sleep(Duration::from_millis(20));
    }
    let took = since.elapsed();
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id()))?;
    Ok(Loading {
        took,
        cpu: running.child.cpu_time()?,
        resident: kibibytes(&status, "VmRSS:").context("no VmRSS")?,
        peak: kibibytes(&status, "VmHWM:").context("no VmHWM")?,
    })
}

/// The status code that `/ready` is answered with.
fn ready(admin: SocketAddr) -> std::io::Result<u16> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&admin, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    // `HTTP/1.1 200`; what follows does not matter.
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    std::str::from_utf8(&head)
        .ok()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.parse().ok())
        .ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// A figure of `/proc/<pid>/status`.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_status_file_is_understood() {
        let status = "Name:\tx\nVmHWM:\t  5120 kB\nVmRSS:\t    1024 kB\nThreads:\t1\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(1024));
        assert_eq!(kibibytes(status, "VmHWM:"), Some(5120));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
        let own = fs::read_to_string("/proc/self/status").expect("proc");
        assert!(kibibytes(&own, "VmRSS:").is_some_and(|kib| kib > 100));
    }

    #[test]
    fn readiness_is_the_status_code() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let admin = listener.local_addr().expect("address");
        let server = thread::spawn(move || {
            for code in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut request = [0; 1024];
                let got = stream.read(&mut request).expect("a request");
                assert!(request[..got].starts_with(b"GET /ready "));
                let answer = format!("HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).expect("an answer");
            }
        });
        assert_eq!(ready(admin).expect("an answer"), 503);
        assert_eq!(ready(admin).expect("an answer"), 200);
        server.join().expect("no panic");
    }
}
