//! HTTP/2: the same answer on every stream, and a gRPC call's with trailers.

use std::collections::VecDeque;

use crate::http2::{
    ACK, END_HEADERS, END_STREAM, FIRST_WINDOW, Frame, PREFACE, ROOM, field, frame, kind,
    known_field, window_update,
};
use crate::traffic::{GRPC_ANSWER, SMALL_BODY};

/// Streams a client may have open on one connection; nginx's own default.
const STREAMS: u32 = 128;

/// The frames of an answer, without their stream.
#[derive(Debug)]
pub(super) struct Answer {
    /// Type, flags and payload.
    frames: Vec<(u8, u8, Vec<u8>)>,
    /// What it takes of the connection's window.
    body: i64,
}

impl Answer {
    /// As the small one over HTTP/1: two fields and 100 bytes.
    pub(super) fn small() -> Answer {
        let mut head = vec![0x88];
        known_field(&mut head, 31, "text/plain");
        known_field(&mut head, 28, &SMALL_BODY.to_string());
        Answer::new(vec![
            (kind::HEADERS, END_HEADERS, head),
            (kind::DATA, END_STREAM, vec![b'x'; SMALL_BODY]),
        ])
    }

    /// One message and the status in the trailers.
    pub(super) fn grpc() -> Answer {
        let mut head = vec![0x88];
        known_field(&mut head, 31, "application/grpc");
        let mut trailers = Vec::new();
        field(&mut trailers, "grpc-status", "0");
        Answer::new(vec![
            (kind::HEADERS, END_HEADERS, head),
            (kind::DATA, 0, GRPC_ANSWER.to_vec()),
            (kind::HEADERS, END_HEADERS | END_STREAM, trailers),
        ])
    }

    fn new(frames: Vec<(u8, u8, Vec<u8>)>) -> Answer {
        let data = frames.iter().filter(|(of, ..)| *of == kind::DATA);
        let body = data.map(|(.., payload)| payload.len()).sum::<usize>();
        Answer {
            body: i64::try_from(body).unwrap_or_default(),
            frames,
        }
    }

    fn write(&self, out: &mut Vec<u8>, stream: u32) {
        for (kind, flags, payload) in &self.frames {
            frame(out, *kind, *flags, stream, payload);
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conversation {
    greeted: bool,
    /// What may still be sent on the connection. A stream's own window is never smaller than one
    /// of these answers.
    window: i64,
    /// DATA received and not yet given back to the sender.
    received: u32,
    /// Streams that await room for their answer.
    waiting: VecDeque<u32>,
    /// A frame that has arrived in part.
    partial: Vec<u8>,
}

impl Conversation {
    pub(super) fn new() -> Conversation {
        Conversation {
            greeted: false,
            window: FIRST_WINDOW,
            received: 0,
            waiting: VecDeque::new(),
            partial: Vec::new(),
        }
    }

    /// Takes what has arrived and appends what is to be sent; the number of answers among it, or
    /// `None` when this is no HTTP/2.
    pub(super) fn take(&mut self, bytes: &[u8], answer: &Answer, out: &mut Vec<u8>) -> Option<u64> {
        let kept;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            self.partial.extend(bytes);
            kept = std::mem::take(&mut self.partial);
            &kept
        };
        if !self.greeted {
            if rest.len() < PREFACE.len() {
                self.partial = rest.to_vec();
                return PREFACE.starts_with(rest).then_some(0);
            }
            rest = rest.strip_prefix(PREFACE)?;
            self.greeted = true;
            let streams = [&[0, 3][..], &STREAMS.to_be_bytes()].concat();
            frame(out, kind::SETTINGS, 0, 0, &streams);
        }
        while let Some(frame) = Frame::first(rest) {
            rest = rest.get(frame.len()..).unwrap_or_default();
            self.handle(&frame, out);
        }
        self.partial.extend(rest);
        if self.received >= ROOM {
            window_update(out, 0, std::mem::take(&mut self.received));
        }
        let mut answered = 0;
        while self.window >= answer.body
            && let Some(stream) = self.waiting.pop_front()
        {
            answer.write(out, stream);
            self.window -= answer.body;
            answered += 1;
        }
        Some(answered)
    }

    fn handle(&mut self, received: &Frame<'_>, out: &mut Vec<u8>) {
        match received.kind {
            kind::SETTINGS if received.flags & ACK == 0 => frame(out, kind::SETTINGS, ACK, 0, &[]),
            kind::PING if received.flags & ACK == 0 => {
                frame(out, kind::PING, ACK, 0, received.payload);
            }
            kind::WINDOW_UPDATE if received.stream == 0 => {
                self.window += i64::from(received.increment());
            }
            kind::DATA => self.received += u32::try_from(received.payload.len()).unwrap_or(0),
            _ => {}
        }
        if received.ends_stream() {
            self.waiting.push_back(received.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_pieces_are_answered_once_each() {
        let answer = Answer::small();
        let mut request = PREFACE.to_vec();
        frame(&mut request, kind::SETTINGS, 0, 0, &[]);
        frame(
            &mut request,
            kind::HEADERS,
            END_HEADERS | END_STREAM,
            1,
            b"\x82",
        );
        frame(&mut request, kind::HEADERS, END_HEADERS, 3, b"\x83");
        frame(&mut request, kind::DATA, END_STREAM, 3, b"abc");
        let (mut conversation, mut out) = (Conversation::new(), Vec::new());
        let answered: u64 = request
            .iter()
            .map(|byte| {
                conversation
                    .take(&[*byte], &answer, &mut out)
                    .expect("HTTP/2")
            })
            .sum();
        assert_eq!(answered, 2);
        let mut rest = &out[..];
        let mut ended = Vec::new();
        while let Some(frame) = Frame::first(rest) {
            rest = &rest[frame.len()..];
            if frame.ends_stream() {
                ended.push(frame.stream);
            }
        }
        assert_eq!(ended, [1, 3]);
        assert!(rest.is_empty());
    }

    #[test]
    fn an_answer_waits_for_room() {
        let answer = Answer::small();
        let (mut conversation, mut out) = (Conversation::new(), Vec::new());
        assert_eq!(conversation.take(PREFACE, &answer, &mut out), Some(0));
        conversation.window = 10;
        let mut request = Vec::new();
        frame(
            &mut request,
            kind::HEADERS,
            END_HEADERS | END_STREAM,
            1,
            b"\x82",
        );
        assert_eq!(conversation.take(&request, &answer, &mut out), Some(0));
        let mut room = Vec::new();
        window_update(&mut room, 0, 90);
        assert_eq!(conversation.take(&room, &answer, &mut out), Some(1));
    }

    #[test]
    fn another_protocol_is_refused() {
        let (answer, mut out) = (Answer::grpc(), Vec::new());
        assert_eq!(
            Conversation::new().take(b"GET / HTTP/1.1\r\n\r\n", &answer, &mut out),
            None
        );
    }
}
