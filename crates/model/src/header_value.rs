//! Values of header operations, with `%COMMAND%`s in them (VS-H-105).
use std::{fmt, sync::Arc};

/// A value that a rule sets or adds: text, or text with commands, taken apart once.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderValue {
    written: Arc<str>,
    pieces: Arc<[Piece]>,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(Arc<str>),
    /// What it stands for is known only when a message passes.
    Made(Made),
}

/// A command as it stands in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What is asked for.
    pub command: Command,
    /// At most so many bytes of it: `%REQ(name):20%`.
    pub most: Option<usize>,
    /// As written, percent signs included.
    pub written: Arc<str>,
}

/// What can be asked for: the usual ones of Envoy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `DOWNSTREAM_REMOTE_ADDRESS`: the client.
    DownstreamRemote(Part),
    /// `DOWNSTREAM_LOCAL_ADDRESS`: where the client dialled.
    DownstreamLocal(Part),
    /// `UPSTREAM_REMOTE_ADDRESS`, `UPSTREAM_HOST`: the endpoint. Responses only.
    UpstreamRemote(Part),
    /// `UPSTREAM_LOCAL_ADDRESS`: our own end towards it. Responses only.
    UpstreamLocal(Part),
    /// `UPSTREAM_CLUSTER`: the backend.
    UpstreamCluster,
    /// `REQ(name?other)`: a header of the request, in lower case, or the other one.
    RequestHeader(Arc<str>, Option<Arc<str>>),
    /// `RESP(name?other)`: the same of the response. Responses only.
    ResponseHeader(Arc<str>, Option<Arc<str>>),
    /// `PROTOCOL`: `HTTP/1.1`.
    Protocol,
    /// `START_TIME` without a format: when the request began.
    StartTime,
    /// `HOSTNAME`: of this machine.
    Hostname,
    /// `ROUTE_NAME`: name of the rule.
    RouteName,
    /// `RESPONSE_CODE`. Responses only.
    ResponseCode,
    /// `RESPONSE_CODE_DETAILS`. Responses only.
    ResponseDetails,
    /// `RESPONSE_FLAGS`. Responses only.
    ResponseFlags,
    /// Envoy knows it, nothing here gives it: empty.
    Unknown,
}

/// Which part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `10.0.0.1:80`.
    Whole,
    /// `10.0.0.1`.
    Address,
    /// `80`.
    Port,
}

/// Why a text is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueFault {
    /// A `%` that is neither doubled nor part of a command.
    Percent,
    /// A `(` without its `)`.
    Open,
    /// A command that no `%` ends.
    Endless,
    /// Envoy has no such command.
    NoCommand(String),
    /// The command cannot do without arguments, or has wrong ones.
    Arguments(String),
}

impl fmt::Display for ValueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent => f.write_str("has a % without a command"),
            Self::Open => f.write_str("has a command whose ( is not closed"),
            Self::Endless => f.write_str("has a command that does not end in %"),
            Self::NoCommand(name) => write!(f, "asks for {name}, which is no command"),
            Self::Arguments(name) => write!(f, "gives {name} arguments it cannot use"),
        }
    }
}

/// Commands of Envoy's that nothing here gives. Together with those of [`Command`] they are all it
/// accepts in a value; another one makes it refuse the whole configuration.
const NOT_GIVEN: [&str; 52] = [
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CEL",
    "CLUSTER_METADATA",
    "COMMON_DURATION",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DURATION",
    "DYNAMIC_METADATA",
    "EMIT_TIME",
    "ENVIRONMENT",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "METADATA",
    "PER_REQUEST_STATE",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_TX_DURATION",
    "RESPONSE_DURATION",
    "RESPONSE_TX_DURATION",
    "STREAM_ID",
    "TRACE_ID",
    "TRAILER",
    "UNIQUE_ID",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_METADATA",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "VIRTUAL_CLUSTER_NAME",
];

impl HeaderValue {
    /// Takes a text apart. `%%` is a percent sign.
    ///
    /// # Errors
    /// What Envoy would refuse.
    pub fn parse(text: &str) -> Result<Self, ValueFault> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            if let Some(literal) = after.strip_prefix('%') {
                plain.push('%');
                rest = literal;
                continue;
            }
            let (made, behind) = command(after)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(Piece::Made(made));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Ok(Self {
            written: text.into(),
            pieces: pieces.into(),
        })
    }

    /// A value of these pieces.
    pub fn of(pieces: Vec<Piece>) -> Self {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.replace('%', "%%"),
            Piece::Made(made) => made.written.to_string(),
        };
        Self {
            written: pieces.iter().map(text).collect::<String>().into(),
            pieces: pieces.into(),
        }
    }

    /// The value, if there is no command in it.
    pub fn plain(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Text and commands in their order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// As written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// A command that is always empty here.
    pub fn without_effect(&self) -> Option<&str> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Made(made) if made.command == Command::Unknown => Some(&*made.written),
            _ => None,
        })
    }
}

/// Text as it is: percent signs mean nothing.
impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::of(vec![Piece::Text(text.into())])
    }
}

/// As written.
impl fmt::Display for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

/// The command at the start of `text`, behind its first percent sign, and what follows it.
fn command(text: &str) -> Result<(Made, &str), ValueFault> {
    let end = text
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() {
        return Err(ValueFault::Percent);
    }
    let mut arguments = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let (within, behind) = inner.split_once(')').ok_or(ValueFault::Open)?;
        arguments = Some(within);
        rest = behind;
    }
    let mut most = None;
    if let Some(length) = rest.strip_prefix(':') {
        let end = length
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(length.len());
        let (digits, behind) = length.split_at(end);
        let wrong = |_| ValueFault::Arguments(name.to_owned());
        most = Some(digits.parse().map_err(wrong)?);
        rest = behind;
    }
    let rest = rest.strip_prefix('%').ok_or(ValueFault::Endless)?;
    let length = text.len() - rest.len();
    let made = Made {
        command: named(name, arguments)?,
        most,
        written: format!("%{}", text.get(..length).unwrap_or_default()).into(),
    };
    Ok((made, rest))
}

fn named(name: &str, arguments: Option<&str>) -> Result<Command, ValueFault> {
    let wrong = || ValueFault::Arguments(name.to_owned());
    let header = || {
        let names = arguments.ok_or_else(wrong)?;
        let (first, other) = match names.split_once('?') {
            Some((first, other)) => (first, Some(other)),
            None => (names, None),
        };
        if first.is_empty() || other.is_some_and(str::is_empty) {
            return Err(wrong());
        }
        let lower = |name: &str| Arc::from(name.to_ascii_lowercase());
        Ok((lower(first), other.map(lower)))
    };
    let (base, part) = match (
        name.strip_suffix("_ADDRESS_WITHOUT_PORT"),
        name.strip_suffix("_ADDRESS"),
        name.strip_suffix("_PORT"),
    ) {
        (Some(base), ..) => (base, Part::Address),
        (_, Some(base), _) => (base, Part::Whole),
        (.., Some(base)) => (base, Part::Port),
        _ => ("", Part::Whole),
    };
    let command = match base {
        "DOWNSTREAM_REMOTE" | "DOWNSTREAM_DIRECT_REMOTE" => Command::DownstreamRemote(part),
        "DOWNSTREAM_LOCAL" | "DOWNSTREAM_DIRECT_LOCAL" => Command::DownstreamLocal(part),
        "UPSTREAM_REMOTE" => Command::UpstreamRemote(part),
        "UPSTREAM_LOCAL" => Command::UpstreamLocal(part),
        _ => match name {
            "REQ" | "REQUEST_HEADER" => {
                let (name, other) = header()?;
                return Ok(Command::RequestHeader(name, other));
            }
            "RESP" | "RESPONSE_HEADER" => {
                let (name, other) = header()?;
                return Ok(Command::ResponseHeader(name, other));
            }
            // A format is not followed; better nothing than another time than was asked for.
            "START_TIME" if arguments.is_some_and(|it| !it.is_empty()) => {
                return Ok(Command::Unknown);
            }
            "START_TIME" => return Ok(Command::StartTime),
            "UPSTREAM_HOST" => Command::UpstreamRemote(Part::Whole),
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Command::UpstreamCluster,
            "PROTOCOL" => Command::Protocol,
            "HOSTNAME" => Command::Hostname,
            "ROUTE_NAME" => Command::RouteName,
            "RESPONSE_CODE" => Command::ResponseCode,
            "RESPONSE_CODE_DETAILS" => Command::ResponseDetails,
            "RESPONSE_FLAGS" => Command::ResponseFlags,
            name if NOT_GIVEN.contains(&name) => return Ok(Command::Unknown),
            name => return Err(ValueFault::NoCommand(name.to_owned())),
        },
    };
    match arguments {
        None => Ok(command),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VS-H-105, T-H-80.
    #[test]
    fn a_doubled_percent_sign_is_one() {
        for (text, expected) in [
            ("50%%", "50%"),
            ("%%%%", "%%"),
            ("%%PROTOCOL%%", "%PROTOCOL%"),
            ("", ""),
            ("plain", "plain"),
        ] {
            let value = HeaderValue::parse(text).expect(text);
            assert_eq!(value.plain(), Some(expected));
            assert_eq!(value.written(), text);
        }
        assert_eq!(HeaderValue::from("50%").plain(), Some("50%"));
    }

    #[test]
    fn commands_are_told_from_text() {
        let value = HeaderValue::parse("a%%-%REQ(X-A?:path):10%%PROTOCOL% z").expect("valid");
        let [
            Piece::Text(before),
            Piece::Made(first),
            Piece::Made(second),
            Piece::Text(after),
        ] = value.pieces()
        else {
            panic!("{:?}", value.pieces())
        };
        assert_eq!((&**before, &**after), ("a%-", " z"));
        assert_eq!(
            first.command,
            Command::RequestHeader("x-a".into(), Some(":path".into()))
        );
        assert_eq!(
            (first.most, &*first.written),
            (Some(10), "%REQ(X-A?:path):10%")
        );
        assert_eq!(second.command, Command::Protocol);
        assert_eq!(value.plain(), None);
        assert_eq!(HeaderValue::of(value.pieces().to_vec()), value);
        for (text, command) in [
            (
                "%DOWNSTREAM_REMOTE_ADDRESS%",
                Command::DownstreamRemote(Part::Whole),
            ),
            (
                "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
                Command::DownstreamRemote(Part::Address),
            ),
            (
                "%DOWNSTREAM_LOCAL_PORT%",
                Command::DownstreamLocal(Part::Port),
            ),
            ("%UPSTREAM_HOST%", Command::UpstreamRemote(Part::Whole)),
            ("%START_TIME%", Command::StartTime),
            ("%START_TIME(%s.%3f)%", Command::Unknown),
            ("%DURATION%", Command::Unknown),
        ] {
            let value = HeaderValue::parse(text).expect(text);
            assert!(
                matches!(value.pieces(), [Piece::Made(made)] if made.command == command),
                "{text}"
            );
            assert_eq!(
                value.without_effect().is_some(),
                command == Command::Unknown
            );
        }
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let fault = |text: &str| HeaderValue::parse(text).expect_err(text);
        for text in ["100%", "abc% d", "%lower%", "%%%"] {
            assert_eq!(fault(text), ValueFault::Percent);
        }
        assert_eq!(fault("%REQ(x%"), ValueFault::Open);
        for text in ["abc%123", "%START_TIME%%", "%PROTOCOL", "%REQ(a):1x%"] {
            assert!(
                matches!(fault(text), ValueFault::Endless | ValueFault::Percent),
                "{text}"
            );
        }
        assert_eq!(
            fault("%PROTOCOLL%"),
            ValueFault::NoCommand("PROTOCOLL".into())
        );
        for text in [
            "%REQ%",
            "%REQ()%",
            "%RESP(a?)%",
            "%HOSTNAME(x)%",
            "%REQ(a):%",
        ] {
            assert!(matches!(fault(text), ValueFault::Arguments(_)), "{text}");
        }
    }
}
