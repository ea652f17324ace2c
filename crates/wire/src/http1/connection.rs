//! The `Connection` field and what hangs on it: persistence, upgrades, fields for one hop only
//! (RFC 9110 section 7.6.1, RFC 9112 section 9).

use super::field::{Field, Kind, is_protected, is_token, kind, list};
use super::{FieldSet, MAX_CONNECTION_OPTIONS, Reason, Version};

/// What all `Connection` fields of one head say, gathered field by field.
#[derive(Default)]
pub(super) struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// Some option may be the name of a field.
    names_fields: bool,
    options: usize,
}

impl Connection {
    /// One `Connection` field.
    pub(super) fn read(&mut self, value: &[u8]) -> Result<(), Reason> {
        for option in list(value) {
            // Empty list elements mean nothing (RFC 9110 section 5.6.1.2), but they cost something.
            self.options += 1;
            if self.options > MAX_CONNECTION_OPTIONS {
                return Err(Reason::TooManyConnectionOptions);
            }
            match option {
                [] => {}
                _ if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ if option.eq_ignore_ascii_case(b"close") => self.close = true,
                _ if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ if is_token(option) => self.names_fields = true,
                _ => return Err(Reason::BadConnection),
            }
        }
        Ok(())
    }

    /// Whether the sender keeps the connection open after this message.
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version != Version::Http10 || self.keep_alive)
    }

    /// Whether the sender asks for, or confirms, another protocol.
    pub(super) fn upgrades(&self, version: Version) -> bool {
        self.upgrade && version == Version::Http11
    }

    /// Adds the fields that `Connection` names to `drop`. `Host` and the framing fields are written
    /// by us anyway; what proxies add stays.
    pub(super) fn drop_named(&self, fields: &[Field<'_>], drop: &mut FieldSet) {
        if !self.names_fields {
            return;
        }
        let options = || {
            fields
                .iter()
                .filter(|field| kind(field.name) == Kind::Connection)
                .flat_map(|field| list(field.value))
        };
        for (index, field) in fields.iter().enumerate() {
            if options().any(|option| option.eq_ignore_ascii_case(field.name.as_bytes()))
                && !is_protected(field.name)
            {
                drop.insert(index);
            }
        }
    }
}

/// The protocols of an `Upgrade` field (RFC 9110 section 7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade<'b> {
    /// The field value: a list of `name` or `name/version`, as sent.
    pub protocols: &'b str,
}

impl<'b> Upgrade<'b> {
    /// `None` when the value is not a list of protocols. Ignoring an upgrade is always allowed, so
    /// nothing is refused for it.
    /// To WebSocket.
    pub const WEBSOCKET: Self = Self {
        protocols: "websocket",
    };

    pub(super) fn new(value: &'b [u8]) -> Option<Self> {
        let protocol = |element: &[u8]| element.splitn(2, |&byte| byte == b'/').all(is_token);
        if !list(value).all(protocol) {
            return None;
        }
        Some(Self {
            protocols: std::str::from_utf8(value).ok()?,
        })
    }

    /// The protocols in the order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &'b str> {
        self.protocols
            .split(',')
            .map(|protocol| protocol.trim_matches([' ', '\t']))
    }

    /// Whether WebSocket (RFC 6455) is the one protocol asked for. A list with others in it is not
    /// one: which of them the server accepts would decide what the tunnel speaks.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.protocols.eq_ignore_ascii_case("websocket")
    }
}
