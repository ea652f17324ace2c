//! The response of a crossing.
use super::{
    super::{
        body::{
            Accounts, Begun, Framing, Http1Sink, Http1Source, Http2Sink, Http2Source, Sink, Source,
            WebSource, begin, carry,
        },
        client::{Client, Head, pass_head},
        download::Download,
        interim,
        response_head::read_head,
    },
    Crossing,
};
use crate::{
    shard::http2_pool::{Http2Lease, StreamFault},
    socket::Socket,
};
use h2::{RecvStream, client::ResponseFuture};
use pointsman_telemetry::Flags;
use pointsman_wire::{
    http1::{HeadLimits, ResponseBody, Version},
    http2,
};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

impl Crossing<'_> {
    /// The response of an HTTP/1 endpoint.
    pub(super) async fn http1_response(
        &self,
        upstream: &Socket,
        input: &mut Vec<u8>,
        client: &mut Client<'_>,
    ) -> Download {
        let operations = self.forward.changes.levels();
        let limits = self.cx.shard.settings.limits.of_heads();
        let head = read_head(
            self.cx,
            &operations,
            upstream,
            input,
            client,
            self.gate,
            &limits,
        );
        let head = match head.await {
            Ok(head) => head,
            Err(end) => return end,
        };
        if head.upgraded {
            return Download::Upgraded(Vec::new());
        }
        let buffers = &self.cx.shard.buffers;
        let mut body = match head.body {
            ResponseBody::None => Source::Empty,
            body => Source::Http1(Http1Source::response(upstream, buffers, input, body)),
        };
        let end = self.body(&head, &mut body, client).await;
        drop(body);
        match end {
            Download::Done {
                status,
                upstream_reusable,
                client_keeps,
            } => Download::Done {
                status,
                // Bytes behind the response answer nobody: that connection is not used again.
                upstream_reusable: upstream_reusable && input.is_empty(),
                client_keeps,
            },
            end => end,
        }
    }

    /// The response of an HTTP/2 endpoint. `behind` gets its stream where a tunnel follows, or an end
    /// that the client does not wait for.
    pub(super) async fn http2_response(
        &self,
        lease: &Http2Lease,
        mut response: ResponseFuture,
        limits: &HeadLimits,
        client: &mut Client<'_>,
        behind: &RefCell<Option<RecvStream>>,
    ) -> Download {
        let (head, body, web) = loop {
            let (mut response, body) = match interim::next_http2(&mut response).await {
                Ok(next) => next,
                Err(error) => {
                    return match lease.fault(&error) {
                        // Behind an interim head, as it is over HTTP/1.
                        StreamFault::Refused
                        | StreamFault::GoneAway
                        | StreamFault::Unsent
                        | StreamFault::Closed
                            if self.progress.interims.number() > 0 =>
                        {
                            Download::CutHead
                        }
                        fault => Download::Fault(fault),
                    };
                }
            };
            let web = self.forward.grpc_web().filter(|_| body.is_some());
            let web = web.filter(|web| web.response(response.headers_mut()));
            let head = match self.pass(lease, response, body.as_ref(), limits, client) {
                Ok(head) => head,
                Err(end) => return end,
            };
            if let Some(body) = body {
                break (head, body, web);
            }
            // Boxed, as it is rare.
            let version = self.forward.facts.version;
            let sent = Box::pin(interim::send(self.cx, client, version, self.progress));
            if let Err(end) = sent.await {
                return end;
            }
        };
        self.cx.access.answered(!self.progress.is_complete());
        if head.upgraded {
            behind.replace(Some(body));
            return Download::Upgraded(Vec::new());
        }
        let mut body = Source::Http2(Http2Source::new(body));
        if let Some(web) = web {
            let status = &self.progress.grpc_status;
            body = Source::Web(Box::new(WebSource::response(body, web.reads_text, status)));
        }
        let end = self.body(&head, &mut body, client).await;
        // A request that is not sent whole ends with its stream.
        if let (Download::Done { .. }, Source::Http2(source)) = (&end, body)
            && self.progress.taken.get()
        {
            match source.rest() {
                None => lease.ended(),
                rest => drop(behind.replace(rest)),
            }
        }
        end
    }

    fn pass(
        &self,
        lease: &Http2Lease,
        response: http::Response<()>,
        body: Option<&RecvStream>,
        limits: &HeadLimits,
        client: &mut Client<'_>,
    ) -> Result<Head, Download> {
        let facts = &self.forward.facts;
        let end = body.is_some_and(RecvStream::is_end_stream);
        let passed = {
            let mut slots = http2::field_slots();
            let (status, fields) = (response.status(), response.headers());
            let mut head =
                http2::response_head(status, fields, end, &mut slots, limits, facts.kind)
                    .map_err(|refusal| Download::Malformed(refusal.reason.as_str()))?;
            // There may be trailers though a length of zero is told. HTTP/1 has no room for them
            // behind a length, and may go without (RFC 9110 section 6.5.1).
            if facts.version == Version::Http2 && !end && head.body == ResponseBody::Length(0) {
                head.body = ResponseBody::Chunked;
            }
            let operations = self.forward.changes.levels();
            pass_head(
                self.cx,
                &operations,
                lease.socket(),
                head,
                client,
                self.gate,
            )?
        };
        if let Client::Http2(answering) = client {
            answering.complete(|| response.into_parts().0.headers);
        }
        Ok(passed)
    }

    /// The body of a response whose head is passed on.
    async fn body(&self, head: &Head, body: &mut Source<'_>, client: &mut Client<'_>) -> Download {
        self.progress.status.set(head.status);
        // A stream has its head by now. One of HTTP/1 goes out with what comes first of the body.
        let answering = &self.progress.answering;
        answering.set(matches!(client, Client::Http2(_)));
        let left: &Cell<usize> = &self.progress.unwritten;
        let mut stream;
        let mut sink = match client {
            Client::Http1(out) => Sink::Http1(Http1Sink {
                to: self.cx.client,
                out,
                framing: Framing::from(head.to_client),
                left,
                whole: None,
            }),
            Client::Http2(answering) => match answering.take_body() {
                None => return Download::Cut(Flags::DC),
                // The head was all.
                Some(_)
                    if matches!(head.to_client, ResponseBody::None | ResponseBody::Length(0)) =>
                {
                    self.progress.grpc_status.set(head.grpc_status);
                    return done(head);
                }
                Some(taken) => {
                    stream = taken;
                    Sink::Http2(Http2Sink {
                        to: &mut stream,
                        left,
                    })
                }
            },
        };
        let grpc_status = &self.progress.grpc_status;
        grpc_status.set(head.grpc_status);
        let accounts = Accounts {
            grpc_status: Some(grpc_status),
            ..Accounts::of(&self.progress.moved.sent)
        };
        // What an endpoint sends behind a head that is all is no part of the answer (RFC 9110 section
        // 6.4.1): not 502, as towards a stream the head is on its way by then.
        let mut nothing = Source::Empty;
        let body = match head.to_client {
            ResponseBody::None => &mut nothing,
            _ => body,
        };
        let begun = match begin(body, &mut sink, &accounts) {
            Ok(begun) => begun,
            Err(cut) => return Download::cut(self.cx, self.progress, cut),
        };
        answering.set(true);
        let carried = match begun {
            Begun::Done => Ok(()),
            // Boxed: most bodies do not come to this, and a stream is not to be as large as it is.
            begun => Box::pin(carry(begun, body, &mut sink, accounts)).await,
        };
        match carried {
            Ok(()) => done(head),
            Err(cut) => Download::cut(self.cx, self.progress, cut),
        }
    }
}

/// How long the end of a stream may take whose answer is complete.
const LATE_END: Duration = Duration::from_secs(10);

/// Waits for the end of a stream, if there is one: given up it would be reset, and endpoints count resets.
pub(super) fn see_out(lease: Http2Lease, stream: Option<RecvStream>) {
    let Some(mut stream) = stream else {
        return;
    };
    actix::spawn(async move {
        let ended = async {
            // Nothing more fits into the length that was told: whatever comes is the end.
            while let Some(Ok(_)) = stream.data().await {}
            stream.trailers().await
        };
        if tokio::time::timeout(LATE_END, ended).await.is_ok() {
            lease.ended();
        }
        // In this order: what a lease lends ends before it does.
        drop((stream, lease));
    });
}

fn done(head: &Head) -> Download {
    Download::Done {
        status: head.status,
        upstream_reusable: head.reusable,
        client_keeps: head.client_keeps,
    }
}
