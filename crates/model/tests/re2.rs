//! Patterns mean what they mean in RE2 (VS-H-17): the cases of `re2.txt`.
use pointsman_model::re2::{self, Fault};
use proptest::prelude::*;

/// `None`: refused.
fn matches(pattern: &str, text: &str) -> Option<bool> {
    let whole = re2::parse(pattern).and_then(re2::whole).ok()?;
    Some(whole.is_match(text))
}

/// `\u{e9}` is a character.
fn text(written: &str) -> String {
    let mut parts = written.split(r"\u{");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}').unwrap();
        let code = u32::from_str_radix(code, 16).unwrap();
        text.push(char::from_u32(code).unwrap());
        text.push_str(rest);
    }
    text
}

/// VS-H-17, VS-H-163.
#[test]
fn patterns_mean_what_they_mean_in_re2() {
    let mut cases = 0;
    for line in include_str!("re2.txt").lines() {
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        cases += 1;
        let columns: Vec<&str> = line.split('\t').collect();
        match columns[..] {
            ["refused", pattern] => assert_eq!(matches(pattern, ""), None, "{line}"),
            [verdict @ ("yes" | "no"), pattern, written] => assert_eq!(
                matches(pattern, &text(written)),
                Some(verdict == "yes"),
                "{line}"
            ),
            _ => panic!("{line}"),
        }
    }
    assert!(cases > 100);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (pattern, expected) in [
        ("/é(a", "a `(` is not closed, at character 3"),
        (r"a\1", r"RE2 has no back-reference `\1`, at character 2"),
        ("ab[c", "a `[` is not closed, at character 3"),
        (
            "a[x-d]",
            "the range `x-d` ends before it begins, at character 3",
        ),
        ("a*+", "`+` repeats a repetition, at character 3"),
        (
            "(?x)a",
            "RE2 has no `(?x`; its flags are i, m, s and U, at character 1",
        ),
        (
            "a\\\u{7}é\\\né\\é",
            r"RE2 has no escape `\é`, at character 8",
        ),
    ] {
        let fault = re2::parse(pattern).expect_err(pattern);
        assert_eq!(fault.to_string(), expected);
    }
}

#[test]
fn what_is_deep_or_large_is_refused() {
    let deep = |levels: usize| format!("{}a{}", "(b|c".repeat(levels), ")*".repeat(levels));
    assert_eq!(matches(&deep(50), "bbb"), Some(true));
    for pattern in [deep(200), deep(100_000), "(".repeat(300) + &")".repeat(300)] {
        assert_eq!(re2::parse(&pattern), Err(Fault::Depth));
    }
    let large = re2::parse(r"\pL{1000}").expect("RE2 reads it");
    assert_eq!(re2::whole(large).expect_err("large"), Fault::Size);
    // Of a thousand characters, all that a name of hosts or a path needs.
    for pattern in [
        r"[\w-]{1,63}(\.[\w-]{1,63}){1,10}",
        "[^/]{1,1000}",
        ".{1000}",
    ] {
        assert!(matches(pattern, "a").is_some(), "{pattern}");
    }
}

proptest! {
    /// What is read is always something that the engine takes, however it is put together.
    #[test]
    fn nothing_is_refused_by_the_engine(
        parts in prop::collection::vec(prop::sample::select(&[
            "a", "é", "k", "-", "[", "[^", "]", "(", "(?:", "(?i:", "(?U)", "(?<n>", ")", "|", "*", "+", "?",
            "{", "}", "{2}", "{,3}", "{0,}", "{1001}", ",", "^", "$", ".", "&&", "~~", "--", ":", "[:alpha:]",
            "[:^lower:]", "[:", ":]", "\\", r"\w", r"\W", r"\b", r"\B", r"\Q", r"\E", r"\<", r"\x{", r"\x41",
            r"\101", r"\p", r"\pN", r"\p{Cs}", r"\p{^Greek}", r"\PC", r"\x{d800}", "\n", "#", " ", "<", ">", "=",
        ][..]), 0..12),
    ) {
        let pattern = parts.concat();
        prop_assert_ne!(re2::parse(&pattern).err(), Some(Fault::Depth));
    }

    #[test]
    fn no_text_makes_it_panic(pattern in any::<String>()) {
        let _ = re2::parse(&pattern);
    }
}
