//! The chunked coding: what is accepted, what is refused, and that no segmentation matters
//! (RFC 9112 section 7.1).

use pointsman_wire::http1::Reason::*;
use pointsman_wire::http1::{
    ChunkDecoder, ChunkEvent, ChunkLimits, LAST_CHUNK, Reason, write_chunk_header, write_last_chunk,
};
use proptest::prelude::*;

/// Everything one body decodes to: data, trailers (none before the end), bytes consumed.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    data: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    consumed: usize,
    done: bool,
}

fn decode<'b>(
    segments: impl IntoIterator<Item = &'b [u8]>,
    limits: ChunkLimits,
) -> Result<Decoded, Reason> {
    let mut decoder = ChunkDecoder::new(limits);
    let mut decoded = Decoded::default();
    for mut segment in segments {
        loop {
            let (consumed, event) = decoder.decode(segment).map_err(|refusal| refusal.reason)?;
            decoded.consumed += consumed;
            match event {
                ChunkEvent::Data(range) => {
                    assert!(!range.is_empty());
                    assert_eq!(range.end, consumed, "data ends where decoding went on to");
                    decoded.data.extend(&segment[range]);
                }
                ChunkEvent::TrailersEnd => {
                    decoded.done = true;
                    decoded.trailers = decoder
                        .trailers()
                        .map(|field| (field.name.to_owned(), field.value.to_vec()))
                        .collect();
                    return Ok(decoded);
                }
                ChunkEvent::NeedMore => {
                    assert_eq!(
                        consumed,
                        segment.len(),
                        "all bytes are taken before more are asked for"
                    );
                    break;
                }
            }
            segment = &segment[consumed..];
        }
    }
    Ok(decoded)
}

fn whole(body: &[u8]) -> Result<Decoded, Reason> {
    decode([body], ChunkLimits::default())
}

#[test]
fn accepted_bodies() {
    for (body, data) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("a\r\n0123456789\r\n1\r\n\n\r\n0\r\n\r\n", "0123456789\n"),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc"),
        ("3;x\r\nabc\r\n0\r\n\r\n", "abc"),
        ("3;x=y\r\nabc\r\n0;z\r\n\r\n", "abc"),
        ("3 ; x = \"y;\\\" z\" ; w\r\nabc\r\n0\r\n\r\n", "abc"),
        ("3\t;\tx\t=\ty\t;z=1\r\nabc\r\n0\r\n\r\n", "abc"),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
    ] {
        let decoded = whole(format!("{body}GET /next").as_bytes()).expect(body);
        assert_eq!(
            (decoded.done, decoded.data.as_slice()),
            (true, data.as_bytes()),
            "{body:?}"
        );
        assert_eq!(
            decoded.consumed,
            body.len(),
            "{body:?}: the next message is not touched"
        );
    }
}

#[test]
fn refused_bodies() {
    for (body, reason) in [
        ("\r\n", BadChunkSize),
        ("\n", BadChunkSize),
        (" 3\r\nabc\r\n", BadChunkSize),
        ("+3\r\nabc\r\n", BadChunkSize),
        ("-3\r\nabc\r\n", BadChunkSize),
        ("0x3\r\nabc\r\n", BadChunkSize),
        ("g\r\n", BadChunkSize),
        ("3h\r\nabc\r\n", BadChunkSize),
        (";x\r\nabc\r\n", BadChunkSize),
        ("3_0\r\n", BadChunkSize),
        ("00000000000000003\r\nabc\r\n", BadChunkSize),
        ("8000000000000000\r\n", BadChunkSize),
        ("ffffffffffffffff\r\n", BadChunkSize),
        ("10000000000000003\r\nabc\r\n", BadChunkSize),
        ("3\0\r\nabc\r\n", BadChunkSize),
        ("3\u{b}\r\nabc\r\n", BadChunkSize),
        ("3 \r\nabc\r\n", BadChunkExtension),
        ("3 3\r\nabc\r\n", BadChunkExtension),
        ("3;\r\nabc\r\n", BadChunkExtension),
        ("3;x=\r\nabc\r\n", BadChunkExtension),
        ("3;=y\r\nabc\r\n", BadChunkExtension),
        ("3;x y\r\nabc\r\n", BadChunkExtension),
        ("3;x=y z\r\nabc\r\n", BadChunkExtension),
        ("3;x=\"y\"z\r\nabc\r\n", BadChunkExtension),
        ("3;x=\"\0\"\r\nabc\r\n", BadChunkExtension),
        ("3;x=\"\u{7f}\"\r\nabc\r\n", BadChunkExtension),
        ("3;x(\r\nabc\r\n", BadChunkExtension),
        ("3;x=y \r\nabc\r\n", BadChunkExtension),
        ("3\nabc\r\n", BareLf),
        ("3;x\nabc\r\n", BareLf),
        ("3;x=\"\n\"\r\nabc\r\n", BareLf),
        ("3\rabc\r\n", BareCr),
        ("3\r\r\nabc\r\n", BareCr),
        ("3;x\rabc\r\n", BareCr),
        ("3;x=\"\r\"\r\nabc\r\n", BareCr),
        ("3;x=\"\\\r\"\r\nabc\r\n", BareCr),
        ("3\r\nabcd\r\n", MissingChunkEnd),
        ("3\r\nabc\n0\r\n\r\n", MissingChunkEnd),
        ("3\r\nabc0\r\n\r\n", MissingChunkEnd),
        ("3\r\nabc\rX", MissingChunkEnd),
        ("3\r\nabc\r\n\r\n", BadChunkSize),
        ("0\r\nX: y\n\r\n", BareLf),
        ("0\r\n\n", BareLf),
        ("0\r\n\rX", BareCr),
        ("0\r\nX: y\rz\r\n\r\n", BareCr),
        ("0\r\nX : y\r\n\r\n", SpaceBeforeColon),
        ("0\r\n X: y\r\n\r\n", ObsFold),
        ("0\r\nX: y\r\n z\r\n\r\n", ObsFold),
        ("0\r\nnonsense\r\n\r\n", MissingColon),
        ("0\r\n: y\r\n\r\n", EmptyFieldName),
        ("0\r\nX Y: z\r\n\r\n", BadFieldName),
        ("0\r\nX: \0\r\n\r\n", NulByte),
        ("0\r\nX: \u{1}\r\n\r\n", BadFieldValue),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", MissingColon),
    ] {
        assert_eq!(whole(body.as_bytes()), Err(reason), "{body:?}");
    }
}

#[test]
fn a_failed_decoder_stays_failed() {
    let mut decoder = ChunkDecoder::new(ChunkLimits::default());
    assert!(decoder.decode(b"x").is_err());
    assert_eq!(
        decoder.decode(b"0\r\n\r\n").unwrap_err().reason,
        BadChunkSize
    );
    assert!(!decoder.is_done());
    assert_eq!(decoder.trailers().count(), 0);
}

#[test]
fn limits_count_over_the_whole_body() {
    let limits = ChunkLimits {
        max_extension_bytes: 10,
        max_trailer_bytes: 20,
        max_trailer_fields: 2,
    };
    let run = |body: &str| decode([body.as_bytes()], limits).map(|decoded| decoded.done);
    assert_eq!(run("1;abcd\r\nx\r\n1;efgh\r\nx\r\n0\r\n\r\n"), Ok(true));
    assert_eq!(
        run("1;abcd\r\nx\r\n1;efghi\r\nx\r\n0\r\n\r\n"),
        Err(ChunkExtensionTooLong)
    );
    assert_eq!(run("0\r\nA: 1\r\nB: 2\r\n\r\n"), Ok(true));
    assert_eq!(
        run("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n"),
        Err(TooManyTrailers)
    );
    assert_eq!(
        run("0\r\nHost: 1\r\nHost: 2\r\nC:\r\n\r\n"),
        Err(TooManyTrailers),
        "dropped ones count"
    );
    assert_eq!(run("0\r\nA: 3456789012345678901234"), Err(TrailersTooLarge));
    assert_eq!(
        run("0\r\nA: 34567890123456789\r\n\r\n"),
        Err(TrailersTooLarge)
    );
    assert_eq!(run("0\r\nA: 3456789012345678\r\n\r\n"), Ok(true));
}

#[test]
fn huge_chunks_do_not_overflow() {
    let mut decoder = ChunkDecoder::new(ChunkLimits::default());
    let (consumed, event) = decoder.decode(b"7fffffffffffffff\r\nab").unwrap();
    assert_eq!((consumed, event), (20, ChunkEvent::Data(18..20)));
    assert_eq!(decoder.chunk_left(), i64::MAX as u64 - 2);
}

#[test]
fn only_harmless_trailers_pass() {
    let body = "0\r\nX-Sum:  1 2\t\r\nContent-Length: 5\r\ntransfer-encoding: chunked\r\nHost: b\r\nConnection: x\r\n\
                Authorization: z\r\nX-Forwarded-For: 1\r\nX-Envoy-Internal: true\r\nX-Request-Id: 1\r\nSet-Cookie: c\r\nTE: x\r\nX-Empty:\r\ngrpc-status: 0\r\nX-Blank: \t\r\n\r\n";
    let decoded = whole(body.as_bytes()).unwrap();
    let trailers: Vec<_> = decoded
        .trailers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    assert_eq!(
        trailers,
        [
            ("X-Sum", b"1 2".as_slice()),
            ("X-Empty", b""),
            ("grpc-status", b"0"),
            ("X-Blank", b"")
        ]
    );

    let mut decoder = ChunkDecoder::new(ChunkLimits::default());
    decoder.decode(body.as_bytes()).unwrap();
    let mut out = Vec::new();
    write_last_chunk(&mut out, decoder.trailers());
    assert_eq!(
        out,
        b"0\r\nX-Sum: 1 2\r\nX-Empty: \r\ngrpc-status: 0\r\nX-Blank: \r\n\r\n"
    );
}

#[test]
fn chunk_headers() {
    for (length, header) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (65_536, "10000\r\n"),
        (0xdead_beef, "deadbeef\r\n"),
        (0, ""),
    ] {
        let mut out = Vec::new();
        write_chunk_header(&mut out, length);
        assert_eq!(String::from_utf8(out).unwrap(), header);
    }
    let mut out = Vec::new();
    write_chunk_header(&mut out, usize::MAX);
    assert_eq!(out, b"ffffffffffffffff\r\n");
}

/// Cuts `bytes` at these places.
fn segments<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

proptest! {
    /// What is written decodes to what was put in, however it is cut.
    #[test]
    fn written_chunks_decode(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            write_chunk_header(&mut body, chunk.len());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(LAST_CHUNK);
        let decoded = decode(segments(&body, &cuts), ChunkLimits::default()).unwrap();
        prop_assert!(decoded.done);
        prop_assert_eq!(decoded.data, chunks.concat());
    }

    /// Bodies near the grammar come to the same result whole and cut.
    #[test]
    fn segmentation_does_not_matter(
        body in "([0-3]{1,2}(;[a-c]{1,2}(=(\"[ a\\\\]{0,3}\"|d))?)?\r\n[a-z]{0,3}\r?\n){0,3}0?\r?\n?(X[ :]{0,2}y?\r?\n){0,2}\r?\n?",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let cut = decode(segments(body.as_bytes(), &cuts), ChunkLimits::default());
        let bytewise = decode(body.as_bytes().chunks(1), ChunkLimits::default());
        prop_assert_eq!(&cut, &whole(body.as_bytes()));
        prop_assert_eq!(&cut, &bytewise);
    }
}
