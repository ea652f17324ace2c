//! The sample shop: servers on loopback that say who they are.
//!
//! In the order a connection goes: `roster` says who listens where, [`Shop`] accepts, `http` reads
//! requests, `answers` makes the answers (with `ask` for what other services know), and `mysql` and
//! `vault` are the two that do not begin with HTTP.
//!
//! Everything runs on one thread of its own, so that the shop never takes turns with a shard.
mod answers;
mod ask;
mod error;
mod http;
mod mysql;
mod roster;
mod vault;

pub use error::ShopError;

use roster::{MEMBERS, Member, Role};
use std::{
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
};
use tokio_rustls::TlsAcceptor;

/// Open connections of the whole shop; beyond it new ones wait to be accepted.
const CONNECTIONS: usize = 1024;

/// The second octet of all addresses.
const NETWORK: u8 = 77;

/// The running servers. Dropping it closes every connection and waits for the thread to end.
#[derive(Debug)]
pub struct Shop {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What every server of one shop shares.
struct Floor {
    network: u8,
    places: Arc<Semaphore>,
    tls: TlsAcceptor,
}

impl Shop {
    /// Binds every address, then serves on a thread of its own. When this returns, connections
    /// are accepted.
    ///
    /// # Errors
    /// An address that this machine does not have or that is taken, named together with what to
    /// do; or no certificate or thread could be made. Nothing keeps running.
    pub fn start() -> Result<Self, ShopError> {
        Self::start_in(NETWORK)
    }

    /// As [`start`](Self::start) with addresses 127.`network`.y.z.
    fn start_in(network: u8) -> Result<Self, ShopError> {
        let listeners = MEMBERS
            .iter()
            .map(|member| Ok((member, bind(member.address(network))?)))
            .collect::<Result<Vec<_>, ShopError>>()?;
        let floor = Floor {
            network,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            tls: vault::acceptor().map_err(ShopError::Certificate)?,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ShopError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("sample-shop".to_owned())
            .spawn(move || runtime.block_on(open(listeners, Arc::new(floor), stopped)))
            .map_err(ShopError::Thread)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the hook already.
            let _ = thread.join();
        }
    }
}

fn bind(address: SocketAddr) -> Result<StdListener, ShopError> {
    let listen = || {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| ShopError::Bind { address, source })
}

/// Serves until `stopped`; what still runs then ends with the runtime.
async fn open(
    listeners: Vec<(&'static Member, StdListener)>,
    floor: Arc<Floor>,
    stopped: oneshot::Receiver<()>,
) {
    for (member, listener) in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(tokio::spawn(accept(member, listener, Arc::clone(&floor)))),
            Err(error) => {
                tracing::error!(pod = member.pod, %error, "the sample shop lacks a server")
            }
        }
    }
    let _ = stopped.await;
}

async fn accept(member: &'static Member, listener: TcpListener, floor: Arc<Floor>) {
    loop {
        let Ok(place) = Arc::clone(&floor.places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: a loop without a pause would eat the processor.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let floor = Arc::clone(&floor);
        tokio::spawn(async move {
            // How a connection ends is the client's business.
            let _ = serve(member, stream, &floor).await;
            drop(place);
        });
    }
}

async fn serve(member: &'static Member, stream: TcpStream, floor: &Floor) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    match member.role {
        Role::Mysql => mysql::serve(member, stream).await,
        Role::Vault => {
            let (stream, name) = vault::accept(&floor.tls, stream).await?;
            http::serve(stream, member, floor.network, name.as_deref()).await
        }
        _ => http::serve(stream, member, floor.network, None).await,
    }
}

#[cfg(test)]
pub(super) fn addresses() -> impl Iterator<Item = SocketAddr> {
    MEMBERS.iter().map(|member| member.address(NETWORK))
}

#[cfg(test)]
mod tests;
