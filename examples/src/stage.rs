//! A gateway on loopback with a few documents, for the examples and their tests.
#![allow(clippy::print_stdout, reason = "tells how to end it")]
use pointsman_gateway::{Gateway, Running, Settings, running::Drained};
use pointsman_sdk::Host;
use std::{net::SocketAddr, path::Path};

/// A running gateway and the folder of its documents.
pub struct Stage {
    /// The gateway.
    pub running: Running,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Starts a gateway with one shard, these documents and this extension, and waits until it
    /// serves them. To be called inside [`pointsman_runtime::run`].
    ///
    /// # Errors
    /// When threads or the folder cannot be made.
    pub async fn open(yaml: &str, extension: impl FnOnce(&mut Host)) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("documents.yaml"), yaml)?;
        let mut settings = Settings::default();
        settings.process.shards = 1;
        settings.process.admin = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut running = Gateway::builder()
            .settings(settings)
            .manifests(folder.path())
            .extend(extension)
            .start()
            .await?;
        running.ready().await;
        Ok(Self { running, folder })
    }

    /// The folder: what is written there is served.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Serves until Ctrl-C, then lets requests in flight finish.
    ///
    /// # Errors
    /// When the signal cannot be waited for.
    pub async fn until_interrupted(self) -> anyhow::Result<()> {
        println!("Ctrl-C ends it.");
        tokio::signal::ctrl_c().await?;
        self.close().await;
        Ok(())
    }

    /// Lets requests in flight finish, then ends.
    pub async fn close(self) -> Drained {
        self.running.drain().await
    }
}

/// An HTTP service that listens on `at` and has these endpoints.
pub fn http_service(name: &str, at: SocketAddr, endpoints: &[SocketAddr]) -> String {
    entry(name, at, "HTTP", endpoints)
}

/// A service whose protocol is found out from the first bytes of each connection.
pub fn sniffed_service(name: &str, at: SocketAddr, endpoints: &[SocketAddr]) -> String {
    entry(name, at, "", endpoints)
}

fn entry(name: &str, at: SocketAddr, protocol: &str, endpoints: &[SocketAddr]) -> String {
    let endpoints: String = endpoints
        .iter()
        .map(|it| {
            format!(
                "\n  - {{address: {}, ports: {{main: {}}}}}",
                it.ip(),
                it.port()
            )
        })
        .collect();
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  addresses: [{ip}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{name: main, number: {port}, protocol: '{protocol}'}}]
  endpoints:{endpoints}
",
        ip = at.ip(),
        port = at.port(),
    )
}
