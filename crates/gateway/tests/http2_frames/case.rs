//! What a case is, and how it is tried: on a connection of its own, against one gateway for all.
use crate::common::SOON;
use pointsman_testkit::{
    HttpUpstream,
    frames::{Block, Fate, Frame, FrameClient, encode_all},
    within,
};
use std::net::SocketAddr;

/// Where the request that shows that life goes on is sent.
const AFTER: (u32, &str) = (0x7fff_ff01, "/after");

/// Bytes from a client, and what comes of them.
pub(crate) struct Case {
    name: &'static str,
    /// The section of RFC 9113, or another RFC and its section.
    rfc: &'static str,
    /// These bytes are all the client says: no preface comes first.
    bare: bool,
    bytes: Vec<u8>,
    /// Said once stream 1 is answered with 200.
    later: Vec<u8>,
    told: Told,
    /// Method and target of the requests that reach the upstream whole.
    seen: &'static [&'static str],
    /// Or none of them: the connection may end before they are sent on.
    maybe: bool,
}

/// What the client hears, of stream 1 unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// An answer.
    Status(u16),
    /// RST_STREAM.
    Reset(u32),
    /// RST_STREAM of another stream.
    ResetOf(u32, u32),
    /// GOAWAY with an error, and the end of the connection.
    GoAway(u32),
    /// As `GoAway`, with the second code where the specification asks for the first: the library
    /// that reads frames does not tell the two apart. Peers close either way.
    GoAwayAs(u32, u32),
    /// The end of the connection.
    Closed,
    /// Nothing.
    Ignored,
}

/// Frames behind a preface.
pub(crate) fn case(name: &'static str, rfc: &'static str, told: Told, frames: &[Frame]) -> Case {
    Case {
        name,
        rfc,
        bare: false,
        bytes: encode_all(frames),
        later: Vec::new(),
        told,
        seen: &[],
        maybe: false,
    }
}

/// Bytes behind a preface.
pub(crate) fn raw(name: &'static str, rfc: &'static str, told: Told, bytes: Vec<u8>) -> Case {
    Case {
        bytes,
        ..case(name, rfc, told, &[])
    }
}

/// Bytes without a preface before them.
pub(crate) fn bare(name: &'static str, rfc: &'static str, told: Told, bytes: Vec<u8>) -> Case {
    Case {
        bare: true,
        ..raw(name, rfc, told, bytes)
    }
}

impl Case {
    /// Goes on with these frames once stream 1 is answered with 200.
    pub(crate) fn then(mut self, frames: &[Frame]) -> Case {
        self.later = encode_all(frames);
        self
    }

    /// The upstream gets these, or nothing.
    pub(crate) fn maybe(self, seen: &'static [&'static str]) -> Case {
        Case {
            maybe: true,
            ..self.seen(seen)
        }
    }

    /// The upstream gets these.
    pub(crate) fn seen(mut self, seen: &'static [&'static str]) -> Case {
        self.seen = seen;
        self
    }
}

/// GET / for `web` on this stream, all of it.
pub(crate) fn get(stream: u32) -> Frame {
    Frame::headers(stream, Block::request("GET", "web", "/")).end_stream()
}

/// POST / for `web` on this stream; its body is to follow.
pub(crate) fn post(stream: u32) -> Frame {
    Frame::headers(stream, Block::request("POST", "web", "/"))
}

/// Tries all of them, and panics with every one that went wrong.
pub(crate) async fn run(cases: &[Case], web: SocketAddr, upstream: &HttpUpstream) {
    let mut wrong = Vec::new();
    for case in cases {
        let tried = within(SOON * 2, case.attempt(web, upstream)).await;
        if let Err(why) = tried {
            wrong.push(format!("{} ({}): {why}", case.name, case.rfc));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

impl Case {
    async fn attempt(&self, web: SocketAddr, upstream: &HttpUpstream) -> Result<(), String> {
        let before = upstream.seen().len();
        let mut client = match self.bare {
            true => FrameClient::connect(web).await,
            false => FrameClient::begin(web).await,
        }
        .map_err(|error| format!("no connection: {error}"))?
        .with_deadline(SOON / 4);
        client.send_raw(&self.bytes).await;
        if !self.later.is_empty() {
            let answer = client.fate(1).await;
            if answer != Fate::Status(200) {
                return Err(format!("first {answer:?}; {:?}", client.heard));
            }
            client.heard.streams.clear();
            client.send_raw(&self.later).await;
        }
        let stream = match self.told {
            Told::ResetOf(stream, _) => stream,
            _ => 1,
        };
        let fate = match self.told {
            // What is said at once is said before the PING is answered.
            Told::Ignored if client.ping().await => client.heard.fate(1).unwrap_or(Fate::Silent),
            _ => client.fate(stream).await,
        };
        let expected = match self.told {
            Told::Status(status) => Fate::Status(status),
            Told::Reset(code) | Told::ResetOf(_, code) => Fate::Reset(code),
            Told::GoAway(code) | Told::GoAwayAs(_, code) => Fate::GoAway(code),
            Told::Closed => Fate::Closed,
            Told::Ignored => Fate::Silent,
        };
        if fate != expected {
            return Err(format!("{fate:?}, not {:?}; {:?}", self.told, client.heard));
        }
        if let Told::GoAway(_) | Told::GoAwayAs(..) | Told::Closed = self.told {
            if !client.to_end().await {
                return Err("the connection did not end".into());
            }
            client = FrameClient::begin(web)
                .await
                .map_err(|error| format!("no further connection: {error}"))?
                .with_deadline(SOON / 4);
        }
        let after = client
            .ask(AFTER.0, Block::request("GET", "web", AFTER.1))
            .await;
        if after != Fate::Status(200) {
            return Err(format!("then {after:?}; {:?}", client.heard));
        }
        let seen: Vec<_> = upstream.seen().split_off(before);
        let smuggled = seen.iter().any(|it| {
            let head = String::from_utf8_lossy(&it.raw_head);
            head.contains("smuggled")
        });
        let mut told: Vec<_> = seen
            .iter()
            .map(|it| format!("{} {}", it.method, it.target))
            .collect();
        let last = told.pop();
        let right = told == self.seen || (self.maybe && told.is_empty());
        if last.as_deref() != Some("GET /after") || !right || smuggled {
            return Err(format!("the upstream saw {seen:#?}"));
        }
        // A request whose client breaks off is cut there too; nothing else may be wrong with it.
        match upstream
            .malformed()
            .iter()
            .find(|it| !it.starts_with("closed in the middle"))
        {
            Some(malformed) => Err(format!("the upstream saw {malformed}")),
            None => Ok(()),
        }
    }
}
