//! An upstream that does what a script says, frame by frame.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::{Frame, PREFACE};
use super::hpack::Block;
use super::peer::{Event, FrameError, Frames};
use crate::message::{self, Fields};
use crate::serve::Listening;

/// A request as the upstream received it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Number of the connection it came on, from 0.
    pub connection: usize,
    /// Its stream.
    pub stream: u32,
    /// Its fields, pseudo-fields included.
    pub fields: Fields,
    /// Nothing follows.
    pub ended: bool,
}

impl Asked {
    /// The first value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        message::field(&self.fields, name)
    }
}

/// What all connections of one upstream share.
#[derive(Debug, Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    ended: Mutex<Vec<String>>,
}

/// A panic in one test task must not hide what the others saw.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An HTTP/2 server on loopback; stops, and closes its connections, when dropped.
#[derive(Debug)]
pub struct FrameUpstream {
    listening: Listening,
    shared: Arc<Shared>,
}

impl FrameUpstream {
    /// Starts one that runs this script on each connection, numbered from 0. A connection closes when
    /// its script is at its end; [`FramePeer::drain`] keeps it until the client closes.
    ///
    /// # Panics
    /// When no port of loopback can be bound.
    pub async fn start<F, Fut>(script: F) -> FrameUpstream
    where
        F: Fn(FramePeer, usize) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), FrameError>> + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let of_connections = Arc::clone(&shared);
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listening = Listening::start(addr, move |stream, number| {
            let shared = Arc::clone(&of_connections);
            let peer = FramePeer {
                frames: Frames::over(stream),
                connection: number,
                shared: Arc::clone(&shared),
            };
            let script = script(peer, number);
            async move {
                if let Err(error) = script.await {
                    locked(&shared.ended).push(error.to_string());
                }
            }
        });
        let listening = listening.await.expect("a port of loopback");
        FrameUpstream { listening, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listening.addr()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listening.counts().accepted()
    }

    /// Connections open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.listening.counts().open()
    }

    /// The requests that scripts have taken, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.shared.asked).clone()
    }

    /// Why scripts ended early.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        locked(&self.shared.ended).clone()
    }
}

/// One connection, in the hands of a script. Closes when dropped.
#[derive(Debug)]
pub struct FramePeer {
    frames: Frames,
    connection: usize,
    shared: Arc<Shared>,
}

impl FramePeer {
    /// Reads the client's preface and sends these settings.
    ///
    /// # Errors
    /// `Malformed` when it speaks something else.
    pub async fn accept(&mut self, settings: &[(u16, u32)]) -> Result<(), FrameError> {
        let preface = self.frames.exact(PREFACE.len()).await?;
        if preface != PREFACE {
            let what = String::from_utf8_lossy(&preface).into_owned();
            return Err(FrameError::Malformed(what));
        }
        self.frames.send(&[Frame::settings(settings)]).await
    }

    /// The next request; what else comes meanwhile is dropped.
    ///
    /// # Errors
    /// As [`Frames::event`].
    pub async fn request(&mut self) -> Result<Asked, FrameError> {
        loop {
            if let Event::Headers {
                stream,
                fields,
                end,
            } = self.frames.event().await?
                && message::field(&fields, ":method").is_some()
            {
                let asked = Asked {
                    connection: self.connection,
                    stream,
                    fields,
                    ended: end,
                };
                locked(&self.shared.asked).push(asked.clone());
                return Ok(asked);
            }
        }
    }

    /// A whole answer.
    ///
    /// # Errors
    /// As [`Frames::send`].
    pub async fn answer(
        &mut self,
        stream: u32,
        status: u16,
        body: &[u8],
    ) -> Result<(), FrameError> {
        let head = Frame::headers(stream, Block::status(status));
        let body = Frame::data(stream, body).end_stream();
        self.frames.send(&[head, body]).await
    }

    /// Answers every request with this status, until the peer goes.
    ///
    /// # Errors
    /// As [`FramePeer::request`]: always one, at the end.
    pub async fn answer_all(&mut self, status: u16, body: &[u8]) -> Result<(), FrameError> {
        loop {
            let asked = self.request().await?;
            self.answer(asked.stream, status, body).await?;
        }
    }

    /// Reads and drops everything until the client closes, or is silent for longer than the deadline.
    ///
    /// # Errors
    /// None: to end a script with.
    pub async fn drain(&mut self) -> Result<(), FrameError> {
        while self.frames.frame().await.is_ok() {}
        Ok(())
    }

    /// Closes with a reset (RST).
    pub fn reset(self) {
        self.frames.reset();
    }
}

impl Deref for FramePeer {
    type Target = Frames;

    fn deref(&self) -> &Frames {
        &self.frames
    }
}

impl DerefMut for FramePeer {
    fn deref_mut(&mut self) -> &mut Frames {
        &mut self.frames
    }
}
