//! The request body: from the client to the endpoint.
use super::{
    body::{Broken, Cut},
    download::FRAMING,
    kept::Kept,
    mirror::Copies,
    progress::{Progress, Sending},
};
use crate::{
    shard::{
        Shard,
        buffers::{Buffers, SMALL},
    },
    socket::Socket,
    stream,
    tunnel::splice,
    turn::Turn,
};
use pointsman_wire::http1::{
    BodyLength, ChunkEvent, Refusal, write_chunk_header, write_last_chunk,
};

/// Who is told of the bytes that pass.
pub(super) struct Taken<'a> {
    /// Mirrors.
    pub(super) copies: Option<&'a Copies>,
    /// Another try.
    pub(super) kept: &'a Kept,
    pub(super) progress: &'a Progress,
    pub(super) sending: &'a Sending,
}

/// Streams a body. `input` holds what was received behind the head, and afterwards what was
/// received behind the body.
pub(super) async fn upload(
    client: &Socket,
    upstream: &Socket,
    shard: &Shard,
    body: BodyLength,
    input: &mut Vec<u8>,
    taken: &Taken<'_>,
) -> Result<(), Cut> {
    let buffers = &shard.buffers;
    let splice_after = shard.settings.limits.splice_after;
    match body {
        BodyLength::None => Ok(()),
        // A body that is copied for mirrors must come to memory.
        BodyLength::Length(length)
            if splice_after > 0 && length >= splice_after && taken.copies.is_none() =>
        {
            // Boxed, so that connections without large bodies are not as large as this is.
            Box::pin(spliced(client, upstream, buffers, length, input, taken)).await
        }
        BodyLength::Length(length) => fixed(client, upstream, buffers, length, input, taken).await,
        BodyLength::Chunked => chunked(client, upstream, buffers, input, taken).await,
    }
}

/// A large body: what is there already is written, the rest never comes to memory.
async fn spliced(
    client: &Socket,
    upstream: &Socket,
    buffers: &Buffers,
    length: u64,
    input: &mut Vec<u8>,
    taken: &Taken<'_>,
) -> Result<(), Cut> {
    let there = usize::try_from(length).map_or(input.len(), |length| length.min(input.len()));
    fixed(client, upstream, buffers, there as u64, input, taken).await?;
    let left = length - there as u64;
    // What never comes to memory cannot be sent again.
    taken.kept.lose();
    match splice::exactly(
        buffers,
        client,
        upstream,
        left,
        taken.progress.up(taken.sending),
    )
    .await
    {
        Some(Ok(true)) => Ok(()),
        Some(Ok(false)) => Err(Broken::Ended.into()),
        Some(Err(side)) => Err(side.into()),
        // Out of pipes.
        None => fixed(client, upstream, buffers, left, input, taken).await,
    }
}

async fn fixed(
    client: &Socket,
    upstream: &Socket,
    buffers: &Buffers,
    mut left: u64,
    input: &mut Vec<u8>,
    taken: &Taken<'_>,
) -> Result<(), Cut> {
    let Taken {
        copies,
        kept,
        progress,
        sending,
    } = taken;
    let large = left > SMALL as u64;
    if large {
        let mut bulk = buffers.bulk();
        bulk.extend_from_slice(input);
        buffers.give(std::mem::replace(input, bulk));
    }
    let mut turn = Turn::default();
    while left > 0 {
        if input.is_empty() {
            turn.wait().await;
            let read = Broken::unless_read(stream::read(client, input).await)?;
            turn.read(read, input.len() < input.capacity());
        }
        let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let piece = input.get(..take).unwrap_or_default();
        if let Some(copies) = copies {
            copies.add(piece);
        }
        kept.sending(piece);
        if kept.still() == BodyLength::None {
            progress.complete.set(true);
        }
        stream::write_watched(upstream, piece, &sending.unsent)
            .await
            .map_err(|_| Cut::Sink)?;
        left -= take as u64;
        progress
            .moved
            .received
            .set(progress.moved.received.get() + take as u64);
        input.drain(..take);
        kept.sent();
    }
    Ok(())
}

async fn chunked(
    client: &Socket,
    upstream: &Socket,
    buffers: &Buffers,
    input: &mut Vec<u8>,
    taken: &Taken<'_>,
) -> Result<(), Cut> {
    let Taken {
        copies,
        kept,
        progress,
        sending,
    } = taken;
    let mut out = buffers.small();
    let mut turn = Turn::default();
    let end = loop {
        out.clear();
        let (there, received) = (input.len(), progress.moved.received.get());
        let done = anew(kept, input, &mut out, progress)?;
        let contents = progress.moved.received.get() - received;
        let used = there - input.len();
        turn.framing(used.saturating_sub(usize::try_from(contents).unwrap_or(used)));
        buffers.narrow(input, used, contents);
        if done {
            progress.complete.set(true);
        }
        if let Some(copies) = copies {
            copies.add(&out);
        }
        kept.add(&out);
        if stream::write_watched(upstream, &out, &sending.unsent)
            .await
            .is_err()
        {
            break Err(Cut::Sink);
        }
        if done {
            break Ok(());
        }
        turn.wait().await;
        match Broken::unless_read(stream::read(client, input).await) {
            Ok(read) => turn.read(read, input.len() < input.capacity()),
            Err(broken) => break Err(broken.into()),
        }
        buffers.widen(input);
    };
    buffers.give(out);
    end
}

/// Takes what there is of the chunks, and writes it as it is sent: always whole chunks, so that anybody
/// can go on behind them. True at the end of the body.
fn anew(
    kept: &Kept,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
    progress: &Progress,
) -> Result<bool, Refusal> {
    let Some(mut decoder) = kept.chunks() else {
        return Ok(true); // nothing is to come
    };
    out.reserve(input.len() + FRAMING);
    let mut at = 0;
    let done = loop {
        let rest = input.get(at..).unwrap_or_default();
        let (consumed, event) = decoder.decode(rest)?;
        at += consumed;
        match event {
            ChunkEvent::Data(range) => {
                let data = rest.get(range).unwrap_or_default();
                write_chunk_header(out, data.len());
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
                let received = progress.moved.received.get() + data.len() as u64;
                progress.moved.received.set(received);
            }
            ChunkEvent::TrailersEnd => {
                write_last_chunk(out, decoder.trailers());
                break true;
            }
            ChunkEvent::NeedMore => break false,
        }
    };
    input.drain(..at.min(input.len()));
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tests::{CHUNK, CHUNKS, longest_turn, reader, sender};

    #[tokio::test]
    async fn others_have_a_turn_though_small_chunks_do_not_end() {
        let (client, upstream, buffers) = (sender(CHUNK), reader(), Buffers::default());
        let (kept, progress) = (Kept::new(BodyLength::Chunked, 0), Progress::default());
        let taken = Taken {
            copies: None,
            kept: &kept,
            progress: &progress,
            sending: &Sending::default(),
        };
        let mut input = buffers.small();
        let body = chunked(&client, &upstream, &buffers, &mut input, &taken);
        let most = longest_turn(body, || progress.moved.received.get()).await;
        assert!(most <= CHUNKS, "{most}");
    }
}
