//! `uriRegexRewrite`: every match of a pattern in the path is replaced (VS-H-57).
use pointsman_model::re2;
use regex_automata::{meta, util::captures::Captures};
use std::sync::Arc;

/// A pattern to search for, and what takes the place of each match.
#[derive(Clone, Debug)]
pub struct Substitution {
    pattern: Arc<str>,
    written: Arc<str>,
    regex: meta::Regex,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// A group of the pattern; 0 is the whole match. One that took no part is empty.
    Group(usize),
}

impl PartialEq for Substitution {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern && self.written == other.written
    }
}
impl Eq for Substitution {}

impl Substitution {
    /// Compiles a pattern in RE2 syntax and a replacement in which `\0`..`\9` are groups and `\\`
    /// is a backslash.
    ///
    /// # Errors
    /// In words for people: a pattern that cannot be compiled, a group it does not have, a backslash
    /// before anything else.
    pub fn compile(pattern: &Arc<str>, replacement: &Arc<str>) -> Result<Self, String> {
        let parsed = re2::parse(pattern).map_err(|fault| fault.to_string())?;
        let regex = re2::search(&parsed).map_err(|fault| fault.to_string())?;
        let parts = parts(replacement)?;
        let groups = regex.captures_len();
        for part in &parts {
            if let Part::Group(group) = part
                && *group >= groups
            {
                return Err(format!(
                    "the replacement names group {group}, the pattern has {}",
                    groups - 1
                ));
            }
        }
        Ok(Self {
            pattern: Arc::clone(pattern),
            written: Arc::clone(replacement),
            regex,
            parts: parts.into(),
        })
    }

    /// The path with every match replaced, one after the other without overlap; `None` if there is
    /// none.
    pub fn replace(&self, path: &str) -> Option<String> {
        if !self.regex.is_match(path) {
            return None;
        }
        let mut made = String::with_capacity(path.len() + self.written.len());
        let mut end = 0;
        let between = |range| path.get(range).unwrap_or_default();
        for found in self.regex.captures_iter(path) {
            let Some(span) = found.get_match().map(|it| it.span()) else {
                continue;
            };
            made.push_str(between(end..span.start));
            self.put(&found, path, &mut made);
            end = span.end;
        }
        made.push_str(between(end..path.len()));
        Some(made)
    }

    fn put(&self, found: &Captures, path: &str, made: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => made.push_str(text),
                Part::Group(group) => {
                    let span = found.get_group(*group);
                    let text = span.and_then(|span| path.get(span.start..span.end));
                    made.push_str(text.unwrap_or_default());
                }
            }
        }
    }
}

fn parts(replacement: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut characters = replacement.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('\\') => text.push('\\'),
            Some(digit @ '0'..='9') => {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                }
                parts.push(Part::Group(digit as usize - '0' as usize));
            }
            _ => {
                return Err(r"a backslash in a replacement is written \\, a group \0 to \9".into());
            }
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, replacement: &str, path: &str) -> Option<String> {
        Substitution::compile(&pattern.into(), &replacement.into())
            .expect("compiles")
            .replace(path)
    }

    /// VS-H-57, T-H-67, T-H-68.
    #[test]
    fn every_match_is_replaced() {
        for (pattern, replacement, path, expected) in [
            ("/([a-z]+)/([0-9]+)", r"/\2/\1", "/ab/12", "/12/ab"),
            ("a", "b", "/aXa", "/bXb"),
            ("aa", "b", "/aaaaa", "/bba"),
            ("^/api/v([0-9])", r"/v\1", "/api/v2/api/v3", "/v2/api/v3"),
            ("(x)|(y)", r"[\1\2]", "/xy", "/[x][y]"),
            ("/+", "/", "//a///b", "/a/b"),
            ("[0-9]*", "-", "/1a", "-/-a-"),
            ("(?i)FOO", r"\0\\", "/foo", r"/foo\"),
            ("/.*", "", "/x", ""),
            (r"^/{v}/([\w-.]+)", r"/\1", "/{v}/a-b/c", "/a-b/c"),
        ] {
            let made = replaced(pattern, replacement, path);
            assert_eq!(made.as_deref(), Some(expected), "{pattern} {path}");
        }
        assert_eq!(replaced("z", "y", "/a"), None);
    }

    #[test]
    fn what_cannot_be_carried_out_does_not_compile() {
        for (pattern, replacement, word) in [
            ("(", "", "not closed"),
            ("a", r"\1", "group 1"),
            ("(a)", r"\n", "backslash"),
            ("a", "\\", "backslash"),
            (r"(a)\1", "", ""),
        ] {
            let error = Substitution::compile(&pattern.into(), &replacement.into());
            assert!(error.expect_err(pattern).contains(word), "{pattern}");
        }
    }
}
