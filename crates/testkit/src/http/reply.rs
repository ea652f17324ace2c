//! The script language: what an upstream does with one request.

use std::time::Duration;

/// One answer, as a list of steps. Made by a constructor, refined by the methods that follow.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) steps: Vec<Step>,
    /// Every write is cut into pieces of this many bytes, with this pause between them.
    pub(super) dribble: Option<(usize, Duration)>,
    /// Answer as soon as the head is there; the body is read afterwards.
    pub(super) early: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Wait(Duration),
    Raw(Vec<u8>),
    Message {
        status: u16,
        fields: Vec<(String, String)>,
        body: BodyPlan,
    },
    /// 101 with the protocol the client asked for, then echo until the client ends.
    Upgrade,
    /// Says `Connection: close` in the messages and closes after the script.
    Closing,
    Close,
    Reset,
    Hang,
}

#[derive(Debug, Clone)]
pub(super) enum BodyPlan {
    /// JSON: who answers, and the request it got.
    Identity,
    Bytes(Vec<u8>),
    /// The request's body.
    Echo,
    Chunks {
        pieces: Vec<Vec<u8>>,
        every: Duration,
        trailers: Vec<(String, String)>,
    },
    EndlessChunks {
        piece: Vec<u8>,
        every: Duration,
    },
    /// No framing: ends with the connection.
    UntilClose(Vec<u8>),
    /// Promises more than it sends, then closes.
    Cut {
        promised: usize,
        sent: usize,
    },
    /// Promises chunks, sends one and a half, then closes.
    CutChunked,
}

impl Reply {
    fn of(steps: Vec<Step>) -> Reply {
        Reply {
            steps,
            dribble: None,
            early: false,
        }
    }

    fn message(status: u16, body: BodyPlan) -> Reply {
        Reply::of(vec![Step::Message {
            status,
            fields: Vec::new(),
            body,
        }])
    }

    /// 200 with a JSON object: `name` of the upstream, `connection` number, `method`, `target`,
    /// `path`, `host`, `headers` as a list of `[name, value]` pairs, `body_bytes`.
    #[must_use]
    pub fn identity() -> Reply {
        Reply::message(200, BodyPlan::Identity)
    }

    /// A text with `Content-Length`.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Reply {
        Reply::message(status, BodyPlan::Bytes(body.as_bytes().to_vec()))
    }

    /// 200 with this many bytes and `Content-Length`.
    #[must_use]
    pub fn sized(bytes: usize) -> Reply {
        Reply::message(200, BodyPlan::Bytes(vec![b'x'; bytes]))
    }

    /// 200 with the request's body, `Content-Length` framing.
    #[must_use]
    pub fn echo_body() -> Reply {
        Reply::message(200, BodyPlan::Echo)
    }

    /// 200 with these chunks, written one by one.
    #[must_use]
    pub fn chunked<P: AsRef<[u8]>>(pieces: &[P]) -> Reply {
        Reply::ticking(pieces, Duration::ZERO)
    }

    /// 200 with these chunks and a pause after each.
    #[must_use]
    pub fn ticking<P: AsRef<[u8]>>(pieces: &[P], every: Duration) -> Reply {
        let pieces = pieces.iter().map(|piece| piece.as_ref().to_vec()).collect();
        Reply::message(
            200,
            BodyPlan::Chunks {
                pieces,
                every,
                trailers: Vec::new(),
            },
        )
    }

    /// 200 with the same chunk again and again, a pause after each, until the peer goes away.
    #[must_use]
    pub fn endless(piece: &[u8], every: Duration) -> Reply {
        Reply::message(
            200,
            BodyPlan::EndlessChunks {
                piece: piece.to_vec(),
                every,
            },
        )
    }

    /// 200 with a body that ends with the connection.
    #[must_use]
    pub fn until_close(body: &[u8]) -> Reply {
        Reply::message(200, BodyPlan::UntilClose(body.to_vec()))
    }

    /// 200 that promises `promised` bytes, sends `sent` of them and closes; `sent` 0 closes right
    /// after the head.
    #[must_use]
    pub fn cut(promised: usize, sent: usize) -> Reply {
        Reply::message(200, BodyPlan::Cut { promised, sent })
    }

    /// 200 that closes in the middle of its second chunk.
    #[must_use]
    pub fn cut_chunked() -> Reply {
        Reply::message(200, BodyPlan::CutChunked)
    }

    /// Exactly these bytes, whatever they are; the connection stays open.
    #[must_use]
    pub fn raw(bytes: &[u8]) -> Reply {
        Reply::of(vec![Step::Raw(bytes.to_vec())])
    }

    /// Answers an upgrade request with 101 and the protocol it named, then echoes raw bytes until
    /// the client ends; 426 when no upgrade was asked for. A WebSocket key is answered.
    #[must_use]
    pub fn upgrade() -> Reply {
        Reply::of(vec![Step::Upgrade])
    }

    /// Closes without an answer.
    #[must_use]
    pub fn close() -> Reply {
        Reply::of(vec![Step::Close])
    }

    /// Resets (RST) without an answer.
    #[must_use]
    pub fn reset() -> Reply {
        Reply::of(vec![Step::Reset])
    }

    /// Never answers, and keeps the connection open.
    #[must_use]
    pub fn hang() -> Reply {
        Reply::of(vec![Step::Hang])
    }

    /// Waits before anything is sent.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Reply {
        self.steps.insert(0, Step::Wait(delay));
        self
    }

    /// Sends these bytes first: an interim response such as `HTTP/1.1 103 Early Hints`.
    #[must_use]
    pub fn preceded_by(mut self, bytes: &[u8]) -> Reply {
        self.steps.insert(0, Step::Raw(bytes.to_vec()));
        self
    }

    /// Does what `next` says afterwards.
    #[must_use]
    pub fn then(mut self, next: Reply) -> Reply {
        self.steps.extend(next.steps);
        self
    }

    /// Adds a field to every message of the script.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Reply {
        for step in &mut self.steps {
            if let Step::Message { fields, .. } = step {
                fields.push((name.to_owned(), value.to_owned()));
            }
        }
        self
    }

    /// Changes the status of every message of the script.
    #[must_use]
    pub fn status(mut self, new: u16) -> Reply {
        for step in &mut self.steps {
            if let Step::Message { status, .. } = step {
                *status = new;
            }
        }
        self
    }

    /// Adds a trailer field to every chunked message of the script.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Reply {
        for step in &mut self.steps {
            if let Step::Message {
                body: BodyPlan::Chunks { trailers, .. },
                ..
            } = step
            {
                trailers.push((name.to_owned(), value.to_owned()));
            }
        }
        self
    }

    /// Writes everything in pieces of `bytes` (1 or more) with a pause after each.
    #[must_use]
    pub fn dribbled(mut self, bytes: usize, every: Duration) -> Reply {
        self.dribble = Some((bytes.max(1), every));
        self
    }

    /// Says `Connection: close` and closes after the answer.
    #[must_use]
    pub fn closing(mut self) -> Reply {
        self.steps.push(Step::Closing);
        self
    }

    /// Answers before reading the request's body, which is read afterwards.
    #[must_use]
    pub fn early(mut self) -> Reply {
        self.early = true;
        self
    }
}
