//! One exchange of a row's kind, every byte of the answer's body looked at: a proxy that answers
//! wrongly would look splendid.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Http2, Load, Transfer, h2load};
use crate::measure::Contestant;
use crate::traffic::{HTTP_HOST, SMALL_BODY, answer_length, small_request};

/// How long an answer may keep its client waiting.
const LIMIT: Duration = Duration::from_secs(2);

/// Tries until the proxy answers exactly as it should.
///
/// # Errors
/// What was wrong, when it ends or still does not after `ready`.
pub fn await_correct(
    front: SocketAddr,
    contestant: &mut Contestant<'_>,
    ready: Duration,
) -> Result<(), String> {
    let end = Instant::now() + ready;
    loop {
        let Err(why) = check(front, &contestant.load) else {
            return Ok(());
        };
        let exited = contestant.proxy.child.exited();
        if exited.is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        let status = exited
            .map(|status| format!("{status}; "))
            .unwrap_or_default();
        return Err(format!(
            "{status}{why}{}",
            last_words(&contestant.proxy.log)
        ));
    }
}

/// The end of a log, for a message.
fn last_words(log: &std::path::Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!(" (log: {})", line.chars().take(300).collect::<String>()),
        None => String::new(),
    }
}

fn check(front: SocketAddr, load: &Load) -> Result<(), String> {
    match load {
        Load::Http { requests, body, .. } => {
            let mut stream = connect(front)?;
            // The last host is the one an index is most likely to have lost.
            for request in requests.first().into_iter().chain(requests.last()) {
                http(&mut stream, request, *body)?;
            }
            Ok(())
        }
        Load::Transfer(job) => transfer(&mut connect(front)?, job),
        Load::Http2(job) => h2load::check(front, job),
        Load::Paced(job) if job.http2 => h2load::check(
            front,
            &Http2 {
                path: "/s",
                fields: &[],
                body: &[],
                answer: SMALL_BODY,
                connections: 1,
                streams: 1,
            },
        ),
        Load::Paced(_) => http(&mut connect(front)?, &small_request(HTTP_HOST), SMALL_BODY),
        Load::Connect { payload, .. } => {
            let mut stream = connect(front)?;
            stream.write_all(payload).map_err(text)?;
            if receive(&mut stream, payload.len())? == *payload {
                Ok(())
            } else {
                Err("the echo is not what was sent".into())
            }
        }
        Load::Bulk { .. } => {
            let mut stream = connect(front)?;
            stream.write_all(b"!").map_err(text)?;
            let zeros = receive(&mut stream, 1 << 20)?;
            if zeros.iter().all(|byte| *byte == 0) {
                Ok(())
            } else {
                Err("not the stream".into())
            }
        }
    }
}

pub(crate) fn connect(front: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(front).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(LIMIT)).map_err(text)?;
    stream.set_write_timeout(Some(LIMIT)).map_err(text)?;
    Ok(stream)
}

pub(crate) fn http(stream: &mut TcpStream, request: &[u8], body: usize) -> Result<(), String> {
    stream.write_all(request).map_err(text)?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        // A body is long, and its head is looked for from the start.
        if answer.len() >= body
            && let Some(length) = answer_length(&answer, body)?
        {
            let content = answer.get(length - body..).unwrap_or_default();
            let right = length == answer.len() && content.iter().all(|byte| *byte == b'x');
            return if right {
                Ok(())
            } else {
                Err("the body is not what was sent".into())
            };
        }
        match stream.read(&mut piece) {
            Ok(0) => {
                let start: Vec<u8> = answer.into_iter().take(60).collect();
                let start = String::from_utf8_lossy(&start).into_owned();
                return Err(format!("closed without a whole answer: {start:?}"));
            }
            Ok(got) => answer.extend(piece.iter().take(got)),
            Err(error) => {
                answer_length(&answer, body)?;
                return Err(format!("no answer: {error}"));
            }
        }
    }
}

fn transfer(stream: &mut TcpStream, job: &Transfer) -> Result<(), String> {
    let up = usize::try_from(job.up).map_err(text)?;
    let down = usize::try_from(job.down).map_err(text)?;
    let request = [job.head.clone(), vec![b'x'; up]].concat();
    http(stream, &request, down)
}

fn receive(stream: &mut TcpStream, length: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; length];
    stream
        .read_exact(&mut bytes)
        .map_err(|error| format!("no answer: {error}"))?;
    Ok(bytes)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
