//! Header values made per message: what the commands in them stand for (VS-H-105).
use crate::{
    condition::with_field,
    traffic::{Fields, Request},
};
use pointsman_model::{
    HeaderValue,
    action::FieldOps,
    header_value::{Command, Made, Part, Piece},
};
use std::{borrow::Cow, net::SocketAddr};

/// What is known of a message, for the commands that ask for it.
pub trait Facts {
    /// Appends what the command stands for, which may be nothing. False: it is not known at this
    /// stage.
    fn put(&self, made: &Made, out: &mut Vec<u8>) -> bool;
}

/// Nothing is known: every command is empty.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Facts for Nothing {
    fn put(&self, _: &Made, _: &mut Vec<u8>) -> bool {
        false
    }
}

/// What is known when a request is routed.
pub struct Asked<'a, F: ?Sized> {
    /// The request as received.
    pub request: &'a Request<'a, F>,
    /// `HTTP/1.1`.
    pub protocol: &'a str,
    /// The client, where it is known.
    pub remote: Option<SocketAddr>,
    /// Where it dialled.
    pub local: SocketAddr,
    /// The name of the rule, or its place.
    pub route: &'a str,
    /// The backend that was drawn.
    pub cluster: Option<&'a str>,
    /// The moment the request began and the name of this machine, asked for when needed.
    pub process: &'a dyn Facts,
}

impl<F: Fields + ?Sized> Facts for Asked<'_, F> {
    fn put(&self, made: &Made, out: &mut Vec<u8>) -> bool {
        let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
        match &made.command {
            Command::RequestHeader(name, other) => {
                let mut field = |name: &str| {
                    with_field(self.request, name, |value| out.extend_from_slice(value)).is_some()
                };
                let _ = field(name) || other.as_ref().is_some_and(|other| field(other));
            }
            Command::Protocol => text(self.protocol),
            Command::DownstreamRemote(part) => match self.remote {
                Some(remote) => put_address(remote, *part, out),
                None => return false,
            },
            Command::DownstreamLocal(part) => put_address(self.local, *part, out),
            Command::RouteName => text(self.route),
            Command::UpstreamCluster => text(self.cluster.unwrap_or_default()),
            Command::StartTime | Command::Hostname => return self.process.put(made, out),
            Command::Unknown => {}
            Command::UpstreamRemote(_)
            | Command::UpstreamLocal(_)
            | Command::ResponseHeader(..)
            | Command::ResponseCode
            | Command::ResponseDetails
            | Command::ResponseFlags => return false,
        }
        true
    }
}

/// Appends a part of an address.
pub fn put_address(address: SocketAddr, part: Part, out: &mut Vec<u8>) {
    let text = match part {
        Part::Whole => address.to_string(),
        Part::Address => address.ip().to_string(),
        Part::Port => address.port().to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

/// The value for one message; a command that is not known is empty.
pub(super) fn value<'a>(value: &'a HeaderValue, facts: &impl Facts) -> Cow<'a, [u8]> {
    if let Some(plain) = value.plain() {
        return Cow::Borrowed(plain.as_bytes());
    }
    let mut made = Vec::new();
    for piece in value.pieces() {
        match piece {
            Piece::Text(text) => made.extend_from_slice(text.as_bytes()),
            Piece::Made(command) => {
                put(command, facts, &mut made);
            }
        }
    }
    Cow::Owned(made)
}

/// False if the command is not known; nothing is appended then.
fn put(command: &Made, facts: &impl Facts, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    if !facts.put(command, out) {
        out.truncate(start);
        return false;
    }
    if let Some(most) = command.most {
        out.truncate(start.saturating_add(most));
    }
    true
}

/// Does any value ask for something?
pub fn asks(operations: &FieldOps) -> bool {
    let written = operations.set.iter().chain(&operations.add);
    let mut values = written.map(|(_, value)| value);
    values.any(|value| value.plain().is_none())
}

/// The same operations with everything in them that is known now; the rest is asked for later. So
/// that a response can tell of its request, which is gone by then.
pub fn settle(operations: &FieldOps, facts: &impl Facts) -> FieldOps {
    let settled = |value: &HeaderValue| {
        if value.plain().is_some() {
            return value.clone();
        }
        let mut pieces = Vec::new();
        for piece in value.pieces() {
            let mut made = Vec::new();
            match piece {
                Piece::Made(command) if put(command, facts, &mut made) => {
                    pieces.push(Piece::Text(String::from_utf8_lossy(&made).into()));
                }
                piece => pieces.push(piece.clone()),
            }
        }
        HeaderValue::of(joined(pieces))
    };
    let all = |list: &[(_, HeaderValue)]| {
        let list = list.iter();
        list.map(|(name, value)| (std::sync::Arc::clone(name), settled(value)))
            .collect()
    };
    FieldOps {
        remove: operations.remove.clone(),
        set: all(&operations.set),
        add: all(&operations.add),
    }
}

/// Neighbouring texts are one, so that a value without commands is plain.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => {
                *before = format!("{before}{text}").into();
            }
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> HeaderValue {
        HeaderValue::parse(text).expect(text)
    }

    fn with_facts<T>(use_them: impl FnOnce(&Asked<'_, Vec<(String, String)>>) -> T) -> T {
        let fields = [("X-A", "1"), ("x-a", "2"), ("x-empty", "")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = Request {
            method: "GET",
            authority: "web:80",
            path: "/p",
            query: Some("q"),
            scheme: "http",
            fields: &fields.to_vec(),
        };
        use_them(&Asked {
            request: &request,
            protocol: "HTTP/1.1",
            remote: Some(([10, 0, 0, 1], 4000).into()),
            local: "[::1]:80".parse().expect("an address"),
            route: "main",
            cluster: Some("outbound|80||web"),
            process: &Nothing,
        })
    }

    /// VS-H-105.
    #[test]
    fn commands_give_what_is_known() {
        with_facts(|facts| {
            for (text, expected) in [
                ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.0.0.1:4000"),
                ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.1"),
                ("%DOWNSTREAM_REMOTE_PORT%", "4000"),
                ("%DOWNSTREAM_LOCAL_ADDRESS%", "[::1]:80"),
                ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "::1"),
                ("[%REQ(x-a)%]", "[1,2]"),
                ("%REQ(x-none?:path)%", "/p?q"),
                ("%REQ(x-empty?:path)%", ""),
                ("%REQ(:authority):3%", "web"),
                ("%REQ(x-none)%", ""),
                ("%PROTOCOL%%PROTOCOL%", "HTTP/1.1HTTP/1.1"),
                (
                    "%ROUTE_NAME% to %UPSTREAM_CLUSTER%",
                    "main to outbound|80||web",
                ),
                ("%RESPONSE_CODE%%UPSTREAM_HOST%%DURATION%", ""),
                ("50%%", "50%"),
            ] {
                let made = value(&parsed(text), facts).into_owned();
                assert_eq!(String::from_utf8_lossy(&made), expected, "{text}");
            }
        });
    }

    #[test]
    fn a_response_tells_of_its_request() {
        struct Code;
        impl Facts for Code {
            fn put(&self, made: &Made, out: &mut Vec<u8>) -> bool {
                out.extend_from_slice(b"204");
                made.command == Command::ResponseCode
            }
        }
        let operations = FieldOps {
            set: vec![(
                "x".into(),
                parsed("%REQ(x-a)% %% %RESPONSE_CODE% %PROTOCOL%"),
            )],
            add: vec![("y".into(), parsed("%PROTOCOL%"))],
            ..FieldOps::default()
        };
        assert!(asks(&operations));
        let settled = with_facts(|facts| settle(&operations, facts));
        assert_eq!(
            settled.set[0].1.written(),
            "1,2 %% %RESPONSE_CODE% HTTP/1.1"
        );
        assert_eq!(settled.add[0].1.plain(), Some("HTTP/1.1"));
        assert_eq!(&*value(&settled.set[0].1, &Code), b"1,2 % 204 HTTP/1.1");
        assert_eq!(&*value(&settled.set[0].1, &Nothing), b"1,2 %  HTTP/1.1");
        assert!(!asks(&FieldOps {
            set: vec![("x".into(), parsed("50%%"))],
            ..FieldOps::default()
        }));
    }
}
