//! A pattern in RE2's syntax written in the engine's, so that it means the same.
//!
//! Every part is written for itself: what flags mean for it is settled here, and nothing but what is
//! plain in the engine's syntax is used. One pass, and each character becomes a few.
use super::{Fault, classes};
use std::borrow::Cow;

/// Most repetitions, also of one within another.
const REPETITIONS: u32 = 1000;

/// Everything, within brackets.
const ANY: &str = r"\x00-\x{10FFFF}";

/// Writes a pattern anew.
pub(super) fn translate(pattern: &str) -> Result<String, Fault> {
    let mut translation = Translation {
        pattern,
        rest: pattern,
        made: String::with_capacity(2 * pattern.len()),
        level: Level::default(),
        outer: Vec::new(),
        is_repeated: false,
        has_names: true,
    };
    translation.run()?;
    Ok(translation.made)
}

#[derive(Clone, Copy, Default)]
struct Flags {
    /// `i`
    folds: bool,
    /// `m`
    lines: bool,
    /// `s`
    dot_is_any: bool,
    /// `U`
    lazy: bool,
}

/// A group, or the pattern as a whole.
#[derive(Clone, Copy, Default)]
struct Level {
    flags: Flags,
    /// What a repetition would repeat: how often something in it is repeated already.
    last: Option<u32>,
    /// The most of that in the level so far.
    most: u32,
    /// Where the group was opened.
    start: usize,
}

struct Translation<'p> {
    pattern: &'p str,
    /// What is not read yet.
    rest: &'p str,
    made: String,
    level: Level,
    outer: Vec<Level>,
    /// Was the last thing read a repetition?
    is_repeated: bool,
    /// False once no `:]` is left: it is looked for once.
    has_names: bool,
}

impl<'p> Translation<'p> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut start = self.place();
        while let Some(character) = self.next() {
            let was_repeated = std::mem::take(&mut self.is_repeated);
            match character {
                '(' if self.take("?") => self.special_group(start)?,
                '(' => self.open("(", self.level.flags, start),
                ')' => self.close(start)?,
                '|' => {
                    self.made.push('|');
                    self.level.last = None;
                }
                '^' if self.level.flags.lines => self.part("(?m:^)"),
                '^' => self.part(r"\A"),
                '$' if self.level.flags.lines => self.part("(?m:$)"),
                '$' => self.part(r"\z"),
                '.' if self.level.flags.dot_is_any => self.part("(?s:.)"),
                '.' => self.part(r"[^\n]"),
                '[' => self.class(start)?,
                '*' => self.repeat((0, None), start, was_repeated)?,
                '+' => self.repeat((1, None), start, was_repeated)?,
                '?' => self.repeat((0, Some(1)), start, was_repeated)?,
                '{' => match self.counts() {
                    Some(counts) => self.repeat(counts, start, was_repeated)?,
                    None => self.literal('{'),
                },
                '\\' => self.backslash(start)?,
                _ => self.literal(character),
            }
            start = self.place();
        }
        match self.outer.is_empty() {
            true => Ok(()),
            false => self.fault(self.level.start, "a `(` is not closed"),
        }
    }

    /// Byte at which the rest begins.
    fn place(&self) -> usize {
        self.pattern.len() - self.rest.len()
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let first = characters.next()?;
        self.rest = characters.as_str();
        Some(first)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn fault<T>(&self, start: usize, reason: impl Into<Cow<'static, str>>) -> Result<T, Fault> {
        let before = self.pattern.get(..start).unwrap_or_default();
        let reason = reason.into();
        Err(Fault::Syntax {
            reason: match reason.contains(char::is_control) {
                true => reason.replace(char::is_control, " ").into(),
                false => reason,
            },
            at: before.chars().count() + 1,
        })
    }

    /// What was read since `start`.
    fn read(&self, start: usize) -> &'p str {
        self.pattern.get(start..self.place()).unwrap_or_default()
    }

    /// Something that a repetition may follow.
    fn part(&mut self, made: &str) {
        self.made.push_str(made);
        self.is_part(1);
    }

    fn is_part(&mut self, repeated: u32) {
        self.level.last = Some(repeated);
        self.level.most = self.level.most.max(repeated);
    }

    fn literal(&mut self, character: char) {
        self.folded(|made| escaped(character, made));
    }

    /// A part in which letters are folded if the flag says so.
    fn folded(&mut self, write: impl FnOnce(&mut String)) {
        let folds = self.level.flags.folds;
        if folds {
            self.made.push_str("(?i:");
        }
        write(&mut self.made);
        if folds {
            self.made.push(')');
        }
        self.is_part(1);
    }

    fn open(&mut self, made: &str, flags: Flags, start: usize) {
        self.made.push_str(made);
        let inner = Level {
            flags,
            last: None,
            most: 1,
            start,
        };
        self.outer.push(std::mem::replace(&mut self.level, inner));
    }

    fn close(&mut self, start: usize) -> Result<(), Fault> {
        let Some(outer) = self.outer.pop() else {
            return self.fault(start, "a `)` closes nothing");
        };
        self.made.push(')');
        let inner = std::mem::replace(&mut self.level, outer);
        self.is_part(inner.most);
        Ok(())
    }

    /// What follows `(?`: a name, flags, or both flags and a group.
    fn special_group(&mut self, start: usize) -> Result<(), Fault> {
        if ["=", "!", "<=", "<!"]
            .iter()
            .any(|it| self.rest.starts_with(it))
        {
            return self.fault(start, "RE2 has no look-ahead and no look-behind");
        }
        if self.take("P<") || self.take("<") {
            let name = self.rest.split_once('>');
            let is_name = |name: &str| {
                let mut characters = name.chars();
                !name.is_empty() && characters.all(|it| it == '_' || it.is_alphanumeric())
            };
            let Some((_, rest)) = name.filter(|(name, _)| is_name(name)) else {
                return self.fault(start, "a group has no name of letters, digits and _");
            };
            self.rest = rest;
            // Groups are referred to by number.
            self.open("(", self.level.flags, start);
            return Ok(());
        }
        let mut flags = self.level.flags;
        let mut value = true;
        let mut is_complete = true;
        loop {
            let flag = match self.next() {
                Some('i') => &mut flags.folds,
                Some('m') => &mut flags.lines,
                Some('s') => &mut flags.dot_is_any,
                Some('U') => &mut flags.lazy,
                Some('-') if value => {
                    value = false;
                    is_complete = false;
                    continue;
                }
                Some(':') if is_complete => {
                    self.open("(?:", flags, start);
                    return Ok(());
                }
                Some(')') if is_complete => {
                    self.level.flags = flags;
                    return Ok(());
                }
                _ => {
                    let reason = format!(
                        "RE2 has no `{}`; its flags are i, m, s and U",
                        self.read(start)
                    );
                    return self.fault(start, reason);
                }
            };
            *flag = value;
            is_complete = true;
        }
    }

    /// What follows `{`, if it is a repetition; otherwise the `{` is one.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let (low, rest) = count(self.rest)?;
        let (high, rest) = match rest.strip_prefix(',') {
            None => (Some(low), rest),
            Some(rest) if rest.starts_with('}') => (None, rest),
            Some(rest) => count(rest).map(|(high, rest)| (Some(high), rest))?,
        };
        self.rest = rest.strip_prefix('}')?;
        Some((low, high))
    }

    fn repeat(
        &mut self,
        (low, high): (u32, Option<u32>),
        start: usize,
        was_repeated: bool,
    ) -> Result<(), Fault> {
        let lazy = self.take("?") != self.level.flags.lazy;
        let written = self.read(start);
        if was_repeated {
            return self.fault(start, format!("`{written}` repeats a repetition"));
        }
        let Some(last) = self.level.last else {
            return self.fault(
                start,
                format!("there is nothing that `{written}` could repeat"),
            );
        };
        let most = high.unwrap_or(low);
        let repeated = last.saturating_mul(most.max(1));
        if low > most {
            return self.fault(start, format!("`{written}` ends before it begins"));
        }
        if most > REPETITIONS || (most > 1 && repeated > REPETITIONS) {
            return self.fault(
                start,
                format!("`{written}` makes more than {REPETITIONS} repetitions"),
            );
        }
        // Never a lone `?`: behind another repetition it would make that one lazy.
        self.made.push_str(&match high {
            Some(high) => format!("{{{low},{high}}}"),
            None => format!("{{{low},}}"),
        });
        if lazy {
            self.made.push('?');
        }
        self.is_part(repeated);
        self.is_repeated = true;
        Ok(())
    }

    fn backslash(&mut self, start: usize) -> Result<(), Fault> {
        let before = self.rest;
        match self.next() {
            Some('A') => self.part(r"\A"),
            Some('z') => self.part(r"\z"),
            Some('b') => self.part(r"(?-u:\b)"),
            Some('B') => self.part(r"(?-u:\B)"),
            Some('C') => return self.fault(start, r"`\C`, a single byte, is not supported"),
            Some('Q') => {
                let (text, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                for character in text.chars() {
                    self.literal(character);
                }
                self.rest = rest;
            }
            _ => {
                self.rest = before;
                match self.class_escape(start)? {
                    Some(item) => self.folded(|made| {
                        made.push('[');
                        made.push_str(or_nothing(&item));
                        made.push(']');
                    }),
                    None => {
                        let code = self.escape(start)?;
                        match char::from_u32(code) {
                            Some(character) => self.literal(character),
                            None => self.part(r"[^\x00-\x{10FFFF}]"),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// What follows a backslash that begins at `start`, if it is a class: as an item within brackets.
    fn class_escape(&mut self, start: usize) -> Result<Option<String>, Fault> {
        let mut characters = self.rest.chars();
        let Some(letter) = characters.next() else {
            return Ok(None);
        };
        let rest = characters.as_str();
        if let Some(inner) = classes::perl(letter.to_ascii_lowercase()) {
            self.rest = rest;
            return Ok(Some(signed(inner, letter.is_ascii_lowercase())));
        }
        if !matches!(letter, 'p' | 'P') {
            return Ok(None);
        }
        self.rest = rest;
        let name = match rest.strip_prefix('{') {
            Some(name) => name.split_once('}').map(|(name, rest)| {
                self.rest = rest;
                name
            }),
            None => self.next().and_then(|_| {
                let end = rest.len() - self.rest.len();
                rest.get(..end)
            }),
        };
        let is_positive = letter == 'p';
        let name = name.map(|name| match name.strip_prefix('^') {
            Some(name) => (name, !is_positive),
            None => (name, is_positive),
        });
        let found = name.and_then(|(name, sign)| Some(signed(&classes::unicode(name)?, sign)));
        match found {
            Some(item) => Ok(Some(item)),
            None => self.fault(start, format!("RE2 has no class `{}`", self.read(start))),
        }
    }

    /// The character that an escape stands for; its backslash, at `start`, is read already.
    fn escape(&mut self, start: usize) -> Result<u32, Fault> {
        let digit = |it: char, base| it.to_digit(base);
        let Some(letter) = self.next() else {
            return self.fault(start, "it ends with a backslash");
        };
        let code = match letter {
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            '0'..='7' => {
                let mut code = digit(letter, 8).unwrap_or_default();
                let mut more = 0;
                while more < 2
                    && let Some(next) = self.rest.chars().next().and_then(|it| digit(it, 8))
                {
                    self.next();
                    code = code * 8 + next;
                    more += 1;
                }
                (letter == '0' || more > 0).then_some(code)
            }
            'x' if self.take("{") => {
                let digits = self.rest.split_once('}').map(|(digits, rest)| {
                    self.rest = rest;
                    digits
                });
                digits.and_then(hexadecimal)
            }
            'x' => {
                let digits = self.rest.get(..2);
                self.rest = self.rest.get(2..).unwrap_or_default();
                digits.and_then(hexadecimal)
            }
            '_' => Some('_' as u32),
            _ if letter.is_ascii() && !letter.is_ascii_alphanumeric() => Some(letter as u32),
            _ => None,
        };
        match code {
            Some(code) => Ok(code),
            None if letter.is_ascii_digit() => {
                self.fault(start, format!("RE2 has no back-reference `\\{letter}`"))
            }
            None => self.fault(start, format!("RE2 has no escape `{}`", self.read(start))),
        }
    }

    /// What follows `[`.
    fn class(&mut self, start: usize) -> Result<(), Fault> {
        let is_positive = !self.take("^");
        let mut items = String::new();
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            if self.rest.is_empty() {
                return self.fault(start, "a `[` is not closed");
            }
            is_first = false;
            let place = self.place();
            if let Some(item) = self.posix(place)? {
                items.push_str(&item);
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\') {
                let before = std::mem::replace(&mut self.rest, rest);
                if let Some(item) = self.class_escape(place)? {
                    items.push_str(&item);
                    continue;
                }
                self.rest = before;
            }
            let low = self.class_character(start)?;
            let mut high = low;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if is_range && self.rest.len() > 1 {
                self.take("-");
                high = self.class_character(start)?;
            }
            if high < low {
                let reason = format!("the range `{}` ends before it begins", self.read(place));
                return self.fault(place, reason);
            }
            range(low, high, &mut items);
        }
        self.take("]");
        let class = signed(&items, is_positive);
        self.folded(|made| {
            made.push('[');
            made.push_str(or_nothing(&class));
            made.push(']');
        });
        Ok(())
    }

    /// `[:alpha:]` within brackets, if it is one.
    fn posix(&mut self, start: usize) -> Result<Option<String>, Fault> {
        let Some(rest) = self.rest.strip_prefix("[:").filter(|_| self.has_names) else {
            return Ok(None);
        };
        let Some((name, rest)) = rest.split_once(":]") else {
            self.has_names = false;
            return Ok(None);
        };
        self.rest = rest;
        let (name, is_positive) = match name.strip_prefix('^') {
            Some(name) => (name, false),
            None => (name, true),
        };
        match classes::is_posix(name) {
            true => Ok(Some(signed(&format!("[:{name}:]"), is_positive))),
            false => self.fault(start, format!("RE2 has no class `{}`", self.read(start))),
        }
    }

    /// One character within the brackets that were opened at `class`.
    fn class_character(&mut self, class: usize) -> Result<u32, Fault> {
        let start = self.place();
        match self.next() {
            Some('\\') => self.escape(start),
            Some(character) => Ok(character as u32),
            None => self.fault(class, "a `[` is not closed"),
        }
    }
}

/// A number of a repetition, and what follows it. RE2 takes none with leading zeros, and not those
/// that it could not hold.
fn count(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if digits.len() > 9 || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

/// Of any number of digits, up to the last character there is.
fn hexadecimal(digits: &str) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.chars().try_fold(0_u32, |code, it| {
        let code = code * 16 + it.to_digit(16)?;
        (code <= u32::from(char::MAX)).then_some(code)
    })
}

/// A range as an item within brackets. Surrogates are left out: no text has them.
fn range(low: u32, high: u32, made: &mut String) {
    let low = char::from_u32(low).unwrap_or('\u{e000}');
    let high = char::from_u32(high).unwrap_or('\u{d7ff}');
    if low <= high {
        escaped(low, made);
        made.push('-');
        escaped(high, made);
    }
}

fn escaped(character: char, made: &mut String) {
    if regex_syntax::is_meta_character(character) {
        made.push('\\');
    }
    made.push(character);
}

/// Items within brackets, or what they leave: in brackets of its own, as letters are folded before
/// it is taken.
fn signed(items: &str, is_positive: bool) -> String {
    match (is_positive, items.is_empty()) {
        (true, _) => items.to_owned(),
        (false, true) => ANY.to_owned(),
        (false, false) => format!("[^{items}]"),
    }
}

/// Items within brackets, which cannot be empty.
fn or_nothing(items: &str) -> &str {
    match items.is_empty() {
        true => r"[^\x00-\x{10FFFF}]",
        false => items,
    }
}
