//! Field blocks (RFC 7541): a writer that can be told to write anything, and a strict reader.

use std::collections::VecDeque;

use super::huffman;
use crate::message::Fields;

/// RFC 7541 appendix A; the first entry has index 1.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

/// A field block in the making. Nothing is checked: names and values are any bytes.
///
/// ```
/// use pointsman_testkit::frames::Block;
/// let block = Block::new().indexed(2).literal(":path", "/a").bytes();
/// assert_eq!(block, b"\x82\0\x05:path\x02/a");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Block(Vec<u8>);

impl Block {
    /// An empty one.
    #[must_use]
    pub fn new() -> Block {
        Block::default()
    }

    /// These fields, as literals without indexing.
    #[must_use]
    pub fn of<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Block {
        fields.iter().fold(Block::new(), |block, (name, value)| {
            block.literal(name, value)
        })
    }

    /// `:method`, `:scheme` `http`, `:authority` and `:path`.
    #[must_use]
    pub fn request(method: &str, authority: &str, path: &str) -> Block {
        Block::of(&[
            (":method", method),
            (":scheme", "http"),
            (":authority", authority),
            (":path", path),
        ])
    }

    /// `:status`.
    #[must_use]
    pub fn status(status: u16) -> Block {
        Block::new().literal(":status", status.to_string())
    }

    /// A literal that is not put into the table (section 6.2.2).
    #[must_use]
    pub fn literal(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Block {
        self.raw([0]).string(name).string(value)
    }

    /// A literal with an indexed name, not put into the table (section 6.2.2).
    #[must_use]
    pub fn named(mut self, index: u64, value: impl AsRef<[u8]>) -> Block {
        integer(&mut self.0, 0, 4, index);
        self.string(value)
    }

    /// A literal that is put into the table (section 6.2.1).
    #[must_use]
    pub fn remembered(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Block {
        self.raw([0x40]).string(name).string(value)
    }

    /// A literal that nobody may put into a table (section 6.2.3).
    #[must_use]
    pub fn secret(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Block {
        self.raw([0x10]).string(name).string(value)
    }

    /// A literal in Huffman code, not put into the table.
    #[must_use]
    pub fn huffman(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Block {
        self.0.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            let coded = huffman::encode(text);
            integer(&mut self.0, 0x80, 7, coded.len() as u64);
            self.0.extend(coded);
        }
        self
    }

    /// A field of the tables (section 6.1); 0 is an error to be tested.
    #[must_use]
    pub fn indexed(mut self, index: u64) -> Block {
        integer(&mut self.0, 0x80, 7, index);
        self
    }

    /// A change of the table's size (section 6.3).
    #[must_use]
    pub fn table_size(mut self, size: u64) -> Block {
        integer(&mut self.0, 0x20, 5, size);
        self
    }

    /// These bytes, whatever they are.
    #[must_use]
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Block {
        self.0.extend(bytes.as_ref());
        self
    }

    /// The block.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    fn string(mut self, text: impl AsRef<[u8]>) -> Block {
        integer(&mut self.0, 0, 7, text.as_ref().len() as u64);
        self.raw(text)
    }
}

impl From<Block> for Vec<u8> {
    fn from(block: Block) -> Vec<u8> {
        block.0
    }
}

/// An integer behind the bits of `pattern` (section 5.1).
fn integer(out: &mut Vec<u8>, pattern: u8, bits: u8, value: u64) {
    let most = (1_u64 << bits) - 1;
    if value < most {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Why a field block cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpackError {
    /// It ends in the middle of something.
    #[error("a field block that ends early")]
    Truncated,
    /// An index that no table has, or 0.
    #[error("no field has index {0}")]
    Index(u64),
    /// Longer than 62 bits, or larger than anything may be.
    #[error("an integer without end")]
    Integer,
    /// Not Huffman code.
    #[error("not Huffman code")]
    Huffman,
    /// A table larger than was allowed, or a change of it behind a field.
    #[error("a change of the table's size to {0}")]
    TableSize(u64),
    /// More fields than a test can want.
    #[error("a field block of more than 4 MiB")]
    TooLarge,
}

/// Reads the field blocks of one direction of one connection.
#[derive(Debug)]
pub struct Decoder {
    /// The newest first.
    table: VecDeque<(String, String)>,
    /// What the writer keeps to.
    size: usize,
    /// What we allowed it.
    allowed: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::allowing(4096)
    }
}

/// Decoded bytes of one block at most.
const MOST: usize = 4 << 20;

impl Decoder {
    /// One whose table may have this size: what SETTINGS_HEADER_TABLE_SIZE says.
    #[must_use]
    pub fn allowing(size: usize) -> Decoder {
        Decoder {
            table: VecDeque::new(),
            size,
            allowed: size,
        }
    }

    /// The fields of a whole block. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// As RFC 7541 has them; the connection cannot be understood any further then.
    pub fn decode(&mut self, mut block: &[u8]) -> Result<Fields, HpackError> {
        let input = &mut block;
        let (mut fields, mut total) = (Fields::new(), 0);
        while let Some(first) = input.first().copied() {
            let field = match first {
                0x80.. => self.at(take_integer(input, 7)?)?,
                0x40.. => {
                    let field = self.literal(input, 6)?;
                    self.remember(field.clone());
                    field
                }
                0x20.. => {
                    let size = take_integer(input, 5)?;
                    if size > self.allowed as u64 || !fields.is_empty() {
                        return Err(HpackError::TableSize(size));
                    }
                    self.size = size as usize;
                    self.evict(0);
                    continue;
                }
                _ => self.literal(input, 4)?,
            };
            total += field.0.len() + field.1.len();
            if total > MOST {
                return Err(HpackError::TooLarge);
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, input: &mut &[u8], bits: u8) -> Result<(String, String), HpackError> {
        let name = match take_integer(input, bits)? {
            0 => take_string(input)?,
            index => self.at(index)?.0,
        };
        Ok((name, take_string(input)?))
    }

    fn at(&self, index: u64) -> Result<(String, String), HpackError> {
        let place = index.checked_sub(1).ok_or(HpackError::Index(0))?;
        let place = usize::try_from(place).map_err(|_| HpackError::Index(index))?;
        if let Some((name, value)) = STATIC.get(place) {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        let field = self.table.get(place - STATIC.len());
        field.cloned().ok_or(HpackError::Index(index))
    }

    fn remember(&mut self, field: (String, String)) {
        let size = size_of_field(&field);
        self.evict(size);
        // One that is too large leaves the table empty (section 4.4).
        if size <= self.size {
            self.table.push_front(field);
        }
    }

    fn evict(&mut self, room: usize) {
        let mut taken: usize = self.table.iter().map(size_of_field).sum();
        while taken + room > self.size {
            let Some(oldest) = self.table.pop_back() else {
                return;
            };
            taken -= size_of_field(&oldest);
        }
    }
}

/// Section 4.1.
fn size_of_field((name, value): &(String, String)) -> usize {
    name.len() + value.len() + 32
}

fn take_integer(input: &mut &[u8], bits: u8) -> Result<u64, HpackError> {
    let most = (1_u64 << bits) - 1;
    let mut value = u64::from(take(input)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in (0..56).step_by(7) {
        let byte = take(input)?;
        value += u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(HpackError::Integer)
}

fn take_string(input: &mut &[u8]) -> Result<String, HpackError> {
    let huffman = input.first().is_some_and(|first| first & 0x80 != 0);
    let length = take_integer(input, 7)?;
    let length = usize::try_from(length).map_err(|_| HpackError::Integer)?;
    let (text, rest) = input
        .split_at_checked(length)
        .ok_or(HpackError::Truncated)?;
    *input = rest;
    let text = match huffman {
        true => huffman::decode(text).ok_or(HpackError::Huffman)?,
        false => text.to_vec(),
    };
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn take(input: &mut &[u8]) -> Result<u8, HpackError> {
    let (first, rest) = input.split_first().ok_or(HpackError::Truncated)?;
    *input = rest;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|it| it.to_digit(16)).collect();
        digits
            .chunks(2)
            .map(|it| (it[0] * 16 + it[1]) as u8)
            .collect()
    }

    /// RFC 7541 appendix C.6: Huffman code, and a table of 256 bytes that forgets.
    #[test]
    fn responses_of_the_specification() {
        let mut decoder = Decoder::allowing(256);
        let first = bytes(
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad
             171863c78f0b97c8e9ae82ae43d3",
        );
        let fields = decoder.decode(&first).expect("right");
        assert_eq!(fields[0], (":status".into(), "302".into()));
        assert_eq!(fields[2].1, "Mon, 21 Oct 2013 20:13:21 GMT");
        let second = decoder.decode(&bytes("4883640effc1c0bf")).expect("right");
        assert_eq!(second[0].1, "307");
        assert_eq!(
            second[3],
            ("location".into(), "https://www.example.com".into())
        );
        let third = bytes(
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2
             e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        );
        let third = decoder.decode(&third).expect("right");
        assert_eq!(third[0].1, "200");
        assert_eq!(
            third[5],
            (
                "set-cookie".into(),
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1".into()
            )
        );
        assert_eq!(decoder.table.len(), 3);
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(100_000);
        let block = Block::new()
            .table_size(100)
            .indexed(3)
            .named(4, "/a")
            .remembered("x-a", "1")
            .indexed(62)
            .secret("x-b", &long)
            .huffman("x-c", "text")
            .bytes();
        let fields = Decoder::default().decode(&block).expect("right");
        let fields: Vec<_> = fields.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(
            fields,
            [
                (":method", "POST"),
                (":path", "/a"),
                ("x-a", "1"),
                ("x-a", "1"),
                ("x-b", &*long),
                ("x-c", "text")
            ]
        );
    }

    #[test]
    fn errors_of_the_specification() {
        let decode = |block: Block| Decoder::default().decode(&block.bytes());
        assert_eq!(decode(Block::new().indexed(0)), Err(HpackError::Index(0)));
        assert_eq!(decode(Block::new().indexed(62)), Err(HpackError::Index(62)));
        assert_eq!(
            decode(Block::new().table_size(4097)),
            Err(HpackError::TableSize(4097))
        );
        assert_eq!(
            decode(Block::new().indexed(2).table_size(0)),
            Err(HpackError::TableSize(0))
        );
        assert_eq!(
            decode(Block::new().raw([0, 5, b'a'])),
            Err(HpackError::Truncated)
        );
        assert_eq!(
            decode(Block::new().raw([0xff; 20])),
            Err(HpackError::Integer)
        );
    }
}
