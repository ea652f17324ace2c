//! Deadlines: a test waits for a condition, never for a length of time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` is true, looking every 5 ms.
///
/// # Panics
/// At the caller's line when `deadline` passes first.
#[track_caller]
pub fn eventually<F, Fut>(deadline: Duration, mut condition: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        loop {
            match timeout_at(end, condition()).await {
                Ok(true) => return,
                Ok(false) if Instant::now() < end => sleep(POLL).await,
                _ => panic!("condition at {caller} still false after {deadline:?}"),
            }
        }
    }
}

/// The output of `future`.
///
/// # Panics
/// At the caller's line when `deadline` passes first.
#[track_caller]
pub fn within<Fut: Future>(deadline: Duration, future: Fut) -> impl Future<Output = Fut::Output> {
    let caller = Location::caller();
    async move {
        match timeout(deadline, future).await {
            Ok(output) => output,
            Err(_) => panic!("future at {caller} not done after {deadline:?}"),
        }
    }
}

/// Waits until something accepts connections at `addr`.
///
/// # Errors
/// The last connect error when `deadline` passes first.
pub async fn wait_for_port(addr: SocketAddr, deadline: Duration) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    let attempts = async {
        loop {
            match TcpStream::connect(addr).await {
                Ok(_) => return,
                Err(error) => last = error,
            }
            sleep(POLL).await;
        }
    };
    match timeout(deadline, attempts).await {
        Ok(()) => Ok(()),
        Err(_) => Err(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn eventually_looks_until_true() {
        let looks = Cell::new(0);
        eventually(Duration::from_secs(5), || {
            looks.set(looks.get() + 1);
            let done = looks.get() == 3;
            async move { done }
        })
        .await;
        assert_eq!(looks.get(), 3);
    }

    #[tokio::test]
    #[should_panic(expected = "still false after 20ms")]
    async fn eventually_gives_up() {
        eventually(Duration::from_millis(20), || async { false }).await;
    }

    #[tokio::test]
    async fn a_port_nobody_listens_on_is_an_error() {
        let addr = SocketAddr::from(([127, 0, 0, 1], crate::free_port()));
        let refused = wait_for_port(addr, Duration::from_millis(30)).await;
        assert_eq!(
            refused.map_err(|error| error.kind()),
            Err(io::ErrorKind::ConnectionRefused)
        );
    }
}
