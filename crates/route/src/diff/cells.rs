//! One part of a request divided by the texts it is compared with: a value for each division.
//!
//! Which texts a value satisfies is all that a rule list can learn of it. The automaton of all
//! texts at once is walked, shortest values first, and the set of texts that hold in each state is
//! a division; so the divisions are complete, overlapping patterns included, unless a limit ends
//! the walk.
use super::Limits;
use crate::text::Text;
use foldhash::{HashMap, HashSet};
use pointsman_model::re2;
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
    /// Bytes in order of preference.
    pub(super) bytes: &'static [u8],
    /// Values that people would write, tried first.
    pub(super) usual: &'static [&'static str],
    /// Can a client send it so?
    pub(super) sound: fn(&str) -> bool,
    /// The same as a pattern of what cannot be sent, for the walk; in the syntax of the engine.
    pub(super) unsound: &'static str,
}

/// A path as it is after normalisation (PS-80).
pub(super) const PATH: Grammar = Grammar {
    bytes: b"xabcdefghijklmnopqrstuvwyz0123456789/-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZ!$&'()*+,;=:@",
    usual: &["/", "/x"],
    sound: |path| {
        let dots = |it: &str| matches!(it, "." | "..");
        path.starts_with('/')
            && !path.contains(['?', '#', '\\', '%', ' '])
            && !path.split('/').any(dots)
    },
    unsound: r"(?s-u:|[^/].*|.*/\.\.?|.*/\.\.?/.*)",
};
/// A method.
pub(super) const METHOD: Grammar = Grammar {
    bytes: b"XABCDEFGHIJKLMNOPQRSTUVWYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    usual: &["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"],
    sound: |it| !it.is_empty() && it != "CONNECT",
    unsound: "(?s-u:|CONNECT)",
};
/// Value of a header field.
pub(super) const FIELD: Grammar = Grammar {
    bytes: b"xabcdefghijklmnopqrstuvwyz0123456789-_./ ABCDEFGHIJKLMNOPQRSTUVWXYZ:;=,()!\"#$%&'*+<>?@[\\]^`{|}~",
    usual: &["other"],
    sound: |it| it.trim() == it && !it.chars().any(char::is_control),
    unsound: "(?s-u: .*|.* )",
};
/// Value of a query parameter, as sent.
pub(super) const PARAMETER: Grammar = Grammar {
    bytes: b"xabcdefghijklmnopqrstuvwyz0123456789-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZ/:+,!$'()*;@",
    usual: &["other"],
    sound: |it| !it.contains(['&', '#', ' ']) && !it.chars().any(char::is_control),
    unsound: "[a&&b]",
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

/// The automaton of all texts, the last of which is what cannot be sent.
struct Walk {
    dfa: DFA,
    cache: Cache,
    texts: usize,
}

impl Walk {
    fn new(texts: &[Compared], grammar: &Grammar, limits: &Limits) -> Option<Self> {
        let mut patterns = Vec::with_capacity(texts.len() + 1);
        for (text, folded) in texts {
            patterns.push(whole(pattern(text, *folded)?));
        }
        patterns.push(whole(own(grammar.unsound)?));
        let nfa: NFA = thompson::Compiler::new()
            .configure(thompson::Config::new().nfa_size_limit(Some(limits.automaton_bytes)))
            .build_many_from_hir(&patterns)
            .ok()?;
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
        Some(Self { dfa, cache, texts })
    }

    /// Breadth first, so that the first value of a division is a shortest one. False when a limit
    /// ended it.
    fn run(mut self, grammar: &Grammar, limits: &Limits, found: &mut Found) -> bool {
        let anchored = start::Config::new().anchored(Anchored::Yes);
        let Ok(first) = self.dfa.start_state(&mut self.cache, &anchored) else {
            return false;
        };
        let alphabet = self.alphabet(grammar);
        let mut complete = true;
        let mut queue = VecDeque::from([(first, Vec::new())]);
        let mut seen: HashMap<_, ()> = HashMap::default();
        seen.insert(first, ());
        while let Some((state, value)) = queue.pop_front() {
            let Ok(end) = self.dfa.next_eoi_state(&mut self.cache, state) else {
                return false;
            };
            self.settle(end, &value, grammar, found);
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

    fn settle(
        &self,
        end: regex_automata::hybrid::LazyStateID,
        value: &[u8],
        grammar: &Grammar,
        found: &mut Found,
    ) {
        let matched = if end.is_match() {
            self.dfa.match_len(&self.cache, end)
        } else {
            0
        };
        let mut holds: Vec<usize> = (0..matched)
            .map(|at| self.dfa.match_pattern(&self.cache, end, at).as_usize())
            .collect();
        holds.sort_unstable();
        if holds.last() == Some(&self.texts) {
            return;
        }
        if let Ok(value) = std::str::from_utf8(value)
            && (grammar.sound)(value)
        {
            found.add(holds, value.to_owned());
        }
    }

    /// One byte for each that the texts tell apart: the most usual.
    fn alphabet(&self, grammar: &Grammar) -> Vec<u8> {
        let classes = self.dfa.byte_classes();
        let mut known = HashSet::default();
        let bytes = grammar.bytes.iter().copied();
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
        assert!(complete);
        for cell in &cells {
            let own: Vec<usize> = (0..texts.len())
                .filter(|&at| holds(texts.get(at), &cell.value))
                .collect();
            assert_eq!(own, cell.holds, "{}", cell.value);
        }
        cells.into_iter().map(|cell| cell.value).collect()
    }

    #[test]
    fn every_combination_that_exists_has_a_value() {
        assert_eq!(values(&[], &PATH), ["/"]);
        assert_eq!(
            values(&["^/api", "=/api/v1", "^/"], &PATH),
            ["/", "/api", "/api/v1"]
        );
        // The pattern alone, the prefix alone, both, none.
        let mut four = values(&["^/a", "~.*z"], &PATH);
        four.sort();
        assert_eq!(four, ["/", "/a", "/az", "/z"]);
        assert_eq!(values(&["i/Ab", "^/ab"], &PATH), ["/", "/Ab", "/ab"]);
        // Unicode would fold the Kelvin sign into "k".
        assert_eq!(
            values(&["i/\u{212a}", "^/k"], &PATH),
            ["/", "/\u{212a}", "/k"]
        );
        assert_eq!(values(&["~[0-9]{3}"], &FIELD), ["other", "000"]);
        assert_eq!(values(&["=a"], &METHOD), ["GET", "a"]);
        // No path has such a value once it is normalised.
        assert_eq!(values(&["~/a/\\.\\./b"], &PATH), ["/"]);
    }

    #[test]
    fn limits_end_the_walk_and_it_says_so() {
        let texts = [text("~.*a.{40}b.{40}c")];
        let limits = Limits {
            states: 100,
            ..Limits::default()
        };
        let (cells, complete) = divide(&texts, &FIELD, &limits);
        assert!(!complete);
        assert_eq!(cells[0].value, "other");
    }
}
