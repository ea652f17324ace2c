//! The time as responses tell it: those that no upstream made, and those that came without it (RFC 9110
//! section 6.6.1).
use http::HeaderValue;
use std::{
    cell::{Cell, RefCell},
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

thread_local! {
    /// Each shard is a thread, and writes the time anew once a second.
    static NOW: Cell<Option<Date>> = const { Cell::new(None) };

    /// The same as HTTP/2 has it, of the second in which it was last asked for.
    static VALUE: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// A moment, in the one form of it that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    second: u64,
    text: [u8; 29],
}

impl Date {
    /// The time of this shard's last tick.
    pub(crate) fn now() -> Self {
        NOW.get().unwrap_or_else(|| Self::of(SystemTime::now()))
    }

    /// Looks at the clock.
    pub(crate) fn tick() {
        let now = SystemTime::now();
        if NOW.get().map(|date| date.second) != Some(second(now)) {
            NOW.set(Some(Self::of(now)));
        }
    }

    fn of(time: SystemTime) -> Self {
        let mut text = [b' '; 29];
        // It is always as long.
        let _ = write!(&mut text[..], "{}", httpdate::HttpDate::from(time));
        Self {
            second: second(time),
            text,
        }
    }

    /// The value of the field.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Its bytes, which need no look at them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// The value that HTTP/2 shares between all responses of this second.
    pub(crate) fn value(&self) -> Option<HeaderValue> {
        VALUE.with_borrow_mut(|last| match last {
            Some((second, value)) if *second == self.second => Some(value.clone()),
            _ => {
                let value = HeaderValue::from_bytes(&self.text).ok()?;
                *last = Some((self.second, value.clone()));
                Some(value)
            }
        })
    }
}

fn second(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_the_specification_has_it() {
        let time = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(Date::of(time).text(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_value_is_that_of_its_own_second() {
        for seconds in [784_111_777, 784_111_777, 784_111_778, 784_111_777] {
            let date = Date::of(UNIX_EPOCH + Duration::from_secs(seconds));
            let value = date.value().expect("visible bytes");
            assert_eq!(value.as_bytes(), date.bytes());
        }
    }

    #[test]
    fn the_time_of_a_shard_is_that_of_its_tick() {
        Date::tick();
        let date = Date::now();
        assert!(second(SystemTime::now()) - date.second < 60);
        assert_eq!(
            Date::of(UNIX_EPOCH + Duration::from_secs(date.second)),
            date
        );
    }
}
