//! PROXY protocol headers: both versions, hostile ones, and every prefix.

use pointsman_wire::proxy_protocol::{Addresses, HeaderError, read};
use proptest::prelude::*;

/// Source and destination as text, `None` when they are not told.
fn addresses(bytes: &[u8]) -> Result<Option<(String, String)>, HeaderError> {
    for end in 0..bytes.len() {
        assert!(
            matches!(read(&bytes[..end]), Ok(None) | Err(_)),
            "complete at {end}"
        );
    }
    let header = read(&[bytes, b"payload"].concat())?.expect("complete");
    assert_eq!(header.len, bytes.len());
    Ok(header.addresses.map(
        |Addresses {
             source,
             destination,
         }| (source.to_string(), destination.to_string()),
    ))
}

fn pair(source: &str, destination: &str) -> Result<Option<(String, String)>, HeaderError> {
    Ok(Some((source.to_owned(), destination.to_owned())))
}

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
        &[command, family],
        &length,
        body,
    ]
    .concat()
}

const V4: &[u8] = &[10, 0, 0, 1, 10, 0, 0, 2, 0x1f, 0x90, 0, 80];

#[test]
fn lines() {
    assert_eq!(
        addresses(b"PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\r\n"),
        pair("10.0.0.1:8080", "10.0.0.2:80")
    );
    assert_eq!(
        addresses(b"PROXY TCP6 ::1 2001:db8::2 0 65535\r\n"),
        pair("[::1]:0", "[2001:db8::2]:65535")
    );
    assert_eq!(addresses(b"PROXY UNKNOWN\r\n"), Ok(None));
    assert_eq!(
        addresses(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"),
        Ok(None)
    );
    for line in [
        "PROXY \r\n",
        "PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
        "PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
        "PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n",
    ] {
        assert!(
            matches!(read(line.as_bytes()), Err(HeaderError::Malformed(_))),
            "{line:?}"
        );
    }
    assert_eq!(
        read(&[b"PROXY ".as_slice(), &[b'x'; 100]].concat()),
        Ok(None)
    );
    assert!(matches!(
        read(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat()),
        Err(HeaderError::Malformed(_))
    ));
}

#[test]
fn binaries() {
    assert_eq!(
        addresses(&binary(0x21, 0x11, V4)),
        pair("10.0.0.1:8080", "10.0.0.2:80")
    );
    let v6 = [[0; 15].as_slice(), &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
    assert_eq!(
        addresses(&binary(0x21, 0x21, &v6)),
        pair("[::1]:1", "[::2]:2")
    );
    let fields = [V4, &[4, 0, 2, 9, 9, 1, 0, 0]].concat();
    assert_eq!(
        addresses(&binary(0x21, 0x11, &fields)),
        pair("10.0.0.1:8080", "10.0.0.2:80")
    );
    for (command, family, body) in [
        (0x20, 0x11, V4),
        (0x20, 0x00, &[]),
        (0x20, 0xff, &[1, 2]),
        (0x21, 0x00, &[]),
        (0x21, 0x31, &[0; 216]),
    ] {
        assert_eq!(
            addresses(&binary(command, family, body)),
            Ok(None),
            "{command:x} {family:x}"
        );
    }
    let cut = [V4, &[4, 0, 9, 1]].concat();
    for (what, bytes) in [
        ("unknown version", binary(0x11, 0x11, V4)),
        ("unknown command", binary(0x22, 0x11, V4)),
        ("not a stream", binary(0x21, 0x12, V4)),
        ("shorter than its addresses", binary(0x21, 0x11, &V4[..11])),
        ("shorter than its addresses", binary(0x21, 0x21, V4)),
        ("a TLV points past the header", binary(0x21, 0x11, &cut)),
        (
            "a TLV points past the header",
            binary(0x21, 0x11, &[V4, &[4]].concat()),
        ),
    ] {
        // Bytes that follow must not be taken for a part of the header.
        assert_eq!(
            read(&[bytes.as_slice(), &[0; 300]].concat()),
            Err(HeaderError::Malformed(what))
        );
    }
    assert!(matches!(
        read(&binary(0x21, 0x11, &[0; 4_081])),
        Err(HeaderError::TooLarge { .. })
    ));
}

#[test]
fn other_protocols() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PROXX",
        b"\r\n\r\n\r",
        b"\x16\x03\x01",
        b"PROPFIND /",
    ] {
        assert_eq!(read(bytes), Err(HeaderError::NotProxy), "{bytes:?}");
    }
    for bytes in [&b""[..], b"P", b"PROXY", b"\r\n\r\n\0"] {
        assert_eq!(read(bytes), Ok(None), "{bytes:?}");
    }
}

proptest! {
    /// What a prefix decided, more bytes do not change.
    #[test]
    fn decisions_are_final(
        head in prop_oneof!["PROXY (TCP[46]|UNKNOWN)?( [0-9.:]{1,9}){0,4}\r?\n?", Just("\r\n\r\n\0\r\nQUIT\n".to_owned()), Just(String::new())],
        tail in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x21), Just(0x11), Just(0)], 0..60),
    ) {
        let bytes = [head.into_bytes(), tail].concat();
        let mut decided = Ok(None);
        for end in 0..=bytes.len() {
            let now = read(&bytes[..end]);
            prop_assert!(decided == Ok(None) || decided == now);
            decided = now;
        }
    }
}
