//! Turning a caught panic into one line of text.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static LAST_LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes every later panic leave its file and line where [`describe`] finds them.
///
/// The payload carries the message but not the place; only a hook sees both. The hook that was
/// installed before still runs, so an embedding program keeps its own.
pub(crate) fn remember_locations() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let location = info.location().map(ToString::to_string);
            // `try_with`: a panic while the thread's locals are being destroyed must not become
            // a second one.
            let _ = LAST_LOCATION.try_with(|last| {
                if let Ok(mut last) = last.try_borrow_mut() {
                    *last = location;
                }
            });
            previous(info);
        }));
    });
}

/// The message of a panic caught on this thread, with file and line where known.
pub(crate) fn describe(payload: &(dyn Any + Send)) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    match LAST_LOCATION.take() {
        Some(location) => format!("{message} (at {location})"),
        None => message,
    }
}

/// Runs `body`; a panic in it comes back as its description.
///
/// State the closure shares with others (an `Rc` of the shard) may be half changed afterwards.
/// That is accepted: the alternative is to lose the whole shard for one actor.
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| describe(payload.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_location_are_told() {
        remember_locations();
        let text = caught(|| panic!("wheel {} came off", 3)).unwrap_err();
        assert!(text.starts_with("wheel 3 came off (at "), "{text}");
        assert!(text.contains("panics.rs:"), "{text}");
        let text = caught(|| std::panic::panic_any(7_u8)).unwrap_err();
        assert!(text.starts_with("a panic without a message"), "{text}");
        assert_eq!(caught(|| 5), Ok(5));
    }
}
