//! A protocol of one's own: lines that begin with `@shout` are answered in capitals.
//!
//! The sniffer recognises it by its first bytes, so it shares a port with HTTP and TLS; the actor,
//! one per shard, serves the recognised connections.
use actix::{Actor, Context, Handler};
use pointsman_sdk::{Arrival, Host, Session, Sniffed, Sniffer};
use std::{cell::Cell, rc::Rc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MAGIC: &[u8] = b"@shout ";
/// The longest line that is answered: a client must not fill memory.
const LINE: usize = 4096;

/// The extension: a sniffer and the protocol it names.
pub fn register(host: &mut Host) {
    host.sniffer(|| ShoutSniffer);
    host.protocol("shout", Shouter::default);
}

struct ShoutSniffer;

impl Sniffer for ShoutSniffer {
    fn sniff(&self, bytes: &[u8], _: &Arrival) -> Sniffed {
        if bytes.starts_with(MAGIC) {
            Sniffed::Yes("shout")
        } else if MAGIC.starts_with(bytes) {
            Sniffed::NeedMore
        } else {
            Sniffed::No
        }
    }
}

/// Its state is shared with the tasks of its sessions, which live on the same thread.
#[derive(Default)]
struct Shouter {
    lines: Rc<Cell<u64>>,
}

impl Actor for Shouter {
    type Context = Context<Self>;
}

impl Handler<Session> for Shouter {
    type Result = ();

    /// Hands the session to a task and is free for the next one.
    fn handle(&mut self, session: Session, _: &mut Self::Context) {
        // What a defect would do: the actor and its count are lost, running sessions are not.
        assert!(
            !session.received.starts_with(b"@shout panic"),
            "the shouter was told to panic"
        );
        let lines = self.lines.clone();
        actix::spawn(async move {
            // An error is the client's end: there is nobody to tell.
            let _ = shout(session, &lines).await;
        });
    }
}

async fn shout(mut session: Session, lines: &Cell<u64>) -> std::io::Result<()> {
    let mut input = std::mem::take(&mut session.received);
    loop {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = input.drain(..=end).collect();
            lines.set(lines.get() + 1);
            let text = line
                .strip_prefix(MAGIC)
                .unwrap_or(&line)
                .to_ascii_uppercase();
            let number = format!("{} ", lines.get());
            session.client.write_all(number.as_bytes()).await?;
            session.client.write_all(&text).await?;
        }
        if input.len() > LINE || session.client.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}
