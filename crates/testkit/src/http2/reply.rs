//! The script language: what an upstream does with one stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Http2Seen, owned};
use crate::message::Fields;

/// One answer, as a list of steps. Made by a constructor, refined by the methods that follow.
///
/// The stream ends behind the last step, with the frame of that step where it can: an answer of a
/// head alone has END_STREAM on its HEADERS.
#[derive(Debug, Clone)]
pub struct Http2Reply {
    pub(super) steps: Vec<Step>,
    pub(super) reading: Reading,
}

/// When the request's body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// To its end, before the script.
    First,
    /// Behind the script, or by its steps.
    Later,
    /// Never: the peer's window stays shut once it is used up.
    Never,
}

pub(super) type Compute = Arc<dyn Fn(&Http2Seen) -> Vec<Step> + Send + Sync>;

#[derive(Clone)]
pub(super) enum Step {
    Wait(Duration),
    /// 1xx.
    Interim(u16, Fields),
    Head(u16, Fields),
    Data(Bytes),
    /// Each piece of the request's body as it comes, and its trailers.
    EchoPieces,
    /// Steps that follow from the request as far as it was read.
    Computed(Compute),
    /// The same piece for ever, with this pause between.
    Endless(Bytes, Duration),
    Trailers(Fields),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY that lets the streams of now finish.
    GoAway,
    /// GOAWAY with this code, and the end of the connection.
    Abort(u32),
    /// The end of the connection, without a word.
    Drop,
    Hang,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Wait(_) => "Wait",
            Step::Interim(..) => "Interim",
            Step::Head(..) => "Head",
            Step::Data(_) => "Data",
            Step::EchoPieces => "EchoPieces",
            Step::Computed(_) => "Computed",
            Step::Endless(..) => "Endless",
            Step::Trailers(_) => "Trailers",
            Step::Reset(_) => "Reset",
            Step::GoAway => "GoAway",
            Step::Abort(_) => "Abort",
            Step::Drop => "Drop",
            Step::Hang => "Hang",
        })
    }
}

impl Http2Reply {
    fn of(steps: Vec<Step>) -> Self {
        Self {
            steps,
            reading: Reading::First,
        }
    }

    /// A head alone; END_STREAM is on it unless a step follows.
    #[must_use]
    pub fn head(status: u16) -> Self {
        Self::of(vec![Step::Head(status, Vec::new())])
    }

    /// 200 with a JSON object: `name` of the upstream, `connection` number, `method`, `path` with
    /// its query, `authority`, `headers` as a list of `[name, value]` pairs, `body_bytes`.
    #[must_use]
    pub fn identity() -> Self {
        Self::computed(|seen| {
            let said = serde_json::json!({
                "name": seen.upstream,
                "connection": seen.connection,
                "method": seen.method,
                "path": seen.path,
                "authority": seen.authority,
                "headers": seen.fields,
                "body_bytes": seen.body.len(),
            });
            let fields = owned(&[("content-type", "application/json")]);
            vec![
                Step::Head(200, fields),
                Step::Data(said.to_string().into_bytes().into()),
            ]
        })
    }

    /// A text.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Self {
        Self::head(status).data(body.as_bytes())
    }

    /// 200 with this many bytes, and `content-length`.
    #[must_use]
    pub fn sized(bytes: usize) -> Self {
        Self::head(200)
            .field("content-length", &bytes.to_string())
            .data(&vec![b'x'; bytes])
    }

    /// 200 with the request's body, once it is whole, and its trailers.
    #[must_use]
    pub fn echo_body() -> Self {
        Self::computed(|seen| {
            let mut steps = vec![
                Step::Head(200, Vec::new()),
                Step::Data(seen.body.clone().into()),
            ];
            if let Some(trailers) = &seen.trailers {
                steps.push(Step::Trailers(trailers.clone()));
            }
            steps
        })
    }

    /// 200 at once, then each piece of the request's body as it comes, and its trailers.
    #[must_use]
    pub fn echo_pieces() -> Self {
        Self::head(200).then(Step::EchoPieces).early()
    }

    /// 200, and the same piece for ever, with a pause between.
    #[must_use]
    pub fn endless(piece: &[u8], every: Duration) -> Self {
        Self::head(200)
            .then(Step::Endless(Bytes::copy_from_slice(piece), every))
            .early()
    }

    /// Says nothing.
    #[must_use]
    pub fn hang() -> Self {
        Self::of(vec![Step::Hang]).early()
    }

    /// RST_STREAM with this code, before anything is read.
    #[must_use]
    pub fn reset(code: u32) -> Self {
        Self::of(vec![Step::Reset(code)]).early()
    }

    /// What follows from the request, whose body is read first.
    pub(super) fn computed(
        steps: impl Fn(&Http2Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::of(vec![Step::Computed(Arc::new(steps))])
    }

    pub(super) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// A field of the head. For a head only, not for what is computed.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        if let Some(Step::Head(_, fields)) = self.steps.last_mut() {
            fields.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// A piece of body.
    #[must_use]
    pub fn data(self, piece: &[u8]) -> Self {
        self.then(Step::Data(Bytes::copy_from_slice(piece)))
    }

    /// Trailers, which end the stream.
    #[must_use]
    pub fn trailers(self, fields: &[(&str, &str)]) -> Self {
        self.then(Step::Trailers(owned(fields)))
    }

    /// A pause.
    #[must_use]
    pub fn pause(self, length: Duration) -> Self {
        self.then(Step::Wait(length))
    }

    /// A pause before everything.
    #[must_use]
    pub fn after(mut self, length: Duration) -> Self {
        self.steps.insert(0, Step::Wait(length));
        self
    }

    /// A 1xx response before everything.
    #[must_use]
    pub fn interim(mut self, status: u16, fields: &[(&str, &str)]) -> Self {
        self.steps.insert(0, Step::Interim(status, owned(fields)));
        self
    }

    /// RST_STREAM with this code, here.
    #[must_use]
    pub fn then_reset(self, code: u32) -> Self {
        self.then(Step::Reset(code))
    }

    /// GOAWAY here; the streams of now go on, this one with the steps that follow.
    #[must_use]
    pub fn then_go_away(self) -> Self {
        self.then(Step::GoAway)
    }

    /// GOAWAY with this code and the end of the connection, here.
    #[must_use]
    pub fn then_abort(self, code: u32) -> Self {
        self.then(Step::Abort(code))
    }

    /// The end of the connection, here, without a word.
    #[must_use]
    pub fn then_drop(self) -> Self {
        self.then(Step::Drop)
    }

    /// Nothing more, and the stream stays open.
    #[must_use]
    pub fn then_hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// Answers as soon as the head is there; the body is read afterwards.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.reading = Reading::Later;
        self
    }

    /// Never reads the body: what the window lets through is all that comes.
    #[must_use]
    pub fn never_reads(mut self) -> Self {
        self.reading = Reading::Never;
        self
    }
}
