//! Memory of connections that do nothing: many clients connect to a fresh proxy, each gets one
//! answer, and stays.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use pointsman_testkit::process::resident;

use crate::check::{connect, http};
use crate::measure::{Contestant, Plan, Sample};
use crate::traffic::{HTTP_HOST, SMALL_BODY, small_request};

/// Connections opened and used before the first reading, so that what a proxy sets up once is not
/// counted.
const FIRST: usize = 64;
/// For what a proxy frees or finishes a moment after an answer.
const SETTLE: Duration = Duration::from_millis(500);

/// Opens `connections` to a proxy that has just been started, and gives the resident memory of each
/// in KiB. Its sockets' buffers are the kernel's and not in it.
///
/// # Errors
/// When one is not answered, or the proxy ends.
pub fn sample(
    front: SocketAddr,
    contestant: &mut Contestant<'_>,
    connections: usize,
    plan: &Plan,
) -> Result<Sample, String> {
    crate::check::await_correct(front, contestant, plan.ready)?;
    let pid = contestant.proxy.child.id();
    let memory = || {
        thread::sleep(SETTLE);
        resident(pid).map_err(|error| format!("it died: {error}"))
    };
    let _first = open(front, FIRST)?;
    let before = memory()?;
    let clients = open(front, connections)?;
    let after = memory()?;
    still_there(&clients)?;
    // Far below 2^53.
    #[expect(clippy::cast_precision_loss)]
    let (kibibytes, number) = (
        after.saturating_sub(before) as f64 / 1024.0,
        connections as f64,
    );
    Ok(Sample {
        cost: kibibytes / number,
        rate: number,
        busy: 0.0,
        others: 0.0,
    })
}

/// One after the other, so that few upstream connections serve them all.
fn open(front: SocketAddr, connections: usize) -> Result<Vec<TcpStream>, String> {
    let request = small_request(HTTP_HOST);
    (0..connections)
        .map(|number| {
            let mut stream = connect(front)?;
            http(&mut stream, &request, SMALL_BODY)
                .map_err(|why| format!("connection {number}: {why}"))?;
            Ok(stream)
        })
        .collect()
}

/// A proxy that closes idle connections has no memory of them.
fn still_there(clients: &[TcpStream]) -> Result<(), String> {
    for stream in clients {
        stream
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        match stream.peek(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return Err("an idle connection was closed".into()),
        }
    }
    Ok(())
}
