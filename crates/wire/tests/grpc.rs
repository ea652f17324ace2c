//! gRPC's fields and gRPC-Web's bodies.

use std::time::Duration;

use pointsman_wire::grpc::{Dialect, call, parse_timeout, status_of, write_message, write_timeout};
use pointsman_wire::grpc_web::{BadText, TextDecoder, encode_text, write_trailers};
use pointsman_wire::http1::Field;
use proptest::prelude::*;

#[test]
fn content_types_name_the_dialect() {
    use Dialect::{Grpc, Web, WebText};
    for (content_type, expected) in [
        ("application/grpc", Some((Grpc, ""))),
        ("application/grpc+proto", Some((Grpc, "+proto"))),
        (
            "Application/gRPC; charset=utf-8",
            Some((Grpc, "; charset=utf-8")),
        ),
        ("application/grpc-web", Some((Web, ""))),
        ("application/grpc-web+json", Some((Web, "+json"))),
        ("application/grpc-web-text", Some((WebText, ""))),
        ("application/grpc-web-text+proto", Some((WebText, "+proto"))),
        ("application/grpcs", None),
        ("application/grpc-webs", None),
        ("application/json", None),
        ("", None),
    ] {
        let expected = expected.map(|(dialect, rest)| (dialect, rest.as_bytes()));
        assert_eq!(
            Dialect::of(content_type.as_bytes()),
            expected,
            "{content_type}"
        );
    }
    for (dialect, of, expected) in [
        (
            Grpc,
            "application/grpc-web-text+proto",
            Some("application/grpc+proto"),
        ),
        (
            WebText,
            "application/grpc+proto",
            Some("application/grpc-web-text+proto"),
        ),
        (Web, "application/grpc", Some("application/grpc-web+proto")),
        (Grpc, "application/grpc-web-text", Some("application/grpc")),
        (Web, "text/html", None),
    ] {
        let got = dialect.content_type(of.as_bytes());
        assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{of}");
    }
}

/// What an answer without messages says is of its dialect, and that of a request says so by itself.
#[test]
fn calls_are_post_with_a_content_type_of_grpc() {
    for dialect in [Dialect::Grpc, Dialect::Web, Dialect::WebText] {
        let own = dialect.content_type_of_none().as_bytes();
        assert_eq!(call("POST", [own]), Some(dialect));
        assert_eq!(call("POST", [&b"text/plain"[..], own]), Some(dialect));
        assert_eq!(call("GET", [own]), None);
    }
    assert_eq!(call("POST", [&b"application/json"[..]]), None);
    assert_eq!(call("POST", []), None);
}

/// VS-H-65.
#[test]
fn timeouts_are_digits_and_a_unit() {
    for (value, expected) in [
        ("1H", Some(Duration::from_secs(3600))),
        ("2M", Some(Duration::from_secs(120))),
        ("99999999H", Some(Duration::from_secs(359_999_996_400))),
        ("00000010S", Some(Duration::from_secs(10))),
        ("250m", Some(Duration::from_millis(250))),
        ("7u", Some(Duration::from_micros(7))),
        ("0n", Some(Duration::ZERO)),
        ("123456789n", None),
        ("S", None),
        ("", None),
        ("1", None),
        ("1s", None),
        ("-1S", None),
        ("1 S", None),
        ("1.5S", None),
    ] {
        assert_eq!(parse_timeout(value.as_bytes()), expected, "{value}");
    }
    for (timeout, expected) in [
        (Duration::ZERO, "0n"),
        (Duration::from_millis(99), "99000000n"),
        (Duration::from_millis(100), "100000u"),
        (Duration::from_secs(30), "30000000u"),
        (Duration::from_secs(3_600), "3600000m"),
        (Duration::from_secs(1_000_000), "1000000S"),
        (Duration::MAX, "99999999H"),
    ] {
        assert_eq!(written(timeout), expected);
    }
}

fn written(timeout: Duration) -> String {
    let mut out = Vec::new();
    write_timeout(&mut out, timeout);
    String::from_utf8(out).unwrap()
}

/// VS-H-144.
#[test]
fn replies_of_our_own_have_a_grpc_status() {
    for (status, expected) in [
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (429, 14),
        (502, 14),
        (503, 14),
        (504, 14),
        (500, 2),
        (408, 2),
        (200, 2),
    ] {
        assert_eq!(status_of(status), expected, "{status}");
    }
    let mut out = Vec::new();
    write_message(&mut out, "100% sure~\r\n\u{e9}");
    assert_eq!(out, b"100%25 sure~%0D%0A%C3%A9");
}

#[test]
fn trailers_are_the_last_frame() {
    let field = |name, value| Field { name, value };
    let mut out = b"before".to_vec();
    let trailers = [
        field("Grpc-Status", &b"0"[..]),
        field("bad name", b"1"),
        field("bad-value", b"1\n"),
        field("x", b""),
    ];
    write_trailers(&mut out, trailers.into_iter());
    assert_eq!(out, b"before\x80\0\0\0\x15grpc-status: 0\r\nx: \r\n");
}

fn decoded<'t>(pieces: impl IntoIterator<Item = &'t [u8]>) -> Result<Vec<u8>, BadText> {
    let mut decoder = TextDecoder::default();
    let mut out = Vec::new();
    for piece in pieces {
        decoder.decode(piece, &mut out)?;
    }
    decoder.finish()?;
    Ok(out)
}

#[test]
fn text_is_base64_of_pieces() {
    for (text, expected) in [
        ("", Ok("")),
        ("YQ==", Ok("a")),
        ("YQ==YmM=ZGVm", Ok("abcdef")),
        ("YWJj", Ok("abc")),
        ("YQ", Err(BadText)),
        ("YQ=", Err(BadText)),
        ("YR==", Err(BadText)), // bits nobody would see
        ("YQ=a", Err(BadText)),
        ("=YQ=", Err(BadText)),
        ("====", Err(BadText)),
        ("YW Jj", Err(BadText)),
        ("YW\nJj", Err(BadText)),
        ("YW-_", Err(BadText)),
    ] {
        let expected = expected.map(|text| text.as_bytes().to_vec());
        assert_eq!(decoded([text.as_bytes()]), expected, "{text}");
        assert_eq!(decoded(text.as_bytes().chunks(1)), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn text_comes_back_however_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
        size in 1usize..20,
    ) {
        let mut text = Vec::new();
        for piece in &pieces {
            encode_text(&mut text, piece);
        }
        prop_assert_eq!(decoded(text.chunks(size)), Ok(pieces.concat()));
    }

    #[test]
    fn cuts_make_no_difference(text in "[A-Da-d=+/ ]{0,40}", size in 1usize..9) {
        prop_assert_eq!(decoded(text.as_bytes().chunks(size)), decoded([text.as_bytes()]));
    }

    /// A deadline passed on is not later, and off by at most one part in a hundred thousand.
    #[test]
    fn timeouts_are_told_within_eight_digits(nanos in any::<u64>(), shift in 0u32..64) {
        let timeout = Duration::from_nanos(nanos >> shift);
        let told = parse_timeout(written(timeout).as_bytes()).unwrap();
        prop_assert!(told <= timeout);
        prop_assert!(timeout - told <= timeout / 100_000);
    }
}
