//! The files of cases: bytes as text that can be read, reviewed and searched.
//!
//! ```text
//! Lines before the first case say what the file is about.
//!
//! == length and chunked
//! # RFC 9112 6.3, rule 3: where the case comes from
//! > POST / HTTP/1.1\r\nHost: web\r\n
//! > Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n
//! = 400 cl_and_te
//! closed
//! ```
//!
//! A line is a word, a blank and the rest; what the words mean is for [`requests`](super::requests)
//! and [`responses`](super::responses) to say. In bytes `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` stand for
//! what they do in Rust, `\s` for a blank (at the end of a line it would be lost), `\{70000*x}` for `x` so many
//! times. Line ends of the file are not part of the bytes.
use std::{fmt, fs, path::Path};

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    /// `framing.txt:12: length and chunked`.
    pub(crate) name: String,
    /// Word and rest of each line.
    pub(crate) lines: Vec<(String, String)>,
}

/// The names of the files in a folder of this suite, without `.txt`.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path(folder))
        .expect("the folder of cases")
        .map(|file| file.expect("a file").file_name())
        .map(|name| name.into_string().expect("a name in ASCII"))
        .filter_map(|name| Some(name.strip_suffix(".txt")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// The cases of one file.
///
/// # Panics
/// Where a line is not of the format, a name comes twice or a case does not say where it comes from.
pub(crate) fn read(folder: &str, file: &str) -> Vec<Case> {
    let text =
        fs::read_to_string(path(folder).join(format!("{file}.txt"))).expect("a file of cases");
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}.txt:{}", number + 1);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, cases.last_mut()) {
            ("==", _) => {
                let same = |case: &Case| case.name.ends_with(&format!(": {rest}"));
                assert!(!cases.iter().any(same), "{place}: a second {rest:?}");
                cases.push(Case {
                    name: format!("{place}: {rest}"),
                    lines: Vec::new(),
                });
            }
            ("", _) | (_, None) => {}
            (word, Some(case)) => case.lines.push((word.to_owned(), rest.to_owned())),
        }
    }
    for case in &cases {
        let sourced = case.lines.first().is_some_and(|(word, _)| word == "#");
        assert!(sourced, "{}: where does it come from?", case.name);
    }
    cases
}

fn path(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/hostile")
        .join(folder)
}

/// The bytes that `text` stands for.
///
/// # Panics
/// At an escape that does not exist.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let mut used = 2;
        match escape.as_bytes().get(1) {
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b's') => out.push(b' '),
            Some(b'0') => out.push(0),
            Some(b'\\') => out.push(b'\\'),
            Some(b'x') => {
                used = 4;
                let digits = escape.get(2..4).expect("two digits");
                out.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
            }
            Some(b'{') => {
                let end = escape.find('}').expect("a closing brace");
                used = end + 1;
                let (times, what) = escape[2..end].split_once('*').expect("times*what");
                let times = times.parse().expect("a number");
                out.extend(bytes(what).repeat(times));
            }
            other => panic!("no such escape: {other:?} in {text:?}"),
        }
        rest = &escape[used..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Bytes as they are written in the files, long runs shortened.
pub(crate) struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 600;
        let part = self.0.get(..MOST).unwrap_or(self.0);
        write!(out, "{}", part.escape_ascii())?;
        if self.0.len() > MOST {
            write!(out, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[test]
fn escapes_stand_for_bytes() {
    assert_eq!(bytes(r"a\r\n\t\0\\\xff\sb"), b"a\r\n\t\0\\\xff b");
    assert_eq!(bytes(r"<\{3*x}\{2*\r\n}>"), b"<xxx\r\n\r\n>");
}
