//! What does the client speak? On undeclared ports the first bytes decide, and if there are none
//! for a while, whoever speaks first does.
use super::tcp::{Early, First};
use crate::{
    context::{Context, Hello},
    extension::{Opinion, Recognised},
    shard::registry::IdleEnd,
    stream,
    tunnel::End,
};
use pointsman_route::{Class, Inspection};
use pointsman_wire::{
    sniff::{Verdict, sniff},
    tls::{HelloError, MAX_CLIENT_HELLO, client_hello},
};
use std::{io::ErrorKind, pin::pin, time::Instant};

/// Bytes after which extensions' sniffers must have decided: one that never does must not fill memory.
const SNIFFED_BYTES: usize = 4096;

/// What was found out, and the bytes that were read to find it.
pub(crate) struct Detected {
    pub(crate) class: Class,
    /// The HTTP/2 preface was recognised.
    pub(crate) http2: bool,
    /// A whole ClientHello was read.
    pub(crate) hello: Option<Hello>,
    /// Bytes received so far, to be replayed unchanged.
    pub(crate) bytes: Vec<u8>,
    /// A connection to the TCP backend that was opened early. Boxed, as few connections have one.
    pub(crate) early: Option<Box<Early>>,
    /// An extension's sniffer recognised its protocol.
    pub(crate) extension: Option<Recognised>,
}

impl Detected {
    /// A connection nobody looked at.
    pub(crate) fn opaque() -> Self {
        Self::of(Class::Tcp, Vec::new())
    }

    fn of(class: Class, bytes: Vec<u8>) -> Self {
        Self {
            class,
            http2: false,
            hello: None,
            bytes,
            early: None,
            extension: None,
        }
    }
}

/// Why a connection ended before its protocol was known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undecided {
    /// The client closed or reset it, or the process drains or ends.
    #[error("the client closed it")]
    ClientGone,
    /// The client was silent for too long, or its ClientHello took too long.
    #[error("the client was silent for too long, or its ClientHello took too long")]
    TimedOut,
    /// It said nothing, and the server that might have cannot be connected to, or reset the connection.
    #[error("it said nothing, and the server that might have does not want it")]
    NoServer,
    /// The ClientHello is malformed or too large.
    #[error("the ClientHello is refused: {0}")]
    BadHello(HelloError),
}

/// Index into `Counts::detected`, in the order of its labels.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Http1,
    Http2,
    Tls,
    Tcp,
    ServerFirst,
    Undecided,
}

fn count(cx: &Context<'_>, outcome: Outcome) {
    if let Some(cell) = cx.shard.counts.detected.get(outcome as usize) {
        cell.set(cell.get() + 1);
    }
}

/// Reads as few bytes as the decision needs.
pub(crate) async fn detect(
    cx: &Context<'_>,
    inspection: Inspection,
) -> Result<Detected, Undecided> {
    let begun = Instant::now();
    let found = run(cx, inspection, begun).await;
    let seconds = begun.elapsed().as_secs_f64();
    cx.shard.counts.detection_seconds.borrow_mut().push(seconds);
    count(
        cx,
        match &found {
            Err(_) => Outcome::Undecided,
            Ok(found) if found.early.as_ref().is_some_and(|early| early.spoke) => {
                Outcome::ServerFirst
            }
            Ok(found) if found.http2 => Outcome::Http2,
            Ok(found) => match found.class {
                Class::Http => Outcome::Http1,
                Class::Tls => Outcome::Tls,
                Class::Tcp => Outcome::Tcp,
            },
        },
    );
    found
}

async fn run(
    cx: &Context<'_>,
    inspection: Inspection,
    begun: Instant,
) -> Result<Detected, Undecided> {
    let mut early = None;
    let silence = cx.shard.settings.detection.server_first_after.0;
    if inspection.server_may_speak_first && !silence.is_zero() {
        // A precise timer: this is the one wait a person at a database prompt would notice.
        let spoke = tokio::time::timeout(silence, stream::arrival(cx.client)).await;
        if spoke.is_err()
            && let Some(mut candidate) = Early::open(cx, begun).await?
        {
            match candidate.first(cx).await {
                Ok(First::Server) => {
                    candidate.spoke = true;
                    let mut found = Detected::of(Class::Tcp, Vec::new());
                    found.early = Some(Box::new(candidate));
                    return Ok(found);
                }
                Ok(First::Client) => early = Some(candidate),
                // Another is opened once the client has spoken, if it is bytes.
                Ok(First::Nobody) => {}
                Err(end) => {
                    candidate.end(cx, end);
                    return Err(match end {
                        End::Idle | End::TooOld => Undecided::TimedOut,
                        End::UpstreamReset => Undecided::NoServer,
                        _ => Undecided::ClientGone,
                    });
                }
            }
        }
    }
    // What ends here is no tunnel, and was none.
    let mut found = read(cx, inspection).await?;
    if found.class == Class::Tcp {
        found.early = early.map(Box::new);
    }
    Ok(found)
}

/// Reads until the first bytes say what this is.
async fn read(cx: &Context<'_>, mut inspection: Inspection) -> Result<Detected, Undecided> {
    let mut bytes = Vec::new();
    let timeouts = &cx.shard.settings.timeouts;
    // Until the first byte the client may take its time; after it there is a deadline in all.
    let silence = if inspection.server_may_speak_first {
        timeouts.tunnel_idle.0
    } else {
        timeouts.keep_alive.0
    };
    let mut deadline = cx.lease.after(silence);
    let mut begun = false;
    // A sniffer of an extension waits for more; it may until the deadline.
    let (mut held, mut patient) = (false, true);
    loop {
        let read = async {
            loop {
                if bytes.capacity() == 0 {
                    bytes = cx.shard.buffers.small();
                }
                match stream::try_read(cx.client, &mut bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => return other,
                }
                if bytes.is_empty() {
                    // A silent client holds no buffer.
                    cx.shard.buffers.give(std::mem::take(&mut bytes));
                }
                stream::readable(cx.client).await?;
            }
        };
        let read = if begun {
            cx.lease.until(deadline, read).await.map_err(IdleEnd::from)
        } else {
            // Nobody has said anything, and no server can: nothing to wait for when the process drains.
            cx.idle(silence, pin!(read)).await
        };
        match read {
            Err(IdleEnd::Draining) => return Err(Undecided::ClientGone),
            Ok(Ok(0)) | Err(_) if held => patient = false,
            Ok(Ok(0)) if is_half_hello(inspection, &bytes) => {
                cx.shard.counts.refuse("client_hello");
                return Err(Undecided::BadHello(HelloError::Malformed("without end")));
            }
            Ok(Ok(0)) if !bytes.is_empty() => {
                // The client has said all it will say: as bytes it may still make sense.
                return Ok(Detected::of(Class::Tcp, bytes));
            }
            Ok(Ok(0) | Err(_)) => return Err(Undecided::ClientGone),
            Ok(Ok(_)) => {}
            Err(_) if bytes.is_empty() => return Err(Undecided::TimedOut),
            // PS-45: what is not recognised in time goes on as bytes.
            Err(_) if !is_half_hello(inspection, &bytes) => {
                return Ok(Detected::of(Class::Tcp, bytes));
            }
            Err(_) => {
                cx.shard.counts.limit("timeouts.client_hello");
                return Err(Undecided::TimedOut);
            }
        }
        if !begun {
            begun = true;
            let limit = timeouts.request_head.0.min(timeouts.client_hello.0);
            deadline = cx.lease.after(limit);
        }
        // The documents may have changed while it was waited for.
        inspection = cx.inspection();
        if inspection.is_none() {
            return Ok(Detected::of(Class::Tcp, bytes));
        }
        match cx.shard.extensions.sniff(&bytes, cx.peer, cx.original) {
            Opinion::Yes(recognised) => {
                let mut found = Detected::of(Class::Tcp, bytes);
                found.extension = Some(recognised);
                return Ok(found);
            }
            Opinion::NeedMore if patient && bytes.len() < SNIFFED_BYTES => {
                held = true;
                continue;
            }
            Opinion::NeedMore | Opinion::No => held = false,
        }
        match sniff(&bytes) {
            Verdict::NeedMore => {}
            Verdict::Http1 if inspection.http => return Ok(Detected::of(Class::Http, bytes)),
            Verdict::Http2Preface if inspection.http => {
                let mut found = Detected::of(Class::Http, bytes);
                found.http2 = true;
                return Ok(found);
            }
            Verdict::Tls if inspection.tls => match client_hello(&bytes) {
                Ok(Some(hello)) => {
                    let mut found = Detected::of(Class::Tls, bytes);
                    found.hello = Some(Hello {
                        server_name: hello.server_name.map(|name| name.as_str().into()),
                        mesh_alpn: hello.alpn.mesh,
                    });
                    return Ok(found);
                }
                Ok(None) if bytes.len() < MAX_CLIENT_HELLO + 4096 => {}
                Ok(None) => {
                    cx.shard.counts.limit("client_hello_bytes");
                    return Err(Undecided::TimedOut);
                }
                Err(error) => {
                    if let HelloError::TooLarge { .. } = error {
                        cx.shard.counts.limit("client_hello_bytes");
                    }
                    cx.shard.counts.refuse("client_hello");
                    return Err(Undecided::BadHello(error));
                }
            },
            Verdict::Tls => return Ok(Detected::of(Class::Tls, bytes)),
            Verdict::Http1 | Verdict::Http2Preface | Verdict::Tcp => {
                return Ok(Detected::of(Class::Tcp, bytes));
            }
        }
    }
}

/// Is this the beginning of a ClientHello (a record of type 22) whose name is asked for? That is no plain
/// bytes: the rest would follow it past the rules for the name (PS-45).
fn is_half_hello(inspection: Inspection, bytes: &[u8]) -> bool {
    inspection.tls && bytes.first() == Some(&0x16) && sniff(bytes) != Verdict::Tcp
}
