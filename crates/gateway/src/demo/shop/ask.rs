//! Asking another service of the shop, through the gateway: the client dials the cluster IP and
//! knows nothing about pods.
use super::{http::find, roster::Asked};
use serde_json::Value;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than `/slow` takes, shorter than patience.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of an answer, head included.
const ANSWER: u64 = 64 * 1024;

/// The JSON a service answers.
///
/// # Errors
/// Why there is none, in words for the page.
pub(super) async fn ask(
    asked: Asked,
    network: u8,
    path: &str,
    end_user: Option<&str>,
) -> Result<Value, String> {
    let host = asked.host;
    match timeout(PATIENCE, exchange(asked, network, path, end_user)).await {
        Ok(Ok(answer)) => read(&answer).map_err(|reason| format!("{host} answered {reason}")),
        Ok(Err(error)) => Err(format!("{host} did not answer: {error}")),
        Err(_) => Err(format!("{host} did not answer within {PATIENCE:?}")),
    }
}

async fn exchange(
    asked: Asked,
    network: u8,
    path: &str,
    end_user: Option<&str>,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(asked.address(network)).await?;
    // The header decides about routes further down, so it is handed on, as tracing headers are.
    let user = end_user.map_or(String::new(), |user| format!("End-User: {user}\r\n"));
    let host = asked.host;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{user}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Result<Value, String> {
    let status = answer
        .split(|&byte| byte == b'\r')
        .next()
        .unwrap_or_default();
    let status = String::from_utf8_lossy(status);
    let status = status
        .split_once(' ')
        .map_or("nothing", |(_, status)| status);
    if !status.starts_with("200") {
        return Err(status.to_owned());
    }
    let body = find(answer, b"\r\n\r\n").and_then(|at| answer.get(at + 4..));
    serde_json::from_slice(body.unwrap_or_default()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_or_explained() {
        let ok = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"stars\":4}";
        assert_eq!(read(ok).expect("JSON")["stars"], 4);
        let not_found = b"HTTP/1.1 404 Not Found\r\n\r\n";
        assert_eq!(read(not_found).expect_err("refused"), "404 Not Found");
        assert_eq!(read(b"").expect_err("nothing"), "nothing");
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n<html>").is_err());
    }
}
