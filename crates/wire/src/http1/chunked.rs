//! The chunked coding (RFC 9112 section 7.1), decoded in place.
//!
//! Nothing of a chunk line is ever copied through: sizes are read here and written anew by
//! [`write_chunk_header`](super::write_chunk_header), extensions are checked and dropped. Only
//! trailers are kept, in a bounded buffer, because they may arrive in pieces.

use std::ops::Range;

use super::field::is_token_byte;
use super::trailers::{TrailerReader, Trailers};
use super::{ChunkLimits, Reason, Refusal};

/// What [`ChunkDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkEvent {
    /// Body bytes, as a range of the slice passed in. Never empty.
    Data(Range<usize>),
    /// The body is complete; the trailers, if any, are in [`ChunkDecoder::trailers`]. What follows
    /// is no part of this message.
    TrailersEnd,
    /// All bytes are consumed and the body goes on.
    NeedMore,
}

/// An incremental decoder for one chunked body. It holds a position, not data: feed it bytes in
/// pieces of any size and the same data comes out.
#[derive(Debug)]
pub struct ChunkDecoder {
    state: State,
    /// Value and number of digits of the size being read.
    size: u64,
    digits: u8,
    /// Extension bytes that may still come.
    extension_left: usize,
    trailers: TrailerReader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// Somewhere in the extensions.
    Extension(Extension),
    /// After the CR of the size line.
    SizeLf,
    /// This many bytes of data are left.
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
    Done,
    Failed(Reason),
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`; a value is a token or a quoted string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    Escaped,
    AfterValue,
}

impl ChunkDecoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub const fn new(limits: ChunkLimits) -> Self {
        Self {
            state: State::Size,
            size: 0,
            digits: 0,
            extension_left: limits.max_extension_bytes,
            trailers: TrailerReader::new(limits.max_trailer_bytes, limits.max_trailer_fields),
        }
    }

    /// Decodes up to the next event. Returns how many of `bytes` are done with, data included; call
    /// again with the rest until [`ChunkEvent::NeedMore`] or [`ChunkEvent::TrailersEnd`].
    ///
    /// # Errors
    ///
    /// [`Refusal`] with the status for a request (for a response make it
    /// [`Refusal::response`]`(refusal.reason)`) when the coding is violated or a limit is
    /// exceeded. The decoder then stays failed: where the message ends is not known any more.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(usize, ChunkEvent), Refusal> {
        let mut at = 0;
        loop {
            match self.state {
                State::Data(left) => {
                    let available = bytes.len() - at;
                    if available == 0 {
                        return Ok((at, ChunkEvent::NeedMore));
                    }
                    // A chunk may be larger than the address space; what is here is not.
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(available);
                    let left = left - taken as u64;
                    self.state = if left == 0 {
                        State::DataCr
                    } else {
                        State::Data(left)
                    };
                    return Ok((at + taken, ChunkEvent::Data(at..at + taken)));
                }
                State::Done => return Ok((at, ChunkEvent::TrailersEnd)),
                State::Failed(reason) => return Err(Refusal::request(reason)),
                _ => {}
            }
            let Some(&byte) = bytes.get(at) else {
                return Ok((at, ChunkEvent::NeedMore));
            };
            at += 1;
            self.state = self.step(byte).unwrap_or_else(State::Failed);
        }
    }

    /// Whether the whole body, trailers included, has been decoded.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes left of the chunk whose data comes next; 0 between chunks.
    #[must_use]
    pub fn chunk_left(&self) -> u64 {
        if let State::Data(left) = self.state {
            left
        } else {
            0
        }
    }

    /// The trailer fields that may be sent on. Empty before [`ChunkEvent::TrailersEnd`].
    #[must_use]
    pub fn trailers(&self) -> Trailers<'_> {
        if self.is_done() {
            self.trailers.fields()
        } else {
            Trailers::default()
        }
    }

    /// One byte outside the data.
    fn step(&mut self, byte: u8) -> Result<State, Reason> {
        match self.state {
            State::Size => self.size_byte(byte),
            State::Extension(place) => {
                if byte == b'\r' && place.may_end() {
                    return Ok(State::SizeLf);
                }
                self.extension_left = self
                    .extension_left
                    .checked_sub(1)
                    .ok_or(Reason::ChunkExtensionTooLong)?;
                place.step(byte).map(State::Extension)
            }
            State::SizeLf => match byte {
                b'\n' if self.size == 0 => Ok(State::Trailers),
                b'\n' => Ok(State::Data(self.size)),
                _ => Err(Reason::BareCr),
            },
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => {
                (self.size, self.digits) = (0, 0);
                Ok(State::Size)
            }
            State::DataCr | State::DataLf => Err(Reason::MissingChunkEnd),
            State::Trailers => Ok(if self.trailers.push(byte)? {
                State::Done
            } else {
                State::Trailers
            }),
            // `decode` handles these before it takes a byte.
            state @ (State::Data(_) | State::Done | State::Failed(_)) => Ok(state),
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<State, Reason> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(Reason::BadChunkSize),
            b'\r' => return Ok(State::SizeLf),
            b'\n' => return Err(Reason::BareLf),
            b';' | b' ' | b'\t' => {
                self.extension_left = self
                    .extension_left
                    .checked_sub(1)
                    .ok_or(Reason::ChunkExtensionTooLong)?;
                return Extension::BeforeSemicolon.step(byte).map(State::Extension);
            }
            _ => return Err(Reason::BadChunkSize),
        };
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        // 16 digits fill the word, so the shift never loses bits that were accepted.
        if self.digits > 16 || self.size > i64::MAX as u64 {
            return Err(Reason::BadChunkSize);
        }
        Ok(State::Size)
    }
}

impl Extension {
    /// Whether the line may end here: after a name or a value, not in the middle of anything.
    /// Blanks alone after a size are no extension.
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::AfterValue)
    }

    fn step(self, byte: u8) -> Result<Self, Reason> {
        if byte == b'\n' {
            return Err(Reason::BareLf);
        }
        Ok(match (self, byte) {
            (Self::Quoted, b'"') => Self::AfterValue,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Self::Quoted,
            (
                Self::BeforeSemicolon
                | Self::Name
                | Self::AfterName
                | Self::Token
                | Self::AfterValue,
                b';',
            ) => Self::BeforeName,
            (Self::BeforeName | Self::Name, _) if is_token_byte(byte) => Self::Name,
            (Self::Name | Self::AfterName, b'=') => Self::BeforeValue,
            (Self::BeforeValue, b'"') => Self::Quoted,
            (Self::BeforeValue | Self::Token, _) if is_token_byte(byte) => Self::Token,
            (Self::Name, b' ' | b'\t') => Self::AfterName,
            (Self::Token, b' ' | b'\t') => Self::BeforeSemicolon,
            (Self::AfterValue, b' ' | b'\t') => Self::BeforeSemicolon,
            (
                Self::BeforeSemicolon | Self::BeforeName | Self::AfterName | Self::BeforeValue,
                b' ' | b'\t',
            ) => self,
            (Self::Quoted | Self::Escaped, b'\r') => return Err(Reason::BareCr),
            _ => return Err(Reason::BadChunkExtension),
        })
    }
}
