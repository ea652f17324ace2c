//! A server that speaks first: a MySQL greeting, then every line comes back, until `quit`.
use super::roster::Member;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Bytes of a line that are kept; longer lines come back in pieces.
const LINE: usize = 1024;
/// Silence after which a connection is closed. Long: watching one through route changes is the
/// point of it.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) async fn serve(member: &Member, mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&greeting(member.pod)).await?;
    let mut buffer = Vec::new();
    loop {
        match timeout(IDLE, stream.read_buf(&mut buffer)).await {
            Ok(Ok(0)) | Err(_) => return stream.shutdown().await,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
        while let Some(end) = buffer
            .iter()
            .position(|&byte| byte == b'\n')
            .or_else(|| (buffer.len() >= LINE).then_some(LINE - 1))
        {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            // `curl telnet://` does not leave by itself at the end of its input.
            if line.trim_ascii_end() == b"quit" {
                return stream.shutdown().await;
            }
            let mut out = format!("{} heard: ", member.pod).into_bytes();
            out.extend_from_slice(line.trim_ascii_end());
            out.push(b'\n');
            stream.write_all(&out).await?;
        }
    }
}

/// The first packet of a MySQL server (Protocol::HandshakeV10). No byte of it is 0xff, which
/// `curl telnet://` would take for a command.
fn greeting(pod: &str) -> Vec<u8> {
    let mut payload = vec![10]; // version of the protocol
    payload.extend_from_slice(format!("8.0.36-{pod}").as_bytes());
    payload.push(0);
    payload.extend_from_slice(&7_u32.to_le_bytes()); // connection id
    payload.extend_from_slice(b"pointsma"); // first part of the challenge
    payload.push(0);
    payload.extend_from_slice(&[0x08, 0x82]); // lower capabilities: 4.1 protocol, database, secure
    payload.push(45); // utf8mb4
    payload.extend_from_slice(&[2, 0]); // autocommit
    payload.extend_from_slice(&[0x08, 0]); // upper capabilities: named authentication
    payload.push(21); // length of the challenge
    payload.extend_from_slice(&[0; 10]);
    payload.extend_from_slice(b"n-demonstrat\0");
    payload.extend_from_slice(b"mysql_native_password\0");
    let [a, b, c, _] = u32::try_from(payload.len())
        .unwrap_or_default()
        .to_le_bytes();
    let mut packet = vec![a, b, c, 0];
    packet.append(&mut payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_is_a_packet_without_telnet_commands() {
        let packet = greeting("mysql-0");
        assert_eq!(usize::from(packet[0]), packet.len() - 4);
        assert_eq!(&packet[3..6], &[0, 10, b'8']);
        assert!(!packet.contains(&0xff));
    }
}
