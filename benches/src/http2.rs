//! As much of HTTP/2 framing (RFC 9113) and HPACK (RFC 7541) as the fixed messages of the load
//! need: neither side decodes a field block, because neither's answer depends on one.

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before a frame's payload.
pub const FRAME_HEAD: usize = 9;
/// The connection's flow-control window at its start, either direction.
pub const FIRST_WINDOW: i64 = 65_535;
/// Received DATA after which the sender is given room again: half a window.
pub const ROOM: u32 = 32 * 1024;

/// `ACK` of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// `END_STREAM` of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// `END_HEADERS` of HEADERS.
pub const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Frame types (RFC 9113 section 6).
pub mod kind {
    /// A piece of a body.
    pub const DATA: u8 = 0;
    /// Fields: a head, or trailers.
    pub const HEADERS: u8 = 1;
    /// The stream has failed.
    pub const RST_STREAM: u8 = 3;
    /// Settings of the peer, or their receipt.
    pub const SETTINGS: u8 = 4;
    /// To be sent back.
    pub const PING: u8 = 6;
    /// The connection takes no more streams.
    pub const GOAWAY: u8 = 7;
    /// More may be sent.
    pub const WINDOW_UPDATE: u8 = 8;
}

/// A frame in a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'b> {
    /// Its type, one of [`kind`] or unknown.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What follows the frame head.
    pub payload: &'b [u8],
}

impl Frame<'_> {
    /// The first frame in `bytes`; `None` while it is not all there.
    #[must_use]
    pub fn first(bytes: &[u8]) -> Option<Frame<'_>> {
        let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD>()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *head;
        let length = u32::from_be_bytes([0, a, b, c]);
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            payload: rest.get(..usize::try_from(length).ok()?)?,
        })
    }

    /// Bytes it occupies.
    #[must_use]
    pub fn len(&self) -> usize {
        FRAME_HEAD + self.payload.len()
    }

    /// Never: a frame has a head.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// DATA or HEADERS: the peer has said all on this stream.
    #[must_use]
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    /// DATA or HEADERS without padding and priority; `None` when they contradict the length.
    #[must_use]
    pub fn content(&self) -> Option<&[u8]> {
        let mut content = self.payload;
        if self.flags & PADDED != 0 {
            let (padding, rest) = content.split_first()?;
            content = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
        }
        if self.kind == kind::HEADERS && self.flags & PRIORITY != 0 {
            content = content.get(5..)?;
        }
        Some(content)
    }

    /// WINDOW_UPDATE: by how much.
    #[must_use]
    pub fn increment(&self) -> u32 {
        self.payload
            .first_chunk()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
    }
}

/// Whether a response's field block begins with `:status: 200` as every encoder writes it, an entry
/// of the static table (RFC 7541 section 6.1), after any change of the dynamic table's size.
#[must_use]
pub fn says_200(mut block: &[u8]) -> bool {
    while let Some((first, rest)) = block.split_first() {
        match first {
            0x88 => return true,
            0x20..=0x3e => block = rest,
            0x3f => {
                // A longer integer: bytes with the top bit set, and one without.
                let more = rest.iter().take_while(|byte| **byte & 0x80 != 0).count();
                block = rest.get(more + 1..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    false
}

/// Appends a frame.
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    // All frames made here are small.
    let length = u32::try_from(payload.len()).unwrap_or_default();
    out.extend(length.to_be_bytes().iter().skip(1));
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// Appends WINDOW_UPDATE.
pub fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    frame(
        out,
        kind::WINDOW_UPDATE,
        0,
        stream,
        &increment.to_be_bytes(),
    );
}

/// Appends a field whose name is the entry `name` of the static table, never indexed by the peer.
pub fn known_field(block: &mut Vec<u8>, name: u8, value: &str) {
    match name.checked_sub(15) {
        Some(rest) => block.extend([0x0f, rest]),
        None => block.push(name),
    }
    text(block, value);
}

/// Appends a field, never indexed by the peer.
pub fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    text(block, name);
    text(block, value);
}

/// A string without Huffman coding; those here are shorter than 127 bytes.
fn text(block: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() < 127, "needs a longer length");
    block.push(u8::try_from(text.len()).unwrap_or_default());
    block.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_written() {
        let mut bytes = Vec::new();
        frame(&mut bytes, kind::DATA, END_STREAM, 3, b"abc");
        window_update(&mut bytes, 0, 7);
        let first = Frame::first(&bytes).expect("whole");
        assert_eq!((first.stream, first.payload), (3, &b"abc"[..]));
        assert!(first.ends_stream());
        let second = Frame::first(&bytes[first.len()..]).expect("whole");
        assert_eq!((second.kind, second.increment()), (kind::WINDOW_UPDATE, 7));
        assert!(Frame::first(&bytes[..first.len() - 1]).is_none());
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let of = |kind, flags, payload| Frame {
            kind,
            flags,
            stream: 1,
            payload,
        };
        let padded = of(kind::DATA, PADDED, &b"\x02ab\0\0"[..]);
        assert_eq!(padded.content(), Some(&b"ab"[..]));
        let with_priority = of(kind::HEADERS, PRIORITY, &b"\0\0\0\0\x10\x88"[..]);
        assert_eq!(with_priority.content(), Some(&b"\x88"[..]));
        assert_eq!(of(kind::DATA, PADDED, &b"\x09a"[..]).content(), None);
    }

    #[test]
    fn a_status_is_recognised() {
        assert!(says_200(b"\x88\x00"));
        assert!(says_200(b"\x20\x3f\xe1\x1f\x88"));
        assert!(!says_200(b"\x8d"));
        assert!(!says_200(b""));
    }
}
