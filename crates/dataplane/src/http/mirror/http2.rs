//! To a mirror that speaks HTTP/2: a stream on the connections of the shard.
use crate::{
    http::{
        body::{Http2Sink, Sink},
        interim::{Interims, next_http2},
    },
    shard::{
        Shard, cluster_state::ClusterState, endpoint_state::EndpointState,
        http2_pool::Http2OpenError,
    },
};
use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, Request};
use pointsman_wire::{
    grpc_web::TextDecoder,
    http1::{ChunkDecoder, ChunkEvent, ChunkLimits},
    http2::trailers_to_map,
};
use std::{cell::Cell, future::pending, pin::pin, rc::Rc};
use tokio::task::coop::consume_budget;

/// What follows the head.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Body {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

/// Takes a body out of the framing of HTTP/1, and of base64 if it is `text`; `None` if it is in
/// neither.
pub(super) fn body(framed: Bytes, chunked: bool, text: bool) -> Option<Body> {
    let mut body = match chunked && !framed.is_empty() {
        false => Body {
            data: framed,
            trailers: None,
        },
        true => unchunked(&framed)?,
    };
    if text {
        let mut data = Vec::with_capacity(body.data.len());
        let mut decoder = TextDecoder::default();
        decoder.decode(&body.data, &mut data).ok()?;
        decoder.finish().ok()?;
        body.data = data.into();
    }
    Some(body)
}

fn unchunked(mut bytes: &[u8]) -> Option<Body> {
    let mut decoder = ChunkDecoder::new(ChunkLimits::default());
    let mut data = BytesMut::with_capacity(bytes.len());
    loop {
        let (used, event) = decoder.decode(bytes).ok()?;
        match event {
            ChunkEvent::Data(range) => data.extend_from_slice(bytes.get(range)?),
            ChunkEvent::TrailersEnd => break,
            ChunkEvent::NeedMore => return None,
        }
        bytes = bytes.get(used..)?;
    }
    let trailers = trailers_to_map(decoder.trailers());
    Some(Body {
        data: data.freeze(),
        trailers: (!trailers.is_empty()).then_some(trailers),
    })
}

/// Sends a copy and reads the reply; what became of it. A copy waits for a connection and for the
/// endpoint's window no longer than it may take in all.
pub(super) async fn send(
    shard: &Rc<Shard>,
    cluster: &ClusterState,
    endpoint: &Rc<EndpointState>,
    request: Request<()>,
    body: Body,
) -> &'static str {
    let limits = cluster.http2_limits(&shard.settings);
    let counted = cluster.limits.as_ref();
    let open = endpoint.http2().open(endpoint, shard, limits, counted);
    let mut lease = match open.await {
        Ok(lease) => lease,
        Err(
            Http2OpenError::NoStreams
            | Http2OpenError::Exhausted
            | Http2OpenError::Late
            | Http2OpenError::Full(_),
        ) => return "overflow",
        Err(_) => return "failed",
    };
    let alone = body.data.is_empty() && body.trailers.is_none();
    // What `lease` lends ends before it does: they are dropped in the reverse order.
    let Ok((response, mut sending)) = lease.send(request, alone) else {
        return "failed";
    };
    let up = pin!(async {
        if !alone {
            send_body(&mut sending, body).await;
        }
        // A mirror that takes no more may still answer.
        pending().await
    });
    let most = shard.settings.mirrors.body_bytes;
    let down = pin!(read_away(response, most));
    tokio::select! {
        biased;
        outcome = down => outcome,
        outcome = up => outcome,
    }
}

async fn send_body(to: &mut SendStream<Bytes>, Body { data, trailers }: Body) {
    let left = Cell::new(0);
    let mut sink = Sink::Http2(Http2Sink { to, left: &left });
    let last = trailers.is_none();
    if (data.is_empty() || sink.data(data, last).await.is_ok()) && !last {
        // As above.
        let _ = sink.end(trailers).await;
    }
}

/// Reads a response and throws it away, up to `most` bytes of its body; the rest is cancelled.
async fn read_away(response: ResponseFuture, mut most: usize) -> &'static str {
    let Some(mut body) = head(response).await else {
        return "failed";
    };
    while let Some(Ok(piece)) = body.data().await {
        consume_budget().await;
        // Fails only for a stream that is gone, whose next piece says so.
        let _ = body.flow_control().release_capacity(piece.len());
        match most.checked_sub(piece.len()) {
            Some(left) => most = left,
            None => break,
        }
    }
    "answered"
}

/// Reads heads up to that of the response; what follows it.
async fn head(mut response: ResponseFuture) -> Option<RecvStream> {
    let interims = Interims::default();
    loop {
        match next_http2(&mut response).await.ok()? {
            (_, Some(body)) => return Some(body),
            (_, None) if interims.another() => {}
            (_, None) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_taken_out_of_its_framing() {
        let of = |bytes: &'static [u8], chunked, text| {
            body(Bytes::from_static(bytes), chunked, text).map(|it| (it.data, it.trailers))
        };
        let plain = |bytes: &'static [u8]| Some((Bytes::from_static(bytes), None));
        assert_eq!(of(b"", false, false), plain(b""));
        assert_eq!(of(b"", true, false), plain(b""));
        assert_eq!(of(b"abc", false, false), plain(b"abc"));
        let chunks = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        assert_eq!(of(chunks, true, false), plain(b"abcde"));
        let (data, trailers) = of(b"1\r\na\r\n0\r\nx-sum: 5\r\n\r\n", true, false).expect("whole");
        assert_eq!(
            (&*data, &trailers.expect("some")["x-sum"].as_bytes()),
            (&b"a"[..], &&b"5"[..])
        );
        assert_eq!(of(b"3\r\nab", true, false), None);
        assert_eq!(of(b"YWJj", false, true), plain(b"abc"));
        assert_eq!(of(b"YWJ", false, true), None);
    }
}
