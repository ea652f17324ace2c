//! Patterns in the syntax of RE2, as Istio has them (VS-H-17), for the engine we have.
//!
//! [`parse`] is the only way a pattern of a manifest becomes a program: validation, matching and
//! substitution all take it. The engine's own syntax looks the same and is another: it would refuse
//! `[\w-.]` and `/{id}`, and read `[[a]]`, `&&` in a class, `\<` and `\w` differently.
mod classes;
mod translate;

use regex_automata::meta;
use regex_syntax::hir::{Hir, Look};
use std::{borrow::Cow, fmt};

/// Memory one compiled pattern may take, in bytes: a thousand characters of pattern can ask for far
/// more than that, and a table may hold thousands of patterns.
const COMPILED_BYTES: usize = 1 << 20;

/// Levels of groups, repetitions and alternatives in each other: compiling them recurs.
const LEVELS: u32 = 250;

/// Why a pattern cannot be used; shown as a clause that follows "cannot be compiled: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no RE2.
    Syntax {
        /// What is wrong, in words for people.
        reason: Cow<'static, str>,
        /// At which character, the first being 1.
        at: usize,
    },
    /// Its parts are in each other too deeply.
    Depth,
    /// It takes more than 1 MiB when compiled.
    Size,
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { reason, at } => write!(to, "{reason}, at character {at}"),
            Self::Depth => to.write_str("its groups are in each other too deeply"),
            Self::Size => to.write_str("it takes more than 1 MiB when compiled"),
        }
    }
}

impl std::error::Error for Fault {}

/// Reads a pattern.
///
/// # Errors
/// What RE2 refuses, and `\C`, which takes bytes apart.
pub fn parse(pattern: &str) -> Result<Hir, Fault> {
    let translated = translate::translate(pattern)?;
    regex_syntax::ParserBuilder::new()
        .nest_limit(LEVELS)
        .build()
        .parse(&translated)
        .map_err(|_| Fault::Depth)
}

/// Compiles a pattern that has to match a whole value.
///
/// # Errors
/// [`Fault::Size`].
pub fn whole(pattern: Hir) -> Result<meta::Regex, Fault> {
    // Around the parsed pattern, not around its text, which could close a group of ours.
    let anchored = Hir::concat(vec![Hir::look(Look::Start), pattern, Hir::look(Look::End)]);
    // Values are bytes, of which an empty match may take any place.
    compile(meta::Config::new().utf8_empty(false), &anchored)
}

/// Compiles a pattern that is searched for in text, with its groups.
///
/// # Errors
/// [`Fault::Size`].
pub fn search(pattern: &Hir) -> Result<meta::Regex, Fault> {
    compile(meta::Config::new(), pattern)
}

fn compile(config: meta::Config, pattern: &Hir) -> Result<meta::Regex, Fault> {
    let config = config
        .nfa_size_limit(Some(COMPILED_BYTES))
        .onepass_size_limit(Some(COMPILED_BYTES / 4))
        .hybrid_cache_capacity(COMPILED_BYTES / 4);
    meta::Regex::builder()
        .configure(config)
        .build_from_hir(pattern)
        .map_err(|_| Fault::Size)
}
