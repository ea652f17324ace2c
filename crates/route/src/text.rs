//! Comparing one text (VS-H-15..19), and patterns.
use pointsman_model::matches::StringMatch;
use regex_automata::meta;
use regex_syntax::hir::{Hir, Look};
use std::sync::Arc;

/// Upper bound of one compiled pattern, in bytes: a thousand characters of pattern can ask for far
/// more than that, and a table may hold thousands of patterns.
const PATTERN_BYTES: usize = 1 << 20;

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
        let built = whole(source);
        let (regex, error) = match built {
            Ok(regex) => (Some(regex), None),
            Err(error) => (None, Some(error)),
        };
        let source = Arc::clone(source);
        (Self { source, regex }, error)
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

/// Anchors are put around the parsed pattern, not around its text: text such as `a)(b` or a
/// comment of the `x` flag would make something else of `\A(?:...)\z`.
fn whole(source: &str) -> Result<meta::Regex, String> {
    let hir = regex_syntax::ParserBuilder::new()
        .utf8(false)
        .nest_limit(100)
        .build()
        .parse(source)
        .map_err(|error| error.to_string())?;
    let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
    meta::Regex::builder()
        .configure(
            meta::Config::new()
                .utf8_empty(false)
                .nfa_size_limit(Some(PATTERN_BYTES))
                .onepass_size_limit(Some(PATTERN_BYTES / 4))
                .hybrid_cache_capacity(PATTERN_BYTES / 4),
        )
        .build_from_hir(&anchored)
        .map_err(|error| error.to_string())
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

    #[test]
    fn anchors_cannot_be_escaped_and_bad_patterns_match_nothing() {
        for bad in ["a)(b", "(", "(?P<", r"\8"] {
            assert!(!pattern(bad).usable(), "{bad}");
            assert!(!pattern(bad).holds(b"ab"));
        }
        assert!(!pattern("(?m)a$").holds(b"a\nb"));
        assert!(pattern("(?x)a # tail").holds(b"a"));
        assert!(!pattern("((((a{99}){99}){99}){99})").usable());
        assert!(!pattern("[a-z]+").holds(b"a\xff"));
    }
}
