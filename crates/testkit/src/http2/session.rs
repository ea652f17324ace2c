//! One connection of an upstream: a task for each stream, which follows its script.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::reply::{Http2Reply, Reading, Step};
use super::{Http2Seen, Shared, fields_of, header_map, locked, send_all};

/// What a script asks of its connection.
#[derive(Debug)]
enum Order {
    GoAway,
    Abort(u32),
    Drop,
}

pub(super) async fn serve(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let mut builder = server::Builder::new();
    (shared.tune)(&mut builder);
    let mut http2 = match builder.handshake::<_, Bytes>(stream).await {
        Ok(http2) => http2,
        Err(error) => return shared.complain(&error),
    };
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let mut away = shared.away.subscribe();
    let at_once = Arc::new(AtomicUsize::new(0));
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = http2.accept() => match accepted {
                None => return,
                Some(Err(error)) => return shared.complain(&error),
                Some(Ok((request, respond))) => {
                    let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                    shared.most.fetch_max(now, Ordering::SeqCst);
                    shared.heads.fetch_add(1, Ordering::SeqCst);
                    let stream = Stream::new(request, respond, connection, &shared, &orders);
                    let at_once = Arc::clone(&at_once);
                    streams.spawn(async move {
                        stream.run().await;
                        at_once.fetch_sub(1, Ordering::SeqCst);
                    });
                    while streams.try_join_next().is_some() {}
                }
            },
            order = ordered.recv() => match order {
                Some(Order::GoAway) => http2.graceful_shutdown(),
                Some(Order::Abort(code)) => http2.abrupt_shutdown(code.into()),
                Some(Order::Drop) | None => return,
            },
            _ = away.changed() => http2.graceful_shutdown(),
        }
    }
}

struct Stream {
    seen: Http2Seen,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// The way out, once the head was sent.
    out: Option<SendStream<Bytes>>,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    read: bool,
}

impl Stream {
    fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        connection: usize,
        shared: &Arc<Shared>,
        orders: &mpsc::UnboundedSender<Order>,
    ) -> Self {
        let (head, body) = request.into_parts();
        let protocol = head.extensions.get::<h2::ext::Protocol>();
        Self {
            seen: Http2Seen {
                upstream: shared.name.clone(),
                connection,
                stream: respond.stream_id().as_u32(),
                method: head.method.to_string(),
                scheme: head.uri.scheme_str().map(str::to_owned),
                authority: head.uri.authority().map(ToString::to_string),
                path: match head.uri.path_and_query() {
                    Some(path) => path.to_string(),
                    None => String::new(),
                },
                protocol: protocol.map(|it| it.as_str().to_owned()),
                fields: fields_of(&head.headers),
                body: Vec::new(),
                pieces: Vec::new(),
                trailers: None,
            },
            body,
            respond,
            out: None,
            shared: Arc::clone(shared),
            orders: orders.clone(),
            read: false,
        }
    }

    async fn run(mut self) {
        let reply = self.shared.reply_for(self.seen.target());
        if let Err(error) = self.follow(&reply).await {
            let reset = (self.seen.path.clone(), error.reason().map(u32::from));
            locked(&self.shared.resets).push(reset);
        }
    }

    async fn follow(&mut self, reply: &Http2Reply) -> Result<(), h2::Error> {
        if reply.reading == Reading::First {
            self.read_body().await?;
        }
        let mut steps = reply.steps.clone();
        while !steps.is_empty() {
            let step = steps.remove(0);
            if let Step::Computed(compute) = step {
                steps.splice(0..0, compute(&self.seen));
                continue;
            }
            let ends = !steps.iter().any(Step::goes_on);
            self.step(step, ends).await?;
        }
        if reply.reading == Reading::Later {
            self.read_body().await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: Step, ends: bool) -> Result<(), h2::Error> {
        match step {
            Step::Wait(length) => self.wait(length).await?,
            Step::Interim(status, fields) => {
                self.respond.send_informational(head(status, &fields))?;
            }
            Step::Head(status, fields) => {
                self.out = Some(self.respond.send_response(head(status, &fields), ends)?);
            }
            Step::Data(piece) => {
                if let Some(out) = &mut self.out {
                    send_all(out, piece, ends).await?;
                }
            }
            Step::EchoPieces => self.echo(ends).await?,
            Step::Endless(piece, every) => loop {
                if let Some(out) = &mut self.out {
                    send_all(out, piece.clone(), false).await?;
                }
                self.wait(every).await?;
            },
            Step::Trailers(fields) => {
                if let Some(out) = &mut self.out {
                    out.send_trailers(header_map(&fields))?;
                }
            }
            Step::Reset(code) => match &mut self.out {
                None => self.respond.send_reset(code.into()),
                Some(out) => out.send_reset(code.into()),
            },
            Step::GoAway => self.order(Order::GoAway),
            // The stream stays as it is until the connection takes it along.
            Step::Abort(code) => {
                self.order(Order::Abort(code));
                pending().await
            }
            Step::Drop => {
                self.order(Order::Drop);
                pending().await
            }
            Step::Hang => {
                let reset = poll_fn(|cx| match &mut self.out {
                    None => self.respond.poll_reset(cx),
                    Some(out) => out.poll_reset(cx),
                });
                return Err(reset.await?.into());
            }
            Step::Computed(_) => pending().await,
        }
        Ok(())
    }

    /// A pause, unless the peer resets the stream meanwhile.
    async fn wait(&mut self, length: Duration) -> Result<(), h2::Error> {
        let reset = poll_fn(|cx| match &mut self.out {
            None => self.respond.poll_reset(cx),
            Some(out) => out.poll_reset(cx),
        });
        match timeout(length, reset).await {
            Err(_) => Ok(()),
            Ok(reset) => Err(reset?.into()),
        }
    }

    fn order(&self, order: Order) {
        // The connection may have ended by itself.
        let _ = self.orders.send(order);
    }

    async fn read_body(&mut self) -> Result<(), h2::Error> {
        if std::mem::replace(&mut self.read, true) {
            return Ok(());
        }
        while let Some(piece) = self.body.data().await {
            self.take(&piece?)?;
        }
        self.seen.trailers = self.body.trailers().await?.as_ref().map(fields_of);
        locked(&self.shared.seen).push(self.seen.clone());
        Ok(())
    }

    fn take(&mut self, piece: &Bytes) -> Result<(), h2::Error> {
        self.seen.body.extend_from_slice(piece);
        self.seen.pieces.push(piece.len());
        self.body.flow_control().release_capacity(piece.len())
    }

    async fn echo(&mut self, ends: bool) -> Result<(), h2::Error> {
        self.read = true;
        while let Some(piece) = self.body.data().await {
            let piece = piece?;
            if let Some(out) = &mut self.out {
                send_all(out, piece.clone(), false).await?;
            }
            self.take(&piece)?;
        }
        let trailers = self.body.trailers().await?;
        self.seen.trailers = trailers.as_ref().map(fields_of);
        locked(&self.shared.seen).push(self.seen.clone());
        match (&mut self.out, trailers) {
            (Some(out), Some(trailers)) if ends => out.send_trailers(trailers),
            (Some(out), None) if ends => out.send_data(Bytes::new(), true),
            _ => Ok(()),
        }
    }
}

impl Step {
    /// Does the stream stay open for this step, be it for ever?
    fn goes_on(&self) -> bool {
        !matches!(self, Step::GoAway)
    }
}

fn head(status: u16, fields: &crate::message::Fields) -> Response<()> {
    let mut response = Response::new(());
    match http::StatusCode::from_u16(status) {
        Ok(status) => *response.status_mut() = status,
        Err(_) => panic!("{status} is no status"),
    }
    *response.headers_mut() = header_map(fields);
    response
}
