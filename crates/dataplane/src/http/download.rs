//! The response: from the endpoint to the client.
use super::{
    Context,
    body::{Broken, Cut, reason_of},
    client::Client,
    grpc,
    progress::Progress,
    response_head::{Gate, read_head},
};
use crate::{
    shard::{
        buffers::{Buffers, SMALL},
        http2_pool::StreamFault,
    },
    socket::Socket,
    stream,
    tunnel::splice,
    turn::Turn,
};
use pointsman_route::action::Levels;
use pointsman_telemetry::Flags;
use pointsman_wire::http1::{
    ChunkDecoder, ChunkEvent, ChunkLimits, LAST_CHUNK, ResponseBody, Version, write_chunk_header,
    write_last_chunk,
};

/// Bytes that the framing of what one read brings hardly exceeds.
pub(super) const FRAMING: usize = 64;

/// How receiving a response ended.
#[derive(Debug)]
pub(super) enum Download {
    /// Passed on whole.
    Done {
        status: u16,
        /// The endpoint's connection can carry another request.
        upstream_reusable: bool,
        /// The client was not told to close.
        client_keeps: bool,
    },
    /// The endpoint switched protocols as asked; these are its bytes behind the head.
    Upgraded(Vec<u8>),
    /// Closed or reset before the first byte: nothing was done with the connection.
    Silent,
    /// Closed or reset in the middle of the head.
    CutHead,
    /// The stream to the endpoint ended before a response.
    Fault(StreamFault),
    /// The response is malformed; nothing was sent to the client.
    Malformed(&'static str),
    /// The client is gone, or the response broke after its head was sent on: it must see a cut.
    Cut(Flags),
    /// The response is thrown away for another try.
    Rejected,
}

impl Download {
    /// What it means that the body of a response was cut.
    pub(super) fn cut(cx: &Context<'_>, progress: &Progress, cut: Cut) -> Self {
        let Cut::Source(broken) = cut else {
            return Self::Cut(Flags::DC);
        };
        if !progress.answering.get() {
            // Before its client had a byte of it.
            return match broken {
                Broken::Ended | Broken::Gone => Self::CutHead,
                Broken::Reset(reason) => Self::Fault(StreamFault::Reset(reason)),
                Broken::Protocol(reason) => Self::Fault(StreamFault::Protocol(reason)),
                Broken::Framing(refusal) => Self::Malformed(refusal.reason.as_str()),
            };
        }
        Self::Cut(breaks_off(cx, progress, broken))
    }
}

/// Notes that the endpoint has broken off what its client has a part of, and says how.
pub(super) fn breaks_off(cx: &Context<'_>, progress: &Progress, broken: Broken) -> Flags {
    progress.cut.set(Some(reason_of(broken)));
    if let Broken::Framing(refusal) = broken {
        cx.refuse_response(refusal.reason.as_str());
    }
    match broken {
        Broken::Ended | Broken::Gone => Flags::UC,
        Broken::Reset(_) => Flags::UR,
        Broken::Protocol(_) | Broken::Framing(_) => Flags::UPE,
    }
}

/// Streams one response. `out` holds the request head until the first byte of the response is
/// there, and is then reused for the response: until then a replay is possible.
pub(super) async fn download(
    cx: &Context<'_>,
    operations: &Levels<'_>,
    upstream: &Socket,
    out: &mut Vec<u8>,
    gate: &Gate<'_>,
    progress: &Progress,
) -> Download {
    let buffers = &cx.shard.buffers;
    // Taken when there is something to read, as from clients.
    let mut input = Vec::new();
    let received = receive(cx, operations, upstream, &mut input, out, gate, progress);
    let end = received.await;
    if let Download::Upgraded(_) = end {
        return Download::Upgraded(input);
    }
    buffers.give(input);
    end
}

async fn receive(
    cx: &Context<'_>,
    operations: &Levels<'_>,
    upstream: &Socket,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
    gate: &Gate<'_>,
    progress: &Progress,
) -> Download {
    let facts = &gate.forward.facts;
    let limits = cx.shard.settings.limits.of_heads();
    let mut client = Client::Http1(out);
    let head = read_head(cx, operations, upstream, input, &mut client, gate, &limits);
    let head = match head.await {
        Ok(head) => head,
        Err(end) => return end,
    };
    progress.status.set(head.status);
    if head.upgraded {
        // Asked before the client can know of the switch, and of the kernel: what it has sent by now
        // may not have been read yet.
        progress
            .early
            .set(stream::peek(cx.client) == stream::Peer::Spoke);
        progress.answering.set(true);
        return match stream::write_watched(cx.client, out, &progress.unwritten).await {
            Ok(()) => Download::Upgraded(Vec::new()),
            Err(_) => Download::Cut(Flags::DC),
        };
    }
    let mut body = Body {
        client: cx.client,
        upstream,
        buffers: &cx.shard.buffers,
        splice_after: cx.shard.settings.limits.splice_after,
        chunk_out: facts.version == Version::Http11,
        grpc: facts.grpc.is_some(),
        progress,
        turn: Turn::default(),
    };
    progress.grpc_status.set(head.grpc_status);
    let end = match head.body {
        ResponseBody::None => body.send(out).await,
        ResponseBody::Length(length) => body.fixed(length, input, out).await,
        ResponseBody::Chunked => body.chunked(input, out).await,
        ResponseBody::UntilClose => body.until_close(input, out).await,
    };
    match end {
        Ok(()) => Download::Done {
            status: head.status,
            // Bytes behind the response answer nobody: that connection is not used again.
            upstream_reusable: head.reusable && input.is_empty(),
            client_keeps: head.client_keeps,
        },
        Err(cut) => Download::cut(cx, progress, cut),
    }
}

struct Body<'a> {
    client: &'a Socket,
    upstream: &'a Socket,
    buffers: &'a Buffers,
    /// A body with this many bytes left does not come to memory; 0: all do.
    splice_after: u64,
    /// Towards the client a body without a length is chunked; HTTP/1.0 gets it bare.
    chunk_out: bool,
    /// Somebody wants to know the status that gRPC has in its trailers.
    grpc: bool,
    progress: &'a Progress,
    turn: Turn,
}

impl Body<'_> {
    async fn send(&self, bytes: &[u8]) -> Result<(), Cut> {
        self.progress.answering.set(true);
        stream::write_watched(self.client, bytes, &self.progress.unwritten)
            .await
            .map_err(|_| Cut::Sink)
    }

    async fn receive(&mut self, input: &mut Vec<u8>) -> Result<usize, Cut> {
        // Sockets that are always ready must not keep the thread to themselves.
        self.turn.wait().await;
        let read = stream::read(self.upstream, input)
            .await
            .map_err(|_| Broken::Gone)?;
        self.turn.read(read, input.len() < input.capacity());
        self.buffers.widen(input);
        Ok(read)
    }

    fn sent(&self, bytes: usize) {
        self.progress
            .moved
            .sent
            .set(self.progress.moved.sent.get() + bytes as u64);
    }

    /// The head in `out` goes out together with what is there of the body: one write for a small
    /// response.
    async fn fixed(
        &mut self,
        length: u64,
        input: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Cut> {
        let take = usize::try_from(length).map_or(input.len(), |length| length.min(input.len()));
        out.extend_from_slice(input.get(..take).unwrap_or_default());
        input.drain(..take);
        self.send(out).await?;
        self.sent(take);
        let mut left = length - take as u64;
        if self.splice_after > 0 && left >= self.splice_after {
            // Boxed, so that connections without large bodies are not as large as this is.
            let all = splice::exactly(
                self.buffers,
                self.upstream,
                self.client,
                left,
                self.progress.down(),
            );
            match Box::pin(all).await {
                Some(Ok(true)) => return Ok(()),
                Some(Ok(false)) => return Err(Broken::Ended.into()),
                Some(Err(side)) => return Err(side.into()),
                // Out of pipes.
                None => {}
            }
        }
        if left > SMALL as u64 {
            self.buffers
                .give(std::mem::replace(input, self.buffers.bulk()));
        }
        while left > 0 {
            if self.receive(input).await? == 0 {
                return Err(Broken::Ended.into());
            }
            let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
            self.send(input.get(..take).unwrap_or_default()).await?;
            self.sent(take);
            left -= take as u64;
            input.drain(..take);
        }
        Ok(())
    }

    async fn chunked(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Cut> {
        let mut decoder = ChunkDecoder::new(ChunkLimits::default());
        loop {
            // Grown by and by it would be of up to twice the size.
            out.reserve(input.len() + FRAMING);
            let mut at = 0;
            let sent = self.progress.moved.sent.get();
            let done = loop {
                let rest = input.get(at..).unwrap_or_default();
                let (consumed, event) = decoder.decode(rest)?;
                at += consumed;
                match event {
                    ChunkEvent::Data(range) => self.piece(out, rest.get(range).unwrap_or_default()),
                    ChunkEvent::TrailersEnd => break true,
                    ChunkEvent::NeedMore => break false,
                }
            };
            input.drain(..at.min(input.len()));
            let contents = self.progress.moved.sent.get() - sent;
            let framing = at.saturating_sub(usize::try_from(contents).unwrap_or(at));
            self.turn.framing(framing);
            self.buffers.narrow(input, at, contents);
            if done && self.grpc {
                let mut trailers = decoder.trailers();
                let status = trailers.find(|it| it.name.eq_ignore_ascii_case("grpc-status"));
                if let Some(status) = status {
                    let status = grpc::status(status.value);
                    self.progress.grpc_status.set(Some(status));
                }
            }
            if done && self.chunk_out {
                write_last_chunk(out, decoder.trailers());
            }
            self.send(out).await?;
            if done {
                return Ok(());
            }
            out.clear();
            if self.receive(input).await? == 0 {
                return Err(Broken::Ended.into());
            }
        }
    }

    async fn until_close(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Cut> {
        loop {
            self.piece(out, input);
            input.clear();
            self.send(out).await?;
            out.clear();
            if self.receive(input).await? == 0 {
                break;
            }
        }
        if self.chunk_out {
            self.send(LAST_CHUNK).await?;
        }
        Ok(())
    }

    /// Appends body bytes in the framing of the client.
    fn piece(&self, out: &mut Vec<u8>, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.sent(data.len());
        // As above.
        out.reserve(data.len() + FRAMING);
        if self.chunk_out {
            write_chunk_header(out, data.len());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tests::{CHUNK, CHUNKS, longest_turn, reader, sender};

    fn body<'a>(
        (upstream, client): &'a (Socket, Socket),
        buffers: &'a Buffers,
        progress: &'a Progress,
    ) -> Body<'a> {
        Body {
            client,
            upstream,
            buffers,
            splice_after: 0,
            chunk_out: true,
            grpc: false,
            progress,
            turn: Turn::default(),
        }
    }

    #[tokio::test]
    async fn a_large_piece_is_framed_in_as_much_memory_as_it_has() {
        let (sockets, buffers) = ((sender(CHUNK), reader()), Buffers::default());
        let progress = Progress::default();
        let body = body(&sockets, &buffers, &progress);
        let data = buffers.bulk();
        let data = vec![b'x'; data.capacity()];
        let mut out = buffers.small();
        body.piece(&mut out, &data);
        assert!(out.capacity() <= data.len() + FRAMING, "{}", out.capacity());
    }

    #[tokio::test]
    async fn others_have_a_turn_though_small_chunks_do_not_end() {
        let (sockets, buffers) = ((sender(CHUNK), reader()), Buffers::default());
        let progress = Progress::default();
        let mut body = body(&sockets, &buffers, &progress);
        let (mut input, mut out) = (buffers.small(), buffers.small());
        let body = body.chunked(&mut input, &mut out);
        let most = longest_turn(body, || progress.moved.sent.get()).await;
        assert!(most <= CHUNKS, "{most}");
    }
}
