//! Up to ten streams at a time.

use std::time::Instant;

use super::Protocol;
use crate::http2::{
    ACK, END_HEADERS, END_STREAM, Frame, PREFACE, ROOM, frame, kind, known_field, says_200,
    window_update,
};
use crate::traffic::{HTTP_HOST, SMALL_BODY};

/// Streams at a time.
const STREAMS: usize = 10;

struct Stream {
    id: u32,
    due: Instant,
    /// Bytes of the body so far, once there is a head.
    body: Option<usize>,
}

#[derive(Default)]
pub(super) struct Http2 {
    /// Requests so far.
    sent: u32,
    streams: Vec<Stream>,
    /// DATA received and not yet given back to the sender.
    received: u32,
    partial: Vec<u8>,
    fields: Vec<u8>,
}

impl Protocol for Http2 {
    fn greeting(&mut self) -> Vec<u8> {
        // GET, http, the authority, the path.
        self.fields = vec![0x82, 0x86];
        known_field(&mut self.fields, 1, HTTP_HOST);
        known_field(&mut self.fields, 4, "/s");
        known_field(&mut self.fields, 58, "side-by-side");
        let mut out = PREFACE.to_vec();
        frame(&mut out, kind::SETTINGS, 0, 0, &[]);
        out
    }

    fn capacity(&self) -> usize {
        STREAMS
    }

    fn request(&mut self, due: Instant, out: &mut Vec<u8>) {
        let id = self.sent * 2 + 1;
        self.sent += 1;
        let body = None;
        self.streams.push(Stream { id, due, body });
        let flags = END_HEADERS | END_STREAM;
        frame(out, kind::HEADERS, flags, id, &self.fields);
    }

    fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        done: &mut dyn FnMut(Instant),
    ) -> Result<(), String> {
        self.partial.extend(bytes);
        let kept = std::mem::take(&mut self.partial);
        let mut rest = &kept[..];
        while let Some(received) = Frame::first(rest) {
            rest = rest.get(received.len()..).unwrap_or_default();
            self.handle(&received, out, done)?;
        }
        self.partial.extend(rest);
        if self.received >= ROOM {
            window_update(out, 0, std::mem::take(&mut self.received));
        }
        Ok(())
    }

    fn waiting(&self) -> Vec<Instant> {
        self.streams.iter().map(|stream| stream.due).collect()
    }
}

impl Http2 {
    fn handle(
        &mut self,
        received: &Frame<'_>,
        out: &mut Vec<u8>,
        done: &mut dyn FnMut(Instant),
    ) -> Result<(), String> {
        match received.kind {
            kind::SETTINGS if received.flags & ACK == 0 => frame(out, kind::SETTINGS, ACK, 0, &[]),
            kind::PING if received.flags & ACK == 0 => {
                frame(out, kind::PING, ACK, 0, received.payload);
            }
            kind::GOAWAY | kind::RST_STREAM => return Err("GOAWAY or RST_STREAM".into()),
            kind::HEADERS | kind::DATA => self.answer(received, done)?,
            _ => {}
        }
        Ok(())
    }

    fn answer(
        &mut self,
        received: &Frame<'_>,
        done: &mut dyn FnMut(Instant),
    ) -> Result<(), String> {
        let content = received.content().ok_or("padding beyond the frame")?;
        let of = received.stream;
        let Some(index) = self.streams.iter().position(|stream| stream.id == of) else {
            return Err(format!("an answer on stream {of}"));
        };
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(());
        };
        if received.kind == kind::DATA {
            self.received += u32::try_from(received.payload.len()).unwrap_or_default();
            *stream.body.as_mut().ok_or("a body without a head")? += content.len();
        } else if stream.body.is_none() {
            if !says_200(content) {
                return Err("the status is not 200".into());
            }
            stream.body = Some(0);
        }
        if received.ends_stream() {
            if stream.body != Some(SMALL_BODY) {
                return Err(format!("a body of {:?} bytes", stream.body));
            }
            done(self.streams.swap_remove(index).due);
        }
        Ok(())
    }
}
