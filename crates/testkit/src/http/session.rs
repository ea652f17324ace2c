//! One connection of an upstream: read a request, follow the script, repeat.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::reply::{BodyPlan, Reply, Step};
use super::{Seen, Shared, locked};
use crate::message::{Body, Framing, Head, MessageError, MessageReader, has_token};
use crate::serve::reset_on_close;

pub(super) async fn serve(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let Ok(peer) = stream.peer_addr() else { return };
    let mut session = Session {
        reader: MessageReader::recorded(stream, shared.tape.clone()),
        shared,
        dribble: None,
    };
    loop {
        let head = match session.reader.head().await {
            Ok(Some(head)) => head,
            Ok(None) | Err(MessageError::Io(_)) => return,
            Err(error) => return session.refuse(&error).await,
        };
        session.shared.heads.fetch_add(1, Ordering::SeqCst);
        let (mut seen, framing) = match request(head, connection, peer) {
            Ok(request) => request,
            Err(error) => return session.refuse(&error).await,
        };
        let reply = session.shared.reply_for(seen.path());
        match session.exchange(&mut seen, framing, &reply).await {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) | Err(MessageError::Io(_)) => return,
            Err(error) => return session.refuse(&error).await,
        }
    }
}

fn request(
    head: Head,
    connection: usize,
    peer: std::net::SocketAddr,
) -> Result<(Seen, Framing), MessageError> {
    let framing = head.declared_framing()?.unwrap_or(Framing::None);
    let words: Vec<&str> = head.first_line.split(' ').collect();
    let [method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = words.as_slice() else {
        return Err(MessageError::Malformed(format!(
            "request line {:?}",
            head.first_line
        )));
    };
    let seen = Seen {
        connection,
        peer,
        method: (*method).to_owned(),
        target: (*target).to_owned(),
        version: (*version).to_owned(),
        fields: head.fields,
        raw_head: head.raw,
        body: Vec::new(),
        chunks: Vec::new(),
        trailers: Vec::new(),
    };
    Ok((seen, framing))
}

struct Session {
    reader: MessageReader<TcpStream>,
    shared: Arc<Shared>,
    dribble: Option<(usize, Duration)>,
}

impl Session {
    /// Notes what was wrong, answers 400 and lets the connection end.
    async fn refuse(&mut self, error: &MessageError) {
        locked(&self.shared.malformed).push(error.to_string());
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = self.reader.stream().write_all(answer).await;
    }

    async fn exchange(
        &mut self,
        seen: &mut Seen,
        framing: Framing,
        reply: &Reply,
    ) -> Result<ControlFlow<()>, MessageError> {
        self.dribble = reply.dribble;
        if reply.early {
            let flow = self.follow(seen, reply).await?;
            self.read_body(seen, framing).await?;
            return Ok(flow);
        }
        if seen
            .field("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
        {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        self.read_body(seen, framing).await?;
        self.follow(seen, reply).await
    }

    async fn read_body(&mut self, seen: &mut Seen, framing: Framing) -> Result<(), MessageError> {
        let Body {
            bytes,
            chunks,
            trailers,
        } = self.reader.body(framing).await?;
        (seen.body, seen.chunks, seen.trailers) = (bytes, chunks, trailers);
        locked(&self.shared.seen).push(seen.clone());
        Ok(())
    }

    /// Goes through the steps; `Break` ends the connection.
    async fn follow(
        &mut self,
        seen: &Seen,
        reply: &Reply,
    ) -> Result<ControlFlow<()>, MessageError> {
        let asked_to_close = has_token(&seen.fields, "connection", "close")
            || (seen.version == "HTTP/1.0" && !has_token(&seen.fields, "connection", "keep-alive"));
        let closing =
            asked_to_close || reply.steps.iter().any(|step| matches!(step, Step::Closing));
        for step in &reply.steps {
            match step {
                Step::Wait(delay) => sleep(*delay).await,
                Step::Raw(bytes) => self.write(bytes).await?,
                Step::Message {
                    status,
                    fields,
                    body,
                } => {
                    if self
                        .message(seen, *status, fields, body, closing)
                        .await?
                        .is_break()
                    {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Step::Upgrade => return self.upgrade(seen).await.map(ControlFlow::Break),
                Step::Closing => {}
                Step::Close => return Ok(ControlFlow::Break(())),
                Step::Reset => {
                    reset_on_close(self.reader.stream());
                    return Ok(ControlFlow::Break(()));
                }
                Step::Hang => std::future::pending().await,
            }
        }
        Ok(if closing {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    async fn message(
        &mut self,
        seen: &Seen,
        status: u16,
        fields: &[(String, String)],
        body: &BodyPlan,
        closing: bool,
    ) -> Result<ControlFlow<()>, MessageError> {
        let plain = match body {
            BodyPlan::Identity => Some(self.identity(seen)),
            BodyPlan::Bytes(bytes) => Some(bytes.clone()),
            BodyPlan::Echo => Some(seen.body.clone()),
            _ => None,
        };
        let framing = match (body, &plain) {
            (_, Some(bytes)) => format!("Content-Length: {}\r\n", bytes.len()),
            (BodyPlan::Cut { promised, .. }, _) => format!("Content-Length: {promised}\r\n"),
            (BodyPlan::UntilClose(_), _) => String::new(),
            _ => "Transfer-Encoding: chunked\r\n".to_owned(),
        };
        // RFC 9110 section 8.6: no Content-Length with 1xx and 204.
        let has_framing = status >= 200 && status != 204;
        let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
        if has_framing {
            head += &framing;
        }
        if closing {
            head += "Connection: close\r\n";
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let bodyless = seen.method == "HEAD" || !has_framing || status == 304;
        let mut bytes = head.into_bytes();
        if bodyless {
            self.write(&bytes).await?;
            return Ok(ControlFlow::Continue(()));
        }
        if let Some(body) = plain {
            // One write for a small answer, as servers do.
            bytes.extend(body);
            self.write(&bytes).await?;
            return Ok(ControlFlow::Continue(()));
        }
        self.write(&bytes).await?;
        self.planned_body(body).await
    }

    async fn planned_body(&mut self, body: &BodyPlan) -> Result<ControlFlow<()>, MessageError> {
        match body {
            BodyPlan::Chunks {
                pieces,
                every,
                trailers,
            } => {
                for piece in pieces {
                    self.write(&framed(piece)).await?;
                    sleep(*every).await;
                }
                let trailers: String = trailers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                self.write(format!("0\r\n{trailers}\r\n").as_bytes())
                    .await?;
                Ok(ControlFlow::Continue(()))
            }
            BodyPlan::EndlessChunks { piece, every } => loop {
                self.write(&framed(piece)).await?;
                sleep(*every).await;
            },
            BodyPlan::UntilClose(bytes) => {
                self.write(bytes).await?;
                Ok(ControlFlow::Break(()))
            }
            BodyPlan::Cut { sent, .. } => {
                self.write(&vec![b'x'; *sent]).await?;
                Ok(ControlFlow::Break(()))
            }
            BodyPlan::CutChunked => {
                self.write(b"4\r\nfull\r\n8\r\nhalf").await?;
                Ok(ControlFlow::Break(()))
            }
            // Written together with their head.
            BodyPlan::Identity | BodyPlan::Bytes(_) | BodyPlan::Echo => {
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    fn identity(&self, seen: &Seen) -> Vec<u8> {
        serde_json::json!({
            "name": self.shared.name,
            "connection": seen.connection,
            "method": seen.method,
            "target": seen.target,
            "path": seen.path(),
            "host": seen.host(),
            "headers": seen.fields,
            "body_bytes": seen.body.len(),
        })
        .to_string()
        .into_bytes()
    }

    async fn upgrade(&mut self, seen: &Seen) -> Result<(), MessageError> {
        let protocol = match seen.field("upgrade") {
            Some(protocol) if has_token(&seen.fields, "connection", "upgrade") => protocol,
            _ => {
                let answer = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\
                    Connection: close\r\n\r\n";
                return Ok(self.write(answer).await?);
            }
        };
        let accept = seen.field("sec-websocket-key").map(|key| {
            let key = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
            let accept = STANDARD.encode(Sha1::digest(key));
            format!("Sec-WebSocket-Accept: {accept}\r\n")
        });
        let accept = accept.unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{accept}\r\n"
        );
        self.write(answer.as_bytes()).await?;
        let early = self.reader.ahead().to_vec();
        self.write(&early).await?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let got = self.reader.stream().read(&mut buffer).await?;
            if got == 0 {
                return Ok(());
            }
            let bytes = buffer.get(..got).unwrap_or_default();
            if let Some(tape) = &self.shared.tape {
                tape.record(bytes);
            }
            self.reader.stream().write_all(bytes).await?;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((piece, every)) = self.dribble else {
            return self.reader.stream().write_all(bytes).await;
        };
        for part in bytes.chunks(piece) {
            self.reader.stream().write_all(part).await?;
            sleep(every).await;
        }
        Ok(())
    }
}

fn framed(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}
