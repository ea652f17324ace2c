//! One request at a time.

use std::time::Instant;

use super::Protocol;
use crate::traffic::{HTTP_HOST, SMALL_BODY, answer_length, small_request};

#[derive(Default)]
pub(super) struct Http1 {
    due: Option<Instant>,
    partial: Vec<u8>,
}

impl Protocol for Http1 {
    fn greeting(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn capacity(&self) -> usize {
        1
    }

    fn request(&mut self, due: Instant, out: &mut Vec<u8>) {
        self.due = Some(due);
        out.extend(small_request(HTTP_HOST));
    }

    fn take(
        &mut self,
        bytes: &[u8],
        _: &mut Vec<u8>,
        done: &mut dyn FnMut(Instant),
    ) -> Result<(), String> {
        self.partial.extend(bytes);
        let Some(length) = answer_length(&self.partial, SMALL_BODY)? else {
            return Ok(());
        };
        if length != self.partial.len() {
            return Err("bytes after the answer".into());
        }
        self.partial.clear();
        done(self.due.take().ok_or("an answer to no request")?);
        Ok(())
    }

    fn waiting(&self) -> Vec<Instant> {
        self.due.into_iter().collect()
    }
}
