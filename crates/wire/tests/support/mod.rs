//! ClientHello messages built byte by byte.
#![allow(dead_code, reason = "each test file uses its own part")]

/// What goes into a ClientHello.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hello {
    pub(crate) names: Vec<Vec<u8>>,
    pub(crate) alpn: Vec<&'static [u8]>,
    /// Further extensions, type and data, written before the others.
    pub(crate) extra: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            names: vec![name.as_bytes().to_vec()],
            ..Self::default()
        }
    }

    pub(crate) fn extensions(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, data) in &self.extra {
            out.extend(kind.to_be_bytes());
            out.extend(list16(data));
        }
        if !self.names.is_empty() {
            let names: Vec<u8> = self
                .names
                .iter()
                .flat_map(|name| [vec![0], list16(name)].concat())
                .collect();
            out.extend(0u16.to_be_bytes());
            out.extend(list16(&list16(&names)));
        }
        if !self.alpn.is_empty() {
            let protocols: Vec<u8> = self
                .alpn
                .iter()
                .flat_map(|protocol| list8(protocol))
                .collect();
            out.extend(16u16.to_be_bytes());
            out.extend(list16(&list16(&protocols)));
        }
        out
    }

    /// The message with its handshake header.
    pub(crate) fn handshake(&self) -> Vec<u8> {
        handshake(&body(Some(&self.extensions())))
    }

    /// The message in one record.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        records(&self.handshake(), 16_384)
    }
}

/// A ClientHello body with these extensions, or without the extension block.
pub(crate) fn body(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut out = vec![3, 3];
    out.extend([0x5a; 32]);
    out.extend(list8(&[7; 32]));
    out.extend(list16(&[0x0a, 0x0a, 0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f])); // GREASE first
    out.extend(list8(&[0]));
    if let Some(extensions) = extensions {
        out.extend(list16(extensions));
    }
    out
}

pub(crate) fn handshake(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1, length[1], length[2], length[3]], body].concat()
}

/// Cuts `message` into handshake records of at most `size` bytes.
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|part| [vec![22, 3, 1], list16(part)].concat())
        .collect()
}

pub(crate) fn list8(data: &[u8]) -> Vec<u8> {
    [&[u8::try_from(data.len()).unwrap()], data].concat()
}

pub(crate) fn list16(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}
