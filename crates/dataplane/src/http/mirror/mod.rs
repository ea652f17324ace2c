//! Copies of requests for mirrors (VS-H-86..89): sent by tasks of their own, answered to nobody.
//!
//! A copy is taken while the request itself is sent, byte by byte as the endpoint gets it, into
//! memory that is bounded; it goes out once it is complete. So nothing a mirror does, or fails to
//! do, can hold up or fail the request it was copied from.
//!
//! This file draws and collects them; `original` writes the head of a copy in the version that its
//! mirror speaks, `deliver` sends one, by `http1` or `http2`.
mod deliver;
mod http1;
mod http2;
mod original;

use super::{Context, RequestFacts, outgoing::speaks_http2};
use crate::shard::{Shard, cluster_state::ClusterState, view::View};
use bytes::Bytes;
use deliver::{Copy, deliver};
use http::HeaderMap;
pub(super) use original::Original;
use pointsman_route::{Rule, action};
use pointsman_wire::{
    http1::{BodyLength, LAST_CHUNK, RequestKind, chunk_request, write_chunk_header},
    http2::write_trailers,
};
use smallvec::SmallVec;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

/// The copies of one request, until they are complete and sent. Dropped before that, they are
/// counted as dropped.
pub(super) struct Copies {
    to: RefCell<SmallVec<[Recipient; 1]>>,
    /// Head and body as they are sent by HTTP/1; only the body where no mirror speaks that.
    bytes: RefCell<Vec<u8>>,
    /// Bytes of the head in there.
    head: Cell<usize>,
    /// Of a body that came in pieces.
    trailers: RefCell<Option<HeaderMap>>,
    /// Bytes of body there may still be.
    room: Cell<usize>,
    kind: RequestKind,
    /// The body is chunked.
    chunked: Cell<bool>,
    limit: Duration,
    shard: Rc<Shard>,
}

/// Who gets a copy.
struct Recipient {
    cluster: Rc<ClusterState>,
    /// The head for a mirror that speaks HTTP/2.
    http2: Option<original::Http2Head>,
}

/// The place of a copy among those that a shard may send at a time. One that is still collected has
/// none: who begins requests and does not end them would take the places of all others.
struct Slot(Rc<Shard>);

impl Slot {
    fn take(shard: &Rc<Shard>) -> Option<Self> {
        let now = shard.mirrors.get();
        if now >= shard.settings.mirrors.in_flight {
            shard.counts.limit("mirrors.in_flight");
            return None;
        }
        shard.mirrors.set(now + 1);
        Some(Self(shard.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

impl Copies {
    /// Draws the rule's mirrors, each for itself; `None` where none is to get a copy. `original` is
    /// called only if there is one.
    ///
    /// A request for another protocol is not copied: what follows its head is no HTTP.
    pub(super) fn draw<'o, 'h: 'o>(
        cx: &Context<'_>,
        view: &View,
        rule: &Rule,
        facts: &RequestFacts,
        original: impl FnOnce() -> Original<'o, 'h>,
    ) -> Option<Box<Self>> {
        if rule.mirrors.is_empty() || facts.upgrade {
            return None;
        }
        let shard = cx.shard;
        let mut drawn = SmallVec::<[Rc<ClusterState>; 1]>::new();
        for mirror in &rule.mirrors {
            let is_drawn = action::drawn(mirror.share, || shard.random.borrow_mut().u32(..));
            // An unknown destination is ignored (VS-H-89); a finding tells of it.
            if let Some(id) = mirror.cluster.ok().filter(|_| is_drawn)
                && let Some(cluster) = shard.cluster(view, id)
            {
                drawn.push(cluster);
            }
        }
        if drawn.is_empty() {
            return None;
        }
        let settings = &shard.settings.mirrors;
        let original = original().shadowed(settings.shadow_host);
        let mut to = SmallVec::new();
        let mut bytes = Vec::new();
        for cluster in drawn {
            let http2 = match speaks_http2(cx, &cluster, facts) {
                true => original.http2(&cluster.cluster).map(Some),
                false => original.has_http1().then(|| {
                    if bytes.is_empty() {
                        original.http1(&mut bytes);
                    }
                    None
                }),
            };
            match http2 {
                Some(http2) => to.push(Recipient { cluster, http2 }),
                // Its version has no words for this request.
                None => shard.counts.mirror("dropped"),
            }
        }
        if to.is_empty() {
            return None;
        }
        let limit = settings.timeout.0;
        Some(Box::new(Self {
            to: RefCell::new(to),
            head: Cell::new(bytes.len()),
            bytes: RefCell::new(bytes),
            trailers: RefCell::default(),
            room: Cell::new(settings.body_bytes),
            kind: facts.kind,
            chunked: Cell::new(facts.body == BodyLength::Chunked),
            limit: rule.timeout.map_or(limit, |timeout| timeout.min(limit)),
            shard: shard.clone(),
        }))
    }

    /// Adds bytes of the body in the framing they are sent in. Beyond the limit the copies are
    /// dropped.
    pub(super) fn add(&self, bytes: &[u8]) {
        if self.to.borrow().is_empty() {
            return;
        }
        let settings = &self.shard.settings.mirrors;
        let room = self.room.get().checked_sub(bytes.len());
        let mirrored = self.shard.mirrored.get() + bytes.len();
        match room {
            None => self.shard.counts.limit("mirrors.body_bytes"),
            Some(_) if mirrored > settings.collected() => {
                self.shard.counts.limit("mirrors.in_flight");
            }
            Some(room) => {
                self.room.set(room);
                self.shard.mirrored.set(mirrored);
                self.bytes.borrow_mut().extend_from_slice(bytes);
                return;
            }
        }
        self.give_up();
    }

    /// Adds a piece of a body that has no framing of its own.
    pub(super) fn piece(&self, data: &[u8]) {
        if !self.chunked.get() {
            return self.add(data);
        }
        if !data.is_empty() {
            let mut chunk = Vec::with_capacity(data.len() + 24);
            write_chunk_header(&mut chunk, data.len());
            chunk.extend_from_slice(data);
            chunk.extend_from_slice(b"\r\n");
            self.add(&chunk);
        }
    }

    /// What follows the last piece.
    pub(super) fn trailed(&self, trailers: &HeaderMap) {
        *self.trailers.borrow_mut() = Some(trailers.clone());
    }

    /// The body that came in pieces is complete.
    pub(super) fn pieces_end(&self) {
        let trailers = self.trailers.take();
        if !self.chunked.get() {
            match trailers {
                None => return,
                Some(_) => self.chunk(),
            }
        }
        let mut end = Vec::new();
        match trailers {
            None => end.extend_from_slice(LAST_CHUNK),
            Some(trailers) => write_trailers(&mut end, &trailers),
        }
        self.add(&end);
    }

    /// Trailers follow a body with a length, as HTTP/2 has it and HTTP/1 does not: there they only
    /// follow chunks.
    fn chunk(&self) {
        if self.to.borrow().is_empty() {
            return;
        }
        let mut bytes = self.bytes.borrow_mut();
        let head = self.head.get().min(bytes.len());
        let body = bytes.split_off(head);
        chunk_request(&mut bytes);
        self.head.set(bytes.len());
        if !body.is_empty() {
            write_chunk_header(&mut bytes, body.len());
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(b"\r\n");
        }
        self.chunked.set(true);
    }

    /// The request is complete: sends its copies, and does not wait for that.
    pub(super) fn send(&self) {
        let (to, bytes) = self.take();
        let bytes = Bytes::from(bytes);
        for Recipient { cluster, http2 } in to {
            let Some(slot) = Slot::take(&self.shard) else {
                self.shard.counts.mirror("dropped");
                continue;
            };
            let copy = match http2 {
                None => Copy::Http1(bytes.clone(), self.kind),
                Some(head) => Copy::Http2 {
                    head,
                    body: bytes.slice(self.head.get().min(bytes.len())..),
                    chunked: self.chunked.get(),
                },
            };
            let shard = self.shard.clone();
            actix::spawn(deliver(shard, cluster, copy, self.limit, slot));
        }
    }

    fn give_up(&self) {
        for _ in self.take().0 {
            self.shard.counts.mirror("dropped");
        }
    }

    /// What was collected, and for whom. From now on it is nothing for nobody.
    fn take(&self) -> (SmallVec<[Recipient; 1]>, Vec<u8>) {
        let most = self.shard.settings.mirrors.body_bytes;
        let body = most - self.room.replace(most);
        self.shard.mirrored.set(self.shard.mirrored.get() - body);
        (self.to.take(), self.bytes.take())
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::{
            body::{Accounts, Begun, Framing, Http1Sink, Http1Source, Sink, Source, begin, carry},
            kept::Pieces,
        },
        shard::{buffers::Buffers, http2_pool::tests::shard},
        turn::tests::reader,
    };
    use std::{future::poll_fn, pin::pin, task::Poll};
    use tokio::task::coop;

    /// Its next try sends them again, and nobody shows them to the mirrors then.
    #[tokio::test]
    async fn trailers_that_a_try_has_taken_are_the_mirrors_though_it_ends_there() {
        let shard = shard();
        let copies = Copies {
            to: RefCell::default(),
            bytes: RefCell::default(),
            head: Cell::new(0),
            trailers: RefCell::default(),
            room: Cell::new(shard.settings.mirrors.body_bytes),
            kind: RequestKind::Other,
            chunked: Cell::new(true),
            limit: Duration::ZERO,
            shard,
        };
        let (client, upstream, buffers) = (reader(), reader(), Buffers::default());
        let (kept, moved, left) = (Pieces::new(64), Cell::new(0), Cell::new(0));
        let mut input = b"0\r\nx-sum: 5\r\n\r\n".to_vec();
        let body = Http1Source::request(&client, &buffers, &mut input, BodyLength::Chunked);
        let (mut source, mut out) = (Source::Http1(body), Vec::new());
        let mut sink = Sink::Http1(Http1Sink {
            to: &upstream,
            out: &mut out,
            framing: Framing::Chunked,
            left: &left,
            whole: None,
        });
        let accounts = Accounts {
            copies: Some(&copies),
            kept: Some(&kept),
            moved: &moved,
            grpc_status: None,
            complete: None,
        };
        let begun = begin(&mut source, &mut sink, &accounts).expect("well formed");
        assert!(matches!(begun, Begun::Taken(_)));
        {
            let mut carried = pin!(carry(begun, &mut source, &mut sink, accounts));
            poll_fn(|cx| {
                // It is the turn of others before it has done anything.
                while coop::has_budget_remaining() {
                    let _ = pin!(coop::consume_budget()).poll(cx);
                }
                assert!(carried.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        let trailers = copies.trailers.borrow();
        let sum = trailers.as_ref().and_then(|it| it.get("x-sum"));
        assert_eq!(sum.map(|it| it.as_bytes()), Some(&b"5"[..]));
    }
}
