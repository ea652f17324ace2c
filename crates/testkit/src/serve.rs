//! The accept loop shared by every upstream: counts, remembers, and ends with its owner.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Connections of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Counts {
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Counts one connection as open while it lives.
struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A listening socket and its tasks; dropping it stops all of them and closes every connection.
#[derive(Debug)]
pub(crate) struct Listening {
    addr: SocketAddr,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

impl Listening {
    /// Binds `addr` and serves each connection, numbered from 0, in a task of its own.
    pub(crate) async fn start<F, Fut>(addr: SocketAddr, serve: F) -> io::Result<Listening>
    where
        F: Fn(TcpStream, usize) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let open = Open(Arc::clone(&shared));
                // A test that looks at single writes must not have them merged.
                let _ = stream.set_nodelay(true);
                let work = serve(stream, number);
                connections.spawn(async move {
                    let _open = open;
                    work.await;
                });
            }
        });
        Ok(Listening {
            addr,
            counts,
            accepting,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The task owns the listener and, through its JoinSet, every connection.
        self.accepting.abort();
    }
}

/// Makes the coming close of `stream` a reset (RST) rather than an orderly end (FIN).
pub(crate) fn reset_on_close(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}
