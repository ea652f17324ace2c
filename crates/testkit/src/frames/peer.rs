//! A connection that speaks frames: either end of it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{Frame, encode_all, flag, kind};
use super::hpack::{Decoder, HpackError};
use crate::message::Fields;
use crate::serve::reset_on_close;

/// Largest frame read, and largest field block, in bytes.
const MOST: usize = 8 << 20;

/// Why nothing more can be read or sent.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed; a reset arrives here as `ConnectionReset`.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The peer closed, between frames or in the middle of one.
    #[error("closed")]
    Closed,
    /// Nothing complete arrived, or nothing could be sent, in time.
    #[error("not before the deadline")]
    TimedOut,
    /// A field block that cannot be read.
    #[error("field block: {0}")]
    Hpack(#[from] HpackError),
    /// The peer broke a rule that this end cannot do without.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl FrameError {
    /// Is the connection gone, with a reset or without?
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, FrameError::Io(_) | FrameError::Closed)
    }
}

/// What the peer said, as far as it is understood here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are named after those of the frames"
)]
pub enum Event {
    /// HEADERS, with what CONTINUATION added.
    Headers {
        stream: u32,
        fields: Fields,
        end: bool,
    },
    /// DATA without its padding.
    Data {
        stream: u32,
        bytes: Vec<u8>,
        end: bool,
    },
    /// RST_STREAM.
    Reset { stream: u32, code: u32 },
    /// SETTINGS.
    Settings(Vec<(u16, u32)>),
    /// SETTINGS with ACK.
    SettingsAck,
    /// PING.
    Ping(Vec<u8>),
    /// PING with ACK.
    Pong(Vec<u8>),
    /// GOAWAY.
    GoAway { last: u32, code: u32, debug: String },
    /// WINDOW_UPDATE.
    Window { stream: u32, increment: u32 },
    /// Anything else.
    Other(Frame),
}

/// A connection. Every read and every write gives up after a deadline (10 s unless changed).
#[derive(Debug)]
pub struct Frames<S = TcpStream> {
    stream: S,
    input: Vec<u8>,
    decoder: Decoder,
    deadline: Duration,
    polite: bool,
}

impl Frames<TcpStream> {
    /// Closes with a reset (RST).
    pub fn reset(self) {
        reset_on_close(&self.stream);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Speaks over this stream. SETTINGS and PING are acknowledged when they are read.
    pub fn over(stream: S) -> Self {
        Frames {
            stream,
            input: Vec::new(),
            decoder: Decoder::default(),
            deadline: Duration::from_secs(10),
            polite: true,
        }
    }

    /// Changes the deadline of each following read and write.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Leaves SETTINGS and PING without an answer from here on.
    pub fn ignore_settings_and_pings(&mut self) {
        self.polite = false;
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends these frames in one write.
    ///
    /// # Errors
    /// When the socket fails, or takes nothing in time.
    pub async fn send(&mut self, frames: &[Frame]) -> Result<(), FrameError> {
        self.send_raw(&encode_all(frames)).await
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// As [`Frames::send`].
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(timeout(self.deadline, sending)
            .await
            .map_err(|_| FrameError::TimedOut)??)
    }

    /// Ends the sending side (FIN) and keeps reading.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn half_close(&mut self) -> Result<(), FrameError> {
        Ok(self.stream.shutdown().await?)
    }

    /// Exactly this many bytes, before any frame.
    ///
    /// # Errors
    /// As [`Frames::frame`].
    pub async fn exact(&mut self, length: usize) -> Result<Vec<u8>, FrameError> {
        let deadline = self.deadline;
        timeout(deadline, self.fill(length))
            .await
            .map_err(|_| FrameError::TimedOut)??;
        Ok(self.input.drain(..length).collect())
    }

    /// The next frame.
    ///
    /// # Errors
    /// `Closed` or `Io` at the end of the connection, `TimedOut`, `Malformed` for a frame of more
    /// than 8 MiB.
    pub async fn frame(&mut self) -> Result<Frame, FrameError> {
        let deadline = self.deadline;
        timeout(deadline, self.read_frame())
            .await
            .map_err(|_| FrameError::TimedOut)?
    }

    /// The next frame, understood. SETTINGS and PING have been acknowledged, unless
    /// [`Frames::ignore_settings_and_pings`] was called.
    ///
    /// # Errors
    /// As [`Frames::frame`], and `Hpack` or `Malformed` where the peer breaks rules.
    pub async fn event(&mut self) -> Result<Event, FrameError> {
        let frame = self.frame().await?;
        let stream = frame.stream;
        let short = || FrameError::Malformed(format!("too short: {frame:?}"));
        Ok(match (frame.kind, frame.has(flag::ACK)) {
            (kind::DATA, end) => Event::Data {
                stream,
                bytes: frame.content().ok_or_else(short)?.to_vec(),
                end,
            },
            (kind::HEADERS, end) => {
                let block = frame.content().ok_or_else(short)?.to_vec();
                Event::Headers {
                    stream,
                    fields: self
                        .block(stream, block, frame.has(flag::END_HEADERS))
                        .await?,
                    end,
                }
            }
            (kind::RST_STREAM, _) => Event::Reset {
                stream,
                code: frame.number(0).ok_or_else(short)?,
            },
            (kind::SETTINGS, true) => Event::SettingsAck,
            (kind::SETTINGS, false) => {
                // It may be that the peer has closed already, with more to be read.
                if self.polite {
                    let _ = self.send(&[Frame::settings_ack()]).await;
                }
                Event::Settings(settings(&frame.payload))
            }
            (kind::PING, true) => Event::Pong(frame.payload),
            (kind::PING, false) => {
                if self.polite {
                    let pong = Frame::new(kind::PING, flag::ACK, 0, frame.payload.clone());
                    let _ = self.send(&[pong]).await;
                }
                Event::Ping(frame.payload)
            }
            (kind::GOAWAY, _) => Event::GoAway {
                last: frame.number(0).ok_or_else(short)?,
                code: frame.number(4).ok_or_else(short)?,
                debug: String::from_utf8_lossy(frame.payload.get(8..).unwrap_or_default()).into(),
            },
            (kind::WINDOW_UPDATE, _) => Event::Window {
                stream,
                increment: frame.number(0).ok_or_else(short)?,
            },
            _ => Event::Other(frame),
        })
    }

    /// The fields of a block that began like this (RFC 9113 section 4.3).
    async fn block(
        &mut self,
        stream: u32,
        mut block: Vec<u8>,
        mut whole: bool,
    ) -> Result<Fields, FrameError> {
        while !whole {
            let next = self.frame().await?;
            if (next.kind, next.stream) != (kind::CONTINUATION, stream) {
                let what = format!("within the field block of {stream}: {next:?}");
                return Err(FrameError::Malformed(what));
            }
            block.extend(&next.payload);
            if block.len() > MOST {
                return Err(FrameError::Malformed("a field block without end".into()));
            }
            whole = next.has(flag::END_HEADERS);
        }
        Ok(self.decoder.decode(&block)?)
    }

    async fn read_frame(&mut self) -> Result<Frame, FrameError> {
        self.fill(9).await?;
        let head: Vec<u8> = self.input.iter().take(9).copied().collect();
        let [a, b, c, kind, flags, stream @ ..] = &head[..] else {
            return Err(FrameError::Closed);
        };
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if length > MOST {
            let what = format!("a frame of {length} bytes: {head:?}");
            return Err(FrameError::Malformed(what));
        }
        let stream = stream.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        let (kind, flags) = (*kind, *flags);
        self.fill(9 + length).await?;
        let payload = self.input.drain(..9 + length).skip(9).collect();
        Ok(Frame {
            kind,
            flags,
            stream: stream & 0x7fff_ffff,
            payload,
        })
    }

    /// Reads until this many bytes are there.
    async fn fill(&mut self, length: usize) -> Result<(), FrameError> {
        while self.input.len() < length {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(FrameError::Closed);
            }
        }
        Ok(())
    }
}

fn settings(payload: &[u8]) -> Vec<(u16, u32)> {
    let pair = |it: &[u8]| match *it {
        [a, b, c, d, e, f] => Some((u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))),
        _ => None,
    };
    payload.chunks(6).filter_map(pair).collect()
}
