//! HTTP/1: an answer per request head, its size told by the path; a request's body is thrown away.

use crate::traffic::{LARGE_PREFIX, REALISTIC_PREFIX};

/// A head longer than this is not one of ours.
const LONGEST_HEAD: usize = 64 * 1024;

/// What to send for what has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing yet.
    Wait,
    /// The small answer.
    Small,
    /// The realistic one.
    Realistic,
    /// A body of this many bytes.
    Large(u64),
    /// Nothing: this is none of our clients.
    Close,
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// A request head that has arrived in part.
    partial: Vec<u8>,
    /// Bytes of a request's body still to come.
    body: u64,
}

impl Conversation {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Next {
        if self.body > 0 {
            // Nothing is pipelined, so what arrives is of the body.
            self.body = self.body.saturating_sub(bytes.len() as u64);
            return if self.body == 0 {
                Next::Small
            } else {
                Next::Wait
            };
        }
        if self.partial.is_empty() && bytes.ends_with(b"\r\n\r\n") && bytes.starts_with(b"GET") {
            return answer(bytes);
        }
        self.partial.extend(bytes);
        let Some(end) = memchr::memmem::find(&self.partial, b"\r\n\r\n") else {
            return if self.partial.len() < LONGEST_HEAD {
                Next::Wait
            } else {
                Next::Close
            };
        };
        let whole = std::mem::take(&mut self.partial);
        let (head, body) = whole.split_at(end + 4);
        let Some(length) = content_length(head) else {
            return answer(head);
        };
        self.body = length.saturating_sub(body.len() as u64);
        if self.body == 0 {
            Next::Small
        } else {
            Next::Wait
        }
    }
}

fn answer(head: &[u8]) -> Next {
    if head.starts_with(REALISTIC_PREFIX) {
        return Next::Realistic;
    }
    let Some(rest) = head.strip_prefix(LARGE_PREFIX) else {
        return Next::Small;
    };
    let digits = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    let length = std::str::from_utf8(digits)
        .ok()
        .and_then(|it| it.parse().ok());
    length.map_or(Next::Close, Next::Large)
}

fn content_length(head: &[u8]) -> Option<u64> {
    let line = head.split(|byte| *byte == b'\n').find(|line| {
        line.get(..15)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"content-length:"))
    })?;
    std::str::from_utf8(line.get(15..)?)
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_answer() {
        let next = |head: &str| Conversation::default().take(head.as_bytes());
        assert_eq!(next("GET /s HTTP/1.1\r\n\r\n"), Next::Small);
        assert_eq!(next("GET /reviews HTTP/1.1\r\n\r\n"), Next::Realistic);
        assert_eq!(next("GET /large/77 HTTP/1.1\r\n\r\n"), Next::Large(77));
        assert_eq!(next("GET /large/x HTTP/1.1\r\n\r\n"), Next::Close);
        assert_eq!(next("GET /s HTTP/1.1\r\n"), Next::Wait);
    }

    #[test]
    fn a_body_is_awaited() {
        let mut conversation = Conversation::default();
        assert_eq!(
            conversation.take(b"POST /u HTTP/1.1\r\nContent-"),
            Next::Wait
        );
        assert_eq!(conversation.take(b"Length: 5\r\n\r\nab"), Next::Wait);
        assert_eq!(conversation.take(b"cd"), Next::Wait);
        assert_eq!(conversation.take(b"e"), Next::Small);
        assert_eq!(conversation.take(b"GET /s HTTP/1.1\r\n\r\n"), Next::Small);
    }
}
