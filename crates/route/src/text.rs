//! Comparing one text (VS-H-15..19), and patterns.
use pointsman_model::{matches::StringMatch, re2};
use regex_automata::meta;
use regex_syntax::hir::{
    Hir,
    literal::{ExtractKind, Extractor},
};
use std::sync::Arc;

/// Literal texts a pattern may begin with; `(?i)` doubles them with every letter.
const STARTS: usize = 16;

/// A compiled StringMatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Equal.
    Exact(Arc<str>),
    /// Starts with.
    Prefix(Arc<str>),
    /// The whole value matches.
    Pattern(Pattern),
    /// Any value (VS-H-18).
    Present,
}

impl Text {
    /// Does the value satisfy the match? Case-sensitive, byte by byte.
    pub fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == value,
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Pattern(pattern) => pattern.holds(value),
            Self::Present => true,
        }
    }

    /// As [`Text::holds`], but exact and prefix fold ASCII letters (`ignoreUriCase`, VS-H-24).
    pub fn holds_in_any_case(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes().eq_ignore_ascii_case(value),
            Self::Prefix(text) => value
                .get(..text.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(text.as_bytes())),
            Self::Pattern(pattern) => pattern.holds(value),
            Self::Present => true,
        }
    }

    /// The words `explain` uses: `= "a"`, `starts with "a"`, `~ "a.*"`, `present`.
    pub fn describe(&self) -> String {
        match self {
            Self::Exact(text) => format!("= {text:?}"),
            Self::Prefix(text) => format!("starts with {text:?}"),
            Self::Pattern(pattern) => format!("~ {:?}", pattern.source),
            Self::Present => "present".to_owned(),
        }
    }
}

/// A pattern in RE2 syntax that must match a whole value (VS-H-17).
#[derive(Clone, Debug)]
pub struct Pattern {
    source: Arc<str>,
    /// Every value that matches begins with one of these; empty: nothing is known.
    starts: Arc<[Box<[u8]>]>,
    /// `None`: it did not compile, and matches nothing. Validation refuses such patterns earlier,
    /// so this is the second line of defence, told as PM0206.
    regex: Option<meta::Regex>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
impl Eq for Pattern {}

impl Pattern {
    /// Compiles; the error is in words for people.
    pub fn compile(source: &Arc<str>) -> (Self, Option<String>) {
        let parsed = re2::parse(source);
        let starts = parsed.as_ref().map(starts).unwrap_or_default();
        let (regex, error) = match parsed.and_then(re2::whole) {
            Ok(regex) => (Some(regex), None),
            Err(fault) => (None, Some(fault.to_string())),
        };
        let source = Arc::clone(source);
        let made = Self {
            source,
            starts,
            regex,
        };
        (made, error)
    }

    /// Texts one of which every matching value begins with; empty where none are known.
    pub(crate) fn starts(&self) -> &[Box<[u8]>] {
        &self.starts
    }

    /// Does the whole value match?
    pub fn holds(&self, value: &[u8]) -> bool {
        self.regex
            .as_ref()
            .is_some_and(|regex| regex.is_match(value))
    }

    /// The pattern as written.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// False for a pattern that did not compile.
    pub fn usable(&self) -> bool {
        self.regex.is_some()
    }
}

/// The literal texts a pattern begins with, if they are few and none is empty.
fn starts(hir: &Hir) -> Arc<[Box<[u8]>]> {
    let found = Extractor::new()
        .kind(ExtractKind::Prefix)
        .limit_total(STARTS)
        .extract(hir);
    let texts = found.literals().unwrap_or_default();
    if texts.iter().any(|text| text.is_empty()) {
        return Arc::default();
    }
    texts.iter().map(|text| text.as_bytes().into()).collect()
}

/// `regex: "*"` is presence too (VS-H-18); the manifest reader folds it, a hand-made model may not.
pub(crate) fn is_presence(text: &StringMatch) -> bool {
    matches!(text, StringMatch::Present)
        || matches!(text, StringMatch::Regex(source) if &**source == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::compile(&source.into()).0
    }

    #[test]
    fn a_pattern_takes_the_whole_value() {
        // VS-H-17; `a|ab` shows that the longer alternative is tried too.
        assert!(pattern("a|ab").holds(b"ab"));
        assert!(!pattern("a").holds(b"ab"));
        assert!(pattern("(?i)/foo").holds(b"/FOO"));
        assert!(!pattern(r"https://.*\.a\.com").holds(b"https://x.a.com.evil"));
        assert!(pattern(".*").holds(b""));
    }

    /// VS-H-17: every case is in the tests of `re2`.
    #[test]
    fn a_pattern_is_of_re2() {
        for (source, value) in [
            (r"/[\w-.]+", "/a-b.c"),
            ("/{id}", "/{id}"),
            ("[[a]]", "[]"),
            ("[a-z&&@.]+", "a@b&c"),
            (r"\<a\>", "<a>"),
        ] {
            assert!(pattern(source).holds(value.as_bytes()), "{source}");
        }
        assert!(!pattern(r"\w").holds("é".as_bytes()));
        assert_eq!(pattern("/{id}/.*").starts(), [Box::from(&b"/{id}/"[..])]);
    }

    #[test]
    fn what_a_pattern_begins_with_is_known_where_it_is_text() {
        let starts = |source: &str| {
            let pattern = pattern(source);
            let texts = pattern.starts().iter();
            texts
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            starts("/api/v[0-9]+/.*"),
            (0..10).map(|n| format!("/api/v{n}")).collect::<Vec<_>>()
        );
        assert_eq!(starts("/users/[^/]+"), ["/users/"]);
        assert_eq!(starts("(/a|/b).*"), ["/a", "/b"]);
        assert_eq!(starts("/a?.*").len(), 2);
        for unknown in [".*/api", "", "a*", "[^/]+", "(", "(/a)?"] {
            assert_eq!(starts(unknown), [""; 0], "{unknown}");
        }
    }

    #[test]
    fn anchors_cannot_be_escaped_and_bad_patterns_match_nothing() {
        for bad in ["a)(b", "(", "(?P<", r"\8", "(?x)a # tail"] {
            assert!(!pattern(bad).usable(), "{bad}");
            assert!(!pattern(bad).holds(b"ab"));
        }
        assert!(!pattern("(?m)a$").holds(b"a\nb"));
        assert!(!pattern("((((a{99}){99}){99}){99})").usable());
        assert!(!pattern("[a-z]+").holds(b"a\xff"));
    }
}
