//! gRPC's shape over HTTP/2: messages with a length before each, the outcome in the trailers.

use super::reply::Step;
use super::{Http2Reply, Http2Request, Http2Response, Http2Upstream, Http2UpstreamBuilder, owned};

/// A message as it is framed: not compressed, its length in four bytes, itself.
#[must_use]
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let Ok(length) = u32::try_from(bytes.len()) else {
        panic!("a message of {} bytes", bytes.len());
    };
    [&[0], &length.to_be_bytes()[..], bytes].concat()
}

/// The messages of a body.
///
/// # Errors
/// A sentence: a cut message, or a compressed one.
pub fn messages(mut body: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let [flag, a, b, c, d, rest @ ..] = body else {
            return Err(format!("{} bytes are no message", body.len()));
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if *flag != 0 {
            return Err("a compressed message".to_owned());
        }
        let (Some(message), Some(rest)) = (rest.get(..length), rest.get(length..)) else {
            return Err(format!("{} of {length} bytes of a message", rest.len()));
        };
        messages.push(message.to_vec());
        body = rest;
    }
    Ok(messages)
}

impl Http2Request {
    /// A call of `/service/method` with these messages; further ones may follow on its stream.
    pub fn grpc(authority: &str, path: &str, messages: &[&[u8]]) -> Self {
        let call = Self::post(authority, path)
            .field("content-type", "application/grpc")
            .field("te", "trailers");
        messages
            .iter()
            .fold(call, |call, bytes| call.piece(&message(bytes)))
    }
}

impl Http2Response {
    /// `grpc-status`, from the trailers or, for a reply of trailers only, from the head.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u32> {
        let status = match &self.trailers {
            Some(_) => self.trailer("grpc-status"),
            None => self.field("grpc-status"),
        };
        status?.parse().ok()
    }

    /// The messages.
    ///
    /// # Panics
    /// When the body is not made of messages.
    #[must_use]
    pub fn messages(&self) -> Vec<Vec<u8>> {
        match messages(&self.body) {
            Ok(messages) => messages,
            Err(error) => panic!("{error}: {:?}", self.body),
        }
    }
}

impl Http2Reply {
    fn grpc_head() -> Step {
        Step::Head(200, owned(&[("content-type", "application/grpc")]))
    }

    /// These messages, then this status in the trailers.
    #[must_use]
    pub fn grpc(messages: &[&[u8]], status: u32) -> Self {
        let reply = Self::head(200).field("content-type", "application/grpc");
        messages
            .iter()
            .fold(reply, |reply, bytes| reply.data(&message(bytes)))
            .trailers(&[("grpc-status", &status.to_string())])
    }

    /// A status alone, in HEADERS that end the stream: trailers only.
    #[must_use]
    pub fn grpc_trailers_only(status: u32, text: &str) -> Self {
        Self::head(200)
            .field("content-type", "application/grpc")
            .field("grpc-status", &status.to_string())
            .field("grpc-message", text)
    }

    /// Answers with the messages that `answer` makes of those of the request, once they are all
    /// here.
    #[must_use]
    pub fn grpc_computed(
        answer: impl Fn(Vec<Vec<u8>>) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self::computed(move |seen| {
            let outcome = |status: &str| Step::Trailers(owned(&[("grpc-status", status)]));
            let mut steps = vec![Self::grpc_head()];
            match messages(&seen.body) {
                Ok(asked) => {
                    let answers = answer(asked);
                    steps.extend(answers.iter().map(|it| Step::Data(message(it).into())));
                    steps.push(outcome("0"));
                }
                // INTERNAL: the framing was broken on the way.
                Err(_) => steps.push(outcome("13")),
            }
            steps
        })
    }

    /// Sends each message back as it comes, then status 0.
    #[must_use]
    pub fn grpc_echo() -> Self {
        Self::head(200)
            .field("content-type", "application/grpc")
            .then(Step::EchoPieces)
            .trailers(&[("grpc-status", "0")])
            .early()
    }
}

/// An upstream with one method of each kind, all of the service `test.Echo`:
///
/// | method | does |
/// | --- | --- |
/// | `Unary` | sends the message back |
/// | `ServerStream` | sends as many messages as the request's message says, a decimal number |
/// | `ClientStream` | one message: how many there were, and their bytes |
/// | `Bidi` | sends each message back as it comes |
/// | `Fail` | one message, then status 5 with the message `not here` |
/// | `Refuse` | trailers only: status 7 |
/// | `Hang` | never answers |
pub fn echo_service(name: &str) -> Http2UpstreamBuilder {
    let number = |bytes: &[u8]| -> usize {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        text.parse().unwrap_or_default()
    };
    Http2Upstream::named(name)
        .on("/test.Echo/Unary", Http2Reply::grpc_computed(|asked| asked))
        .on(
            "/test.Echo/ServerStream",
            Http2Reply::grpc_computed(move |asked| {
                let count = asked.first().map_or(0, |message| number(message));
                (0..count).map(|at| at.to_string().into()).collect()
            }),
        )
        .on(
            "/test.Echo/ClientStream",
            Http2Reply::grpc_computed(|asked| {
                let bytes: usize = asked.iter().map(Vec::len).sum();
                vec![format!("{} messages, {bytes} bytes", asked.len()).into()]
            }),
        )
        .on("/test.Echo/Bidi", Http2Reply::grpc_echo())
        .on(
            "/test.Echo/Fail",
            Http2Reply::head(200)
                .field("content-type", "application/grpc")
                .data(&message(b"a part"))
                .trailers(&[("grpc-status", "5"), ("grpc-message", "not here")]),
        )
        .on("/test.Echo/Refuse", Http2Reply::grpc_trailers_only(7, "no"))
        .on("/test.Echo/Hang", Http2Reply::hang())
}
