//! Frames as they lie on the wire (RFC 9113 section 4.1), right or wrong as a test wants them.

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs, reason = "the names of the specification")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags (RFC 9113 section 6).
pub mod flag {
    #![allow(missing_docs, reason = "the names of the specification")]
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
pub mod setting {
    #![allow(missing_docs, reason = "the names of the specification")]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// Error codes (RFC 9113 section 7).
pub mod code {
    #![allow(missing_docs, reason = "the names of the specification")]
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const SETTINGS_TIMEOUT: u32 = 4;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const CONNECT_ERROR: u32 = 10;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// One frame. Nothing about it need be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The type; see [`kind`].
    pub kind: u8,
    /// The flags; see [`flag`].
    pub flags: u8,
    /// The stream, with the reserved bit if it is to be set.
    pub stream: u32,
    /// What comes behind the nine bytes of its head, padding included.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Any frame.
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// DATA that does not end its stream.
    #[must_use]
    pub fn data(stream: u32, bytes: impl Into<Vec<u8>>) -> Frame {
        Frame::new(kind::DATA, 0, stream, bytes)
    }

    /// HEADERS with a whole field block, which does not end its stream.
    #[must_use]
    pub fn headers(stream: u32, block: impl Into<Vec<u8>>) -> Frame {
        Frame::new(kind::HEADERS, flag::END_HEADERS, stream, block)
    }

    /// CONTINUATION, the last of its block.
    #[must_use]
    pub fn continuation(stream: u32, block: impl Into<Vec<u8>>) -> Frame {
        Frame::new(kind::CONTINUATION, flag::END_HEADERS, stream, block)
    }

    /// PRIORITY: depends on `on`, not exclusively, with the default weight.
    #[must_use]
    pub fn priority(stream: u32, on: u32) -> Frame {
        Frame::new(kind::PRIORITY, 0, stream, dependency(on))
    }

    /// RST_STREAM.
    #[must_use]
    pub fn reset(stream: u32, code: u32) -> Frame {
        Frame::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// SETTINGS with these identifiers and values.
    #[must_use]
    pub fn settings(values: &[(u16, u32)]) -> Frame {
        let payload: Vec<u8> = values
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        Frame::new(kind::SETTINGS, 0, 0, payload)
    }

    /// SETTINGS with ACK.
    #[must_use]
    pub fn settings_ack() -> Frame {
        Frame::new(kind::SETTINGS, flag::ACK, 0, [])
    }

    /// PUSH_PROMISE of `promised`, with a whole field block.
    #[must_use]
    pub fn push_promise(stream: u32, promised: u32, block: &[u8]) -> Frame {
        let payload = [&promised.to_be_bytes()[..], block].concat();
        Frame::new(kind::PUSH_PROMISE, flag::END_HEADERS, stream, payload)
    }

    /// PING.
    #[must_use]
    pub fn ping(opaque: [u8; 8]) -> Frame {
        Frame::new(kind::PING, 0, 0, opaque)
    }

    /// GOAWAY.
    #[must_use]
    pub fn goaway(last: u32, code: u32, debug: &[u8]) -> Frame {
        let payload = [&last.to_be_bytes()[..], &code.to_be_bytes(), debug].concat();
        Frame::new(kind::GOAWAY, 0, 0, payload)
    }

    /// WINDOW_UPDATE; stream 0 is the connection.
    #[must_use]
    pub fn window_update(stream: u32, increment: u32) -> Frame {
        Frame::new(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
    }

    /// The same frame with END_STREAM.
    #[must_use]
    pub fn end_stream(self) -> Frame {
        self.with(flag::END_STREAM)
    }

    /// The same frame with these flags too.
    #[must_use]
    pub fn with(mut self, flags: u8) -> Frame {
        self.flags |= flags;
        self
    }

    /// The same frame without these flags.
    #[must_use]
    pub fn without(mut self, flags: u8) -> Frame {
        self.flags &= !flags;
        self
    }

    /// The same DATA or HEADERS with this many bytes of padding behind it.
    #[must_use]
    pub fn padded(mut self, padding: u8) -> Frame {
        self.payload.insert(0, padding);
        self.payload
            .resize(self.payload.len() + usize::from(padding), 0);
        self.with(flag::PADDED)
    }

    /// The same HEADERS with priority fields: depends on `on`.
    #[must_use]
    pub fn depending(mut self, on: u32) -> Frame {
        self.payload.splice(0..0, dependency(on));
        self.with(flag::PRIORITY)
    }

    /// Has this flag?
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Its bytes.
    ///
    /// # Panics
    /// When the payload is longer than 24 bits can say.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(self.payload.len())
    }

    /// Its bytes, with this length instead of the payload's own in its head.
    ///
    /// # Panics
    /// When 24 bits cannot say it.
    #[must_use]
    pub fn encode_as(&self, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).expect("24 bits");
        assert!(length < 1 << 24, "24 bits");
        let [_, length @ ..] = length.to_be_bytes();
        let head = [self.kind, self.flags];
        [
            &length[..],
            &head,
            &self.stream.to_be_bytes(),
            &self.payload,
        ]
        .concat()
    }

    /// The payload without padding and priority fields, as HEADERS, DATA and PUSH_PROMISE have them;
    /// `None` when they do not fit.
    #[must_use]
    pub fn content(&self) -> Option<&[u8]> {
        let mut content = &self.payload[..];
        if self.has(flag::PADDED)
            && matches!(self.kind, kind::DATA | kind::HEADERS | kind::PUSH_PROMISE)
        {
            let (padding, rest) = content.split_first()?;
            content = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
        }
        if self.has(flag::PRIORITY) && self.kind == kind::HEADERS {
            content = content.get(5..)?;
        }
        Some(content)
    }

    /// The 32-bit number at this place of the payload.
    #[must_use]
    pub fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }
}

/// Several frames, one behind the other.
#[must_use]
pub fn encode_all(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::encode).collect()
}

fn dependency(on: u32) -> [u8; 5] {
    let [a, b, c, d] = on.to_be_bytes();
    [a, b, c, d, 15]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_specification() {
        assert_eq!(
            Frame::data(0x0102_0304, *b"ab").end_stream().encode(),
            b"\0\0\x02\0\x01\x01\x02\x03\x04ab"
        );
        assert_eq!(
            Frame::settings(&[(setting::MAX_FRAME_SIZE, 16_384)]).encode(),
            b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0"
        );
        assert_eq!(Frame::ping(*b"01234567").encode_as(7)[..3], [0, 0, 7]);
    }

    #[test]
    fn padding_and_priority_come_off_again() {
        let frame = Frame::headers(1, *b"block").depending(3).padded(4);
        assert_eq!(frame.payload, b"\x04\0\0\0\x03\x0fblock\0\0\0\0");
        assert_eq!(frame.content(), Some(&b"block"[..]));
        let mut wrong = Frame::data(1, *b"ab").padded(1);
        wrong.payload[0] = 4;
        assert_eq!(wrong.content(), None);
        assert_eq!(Frame::data(1, []).with(flag::PADDED).content(), None);
    }
}
