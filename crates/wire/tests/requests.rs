//! Odd and hostile request heads, each with its verdict (RFC 9112 sections 2.2, 3, 5, 6, 9).

use pointsman_wire::http1::Reason::*;
use pointsman_wire::http1::{
    BodyLength, HeadLimits, Reason, Refusal, RequestHead, Version, field_slots, parse_request,
};

/// What a head must lead to.
#[derive(Debug)]
enum Want {
    /// Accepted, and complete.
    Ok,
    More,
    No(Reason),
}
use Want::{More, No, Ok as Yes};

fn verdict(head: &[u8], limits: &HeadLimits) -> Result<bool, Refusal> {
    parse_request(head, &mut field_slots(), limits).map(|head| head.is_some())
}

/// Runs a table: every head whole, and again with every prefix, which may be incomplete or refused
/// but never accepted, and once refused stays refused.
fn check(table: &[(&str, Want)]) {
    let limits = HeadLimits::default();
    for (head, want) in table {
        // One character stands for one byte, so that 8-bit bytes can be written as escapes.
        let bytes: Vec<u8> = head
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect();
        match (verdict(&bytes, &limits), want) {
            (Ok(true), Yes) | (Ok(false), More) => {}
            (Err(refusal), No(reason)) if refusal.reason == *reason => {
                assert_eq!(refusal.status, reason.status(), "{head:?}");
            }
            (got, _) => panic!("{head:?}: got {got:?}, want {want:?}"),
        }
        let mut refused = false;
        for end in 0..bytes.len() {
            match verdict(&bytes[..end], &limits) {
                Ok(complete) => {
                    assert!(!refused, "{head:?}: refused, then not, at {end}");
                    assert!(
                        !complete || bytes[..end].ends_with(b"\r\n\r\n"),
                        "{head:?}: complete at {end}"
                    );
                }
                Err(_) => refused = true,
            }
        }
        assert!(
            !refused || matches!(want, No(_)),
            "{head:?}: a prefix is refused, the whole is not"
        );
    }
}

#[test]
fn request_line() {
    check(&[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("GET / HTTP/1.0\r\n\r\n", Yes),
        ("PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("", More),
        ("G", More),
        ("GET / HTTP/1.1\r\nHost: a\r\n", More),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", More),
        // Exactly one empty line before the head is skipped.
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("\r", More),
        ("\r\n", More),
        (
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            No(LeadingBlankLines),
        ),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", No(BareLf)),
        ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", No(BareLf)),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", No(BareCr)),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", No(BareCr)),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET /\r\n\r\n", No(MissingVersion)),
        ("GET /\n\n", No(MissingVersion)),
        ("GET\r\n\r\n", No(BadRequestLine)),
        ("GET \r\n\r\n", No(BadRequestLine)),
        ("\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", No(NulByte)),
        ("GET\0 / HTTP/1.1\r\nHost: a\r\n\r\n", No(NulByte)),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", No(NulByte)),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", No(BadMethod)),
        ("GET: / HTTP/1.1\r\nHost: a\r\n\r\n", No(BadMethod)),
        ("G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n", No(BadMethod)),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}", No(NulByte)),
        ("\u{16}\u{3}\u{1}", No(BadMethod)),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1\r\nHost: a\r\n\r\n",
            Yes,
        ),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: a\r\n\r\n",
            No(MethodTooLong),
        ),
    ]);
}

#[test]
fn versions() {
    check(&[
        // PS-51: HTTP/1.0 and HTTP/1.1, nothing else.
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("GET / HTTP/1.9\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("GET / HTTP/2\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", No(UnsupportedVersion)),
        ("GET / HTTP/1.\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", No(UnsupportedVersion)),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET / HTTP 1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET / HTTP/\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET / ICY/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("GET / xHTTP/1.1\r\nHost: a\r\n\r\n", No(BadRequestLine)),
        ("OPTIONS * RTSP/1.0\r\n\r\n", No(BadRequestLine)),
    ]);
}

#[test]
fn targets() {
    check(&[
        (
            "GET /a/../b//c?d=e&f=%20|{}\"<>^`\\[] HTTP/1.1\r\nHost: a\r\n\r\n",
            Yes,
        ),
        ("GET //evil/x HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("GET /?http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", No(FragmentInTarget)),
        (
            "GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            No(FragmentInTarget),
        ),
        ("GET # HTTP/1.1\r\nHost: a\r\n\r\n", No(FragmentInTarget)),
        (
            "GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n",
            No(FragmentInTarget),
        ),
        (
            "GET /\u{c3}\u{a9} HTTP/1.1\r\nHost: a\r\n\r\n",
            No(BadTarget),
        ),
        ("GET /\u{ff} HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET /\u{b}x HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("options * HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET http://b/c HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("GET HTTPS://b:443 HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("GET http://[::1]:80/ HTTP/1.1\r\nHost: a\r\n\r\n", Yes),
        ("GET http://b/c HTTP/1.1\r\n\r\n", No(MissingHost)),
        ("GET http://b/c HTTP/1.1\r\nHost: a b\r\n\r\n", No(BadHost)),
        ("GET http:///c HTTP/1.1\r\nHost: a\r\n\r\n", No(BadHost)),
        ("GET http://?c HTTP/1.1\r\nHost: a\r\n\r\n", No(BadHost)),
        ("GET http://u@b/c HTTP/1.1\r\nHost: a\r\n\r\n", No(BadHost)),
        (
            "GET http://u:p@b/c HTTP/1.1\r\nHost: a\r\n\r\n",
            No(BadHost),
        ),
        ("GET http://b:/c HTTP/1.1\r\nHost: a\r\n\r\n", No(BadHost)),
        (
            "GET http://b:99999/c HTTP/1.1\r\nHost: a\r\n\r\n",
            No(BadHost),
        ),
        ("GET http://b\\c HTTP/1.1\r\nHost: a\r\n\r\n", No(BadHost)),
        ("GET http:/b HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET http:b HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET ftp://b/c HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET ws://b/c HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("GET file:///etc HTTP/1.1\r\nHost: a\r\n\r\n", No(BadTarget)),
        ("CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", Yes),
        ("CONNECT [::1]:443 HTTP/1.1\r\nHost: b\r\n\r\n", Yes),
        ("CONNECT b HTTP/1.1\r\nHost: b\r\n\r\n", No(BadTarget)),
        ("CONNECT / HTTP/1.1\r\nHost: b\r\n\r\n", No(BadTarget)),
        (
            "CONNECT http://b/ HTTP/1.1\r\nHost: b\r\n\r\n",
            No(BadTarget),
        ),
        ("CONNECT u@b:443 HTTP/1.1\r\nHost: b\r\n\r\n", No(BadTarget)),
        ("CONNECT :443 HTTP/1.1\r\nHost: b\r\n\r\n", No(BadTarget)),
    ]);
}

#[test]
fn lines_and_fields() {
    check(&[
        ("GET / HTTP/1.1\nHost: a\n\n", No(BareLf)),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", No(BareLf)),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", No(BareLf)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n", No(BareLf)),
        ("GET / HTTP/1.1\r\nX: y\nHost: a\r\n\r\n", No(BareLf)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", No(BareLf)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\n\r\n", No(BareLf)),
        ("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", No(BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", No(BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", No(BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\ry\r\n\r\n", No(BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r: y\r\n\r\n", No(BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", No(BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\0\r\n\r\n", No(NulByte)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n", No(NulByte)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", No(NulByte)),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", No(ObsFold)),
        ("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", No(ObsFold)),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", No(ObsFold)),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
            No(ObsFold),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n \r\n\r\n",
            No(ObsFold),
        ),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", No(SpaceBeforeColon)),
        ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", No(SpaceBeforeColon)),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
            No(SpaceBeforeColon),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
            No(SpaceBeforeColon),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
            No(MissingColon),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nno colon here\r\n\r\n",
            No(MissingColon),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
            No(EmptyFieldName),
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\n:\r\n\r\n", No(EmptyFieldName)),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n",
            No(BadFieldName),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX(Y): z\r\n\r\n",
            No(BadFieldName),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\"X\": z\r\n\r\n",
            No(BadFieldName),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: z\r\n\r\n",
            No(BadFieldName),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX\u{1}: z\r\n\r\n",
            No(BadFieldName),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX\u{7f}: z\r\n\r\n",
            No(BadFieldName),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\u{b}X: z\r\n\r\n",
            No(BadFieldName),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \u{1}\r\n\r\n",
            No(BadFieldValue),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b\r\n\r\n",
            No(BadFieldValue),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{b}b\r\n\r\n",
            No(BadFieldValue),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \u{1b}[31m\r\n\r\n",
            No(BadFieldValue),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{8}b, and a value long enough for wide registers\r\n\r\n",
            No(BadFieldValue),
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{ff}\u{80}\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:y\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \t \r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a:b: c\r\n\r\n", Yes),
    ]);
}

#[test]
fn hosts() {
    check(&[
        // PS-81, HST-16
        ("GET / HTTP/1.1\r\n\r\n", No(MissingHost)),
        ("GET / HTTP/1.1\r\nX: y\r\n\r\n", No(MissingHost)),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHOST: EXAMPLE.com\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: a_b.c-d.e.\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: [::ffff:10.0.0.1]:1\r\n\r\n", Yes),
        ("GET / HTTP/1.1\r\nHost: a%41b\r\n\r\n", Yes),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            No(DuplicateHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
            No(DuplicateHost),
        ),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            No(DuplicateHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost:\r\nHost: a\r\n\r\n",
            No(DuplicateHost),
        ),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a<b>\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a\u{e9}\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: []\r\n\r\n", No(BadHost)),
        ("GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", No(BadHost)),
        (
            "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n",
            No(BadHost),
        ),
        ("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", No(BadHost)),
    ]);
    let name = |length: usize| format!("GET / HTTP/1.1\r\nHost: {}:80\r\n\r\n", "n".repeat(length));
    check(&[(&name(255), Yes), (&name(256), No(BadHost))]);
}

#[test]
fn framing() {
    check(&[
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            Yes,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n",
            Yes,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
            Yes,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\u{a0}\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5;x\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Yes,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n",
            No(DuplicateContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
            No(DuplicateContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6\r\n\r\n",
            No(DuplicateContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ,5\r\n\r\n",
            No(DuplicateContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length:\r\n\r\n",
            No(BadContentLength),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            Yes,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tChUnKeD \r\n\r\n",
            Yes,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            No(ClAndTe),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            No(ClAndTe),
        ),
        (
            "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            No(ClAndTe),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: gzip\r\n\r\n",
            No(ClAndTe),
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            No(TeInHttp10),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            No(DuplicateTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
            No(DuplicateTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            No(DuplicateTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            No(UnknownTransferCoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            No(UnknownTransferCoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            No(UnknownTransferCoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            No(UnknownTransferCoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            No(UnknownTransferCoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n",
            No(UnknownTransferCoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
            No(BadTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n",
            No(BadTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n",
            No(BadTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
            No(BadTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
            No(BadTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked x\r\n\r\n",
            No(BadTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\u{a0}\r\n\r\n",
            No(BadTransferEncoding),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
            No(BadFieldValue),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
            No(ObsFold),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer\u{0b}-Encoding: chunked\r\n\r\n",
            No(BadFieldName),
        ),
        // Not the framing field at all: passes as any other, the body is what the others say.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            Yes,
        ),
    ]);
}

#[test]
fn connection() {
    check(&[
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: , close ,,x-y\r\n\r\n",
            Yes,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection:\r\n\r\n", Yes),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n",
            No(BadConnection),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close;x\r\n\r\n",
            No(BadConnection),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: \"close\"\r\n\r\n",
            No(BadConnection),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: ,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\r\n\r\n",
            No(TooManyConnectionOptions),
        ),
    ]);
}

/// Parses a head that must be accepted and hands it to `look`.
fn accepted(head: &str, look: impl FnOnce(&RequestHead<'_>)) {
    let mut slots = field_slots();
    let parsed = parse_request(head.as_bytes(), &mut slots, &HeadLimits::default());
    look(&parsed.unwrap().expect(head));
}

#[test]
fn limits_hold_for_complete_and_incomplete_heads() {
    let limits = HeadLimits {
        max_bytes: 200,
        max_fields: 3,
        max_target: 50,
    };
    let reason = |head: &str| {
        parse_request(head.as_bytes(), &mut field_slots(), &limits)
            .map(|_| ())
            .map_err(|r| (r.status, r.reason))
    };
    let target = |length: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "x".repeat(length - 1)
        )
    };
    assert_eq!(reason(&target(50)), Ok(()));
    assert_eq!(reason(&target(51)), Err((414, TargetTooLong)));
    assert_eq!(
        reason(&format!("GET /{}", "x".repeat(88))),
        Ok(()),
        "the method might be long"
    );
    assert_eq!(
        reason(&format!("GET /{}", "x".repeat(95))),
        Err((414, TargetTooLong))
    );
    let field = |length: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(length - 32)
        )
    };
    assert_eq!(reason(&field(200)), Ok(()));
    assert_eq!(reason(&field(201)), Err((431, HeadTooLarge)));
    assert_eq!(reason(&field(300)[..199]), Ok(()));
    assert_eq!(reason(&field(300)[..200]), Err((431, HeadTooLarge)));
    let after_blank = format!("\r\n{}", field(300));
    assert_eq!(reason(&after_blank[..199]), Ok(()));
    assert_eq!(
        reason(&after_blank[..200]),
        Err((431, HeadTooLarge)),
        "a full buffer"
    );
    let fields = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "a: b\r\n".repeat(count - 1)
        )
    };
    assert_eq!(reason(&fields(3)), Ok(()));
    assert_eq!(reason(&fields(4)), Err((431, TooManyFields)));

    let generous = HeadLimits {
        max_fields: 10_000,
        ..HeadLimits::default()
    };
    assert!(verdict(fields(128).as_bytes(), &generous).unwrap());
    assert_eq!(
        verdict(fields(129).as_bytes(), &generous)
            .unwrap_err()
            .reason,
        TooManyFields,
        "the hard cap"
    );
}

#[test]
fn parts_of_the_target() {
    for (line, host, path, query) in [
        ("GET /a?b?c", "h", "/a", Some("b?c")),
        ("GET /a?", "h", "/a", Some("")),
        ("GET /", "h", "/", None),
        ("GET http://Other:80/a?b", "Other:80", "/a", Some("b")),
        ("GET http://other", "other", "/", None),
        ("GET http://other?q", "other", "/", Some("q")),
        ("OPTIONS http://other", "other", "*", None),
        ("OPTIONS http://other/", "other", "/", None),
        ("OPTIONS *", "h", "*", None),
        ("CONNECT other:443", "other:443", "", None),
    ] {
        accepted(&format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n"), |head| {
            assert_eq!(
                (head.host, head.path, head.query),
                (Some(host), path, query),
                "{line}"
            );
        });
    }
    accepted("GET / HTTP/1.0\r\n\r\n", |head| assert_eq!(head.host, None));
    accepted("GET / HTTP/1.1\r\nHost:\r\n\r\n", |head| {
        assert_eq!(head.host, Some(""))
    });
}

#[test]
fn persistence() {
    for (head, keep_alive) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
            false,
        ),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n",
            false,
        ),
    ] {
        accepted(head, |parsed| {
            assert_eq!(parsed.keep_alive, keep_alive, "{head}")
        });
    }
}

#[test]
fn body_lengths_and_head_length() {
    let bytes =
        "\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 03\r\n\r\nabc";
    accepted(bytes, |head| {
        assert_eq!(head.body, BodyLength::Length(3));
        assert_eq!(head.len, bytes.len() - 3);
        assert_eq!(head.version, Version::Http11);
    });
    accepted(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        |head| assert_eq!(head.body, BodyLength::Chunked),
    );
    accepted("POST / HTTP/1.1\r\nHost: a\r\n\r\n", |head| {
        assert_eq!(head.body, BodyLength::None)
    });
}

#[test]
fn hop_by_hop_fields_do_not_pass() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-One, x-forwarded-for, Content-Length, host\r\n\
                x-one: 1\r\nX-Two: 2\r\nX-Forwarded-For: 3\r\nKeep-Alive: 4\r\nProxy-Connection: 5\r\nTE: trailers, gzip\r\n\
                Upgrade: websocket\r\nHTTP2-Settings: 6\r\nContent-Length: 0\r\nTrailer: X-T\r\nCookie: 7\r\n\r\n";
    accepted(head, |head| {
        let names: Vec<&str> = head.forwarded().map(|field| field.name).collect();
        assert_eq!(names, ["X-Two", "X-Forwarded-For", "Trailer", "Cookie"]);
        assert!(head.te_trailers);
        assert_eq!(head.upgrade, None, "Connection does not say upgrade");
        assert_eq!(head.body, BodyLength::Length(0));
        assert_eq!(head.host, Some("a"));
        assert_eq!(head.values("COOKIE").collect::<Vec<_>>(), [b"7"]);
    });
}

#[test]
fn upgrades_only_when_unambiguous() {
    let upgrade = |fields: &str, version: &str| {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n");
        let mut found = None;
        accepted(&head, |head| {
            found = head
                .upgrade
                .map(|upgrade| (upgrade.protocols.to_owned(), upgrade.is_websocket()));
        });
        found
    };
    let websocket = Some(("WebSocket".to_owned(), true));
    assert_eq!(
        upgrade(
            "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket",
            "1.1"
        ),
        websocket
    );
    assert_eq!(
        upgrade(
            "Upgrade: WebSocket\r\nConnection: upgrade\r\nContent-Length: 0",
            "1.1"
        ),
        websocket
    );
    assert_eq!(
        upgrade("Connection: upgrade\r\nUpgrade: h2c, websocket", "1.1"),
        Some(("h2c, websocket".to_owned(), false))
    );
    assert_eq!(
        upgrade("Connection: upgrade\r\nUpgrade: WebSocket", "1.0"),
        None
    );
    assert_eq!(upgrade("Connection: upgrade", "1.1"), None);
    assert_eq!(upgrade("Connection: upgrade\r\nUpgrade: a b", "1.1"), None);
    assert_eq!(
        upgrade(
            "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c",
            "1.1"
        ),
        None
    );
    assert_eq!(
        upgrade(
            "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3",
            "1.1"
        ),
        None
    );
    assert_eq!(
        upgrade(
            "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked",
            "1.1"
        ),
        None
    );
}

#[test]
fn expectations() {
    for (head, expects, passes) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
            true,
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
            true,
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
            false,
            true,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            false,
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: other\r\nContent-Length: 1\r\n\r\n",
            false,
            true,
        ),
        (
            "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            false,
            false,
        ),
    ] {
        accepted(head, |parsed| {
            assert_eq!(parsed.expect_continue, expects, "{head}");
            assert_eq!(
                parsed.forwarded().any(|field| field.name == "Expect"),
                passes,
                "{head}"
            );
        });
    }
}

#[test]
fn reasons_have_distinct_words() {
    let mut words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Reason::ALL.len());
    assert!(words.iter().all(|word| {
        word.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    }));
}
