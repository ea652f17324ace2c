//! Replies of our own on HTTP/2 streams. They are written once, in the form of HTTP/1, and read back
//! here: no reply exists in two spellings, and none of them is on a hot path.
use super::client::Answering;
use bytes::Bytes;
use pointsman_wire::{
    http1::{HeadLimits, RequestKind, field_slots, parse_response},
    http2,
};

/// Sends a whole reply; the bytes of its body.
pub(super) fn send(answering: &Answering, reply: &[u8]) -> u64 {
    let mut slots = field_slots();
    let limits = HeadLimits {
        max_bytes: usize::MAX,
        ..HeadLimits::default()
    };
    let Ok(Some(head)) = parse_response(reply, &mut slots, &limits, RequestKind::Other) else {
        return 0;
    };
    let body = reply.get(head.len..).unwrap_or_default();
    // To HEAD the length is told, and no byte follows.
    let Ok(response) = http2::to_response(&head, head.body, &[]) else {
        return 0;
    };
    let _ = answering.head(response, body.is_empty());
    if body.is_empty() {
        return 0;
    }
    if let Some(mut stream) = answering.take_body() {
        // All at once: its size is the rule's own, and h2 keeps what the window has no room for.
        let _ = stream.send_data(Bytes::copy_from_slice(body), true);
    }
    body.len() as u64
}
