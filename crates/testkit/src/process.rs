//! Children that die with their test, and what a process tree costs in CPU time and memory.

use std::fs;
use std::io;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// Length of the kernel's user tick (`USER_HZ` is 100 on every Linux architecture in use).
const USER_TICK: Duration = Duration::from_millis(10);

/// A child process that is killed and reaped when dropped, so that a failed assertion leaves
/// nothing behind.
#[derive(Debug)]
pub struct Child {
    inner: std::process::Child,
}

impl Child {
    /// Starts `command`.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(command: &mut Command) -> io::Result<Child> {
        command.spawn().map(|inner| Child { inner })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// How the child ended, or `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.inner.try_wait().ok().flatten()
    }

    /// The child itself, for its pipes.
    pub fn inner(&mut self) -> &mut std::process::Child {
        &mut self.inner
    }

    /// Waits until the child ends on its own.
    ///
    /// # Errors
    /// `TimedOut` when `deadline` passes first; the child keeps running.
    pub fn wait(&mut self, deadline: Duration) -> io::Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.inner.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// CPU time of this child and its descendants; see [`cpu_time`].
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        cpu_time(self.id())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A master process (nginx) takes its workers along only when asked, so the whole tree is
        // listed before anything is killed. `kill` the program, as std kills only direct children.
        let descendants = tree(self.id());
        let _ = self.inner.kill();
        let _ = self.inner.wait();
        let others: Vec<String> = descendants
            .iter()
            .filter(|pid| **pid != self.inner.id() && is_running(**pid))
            .map(ToString::to_string)
            .collect();
        if !others.is_empty() {
            let _ = Command::new("kill").arg("-9").args(&others).status();
        }
    }
}

/// CPU time (user and system) used so far by all live threads of process `pid` and of its
/// descendants.
///
/// Read from `/proc/<pid>/task/<tid>/schedstat` (nanoseconds, brought up to date at least at every
/// scheduler tick); where the kernel has no schedstat, from `/proc/<pid>/stat` (10 ms ticks).
/// Threads that have ended are not counted, so measure between two points of a steady process.
///
/// # Errors
/// When `pid` does not exist.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    fs::metadata(format!("/proc/{pid}"))?;
    // A descendant may end between being listed and being read.
    Ok(tree(pid)
        .into_iter()
        .filter_map(|pid| threads_cpu_time(pid).or_else(|_| ticks_cpu_time(pid)).ok())
        .sum())
}

/// Resident memory of process `pid` and of its descendants, bytes. What they share counts for each.
///
/// # Errors
/// When `pid` does not exist.
pub fn resident(pid: u32) -> io::Result<u64> {
    fs::metadata(format!("/proc/{pid}"))?;
    // A descendant may end between being listed and being read.
    let sizes = tree(pid).into_iter().filter_map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?;
        Some(kibibytes.saturating_mul(1024))
    });
    Ok(sizes.sum())
}

/// CPU time used so far by the calling process, descendants not included; precision as
/// [`cpu_time`].
///
/// # Errors
/// When `/proc` is not there.
pub fn own_cpu_time() -> io::Result<Duration> {
    let pid = std::process::id();
    threads_cpu_time(pid).or_else(|_| ticks_cpu_time(pid))
}

/// CPU time used so far by everything on this machine, interrupts and stolen time included, in
/// 10 ms ticks: with [`cpu_time`], how much others did meanwhile.
///
/// # Errors
/// When `/proc/stat` is not there.
pub fn machine_cpu_time() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let fields = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1);
    // user nice system idle iowait irq softirq steal; guest time is part of user time.
    let ticks: u64 = fields
        .take(8)
        .enumerate()
        .filter(|(index, _)| !matches!(index, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks.saturating_mul(10)))
}

fn threads_cpu_time(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += text
            .split_whitespace()
            .next()
            .and_then(|first| first.parse::<u64>().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn ticks_cpu_time(pid: u32) -> io::Result<Duration> {
    let (utime, stime) = stat_field(pid, 11)
        .zip(stat_field(pid, 12))
        .ok_or(io::ErrorKind::InvalidData)?;
    let ticks = u32::try_from(utime + stime).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(USER_TICK * ticks)
}

/// A field of `/proc/<pid>/stat`, counted from 0 at the state letter: the command name before it
/// may itself hold blanks and parentheses.
fn stat_field(pid: u32, index: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_whitespace().nth(index)?.parse().ok()
}

fn is_running(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

/// `root` and every process descended from it, parents first.
fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u64)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat_field(pid, 1)?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == u64::from(parent))
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell whose child burns CPU: the cost must be found one level down.
    fn busy_tree() -> Child {
        Child::spawn(Command::new("sh").args(["-c", "sh -c 'while :; do :; done' & wait"]))
            .expect("sh is installed")
    }

    #[test]
    fn cpu_time_counts_descendants() {
        let child = busy_tree();
        let end = Instant::now() + Duration::from_secs(20);
        while child.cpu_time().expect("the child runs") < Duration::from_millis(50) {
            assert!(Instant::now() < end, "a busy loop used no CPU time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn drop_kills_the_whole_tree() {
        let child = busy_tree();
        let end = Instant::now() + Duration::from_secs(20);
        let pids = loop {
            let pids = tree(child.id());
            if pids.len() > 1 {
                break pids;
            }
            assert!(Instant::now() < end, "the shell started no child");
            std::thread::sleep(Duration::from_millis(5));
        };
        drop(child);
        let end = Instant::now() + Duration::from_secs(20);
        // An orphan may stay a zombie until init reaps it: a zombie has no memory.
        while pids.iter().any(|pid| {
            fs::read_to_string(format!("/proc/{pid}/statm"))
                .is_ok_and(|text| !text.starts_with("0 "))
        }) {
            assert!(Instant::now() < end, "{pids:?} still run");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn ticks_agree_with_schedstat() {
        let child = busy_tree();
        std::thread::sleep(Duration::from_millis(100));
        for pid in tree(child.id()) {
            let fine = threads_cpu_time(pid).expect("schedstat");
            let coarse = ticks_cpu_time(pid).expect("stat");
            assert!(
                fine.abs_diff(coarse) < Duration::from_millis(50),
                "{fine:?} {coarse:?}"
            );
        }
    }

    #[test]
    fn the_machine_does_at_least_what_this_process_does() {
        let (own, machine) = (own_cpu_time(), machine_cpu_time());
        let (own, machine) = (own.expect("/proc"), machine.expect("/proc/stat"));
        assert!(machine > own, "{machine:?} {own:?}");
        let end = Instant::now() + Duration::from_secs(20);
        while own_cpu_time().expect("/proc") < own + Duration::from_millis(20) {
            assert!(Instant::now() < end, "a busy loop used no CPU time");
        }
        assert!(machine_cpu_time().expect("/proc/stat") > machine);
    }

    #[test]
    fn memory_in_use_is_resident() {
        let before = resident(std::process::id()).expect("/proc");
        assert!(before > 100 * 1024, "{before}");
        let bytes = vec![1_u8; 64 << 20];
        let after = resident(std::process::id()).expect("/proc");
        assert!(after > before + (48 << 20), "{before} {after}");
        assert_eq!(bytes.last(), Some(&1));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(cpu_time(u32::MAX - 1).is_err());
        assert!(resident(u32::MAX - 1).is_err());
    }
}
