//! First bytes and their verdicts (PS-48a, PS-50).

mod support;

use pointsman_wire::sniff::{MAX_SNIFF, Verdict, is_unasked_http, sniff};
use proptest::prelude::*;
use support::Hello;

#[test]
fn verdicts() {
    use Verdict::{Http1, Http2Preface, NeedMore, Tcp};
    for (bytes, verdict) in [
        // PS-48h
        ("", NeedMore),
        ("G", NeedMore),
        ("GET", NeedMore),
        ("GET ", NeedMore),
        // PS-48f, PS-48g, PS-51
        ("GET /", Http1),
        ("GET / HTTP/1.0\r\n", Http1),
        ("GET / HTTP/1.2\r\n", Http1),
        ("GET http://a/", Http1),
        ("GET HTTPS://a/", Http1),
        ("GET ht", NeedMore),
        ("GET https:/", NeedMore),
        ("GET https:x", Tcp),
        ("GET key\r\n", Tcp),
        ("POST office", Tcp),
        ("HEAD /", Http1),
        ("PUT /", Http1),
        ("DELETE /", Http1),
        ("PATCH /", Http1),
        ("TRACE /", Http1),
        ("OPTIONS /", Http1),
        ("OPTIONS *", NeedMore),
        ("OPTIONS * HTTP/1.1", Http1),
        ("OPTIONS * RTSP/1.0", Tcp),
        ("OPTIONS rtsp://camera/1 RTSP/1.0", Tcp),
        ("OPTIONS sip:bob@example.com SIP/2.0", Tcp),
        ("CONNECT a:443", Http1),
        ("CONNECT [::1]:443", Http1),
        ("CONNECT 1", Http1),
        ("CONNECT \r", Tcp),
        ("PURGE /x", Http1),
        ("get /x", Http1),
        ("M-SEARCH * HTTP/1.1", Http1),
        ("get key\r\n", Tcp),
        // PS-48e
        ("GET\r\n", Tcp),
        ("GET  /", Tcp),
        ("GET\t/", Tcp),
        (" GET /", Tcp),
        // PS-48d
        ("\r\nGET /", Tcp),
        ("\nGET /", Tcp),
        ("\r", Tcp),
        ("EHLO host\r\n", Tcp),
        ("EHLO h", NeedMore),
        ("HELO me\r\n", Tcp),
        ("USER bob\r\n", Tcp),
        ("STARTTLS\r\n", Tcp),
        ("SSH-2.0-OpenSSH_9.6\r\n", Tcp),
        ("SSH-2.0-OpenSSH_9.6 Debian\r\n", Tcp),
        ("PING\r\n", Tcp),
        ("*1\r\n$4\r\nPING\r\n", Tcp),
        ("AUTH secret\r\n", Tcp),
        ("NICK someone\r\n", Tcp),
        ("a001 LOGIN me", Tcp),
        ("<?xml version", Tcp),
        ("{\"a\":1}", Tcp),
        ("\0\0\0\x08", Tcp),
        ("\x10\x2f\0\x04MQTT", Tcp),
        ("\x00\x03\x00\x00user\x00", Tcp),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF /", Http1),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG", Tcp),
        // PS-48c
        ("P", NeedMore),
        ("PR", NeedMore),
        ("PRI", NeedMore),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", NeedMore),
        // PS-48b
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http2Preface),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Http2Preface),
        ("PRI * HTTP/1.1\r\n", Http1),
        ("PRI * HTTP/2.0\r\n\r\nX", Http1),
        ("PRI /", Http1),
        ("PRINT /", Http1),
        // PS-48a, PS-52, PS-56
        ("\x16", NeedMore),
        ("\x16\x03", NeedMore),
        ("\x16\x03\x01\x02\0", NeedMore),
        ("\x16\x03\x01\x02\0\x01", Verdict::Tls),
        ("\x16\x03\x03\0\x01\x01", Verdict::Tls),
        ("\x16\x03\x01\x02\0\x02", Tcp),
        ("\x16\x02", Tcp),
        ("\x16\x03\x09", Tcp),
        ("\x16\x03\x01\x7f", Tcp),
        ("\x15\x03\x01\0\x02", Tcp),
        ("\x17\x03\x03\0\x02", Tcp),
    ] {
        assert_eq!(sniff(bytes.as_bytes()), verdict, "{bytes:?}");
    }
    assert_eq!(sniff(b"\xff\xfe"), Tcp);
    assert_eq!(sniff(&Hello::named("a.example").bytes()), Verdict::Tls);
}

fn starts() -> impl Strategy<Value = Vec<u8>> {
    let tail = prop::collection::vec(any::<u8>(), 0..80);
    let start = prop_oneof![
        Just(String::new()),
        "[A-Z]{1,34} ?[/*h]?",
        "(GET|OPTIONS|CONNECT|PRI|EHLO) (/|\\* HTTP/[12]|https?:/{0,2}|[a-z]{1,4})",
        "PRI \\* HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}[\u{0}-\u{41}]{0,2}\u{1}?",
    ];
    (start, tail).prop_map(|(start, tail)| [start.into_bytes(), tail].concat())
}

proptest! {
    /// A verdict never changes with more bytes, and comes in time (PS-49).
    #[test]
    fn verdicts_are_final(bytes in starts()) {
        let mut decided = Verdict::NeedMore;
        for end in 0..=bytes.len() {
            let verdict = sniff(&bytes[..end]);
            if decided != Verdict::NeedMore {
                prop_assert_eq!(verdict, decided, "{} bytes", end);
            }
            if end >= MAX_SNIFF {
                prop_assert_ne!(verdict, Verdict::NeedMore);
            }
            decided = verdict;
        }
    }
}

/// PS-32: what servers of HTTP say first, and what only looks like it.
#[test]
fn what_servers_say_unasked() {
    let (http, other) = (Some(true), Some(false));
    for (bytes, verdict) in [
        (&b""[..], None),
        (b"HTTP/1", None),
        (b"HTTP/1.1 408 Request Timeout\r\n", http),
        (b"HTTP/1.", http),
        (b"HTTP/2", other),
        (b"http/1.1 408", other),
        (b"ICY 200 OK", other),
        // A head of 9 bytes: length, type 4, no flags, stream 0 (RFC 9113 sections 4.1 and 6.5).
        (b"\0", None),
        (b"\0\0", None),
        (b"\0\0\x06\x04\0\0\0\0", None),
        (b"\0\0\x06\x04\0\0\0\0\0", http),
        (b"\0\0\0\x04\0\0\0\0\0", http),
        (b"\0\x3f\xfc\x04\0\0\0\0\0", http),
        (b"\0\x40\x02", other),
        (b"\x06", other),
        (b"\0\0\x05", other),
        (b"\0\0\x06\x06", other),
        (b"\0\0\0\x04\x01", other),
        (b"\0\0\x06\x04\0\0\0\0\x01", other),
        (b"\0\0\x06\x04\0\x80", other),
        // MySQL, SMTP, SSH.
        (b"\x4a\0\0\0\x0a8.0.36", other),
        (b"220 mail.example.com ESMTP\r\n", other),
        (b"SSH-2.0-OpenSSH_9.6\r\n", other),
    ] {
        assert_eq!(is_unasked_http(bytes), verdict, "{bytes:?}");
        for end in 0..bytes.len() {
            let early = is_unasked_http(&bytes[..end]);
            assert!(early.is_none() || early == verdict, "{bytes:?} {end}");
        }
    }
}
