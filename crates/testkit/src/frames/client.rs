//! A client that sends what it is told, and keeps what it hears.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::frame::{Frame, PREFACE, code};
use super::hpack::Block;
use super::peer::{Event, FrameError, Frames};
use crate::message::{self, Fields};

/// What has come of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The final status.
    pub status: Option<u16>,
    /// Fields of the final response, pseudo-fields included.
    pub fields: Fields,
    /// Interim responses that came first.
    pub interim: Vec<(u16, Fields)>,
    /// DATA so far.
    pub body: Vec<u8>,
    /// Sizes of the DATA frames.
    pub pieces: Vec<usize>,
    /// Fields behind the body.
    pub trailers: Fields,
    /// END_STREAM came.
    pub ended: bool,
    /// RST_STREAM came, with this code.
    pub reset: Option<u32>,
}

impl Answer {
    /// The first value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        message::field(&self.fields, name)
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// All that was heard on one connection.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// By stream.
    pub streams: BTreeMap<u32, Answer>,
    /// Every GOAWAY: last stream, code, what else it says.
    pub goaways: Vec<(u32, u32, String)>,
    /// The peer's settings, the latest value of each.
    pub settings: BTreeMap<u16, u32>,
    /// What WINDOW_UPDATE gave to each stream; 0 is the connection.
    pub windows: BTreeMap<u32, u64>,
    /// The peer has sent SETTINGS, empty ones perhaps.
    pub greeted: bool,
    /// ACKs of SETTINGS.
    pub acks: usize,
    /// ACKs of PING, with what they carry.
    pub pongs: Vec<Vec<u8>>,
    /// Frames that are none of these.
    pub others: Vec<Frame>,
    /// Why nothing more is heard.
    pub end: Option<String>,
}

impl Heard {
    /// The code of the first GOAWAY that names an error.
    #[must_use]
    pub fn error(&self) -> Option<u32> {
        let codes = self.goaways.iter().map(|(_, code, _)| *code);
        codes.into_iter().find(|it| *it != code::NO_ERROR)
    }

    /// What became of a stream, if that is known yet.
    #[must_use]
    pub fn fate(&self, stream: u32) -> Option<Fate> {
        let answer = self.streams.get(&stream);
        let status = answer.filter(|it| it.ended).and_then(|it| it.status);
        let reset = answer.and_then(|it| it.reset);
        status
            .map(Fate::Status)
            .or_else(|| reset.map(Fate::Reset))
            .or_else(|| self.error().map(Fate::GoAway))
            .or_else(|| self.end.is_some().then_some(Fate::Closed))
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Headers {
                stream,
                fields,
                end,
            } => {
                let answer = self.streams.entry(stream).or_default();
                answer.ended |= end;
                let status = message::field(&fields, ":status").and_then(|it| it.parse().ok());
                match status {
                    _ if answer.status.is_some() => answer.trailers.extend(fields),
                    Some(status @ 100..200) => answer.interim.push((status, fields)),
                    status => (answer.status, answer.fields) = (status, fields),
                }
            }
            Event::Data { stream, bytes, end } => {
                let answer = self.streams.entry(stream).or_default();
                answer.pieces.push(bytes.len());
                answer.body.extend(bytes);
                answer.ended |= end;
            }
            Event::Reset { stream, code } => {
                self.streams.entry(stream).or_default().reset = Some(code);
            }
            Event::Settings(values) => {
                self.greeted = true;
                self.settings.extend(values);
            }
            Event::SettingsAck => self.acks += 1,
            Event::Pong(opaque) => self.pongs.push(opaque),
            Event::GoAway { last, code, debug } => self.goaways.push((last, code, debug)),
            Event::Window { stream, increment } => {
                *self.windows.entry(stream).or_default() += u64::from(increment);
            }
            Event::Ping(_) => {}
            Event::Other(frame) => self.others.push(frame),
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A whole answer.
    Status(u16),
    /// RST_STREAM.
    Reset(u32),
    /// GOAWAY with an error.
    GoAway(u32),
    /// The connection ended without such a GOAWAY.
    Closed,
    /// None of these in time.
    Silent,
}

/// One client connection.
#[derive(Debug)]
pub struct FrameClient<S = TcpStream> {
    /// The connection.
    pub frames: Frames<S>,
    /// What was heard so far.
    pub heard: Heard,
    deadline: Duration,
    pings: u64,
}

impl FrameClient<TcpStream> {
    /// Connects and says nothing yet.
    ///
    /// # Errors
    /// When the connection is refused.
    pub async fn connect(addr: SocketAddr) -> Result<Self, FrameError> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(FrameClient::over(stream))
    }

    /// Connects, sends the preface with empty SETTINGS, and waits for the peer's.
    ///
    /// # Errors
    /// When the connection is refused, or nobody speaks HTTP/2 there.
    pub async fn begin(addr: SocketAddr) -> Result<Self, FrameError> {
        FrameClient::begin_with(addr, &[]).await
    }

    /// As [`FrameClient::begin`], with these settings.
    ///
    /// # Errors
    /// As [`FrameClient::begin`].
    pub async fn begin_with(addr: SocketAddr, settings: &[(u16, u32)]) -> Result<Self, FrameError> {
        let mut client = FrameClient::connect(addr).await?;
        client.preface(settings).await?;
        Ok(client)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameClient<S> {
    /// Speaks over an existing stream.
    pub fn over(stream: S) -> Self {
        FrameClient {
            frames: Frames::over(stream),
            heard: Heard::default(),
            deadline: Duration::from_secs(10),
            pings: 0,
        }
    }

    /// How long [`FrameClient::until`] and what is built on it wait.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sends the preface and SETTINGS, and waits for the peer's SETTINGS and its ACK.
    ///
    /// # Errors
    /// When nobody speaks HTTP/2 there.
    pub async fn preface(&mut self, settings: &[(u16, u32)]) -> Result<(), FrameError> {
        let hello = [PREFACE, &Frame::settings(settings).encode()].concat();
        self.frames.send_raw(&hello).await?;
        match self.until(|heard| heard.acks > 0 && heard.greeted).await {
            true => Ok(()),
            false => Err(FrameError::Malformed(format!("{:?}", self.heard))),
        }
    }

    /// Sends these frames. The peer may have closed already, which is told by what is heard.
    pub async fn send(&mut self, frames: &[Frame]) {
        let _ = self.frames.send(frames).await;
    }

    /// Sends these bytes; see [`FrameClient::send`].
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.frames.send_raw(bytes).await;
    }

    /// A request without a body, and what becomes of it.
    pub async fn ask(&mut self, stream: u32, block: Block) -> Fate {
        self.send(&[Frame::headers(stream, block).end_stream()])
            .await;
        self.fate(stream).await
    }

    /// What becomes of this stream.
    pub async fn fate(&mut self, stream: u32) -> Fate {
        self.until(|heard| heard.fate(stream).is_some()).await;
        self.heard.fate(stream).unwrap_or(Fate::Silent)
    }

    /// What came of this stream so far.
    #[must_use]
    pub fn answer(&self, stream: u32) -> Answer {
        self.heard.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Sends PING and waits for its ACK: what the peer says at once to all that was sent before has
    /// been heard then. False when no ACK comes.
    pub async fn ping(&mut self) -> bool {
        self.pings += 1;
        let opaque = self.pings.to_be_bytes();
        self.send(&[Frame::ping(opaque)]).await;
        self.until(|heard| heard.pongs.iter().any(|it| *it == opaque))
            .await
    }

    /// Listens until `condition` is true, and says whether it is: it may not be at the end of the
    /// connection, or when time is up.
    pub async fn until(&mut self, condition: impl Fn(&Heard) -> bool) -> bool {
        let end = Instant::now() + self.deadline;
        while !condition(&self.heard) {
            if self.heard.end.is_some() {
                return false;
            }
            match timeout_at(end, self.frames.event()).await {
                Ok(Ok(event)) => self.heard.note(event),
                Ok(Err(FrameError::TimedOut)) => {}
                Ok(Err(error)) => self.heard.end = Some(error.to_string()),
                Err(_) => return false,
            }
        }
        true
    }

    /// Listens to the end of the connection, and says whether it came in time.
    pub async fn to_end(&mut self) -> bool {
        self.until(|heard| heard.end.is_some()).await
    }
}
