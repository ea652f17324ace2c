//! Words of a command line as it was pasted.
use anyhow::bail;

/// Splits as a shell does: blanks, `'...'`, `"..."`, `$'...'`, `\` before anything, and before a
/// line break nothing at all. Variables and substitutions are not carried out.
pub(super) fn words(text: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some('\r') if chars.peek() == Some(&'\n') => drop(chars.next()),
                Some(c) => word.get_or_insert_default().push(c),
            },
            '\'' => quoted(
                &mut chars,
                '\'',
                Escapes::None,
                word.get_or_insert_default(),
            )?,
            '"' => quoted(
                &mut chars,
                '"',
                Escapes::Shell,
                word.get_or_insert_default(),
            )?,
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                quoted(&mut chars, '\'', Escapes::C, word.get_or_insert_default())?;
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[derive(Clone, Copy)]
enum Escapes {
    None,
    Shell,
    C,
}

fn quoted(
    chars: &mut impl Iterator<Item = char>,
    end: char,
    escapes: Escapes,
    word: &mut String,
) -> anyhow::Result<()> {
    while let Some(c) = chars.next() {
        if c == end {
            return Ok(());
        }
        if c != '\\' || matches!(escapes, Escapes::None) {
            word.push(c);
            continue;
        }
        match (escapes, chars.next()) {
            (_, None) => break,
            (Escapes::C, Some('n')) => word.push('\n'),
            (Escapes::C, Some('r')) => word.push('\r'),
            (Escapes::C, Some('t')) => word.push('\t'),
            (Escapes::C, Some(c)) | (_, Some(c @ ('"' | '\\' | '$' | '`'))) => word.push(c),
            (_, Some('\n')) => {}
            (_, Some(c)) => word.extend(['\\', c]),
        }
    }
    bail!("a quote {end} is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(
            words("a 'b c'\"d\\\"e\" \\\n  f\\ g '' $'h\\'\\ti' \"\\x\"").unwrap(),
            ["a", "b cd\"e", "f g", "", "h'\ti", "\\x"]
        );
        assert!(words("'open").is_err());
        assert!(words("\"open\\").is_err());
    }
}
