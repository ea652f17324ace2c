//! One part of a request divided by the texts it is compared with: a value for each division.
//!
//! Which texts a value satisfies is all that a rule list can learn of it. The automaton of all
//! texts at once is walked, shortest values first, and the set of texts that hold in each state is
//! a division; so the divisions are complete, overlapping patterns included, unless a limit ends
//! the walk.
use super::Limits;
use crate::{text::Text, traffic::is_path};
use foldhash::{HashMap, HashSet};
use pointsman_model::re2;
use pointsman_wire::{
    http1::{is_token, is_value},
    path::Normalization,
};
use regex_automata::{
    Anchored, MatchKind,
    hybrid::dfa::{Cache, DFA},
    nfa::thompson::{self, NFA},
    util::start,
};
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, Look};
use std::collections::VecDeque;

/// Longest value that is tried, in bytes.
const LONGEST: usize = 512;

/// What kind of values there are, beside the texts: which bytes, and which values are preferred.
pub(super) struct Grammar {
    /// Bytes in order of preference: all that a client can send in such a part.
    pub(super) bytes: &'static [u8],
    /// Values that people would write, tried first.
    pub(super) usual: &'static [&'static str],
    /// Can a client send it so?
    pub(super) sound: fn(&str) -> bool,
    /// The same as patterns of what cannot be sent, for the walk.
    pub(super) unsound: Vec<Unsound>,
}

/// What cannot be sent.
pub(super) struct Unsound {
    /// In the syntax of the engine.
    pattern: String,
    /// Is nothing that begins so sent either?
    for_ever: bool,
    /// It is about this byte: where no text tells it from plain ones, values go without it.
    about: Option<u8>,
}

impl Unsound {
    fn new(about: Option<u8>, pattern: &str) -> Self {
        Self {
            pattern: format!("(?s-u:{pattern})"),
            for_ever: false,
            about,
        }
    }

    fn for_ever(about: Option<u8>, pattern: &str) -> Self {
        Self {
            for_ever: true,
            ..Self::new(about, pattern)
        }
    }
}

/// A path as it is after normalisation (PS-80): `*` is that of OPTIONS for a whole server.
pub(super) fn path(mode: Normalization) -> Grammar {
    Grammar {
        bytes: match mode {
            Normalization::None => b"xabcdefghijklmnopqrstuvwyz0123456789/-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZ!$&'()*+,;=:@%\"<>[]^`{|}\\",
            _ => b"xabcdefghijklmnopqrstuvwyz0123456789/-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZ!$&'()*+,;=:@%[]",
        },
        usual: &["/", "/x", "*"],
        sound: match mode {
            Normalization::None => |path| is_path(path, Normalization::None),
            Normalization::Base => |path| is_path(path, Normalization::Base),
            Normalization::MergeSlashes => |path| is_path(path, Normalization::MergeSlashes),
            Normalization::DecodeAndMergeSlashes => {
                |path| is_path(path, Normalization::DecodeAndMergeSlashes)
            }
        },
        unsound: no_path(mode, ""),
    }
}

/// What [`is_path`] refuses, `*` apart, of texts without `?`; behind them may be `rest`.
fn no_path(mode: Normalization, rest: &str) -> Vec<Unsound> {
    let ends = |about, pattern: &str| Unsound::new(about, &format!("(?:{pattern}){rest}"));
    let escape = Some(b'%');
    let mut all = vec![
        ends(None, ""),
        Unsound::for_ever(None, "[^/]"),
        // Two hexadecimal digits, and not NUL.
        ends(escape, "[^?]*%[0-9A-Fa-f]?"),
        Unsound::for_ever(
            escape,
            "[^?]*%(?:[^?0-9A-Fa-f]|[0-9A-Fa-f][^?0-9A-Fa-f]|00)",
        ),
    ];
    if mode >= Normalization::Base {
        let dots = r"[^?]*/\.\.?(?:;[^?/]*)?";
        all.push(ends(Some(b'.'), dots));
        all.push(Unsound::for_ever(Some(b'.'), &format!("{dots}/")));
        // Unreserved characters are as themselves, and others escaped.
        let unreserved = "%(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])";
        all.push(Unsound::for_ever(escape, &format!("[^?]*{unreserved}")));
        all.push(Unsound::for_ever(None, r#"[^?]*["<>^`{|}\\]"#));
    }
    if mode >= Normalization::MergeSlashes {
        all.push(Unsound::for_ever(None, "[^?]*//"));
    }
    if mode >= Normalization::DecodeAndMergeSlashes {
        all.push(Unsound::for_ever(escape, "[^?]*%(?:2[Ff]|5[Cc])"));
    }
    all
}

/// A path with its query, if there is one, as the header `:path` has it (VS-H-29).
pub(super) fn target(mode: Normalization) -> Grammar {
    Grammar {
        bytes: b"xabcdefghijklmnopqrstuvwyz0123456789/-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZ?=&!$'()*+,;:@%\"<>[]^`{|}\\",
        // Its parts are looked at one by one.
        sound: |target| target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'),
        usual: &["/"],
        unsound: no_path(mode, r"(?:\?.*)?"),
    }
}

/// A query, without its `?`.
pub(super) fn query() -> Grammar {
    Grammar {
    bytes: b"xabcdefghijklmnopqrstuvwyz0123456789-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZ/:+,!$'()*;@=&?%\"<>[\\]^`{|}",
    usual: &["other"],
    sound: |it| it.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'),
    unsound: Vec::new(),
    }
}
/// A method.
pub(super) fn method() -> Grammar {
    Grammar {
        bytes: b"XABCDEFGHIJKLMNOPQRSTUVWYZabcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~",
        usual: &["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"],
        sound: |it| is_token(it.as_bytes()) && it != "CONNECT",
        unsound: vec![Unsound::new(None, "|CONNECT")],
    }
}
/// Value of a header field.
pub(super) fn field() -> Grammar {
    Grammar {
        bytes: &FIELD_BYTES,
        usual: &["other"],
        sound: |it| it.trim_matches([' ', '\t']) == it && is_value(it.as_bytes()),
        unsound: vec![
            Unsound::for_ever(None, r"[ \t]"),
            Unsound::new(None, r".*[ \t]"),
        ],
    }
}
/// Value of a query parameter, as sent.
pub(super) fn parameter() -> Grammar {
    Grammar {
    bytes: b"xabcdefghijklmnopqrstuvwyz0123456789-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZ/:+,!$'()*;@=?%\"<>[\\]^`{|}",
    usual: &["other"],
    sound: |it| it.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'&')),
    unsound: Vec::new(),
    }
}

/// Plain ones first, then those of which other letters are made.
const FIELD_BYTES: [u8; 224] = {
    let plain = b"xabcdefghijklmnopqrstuvwyz0123456789-_./ ABCDEFGHIJKLMNOPQRSTUVWXYZ:;=,()!\"#$%&'*+<>?@[\\]^`{|}~\t";
    let mut all = [0; 224];
    let (start, high) = all.split_at_mut(plain.len());
    start.copy_from_slice(plain);
    let mut at = 0;
    while at < high.len() {
        high[at] = 0x80 + at as u8;
        at += 1;
    }
    all
};

/// A division: a value, and the texts it satisfies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) value: String,
    /// Positions among the texts, ascending.
    pub(super) holds: Vec<usize>,
}

/// A text, and whether letters are folded.
pub(super) type Compared = (Text, bool);

/// The divisions, usual and short values first; false if there may be more.
pub(super) fn divide(texts: &[Compared], grammar: &Grammar, limits: &Limits) -> (Vec<Cell>, bool) {
    let mut found = Found::default();
    let literals = texts.iter().filter_map(|(text, _)| match text {
        Text::Exact(text) | Text::Prefix(text) => Some(&**text),
        Text::Pattern(_) | Text::Present => None,
    });
    for value in grammar.usual.iter().copied().chain(literals) {
        if (grammar.sound)(value) {
            let holds = (0..texts.len()).filter(|&at| holds(texts.get(at), value));
            found.add(holds.collect(), value.to_owned());
        }
    }
    if texts.is_empty() {
        return (found.cells, true);
    }
    let complete = match Walk::new(texts, grammar, limits) {
        Some(walk) => walk.run(grammar, limits, &mut found),
        None => false,
    };
    (found.cells, complete)
}

fn holds(text: Option<&Compared>, value: &str) -> bool {
    match text {
        Some((text, true)) => text.holds_in_any_case(value.as_bytes()),
        Some((text, false)) => text.holds(value.as_bytes()),
        None => false,
    }
}

#[derive(Default)]
struct Found {
    cells: Vec<Cell>,
    known: HashSet<Vec<usize>>,
}

impl Found {
    fn add(&mut self, holds: Vec<usize>, value: String) {
        if self.known.insert(holds.clone()) {
            self.cells.push(Cell { value, holds });
        }
    }
}

/// The automaton of all texts, behind which is what cannot be sent, last what never can.
struct Walk {
    dfa: DFA,
    cache: Cache,
    texts: usize,
    /// How many patterns speak of whole values.
    ends: usize,
    /// Of the grammar, those that are needed.
    bytes: Vec<u8>,
}

impl Walk {
    fn new(texts: &[Compared], grammar: &Grammar, limits: &Limits) -> Option<Self> {
        let compiled = |patterns: &[Hir]| -> Option<NFA> {
            thompson::Compiler::new()
                .configure(thompson::Config::new().nfa_size_limit(Some(limits.automaton_bytes)))
                .build_many_from_hir(patterns)
                .ok()
        };
        let mut patterns = Vec::with_capacity(texts.len() + grammar.unsound.len());
        for (text, folded) in texts {
            patterns.push(whole(pattern(text, *folded)?));
        }
        let nfa = compiled(&patterns)?;
        let classes = nfa.byte_classes();
        let unsound = grammar.unsound.iter();
        let special = |byte: u8| byte == b'/' || unsound.clone().any(|it| it.about == Some(byte));
        // A byte that no text tells from a plain one makes no division.
        let needed = |byte: u8| {
            let mut plain = grammar.bytes.iter().filter(|&&it| !special(it));
            byte == b'/' || !special(byte) || !plain.any(|&it| classes.get(it) == classes.get(byte))
        };
        let mut ends = texts.len();
        for for_ever in [false, true] {
            for it in unsound.clone().filter(|it| it.for_ever == for_ever) {
                if it.about.is_none_or(needed) {
                    patterns.push(whole(own(&it.pattern)?));
                    ends += usize::from(!for_ever);
                }
            }
        }
        let bytes = grammar
            .bytes
            .iter()
            .copied()
            .filter(|&it| needed(it))
            .collect();
        let nfa = match patterns.len() > texts.len() {
            true => compiled(&patterns)?,
            false => nfa,
        };
        let dfa = DFA::builder()
            .configure(
                DFA::config()
                    .match_kind(MatchKind::All)
                    .cache_capacity(limits.automaton_bytes)
                    .skip_cache_capacity_check(true)
                    // States are remembered by number: a cache that was cleared would be another.
                    .minimum_cache_clear_count(Some(0)),
            )
            .build_from_nfa(nfa)
            .ok()?;
        let cache = dfa.create_cache();
        let texts = texts.len();
        Some(Self {
            dfa,
            cache,
            texts,
            ends,
            bytes,
        })
    }

    /// Breadth first, so that the first value of a division is a shortest one. False when a limit
    /// ended it.
    fn run(mut self, grammar: &Grammar, limits: &Limits, found: &mut Found) -> bool {
        let anchored = start::Config::new().anchored(Anchored::Yes);
        let Ok(first) = self.dfa.start_state(&mut self.cache, &anchored) else {
            return false;
        };
        let alphabet = self.alphabet();
        let mut complete = true;
        let mut queue = VecDeque::from([(first, Vec::new())]);
        let mut seen: HashMap<_, ()> = HashMap::default();
        seen.insert(first, ());
        while let Some((state, value)) = queue.pop_front() {
            let Ok(end) = self.dfa.next_eoi_state(&mut self.cache, state) else {
                return false;
            };
            if !self.settle(end, &value, grammar, found) {
                continue;
            }
            if value.len() >= LONGEST {
                complete = false;
                continue;
            }
            for &byte in &alphabet {
                let Ok(next) = self.dfa.next_state(&mut self.cache, state, byte) else {
                    return false;
                };
                if next.is_quit() {
                    return false;
                }
                if seen.contains_key(&next) {
                    continue;
                }
                if seen.len() >= limits.states {
                    return false;
                }
                seen.insert(next, ());
                let mut longer = value.clone();
                longer.push(byte);
                queue.push_back((next, longer));
            }
        }
        complete
    }

    /// False if nothing that begins with the value can be sent.
    fn settle(
        &self,
        end: regex_automata::hybrid::LazyStateID,
        value: &[u8],
        grammar: &Grammar,
        found: &mut Found,
    ) -> bool {
        let matched = if end.is_match() {
            self.dfa.match_len(&self.cache, end)
        } else {
            0
        };
        let mut holds: Vec<usize> = (0..matched)
            .map(|at| self.dfa.match_pattern(&self.cache, end, at).as_usize())
            .collect();
        holds.sort_unstable();
        if let Some(&last) = holds.last()
            && last >= self.texts
        {
            return last < self.ends;
        }
        if let Ok(value) = std::str::from_utf8(value)
            && (grammar.sound)(value)
        {
            found.add(holds, value.to_owned());
        }
        true
    }

    /// One byte for each that the texts tell apart: the most usual.
    fn alphabet(&self) -> Vec<u8> {
        let classes = self.dfa.byte_classes();
        let mut known = HashSet::default();
        let bytes = self.bytes.iter().copied();
        bytes
            .filter(|&byte| known.insert(classes.get(byte)))
            .collect()
    }
}

fn whole(hir: Hir) -> Hir {
    Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)])
}

/// A pattern that is not a manifest's: in the syntax of the engine, of bytes.
fn own(pattern: &str) -> Option<Hir> {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
    parser.parse(pattern).ok()
}

/// The text as a pattern.
fn pattern(text: &Text, folded: bool) -> Option<Hir> {
    let literal = |text: &str| Hir::concat(text.bytes().map(|it| byte(it, folded)).collect());
    let any = || own("(?s-u:.*)");
    match text {
        Text::Exact(text) => Some(literal(text)),
        Text::Prefix(text) => Some(Hir::concat(vec![literal(text), any()?])),
        // One that cannot be used matches nothing.
        Text::Pattern(pattern) if !pattern.usable() => Some(Hir::fail()),
        Text::Pattern(pattern) => re2::parse(pattern.source()).ok(),
        Text::Present => any(),
    }
}

/// Folded as [`Text::holds_in_any_case`] does it: ASCII letters, and no others.
fn byte(byte: u8, folded: bool) -> Hir {
    if !folded {
        return Hir::literal([byte]);
    }
    let both = [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()];
    let both = both.map(|it| ClassBytesRange::new(it, it));
    Hir::class(Class::Bytes(ClassBytes::new(both)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Pattern;

    fn text(it: &str) -> Compared {
        let text = match it.split_at(1) {
            ("=", rest) => Text::Exact(rest.into()),
            ("^", rest) => Text::Prefix(rest.into()),
            ("i", rest) => return (Text::Prefix(rest.into()), true),
            (_, rest) => Text::Pattern(Pattern::compile(&rest.into()).0),
        };
        (text, false)
    }

    fn values(texts: &[&str], grammar: &Grammar) -> Vec<String> {
        let texts: Vec<Compared> = texts.iter().copied().map(text).collect();
        let (cells, complete) = divide(&texts, grammar, &Limits::default());
        assert!(complete, "{texts:?}");
        for cell in &cells {
            let own: Vec<usize> = (0..texts.len())
                .filter(|&at| holds(texts.get(at), &cell.value))
                .collect();
            assert_eq!(own, cell.holds, "{}", cell.value);
        }
        cells.into_iter().map(|cell| cell.value).collect()
    }

    const BASE: Normalization = Normalization::Base;

    #[test]
    fn every_combination_that_exists_has_a_value() {
        assert_eq!(values(&[], &path(BASE)), ["/"]);
        assert_eq!(
            values(&["^/api", "=/api/v1", "^/"], &path(BASE)),
            ["/", "*", "/api", "/api/v1"]
        );
        // The pattern alone, the prefix alone, both, none.
        let mut four = values(&["^/a", "~.*z"], &path(BASE));
        four.sort();
        assert_eq!(four, ["/", "/a", "/az", "/z"]);
        assert_eq!(values(&["i/Ab", "^/ab"], &path(BASE)), ["/", "/Ab", "/ab"]);
        // Unicode would fold the Kelvin sign into "k".
        assert_eq!(
            values(&["i\u{212a}", "^k"], &field()),
            ["other", "\u{212a}", "k"]
        );
        assert_eq!(values(&["~[0-9]{3}"], &field()), ["other", "000"]);
        assert_eq!(values(&["=a"], &method()), ["GET", "a"]);
        // No path has such a value once it is normalised.
        assert_eq!(values(&["~/a/\\.\\./b"], &path(BASE)), ["/"]);
    }

    #[test]
    fn every_value_that_can_be_sent_is_one() {
        assert_eq!(
            values(&["=/my%20files", "^/a%2F"], &path(BASE)),
            ["/", "/my%20files", "/a%2F"]
        );
        assert_eq!(values(&["~.*%[0-9A-F]{2}.*"], &path(BASE)), ["/", "/%01"]);
        for (pattern, value) in [
            ("~/.*[|].*", "/|"),
            ("~/[\"].*", "/\""),
            ("~/[`<>^{}]", "/<"),
        ] {
            assert_eq!(values(&[pattern], &path(Normalization::None)), ["/", value]);
            assert_eq!(values(&[pattern], &path(BASE)), ["/"]);
        }
        // OPTIONS of a whole server.
        assert_eq!(values(&["=*"], &path(BASE)), ["/", "*"]);
        // None of these is a path that anybody matches.
        let none = [
            "~/a%",
            "~/%2",
            "~.*%zz.*",
            "~.*%00.*",
            "~/a/%2e(%2E)?/b",
            "~.*\\\\.*",
            "~/a/\\.\\.;.*/b",
            "=/%61dmin",
            "~.*%7[Ee].*",
            "=/a b",
            "=/é",
        ];
        for text in none {
            assert_eq!(values(&[text], &path(BASE)), ["/"], "{text}");
        }
        for (mode, text, more) in [
            (Normalization::None, "~/a/[.][.]/b", Some("/a/../b")),
            (Normalization::None, r"~/\\", Some(r"/\")),
            (BASE, "^/a//b", Some("/a//b")),
            (Normalization::MergeSlashes, "^/a//b", None),
            (Normalization::MergeSlashes, "^/a%2fb", Some("/a%2fb")),
            (Normalization::DecodeAndMergeSlashes, "^/a%2fb", None),
        ] {
            let expected: Vec<_> = ["/"].into_iter().chain(more).collect();
            assert_eq!(values(&[text], &path(mode)), expected, "{mode:?}");
        }
        assert_eq!(
            values(&["=a%20b", "~.*[=?].*"], &parameter()),
            ["other", "a%20b", "="]
        );
        assert_eq!(values(&["~a&b"], &parameter()), ["other"]);
        assert_eq!(values(&["~.*\t.*", "=é"], &field()), ["other", "é", "x\tx"]);
        assert_eq!(values(&["~[^a-zA-Z0-9_-]"], &method()), ["GET", "."]);
        assert_eq!(values(&["=A B"], &method()), ["GET"]);
        assert_eq!(values(&["~.*[?]v=2"], &target(BASE)), ["/", "/?v=2"]);
    }

    /// The pattern of what cannot be sent refuses what is refused without it.
    #[test]
    fn what_cannot_be_sent_is_known_to_the_walk() {
        use proptest::{collection::vec, prelude::*, sample::select};
        let pieces = vec![
            "/", "\\", ".", "%2e", "%2E", "%2f", "%5C", "%", "%00", "0", "a", "z", "*", ";", "%61",
            "%5f", "%7", "%4", "%3b", "<", "[", "-",
        ];
        proptest!(|(pieces in vec(select(pieces), 0..8))| {
            let value = pieces.concat();
            for mode in [
                Normalization::None,
                BASE,
                Normalization::MergeSlashes,
                Normalization::DecodeAndMergeSlashes,
            ] {
                let grammar = path(mode);
                let patterns: Vec<Hir> = grammar.unsound.iter().map(|it| {
                    let rest = if it.for_ever { "(?s-u:.*)" } else { "" };
                    whole(own(&format!("{}{rest}", it.pattern)).unwrap())
                }).collect();
                let refused = regex_automata::meta::Regex::builder()
                    .build_many_from_hir(&patterns)
                    .unwrap();
                let refused = refused.is_match(&value) || !value.bytes().all(|it| grammar.bytes.contains(&it));
                prop_assert_eq!(refused || value == "*", !is_path(&value, mode) || value == "*", "{} {:?}", value, mode);
            }
        });
    }

    #[test]
    fn limits_end_the_walk_and_it_says_so() {
        let texts = [text("~.*a.{40}b.{40}c")];
        let limits = Limits {
            states: 100,
            ..Limits::default()
        };
        let (cells, complete) = divide(&texts, &field(), &limits);
        assert!(!complete);
        assert_eq!(cells[0].value, "other");
    }
}
