//! The real binary, as an operator starts it.
use super::SOON;
use pointsman_testkit::{Child, RawHttp, eventually, free_port};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, ExitStatus, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Runs a command of the binary to its end.
pub fn pointsman(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(arguments)
        .output()
        .expect("the binary runs")
}

/// `pointsman run` on a folder of its own; killed when dropped.
pub struct Process {
    /// Metrics and health.
    pub admin: SocketAddr,
    child: Child,
    dir: TempDir,
}

impl Process {
    /// Starts it on these documents, and waits until it is ready.
    pub async fn start(text: &str, arguments: &[&str]) -> Process {
        let binary = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        Process::start_as(binary, text, arguments).await
    }

    /// As [`Process::start`], by a command that ends up running the binary.
    pub async fn start_as(mut command: Command, text: &str, arguments: &[&str]) -> Process {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("mesh")).expect("a folder");
        std::fs::write(dir.path().join("mesh/mesh.yaml"), text).expect("a file");
        let log = std::fs::File::create(dir.path().join("log")).expect("a file");
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        command
            .args(["run", "--shards", "2", "--admin", &admin.to_string(), "-f"])
            .arg(dir.path().join("mesh"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log);
        let child = Child::spawn(&mut command).expect("the binary runs");
        let process = Process { admin, child, dir };
        eventually(SOON, || async { process.page("/ready").await == Some(200) }).await;
        process
    }

    /// The status of an admin page, unless nobody answers.
    pub async fn page(&self, path: &str) -> Option<u16> {
        let mut client = RawHttp::connect(self.admin).await.ok()?;
        let reply = client.get(&self.admin.to_string(), path).await.ok()?;
        Some(reply.status)
    }

    /// What it has said on standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }

    /// Its document.
    pub fn document(&self) -> PathBuf {
        self.dir.path().join("mesh/mesh.yaml")
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// How it ended, once it did.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.exited() {
                return status;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "still running after {deadline:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
