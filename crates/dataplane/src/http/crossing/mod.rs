//! Exchanges in which a version changes, or streams run on both sides: bodies travel as pieces. What comes
//! back is in `response`.
mod response;

use super::{
    Context,
    body::{
        Accounts, Begun, Cut, Framing, Http1Sink, Http1Source, Http2Sink, Http2Source, Sink,
        Source, WebSource, begin, carry,
    },
    client::Client,
    exchange::{both_ways, one_way, send_head},
    local,
    outcome::{End, Outcome},
    progress::{Progress, Sending},
    response_head::Gate,
    step::Forward,
};
use crate::{shard::http2_pool::Http2Lease, socket::Socket};
use pointsman_wire::{http1::ResponseBody, http2::Outgoing};
use response::see_out;
use std::{cell::RefCell, pin::pin};

/// What every crossing needs, whichever way it goes.
pub(super) struct Crossing<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) forward: &'a Forward,
    pub(super) progress: &'a Progress,
    pub(super) sending: &'a Sending,
    pub(super) gate: &'a Gate<'a>,
}

impl Crossing<'_> {
    /// To an endpoint that speaks HTTP/1. `head` is the request's as it is to be sent.
    pub(super) async fn to_http1(
        &self,
        head: &[u8],
        body: &mut Source<'_>,
        client: &mut Client<'_>,
        upstream: &Socket,
    ) -> End {
        let buffers = &self.cx.shard.buffers;
        // Taken when there is something to read, as from clients.
        let mut input = Vec::new();
        let end = if self.has_body() {
            let mut out = buffers.small();
            out.extend_from_slice(head);
            let mut sink = Sink::Http1(Http1Sink {
                to: upstream,
                out: &mut out,
                framing: self.forward.facts.body.into(),
                left: &self.sending.unsent,
                whole: Some(&self.sending.whole),
            });
            // Boxed, so that streams whose requests have no body are not as large as this is.
            let end = Box::pin(async {
                let begun = self.begin(body, &mut sink);
                let up = pin!(self.upload(begun, body, &mut sink));
                let down = pin!(self.http1_response(upstream, &mut input, client));
                both_ways(self.cx, up, down, self.forward, self.progress, self.sending).await
            })
            .await;
            buffers.give(out);
            end
        } else {
            if let Err(stall) = send_head(self.cx, upstream, head).await {
                return stall.end(self.cx, self.progress, local::RESPONSE_IDLE);
            }
            let end = {
                let down = pin!(self.http1_response(upstream, &mut input, client));
                one_way(self.cx, down, self.progress, self.sending).await
            };
            match end {
                End::Upgraded(_) => {
                    let mut out = buffers.small();
                    let up = Sink::Http1(Http1Sink {
                        to: upstream,
                        out: &mut out,
                        framing: Framing::Tunnel,
                        left: &self.sending.unsent,
                        whole: None,
                    });
                    let body_down = ResponseBody::UntilClose;
                    let reply = &mut input;
                    let down = Http1Source::response(upstream, buffers, reply, body_down);
                    // Boxed, as all that is rare: a stream is not to be as large as this.
                    let tunnel = self.tunnel(body, up, Source::Http1(down), client);
                    let end = Box::pin(tunnel).await;
                    buffers.give(out);
                    end
                }
                end => end,
            }
        };
        buffers.give(input);
        end
    }

    /// To an endpoint that speaks HTTP/2.
    pub(super) async fn to_http2(
        &self,
        body: &mut Source<'_>,
        client: &mut Client<'_>,
        mut lease: Http2Lease,
    ) -> End {
        let Some(request) = self.forward.http2.as_deref().map(Outgoing::message) else {
            return End::Other(Outcome::Reply(local::BAD_RESPONSE));
        };
        let upgrade = self.forward.facts.upgrade;
        if upgrade && !lease.extended_connect() {
            return End::Other(Outcome::Reply(local::NO_WEBSOCKET));
        }
        let has_body = self.has_body();
        if self.forward.facts.asks_in_text && !matches!(body, Source::Web(_)) {
            let inner = std::mem::replace(body, Source::Empty);
            *body = Source::Web(Box::new(WebSource::request(inner)));
        }
        let (response, mut to_endpoint) = match lease.send(request.clone(), !has_body && !upgrade) {
            Ok(begun) => begun,
            Err(fault) => return End::Failed(fault.into()),
        };
        let limits = self.cx.shard.settings.limits.of_heads();
        let behind = RefCell::new(None);
        if !has_body {
            let end = {
                let down = self.http2_response(&lease, response, &limits, client, &behind);
                one_way(self.cx, pin!(down), self.progress, self.sending).await
            };
            return match (end, behind.take()) {
                (End::Upgraded(_), Some(stream)) => {
                    let up = Sink::Http2(Http2Sink {
                        to: &mut to_endpoint,
                        left: &self.sending.unsent,
                    });
                    let down = Source::Http2(Http2Source::new(stream));
                    Box::pin(self.tunnel(body, up, down, client)).await
                }
                (end, rest) => {
                    see_out(lease, rest);
                    end
                }
            };
        }
        let mut sink = Sink::Http2(Http2Sink {
            to: &mut to_endpoint,
            left: &self.sending.unsent,
        });
        let begun = self.begin(body, &mut sink);
        if let Ok(Begun::Done) = begun {
            if let Some(copies) = self.forward.copies.as_deref() {
                copies.pieces_end();
                copies.send();
            }
            let end = {
                let down = pin!(self.http2_response(&lease, response, &limits, client, &behind));
                one_way(self.cx, down, self.progress, self.sending).await
            };
            see_out(lease, behind.take());
            return end;
        }
        // Boxed, so that streams whose bodies are here whole are not as large as this is.
        let end = Box::pin(async {
            let up = pin!(self.upload(begun, body, &mut sink));
            let down = pin!(self.http2_response(&lease, response, &limits, client, &behind));
            both_ways(self.cx, up, down, self.forward, self.progress, self.sending).await
        })
        .await;
        see_out(lease, behind.take());
        end
    }

    /// Does anything follow the head of the request? Whoever sends it has said so.
    fn has_body(&self) -> bool {
        self.gate.pieces.is_some()
    }

    /// Who keeps account of the request's body.
    fn accounts(&self) -> Accounts<'_> {
        Accounts {
            copies: self.forward.copies.as_deref(),
            kept: self.gate.pieces,
            moved: &self.progress.moved.received,
            grpc_status: None,
            complete: Some(&self.progress.complete),
        }
    }

    /// What of the request's body can be sent at once.
    fn begin(&self, body: &mut Source<'_>, sink: &mut Sink<'_>) -> Result<Begun, Cut> {
        begin(body, sink, &self.accounts())
    }

    /// The request's body, from where it has begun.
    async fn upload(
        &self,
        begun: Result<Begun, Cut>,
        body: &mut Source<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Cut> {
        let accounts = self.accounts();
        let carried = match begun {
            Ok(begun) => carry(begun, body, sink, accounts).await,
            Err(cut) => Err(cut),
        };
        if let (Ok(()), Some(copies)) = (carried, accounts.copies) {
            copies.pieces_end();
        }
        carried
    }
}
