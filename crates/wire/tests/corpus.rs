//! Runs the fuzz entries over every corpus file and over seeded mutations of them, so that every
//! test run exercises them without libFuzzer. A failure names the file and the number of the
//! mutation, which makes it repeatable.

#[path = "../../../fuzz/src/entries.rs"]
#[allow(unreachable_pub, reason = "a library of its own for the fuzz targets")]
mod entries;

#[path = "../../../fuzz/src/in_memory.rs"]
mod in_memory;

#[path = "../../../fuzz/src/against_hyper.rs"]
#[allow(unreachable_pub, reason = "a module of a fuzz target of its own")]
mod against_hyper;

#[path = "../../../fuzz/src/responses_against_hyper.rs"]
#[allow(unreachable_pub, reason = "a module of a fuzz target of its own")]
mod responses_against_hyper;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Mutations of each corpus file.
const MUTATIONS: u64 = 3_000;
/// And of each that a fuzzer found: there are many, and it has been at their neighbours.
const MUTATIONS_OF_FOUND: u64 = 200;

/// Pieces that matter to some parser.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\"",
    b"\\",
    b"#",
    b"%",
    b"\r\n\r\n",
    b"\r\n ",
    b"0\r\n\r\n",
    b"Host: b\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close, host\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1 103 E\r\n\r\n",
    b"http://x",
    b"/",
    b"*",
    b"\xff",
    b"\x16\x03\x01",
    b"7fffffffffffffff",
    b"ffffffffffffffff",
    b"\0\0\0\x05",
    b"\0\x10\0\x05\0\x03\x02h2",
];

fn mutate(seed: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.usize(1..5) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..8)).min(bytes.len());
        match random.u8(..6) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                bytes.splice(to..to, copy);
            }
            4 if random.u8(..8) == 0 => bytes.truncate(at),
            _ => {
                let piece = PIECES[random.usize(..PIECES.len())];
                let end = if random.bool() { at } else { end };
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
    bytes
}

fn run(target: &str, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{folder:?} holds seeds");
    for file in files {
        let seed = fs::read(&file).unwrap();
        entry(&seed);
        let found = file
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("found-");
        let mutations = if found { MUTATIONS_OF_FOUND } else { MUTATIONS };
        for number in 0..mutations {
            let bytes = mutate(&seed, &mut fastrand::Rng::with_seed(number));
            if catch_unwind(AssertUnwindSafe(|| entry(&bytes))).is_err() {
                panic!(
                    "{target}: mutation {number} of {file:?}: {:?}",
                    bytes.escape_ascii().to_string()
                );
            }
        }
    }
}

#[test]
fn request_heads() {
    run("request_head", entries::request_head);
}

#[test]
fn requests_as_hyper_reads_them() {
    run("against_hyper", against_hyper::against_hyper);
}

#[test]
fn responses_as_hyper_reads_them() {
    run(
        "responses_against_hyper",
        responses_against_hyper::responses_against_hyper,
    );
}

#[test]
fn response_heads() {
    run("response_head", entries::response_head);
}

#[test]
fn chunked_bodies() {
    run("chunked", entries::chunked);
}

#[test]
fn client_hellos() {
    run("client_hello", entries::client_hello);
}

#[test]
fn first_bytes() {
    run("sniff", entries::sniff);
}

#[test]
fn proxy_headers() {
    run("proxy_header", entries::proxy_header);
}

#[test]
fn http2_messages() {
    run("http2_map", entries::http2_map);
}

#[test]
fn http2_frames() {
    run("frame_watch", entries::frame_watch);
}

#[test]
fn grpc_bodies() {
    run("grpc_web", entries::grpc_web);
}
