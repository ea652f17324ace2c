//! Durations as Istio and Go write them.
use std::time::Duration;

/// Reads `1h30m`, `1.5h`, `300ms`, `0s`. Units: h, m, s, ms, us, µs, ns. Negative durations, bare
/// numbers other than 0, and anything above 2^63 ns (292 years) are none.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter(|&end| end > 0)?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_len)?;
        let unit: u64 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        nanos = nanos.checked_add(scaled(number, unit)?)?;
        rest = tail;
    }
    (!text.is_empty() && i64::try_from(nanos).is_ok()).then(|| Duration::from_nanos(nanos))
}

/// A decimal number times a unit, exact, digits beyond the nanosecond cut off.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(unit)?;
    let mut part = u128::from(unit);
    let mut extra: u128 = 0;
    let mut scale: u128 = 1;
    for digit in fraction.bytes().take(18) {
        scale *= 10;
        extra = extra * 10 + u128::from(digit - b'0');
    }
    part = part * extra / scale;
    total = total.checked_add(u64::try_from(part).ok()?)?;
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn as_istio_writes_them() {
        for (text, millis) in [
            ("1s", 1000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            ("1h30m", 5_400_000),
            ("0.001s", 1),
            (".5s", 500),
            ("0s", 0),
            ("0", 0),
            ("1000us", 1),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "1",
            "s",
            "-1s",
            "1 s",
            "1sec",
            "1.2.3s",
            ".s",
            "1d",
            "9999999h",
            "١s",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
