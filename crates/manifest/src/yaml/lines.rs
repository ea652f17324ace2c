//! The lines of a text by number.
use std::cell::OnceCell;

/// A text whose lines can be looked up; where they begin is found out once, when the first is
/// asked for.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: OnceCell<Vec<usize>>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            starts: OnceCell::new(),
        }
    }

    /// A line from 0, without its end.
    pub(crate) fn get(&self, number: usize) -> Option<&'t str> {
        let starts = self.starts.get_or_init(|| {
            let ends = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(ends).collect()
        });
        let rest = self.text.get(*starts.get(number)?..)?;
        rest.lines().next()
    }
}
