//! What came of the cases: lines for people, JSON and JUnit XML for programs.
use super::Outcome;
use serde_json::{Value, json};
use std::{fmt::Write, time::Duration};

/// The line of one case; below it, if it failed, what was expected, what came, and why.
pub(super) fn line(outcome: &Outcome<'_>, color: bool) -> String {
    let paint = |code: &str, text: &str| match color {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    if outcome.passed() {
        return format!("{}   {}\n", paint("32", "ok"), outcome.case.name);
    }
    let place = outcome.place();
    let mut text = format!("{} {}  {place}\n", paint("31;1", "FAIL"), outcome.case.name);
    for complaint in outcome.complaints() {
        let _ = writeln!(text, "     {complaint}");
    }
    if let Some(rule) = &outcome.rule {
        let _ = writeln!(text, "     by {rule}");
    }
    if let Some(sentence) = &outcome.sentence {
        let _ = writeln!(text, "     => {sentence}");
    }
    text
}

/// `2 passed, 1 failed`.
pub(super) fn summary(outcomes: &[Outcome<'_>]) -> String {
    let failed = outcomes.iter().filter(|it| !it.passed()).count();
    format!("{} passed, {failed} failed\n", outcomes.len() - failed)
}

/// One object; version 1 of its form.
pub(super) fn json(outcomes: &[Outcome<'_>]) -> Value {
    let failed = outcomes.iter().filter(|it| !it.passed()).count();
    let cases: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let differences = outcome.result.as_ref().ok().map(|all| {
                all.iter()
                    .map(|it| json!({"field": it.field, "expected": it.expected, "got": it.got}))
                    .collect::<Vec<_>>()
            });
            json!({
                "name": outcome.case.name,
                "file": outcome.suite.file,
                "line": outcome.case.line,
                "passed": outcome.passed(),
                "differences": differences.unwrap_or_default(),
                "error": outcome.result.as_ref().err(),
                "rule": outcome.rule,
                "sentence": outcome.sentence,
            })
        })
        .collect();
    json!({
        "version": 1,
        "passed": outcomes.len() - failed,
        "failed": failed,
        "cases": cases,
    })
}

/// JUnit XML: a `testsuite` for each file.
pub(super) fn junit(outcomes: &[Outcome<'_>]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for suite in outcomes.chunk_by(|a, b| std::ptr::eq(a.suite, b.suite)) {
        let failed = suite.iter().filter(|it| !it.passed()).count();
        let took: Duration = suite.iter().map(|it| it.took).sum();
        let file = suite.first().map(|it| escaped(&it.suite.file));
        let file = file.unwrap_or_default();
        let _ = writeln!(
            text,
            "  <testsuite name=\"{file}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{:.6}\">",
            suite.len(),
            took.as_secs_f64(),
        );
        for outcome in suite {
            let _ = write!(
                text,
                "    <testcase name=\"{}\" classname=\"{file}\" file=\"{file}\" line=\"{}\" time=\"{:.6}\"",
                escaped(&outcome.case.name),
                outcome.case.line,
                outcome.took.as_secs_f64(),
            );
            if outcome.passed() {
                text.push_str("/>\n");
                continue;
            }
            let complaints = outcome.complaints();
            let more = outcome.rule.iter().map(|it| format!("by {it}"));
            let more = more.chain(outcome.sentence.iter().map(|it| format!("=> {it}")));
            let body: Vec<String> = complaints.iter().cloned().chain(more).collect();
            let _ = writeln!(
                text,
                ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                escaped(&complaints.join("; ")),
                escaped(&body.join("\n")),
            );
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text of an XML attribute or element; characters that XML 1.0 has no form for become `?`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(letter),
            control if control < ' ' => out.push('?'),
            '\u{fffe}' | '\u{ffff}' => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn no_text_ends_its_element() {
        assert_eq!(escaped("a<b>&\"c\"\u{1}"), "a&lt;b&gt;&amp;&quot;c&quot;?");
    }
}
