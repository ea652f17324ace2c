//! HTTP/1.1 as far as the shop needs it: requests without surprises, kept-alive connections.
//!
//! The gateway's own parser is not used on purpose: a fault in it would hide itself if the other
//! side had the same one.
use super::{
    answers::{self, Answer},
    roster::Member,
};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Bytes of a request head.
const HEAD: usize = 16 * 1024;
/// Bytes of a request body, which is read and dropped.
const BODY: u64 = 1024 * 1024;
/// Silence after which a connection is closed: longer than the gateway keeps an idle one, so that
/// the gateway closes first and never sends a request into a closing connection.
const IDLE: Duration = Duration::from_secs(120);
/// Between two ticks of a stream.
const TICK: Duration = Duration::from_secs(1);

/// What matters of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) end_user: Option<String>,
    body: u64,
    keep: bool,
}

/// Serves requests until either side closes.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    member: &'static Member,
    network: u8,
    sni: Option<&str>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = read_head(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let request = match parse(&head) {
            Ok(request) => request,
            Err((status, reason)) => {
                let answer = Answer::text(status, format!("{}: {reason}\n", member.pod));
                let closing = Request::default();
                write_answer(&mut stream, member, &closing, &answer).await?;
                return stream.shutdown().await;
            }
        };
        drop_body(&mut stream, &mut buffer, request.body).await?;
        let answer = match request.method.as_str() {
            "GET" | "HEAD" | "POST" => answers::answer(member, network, &request, sni).await,
            _ => Answer::text("405 Method Not Allowed", "GET, HEAD or POST\n".into()),
        };
        match answer {
            Answer::Stream if request.method == "GET" => return tick(&mut stream, member).await,
            answer => write_answer(&mut stream, member, &request, &answer).await?,
        }
        if !request.keep {
            return stream.shutdown().await;
        }
    }
}

/// Reads until a whole head is there; its length. `None`: the client left or said nothing.
async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if buffer.len() > HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match timeout(IDLE, stream.read_buf(buffer)).await {
            Ok(Ok(0)) | Err(_) => return Ok(None),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn parse(head: &[u8]) -> Result<Request, (&'static str, &'static str)> {
    const BAD: &str = "400 Bad Request";
    let text = std::str::from_utf8(head).map_err(|_| (BAD, "the head is not text"))?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err((BAD, "that is no request line"));
    };
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        keep: version == "HTTP/1.1",
        ..Request::default()
    };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "host" => request.host = value.to_owned(),
            "end-user" => request.end_user = Some(value.to_owned()),
            "connection" if value.eq_ignore_ascii_case("close") => request.keep = false,
            "content-length" => {
                let length = value.parse().map_err(|_| (BAD, "that is no length"))?;
                if length > BODY {
                    return Err(("413 Content Too Large", "at most 1 MiB"));
                }
                request.body = length;
            }
            "transfer-encoding" => return Err(("411 Length Required", "send a Content-Length")),
            _ => {}
        }
    }
    Ok(request)
}

async fn drop_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    mut left: u64,
) -> io::Result<()> {
    loop {
        let got = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        buffer.drain(..got);
        left -= got as u64;
        if left == 0 {
            return Ok(());
        }
        match timeout(IDLE, stream.read_buf(buffer)).await {
            Ok(Ok(0)) | Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

async fn write_answer<S: AsyncWrite + Unpin>(
    stream: &mut S,
    member: &Member,
    request: &Request,
    answer: &Answer,
) -> io::Result<()> {
    let (status, kind, body) = match answer {
        Answer::Whole { status, kind, body } => (*status, *kind, body.as_str()),
        Answer::Stream => ("200 OK", "text/plain", ""),
    };
    let connection = if request.keep {
        ""
    } else {
        "Connection: close\r\n"
    };
    let mut out = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
         X-Served-By: {}\r\n{connection}\r\n",
        body.len(),
        member.pod
    );
    if request.method != "HEAD" {
        out.push_str(body);
    }
    stream.write_all(out.as_bytes()).await?;
    stream.flush().await
}

/// A chunked body without end: one line a second until the client leaves.
async fn tick<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    member: &Member,
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Transfer-Encoding: chunked\r\nX-Served-By: {}\r\n\r\n",
        member.pod
    );
    stream.write_all(head.as_bytes()).await?;
    for count in 1_u64.. {
        let line = format!("{} tick {count}\n", member.pod);
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        stream.write_all(chunk.as_bytes()).await?;
        stream.flush().await?;
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let head =
            b"POST /pay HTTP/1.1\r\nhOsT: a:1\r\nEnd-User: jason\r\nContent-Length: 3\r\n\r\n";
        let request = parse(head).expect("a request");
        assert_eq!(
            (request.host.as_str(), request.path.as_str()),
            ("a:1", "/pay")
        );
        assert_eq!(
            (request.end_user.as_deref(), request.body),
            (Some("jason"), 3)
        );
        assert!(request.keep);
        assert!(!parse(b"GET / HTTP/1.0\r\n\r\n").expect("a request").keep);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (head, status) in [
            ("GET /\r\n\r\n", "400"),
            ("GET / HTTP/1.1 x\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", "413"),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "411",
            ),
        ] {
            let refused = parse(head.as_bytes()).expect_err(head);
            assert!(refused.0.starts_with(status), "{head:?} {refused:?}");
        }
        assert!(parse(b"GET /\xff HTTP/1.1\r\n\r\n").is_err());
    }
}
