//! ClientHello messages: names, protocols, fragments, and hostile bytes (RFC 8446 section 4.1.2).

mod support;

use pointsman_wire::tls::{
    ClientHello, HelloError, MAX_CLIENT_HELLO, MAX_HELLO_RECORDS, Sni, client_hello,
};
use proptest::prelude::*;
use support::{Hello, body, handshake, list8, list16, records};

fn read(bytes: &[u8]) -> ClientHello {
    client_hello(bytes).unwrap().expect("complete")
}

/// PS-53.
#[test]
fn name_and_protocols() {
    let mut hello = Hello::named("Shop.Example.COM.");
    hello.alpn = vec![b"\x0a\x0a", b"h2", b"http/1.1"];
    hello.extra = vec![
        (0x1a1a, vec![]),
        (0xfe0d, vec![1, 2, 3]),
        (43, list8(&[3, 4])),
    ];
    let read = read(&hello.bytes());
    assert_eq!(read.server_name.as_deref(), Some("shop.example.com"));
    assert_eq!(read.sni, Sni::Named);
    assert_eq!(
        (
            read.alpn.offered,
            read.alpn.h2,
            read.alpn.http11,
            read.alpn.mesh
        ),
        (3, true, true, false)
    );
    assert!(read.encrypted_hello);
}

/// PS-54, and the mesh's own ALPN values: PS-64.
#[test]
fn absent_extensions() {
    for message in [
        handshake(&body(None)),
        handshake(&body(Some(&[]))),
        Hello::default().handshake(),
    ] {
        let read = read(&records(&message, 16_384));
        assert_eq!(
            (read.server_name, read.sni, read.alpn.offered),
            (None, Sni::NoName, 0)
        );
    }
    let mesh = Hello {
        alpn: vec![b"istio-peer-exchange", b"istio"],
        ..Hello::default()
    };
    assert!(read(&mesh.bytes()).alpn.mesh);
}

#[test]
fn unusable_names() {
    let long = format!("{}.{}", "a".repeat(63), "b".repeat(63));
    let label = "c".repeat(64);
    let whole = [long.as_str(), &long, "d"].join(".");
    assert_eq!(whole.len(), 257);
    for name in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a b",
        "a\0b",
        "\0",
        "a\tb",
        "10.0.0.1",
        "10.0.0.1.",
        "::1",
        "[::1]",
        "a:443",
        "a/b",
        "*.a",
        "caf\u{e9}",
        "a,b",
        &label,
        &whole,
    ] {
        let read = read(&Hello::named(name).bytes());
        assert_eq!(
            (read.server_name, read.sni),
            (None, Sni::BadName),
            "{name:?}"
        );
    }
    for name in [
        "a",
        "A.b",
        "xn--caf-dma.example",
        "outbound_.9080_._.reviews.default.svc.cluster.local",
        "1.2.3.4.5",
        &whole[2..],
    ] {
        let read = read(&Hello::named(name).bytes());
        assert_eq!(
            read.server_name.as_deref(),
            Some(name.to_ascii_lowercase().as_str())
        );
    }
}

#[test]
fn malformed_messages() {
    let extension = |kind: u16, data: &[u8]| [kind.to_be_bytes().to_vec(), list16(data)].concat();
    let name = |name: &[u8]| [vec![0], list16(name)].concat();
    let with = |extensions: &[u8]| handshake(&body(Some(extensions)));
    let good = extension(0, &list16(&name(b"a")));
    let alpn = extension(16, &list16(&list8(b"h2")));
    for (what, message) in [
        (
            "two server name extensions",
            with(&[good.clone(), good.clone()].concat()),
        ),
        (
            "two host names",
            with(&extension(0, &list16(&[name(b"a"), name(b"b")].concat()))),
        ),
        (
            "a server name extension without a host name",
            with(&extension(0, &list16(&[]))),
        ),
        (
            "a server name extension without a host name",
            with(&extension(0, &list16(&[1, 0, 1, b'x']))),
        ),
        (
            "bytes after the server names",
            with(&extension(0, &[list16(&name(b"a")), vec![0]].concat())),
        ),
        (
            "a length points past its container",
            with(&extension(0, &[])),
        ),
        (
            "a length points past its container",
            with(&extension(0, &[0, 9, 0, 0, 1, b'a'])),
        ),
        (
            "a length points past its container",
            with(&extension(0, &[0, 4, 0, 0, 9, b'a'])),
        ),
        ("a length points past its container", with(&[0, 0, 0, 9, 1])),
        ("a length points past its container", with(&[0, 0, 0])),
        (
            "a length points past its container",
            with(&extension(16, &list16(&[9, b'h']))),
        ),
        (
            "two ALPN extensions",
            with(&[alpn.clone(), alpn.clone()].concat()),
        ),
        (
            "an empty protocol name",
            with(&extension(16, &list16(&[0]))),
        ),
        ("an empty protocol list", with(&extension(16, &list16(&[])))),
        (
            "bytes after the protocols",
            with(&extension(16, &[list16(&list8(b"h2")), vec![0]].concat())),
        ),
        (
            "bytes after the extensions",
            handshake(&[body(Some(&good)), vec![0]].concat()),
        ),
        (
            "a length points past its container",
            handshake(&[body(None), vec![0]].concat()),
        ),
        ("a length points past its container", handshake(&[3, 3])),
        ("a length points past its container", handshake(&[])),
        (
            "session id longer than 32 bytes",
            handshake(&[vec![3; 34], list8(&[1; 33])].concat()),
        ),
        (
            "cipher suites of an impossible length",
            handshake(&[vec![3; 34], list8(&[]), list16(&[])].concat()),
        ),
        (
            "cipher suites of an impossible length",
            handshake(&[vec![3; 34], list8(&[]), list16(&[1, 2, 3])].concat()),
        ),
        (
            "no compression method",
            handshake(&[vec![3; 34], list8(&[]), list16(&[1, 2]), list8(&[])].concat()),
        ),
    ] {
        assert_eq!(
            client_hello(&records(&message, 16_384)),
            Err(HelloError::Malformed(what)),
            "{message:?}"
        );
    }
}

/// PS-52.
#[test]
fn not_a_client_hello() {
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"\x15\x03\x01",
        b"\x16\x02",
        b"\x16\x03\x01\0\x04\x02",
        b"\x16\x03\x01\0\x01\x01\x14",
    ] {
        assert!(
            matches!(client_hello(bytes), Err(HelloError::NotTls(_))),
            "{bytes:?}"
        );
    }
    assert_eq!(
        client_hello(b"\x16\x03\x01\0\0"),
        Err(HelloError::Malformed("empty handshake record"))
    );
    assert_eq!(
        client_hello(b"\x16\x03\x01\x40\x01"),
        Err(HelloError::Malformed("record longer than 16384 bytes"))
    );
}

/// PS-55.
#[test]
fn size_limits() {
    let mut hello = Hello::named("a");
    hello.extra = vec![(21, vec![0; 40_000])];
    let bytes = hello.bytes();
    assert_eq!(
        read(&bytes).server_name.as_deref(),
        Some("a"),
        "over three records"
    );

    let too_large = Err(HelloError::TooLarge {
        limit: MAX_CLIENT_HELLO,
    });
    assert_eq!(
        client_hello(b"\x16\x03\x01\x02\0\x01\x01\0\0"),
        too_large,
        "refused by what it announces"
    );

    // Announced just below the limit, but the record headers take it over: the same answer however
    // much of it one peek returns.
    hello.extra = vec![(21, vec![0; 65_300])];
    let bytes = records(&hello.handshake(), 1_000);
    assert!(bytes.len() > MAX_CLIENT_HELLO);
    assert_eq!(client_hello(&bytes), too_large);
    assert_eq!(client_hello(&bytes[..MAX_CLIENT_HELLO]), too_large);
    assert_eq!(client_hello(&bytes[..MAX_CLIENT_HELLO - 1]), Ok(None));

    hello.extra = vec![(21, vec![0; 2 * MAX_HELLO_RECORDS])];
    let bytes = records(&hello.handshake(), 1);
    assert_eq!(
        client_hello(&bytes),
        Err(HelloError::Malformed("spread over too many records"))
    );
}

fn any_hello() -> impl Strategy<Value = (Hello, usize)> {
    let name = prop_oneof!["[a-zA-Z0-9_-]{1,20}(\\.[a-z]{1,9}){0,3}\\.?", "[ -~]{0,30}"];
    let extra = prop::collection::vec(
        (20u16..60, prop::collection::vec(any::<u8>(), 0..300)),
        0..4,
    );
    (name, extra, any::<bool>(), 4usize..700).prop_map(|(name, extra, h2, size)| {
        let alpn = if h2 { vec![&b"h2"[..]] } else { vec![] };
        (
            Hello {
                names: vec![name.into_bytes()],
                alpn,
                extra,
            },
            size,
        )
    })
}

proptest! {
    /// No prefix is an error or an answer, and fragments say the same as one record.
    #[test]
    fn fragments_and_prefixes((hello, size) in any_hello()) {
        let whole = read(&hello.bytes());
        let bytes = records(&hello.handshake(), size);
        for end in 0..bytes.len() {
            prop_assert_eq!(client_hello(&bytes[..end]), Ok(None), "{} of {}", end, bytes.len());
        }
        prop_assert_eq!(&read(&bytes), &whole);
        prop_assert_eq!(&read(&[bytes.as_slice(), b"\x14\x03\x03\0\x01\x01"].concat()), &whole, "what follows does not matter");
    }

    /// Damaged messages never panic, and a refusal is final.
    #[test]
    fn mutations((hello, size) in any_hello(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = records(&hello.handshake(), size);
        for (place, byte) in &damage {
            *place.get_mut(&mut bytes) = *byte;
        }
        let mut last = Ok(None);
        for end in 0..=bytes.len() {
            let now = client_hello(&bytes[..end]);
            if last != Ok(None) {
                prop_assert_eq!(&now, &last);
            }
            last = now;
        }
    }
}
