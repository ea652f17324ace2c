//! The plain text of an explanation.
use super::{Candidate, Explanation, Verdict};
use std::fmt;

/// Widest column that is padded to; longer texts push their line.
const COLUMN: usize = 60;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        head(f, 1, "Protocol", &self.protocol, &self.protocol_why)?;
        head(
            f,
            2,
            "Frontend",
            &format!("{} considered", self.frontends.len()),
            "",
        )?;
        lines(f, &self.frontends)?;
        if let Some(step) = &self.rules {
            let place = step.place.as_ref().map(ToString::to_string);
            head(
                f,
                3,
                "Rules",
                &step.title,
                place.as_deref().unwrap_or_default(),
            )?;
            lines(f, &step.candidates)?;
            if let Some(closest) = &step.closest {
                writeln!(f, "     {closest}")?;
            }
        }
        let several = self.backends.len() > 1;
        for step in &self.backends {
            let share = if several {
                format!("{}%  ", step.share)
            } else {
                String::new()
            };
            let place = step.place.as_ref().map(|place| format!("   {place}"));
            let place = place.unwrap_or_default();
            head(
                f,
                4,
                "Backend",
                &format!("{share}{}", step.label),
                &format!("{}{place}", step.detail),
            )?;
            if step.missing.is_none() {
                head(f, 5, "Policy", &step.policy, "")?;
                head(f, 6, "Endpoint", &step.choice, "")?;
                lines(f, &step.endpoints)?;
            }
        }
        writeln!(f, "=> {}", self.sentence)
    }
}

fn head(f: &mut fmt::Formatter<'_>, number: u8, name: &str, text: &str, tail: &str) -> fmt::Result {
    let line = format!("{number} {name:<10} {text:<16}   {tail}");
    writeln!(f, "{}", line.trim_end())
}

fn lines(f: &mut fmt::Formatter<'_>, candidates: &[Candidate]) -> fmt::Result {
    let widest = |text: fn(&Candidate) -> &str| {
        let all = candidates.iter().map(|line| text(line).chars().count());
        all.max().unwrap_or(0).min(COLUMN)
    };
    let what_width = widest(|line| &line.what);
    let word_width = widest(|line| word(line.verdict));
    let detail_width = widest(|line| &line.detail);
    for line in candidates {
        let mark = if line.verdict == Verdict::Match {
            '+'
        } else {
            ' '
        };
        let place = line
            .place
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let text = format!(
            "   {mark} {:<what_width$}   {:<word_width$}   {:<detail_width$}   {place}",
            line.what,
            word(line.verdict),
            line.detail
        );
        writeln!(f, "{}", text.trim_end())?;
    }
    Ok(())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Match => "MATCH",
        Verdict::NotUsed => "not used",
        Verdict::No(reason) => reason.as_str(),
    }
}
