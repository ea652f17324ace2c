//! What a plain word is.
//!
//! Kubernetes reads YAML 1.1: `yes`, `on` and `n` are switches, `0o17` and `017` are 15, `1_000` is
//! a number. Deciding the same way is what makes `version: 1` a type error here and there, and
//! not only in the cluster.

/// A scalar as written, and what it was taken for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: Box<str>,
    pub(crate) kind: Kind,
}

/// What a scalar is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text,
}

impl Scalar {
    /// The text, where text is asked for. A single letter is one: `y` is a switch to Kubernetes,
    /// but programs that write YAML do not quote it, and what it means as a name or a value of a
    /// header is plain.
    pub(crate) fn as_text(&self) -> Option<&str> {
        let text = self.kind == Kind::Text || self.is_letter();
        text.then_some(&*self.text)
    }

    /// True for a switch of one letter.
    pub(crate) fn is_letter(&self) -> bool {
        matches!(self.kind, Kind::Bool(_)) && self.text.len() == 1
    }

    /// A whole number; `1e3` is one, because JSON numbers are compared by value.
    pub(crate) fn int(&self) -> Option<i64> {
        match self.kind {
            Kind::Int(value) => Some(value),
            Kind::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(value as i64),
            _ => None,
        }
    }

    /// Any number.
    pub(crate) fn number(&self) -> Option<f64> {
        match self.kind {
            Kind::Int(value) => Some(value as f64),
            Kind::Float(value) if value.is_finite() => Some(value),
            _ => None,
        }
    }

    /// A whole number whose digits were read in another base than ten without saying so clearly.
    pub(crate) fn is_octal(&self) -> bool {
        let digits = self.text.trim_start_matches(['+', '-']);
        matches!(self.kind, Kind::Int(_))
            && digits.len() > 1
            && digits.starts_with('0')
            && !digits.starts_with("0x")
            && !digits.starts_with("0b")
    }
}

/// Takes an unquoted word for what Kubernetes takes it for.
pub(crate) fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Kind::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Kind::Bool(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Kind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Kind::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Kind::Float(f64::NAN),
        _ => number(text).unwrap_or(Kind::Text),
    }
}

fn number(text: &str) -> Option<Kind> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) || text.len() > 64 {
        return None;
    }
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    if let Some(value) = integer(&digits) {
        return Some(Kind::Int(value));
    }
    let decimal = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    // Underscores are allowed in whole numbers only.
    (decimal && !text.contains('_'))
        .then(|| digits.parse().ok())
        .flatten()
        .map(Kind::Float)
}

fn integer(digits: &str) -> Option<i64> {
    let (negative, rest) = match digits.as_bytes().first()? {
        b'-' => (true, digits.get(1..)?),
        b'+' => (false, digits.get(1..)?),
        _ => (false, digits),
    };
    let lower = rest.to_ascii_lowercase();
    let (radix, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..)?)
    } else {
        (10, &*lower)
    };
    if body.starts_with(['+', '-']) {
        return None;
    }
    let value = i64::from_str_radix(body, radix).ok()?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_kubernetes_takes_them_for() {
        for (text, expected) in [
            ("on", Kind::Bool(true)),
            ("No", Kind::Bool(false)),
            ("n", Kind::Bool(false)),
            ("~", Kind::Null),
            ("0o17", Kind::Int(15)),
            ("017", Kind::Int(15)),
            ("080", Kind::Float(80.0)),
            ("0x1F", Kind::Int(31)),
            ("1_000", Kind::Int(1000)),
            ("1e3", Kind::Float(1000.0)),
            ("-3", Kind::Int(-3)),
            ("1.5", Kind::Float(1.5)),
            ("v1", Kind::Text),
            ("1.2.3", Kind::Text),
            ("10.0.0.1", Kind::Text),
            ("nope", Kind::Text),
            ("infinity", Kind::Text),
            ("1s", Kind::Text),
            ("-", Kind::Text),
            (".", Kind::Text),
            ("0x", Kind::Text),
            ("2024-01-01T00:00:00Z", Kind::Text),
            ("99999999999999999999", Kind::Float(1e20)),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn a_whole_float_is_a_whole_number() {
        let scalar = |text: &str| Scalar {
            text: text.into(),
            kind: plain(text),
        };
        assert_eq!(scalar("1e3").int(), Some(1000));
        assert_eq!(scalar("1.5").int(), None);
        assert_eq!(scalar(".inf").int(), None);
        assert!(scalar("017").is_octal());
        assert!(!scalar("0").is_octal());
        assert!(!scalar("170").is_octal());
    }
}
