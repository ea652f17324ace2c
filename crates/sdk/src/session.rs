//! A connection in the hands of an extension's protocol actor.
use actix::Message;
use std::net::SocketAddr;
use tokio::{net::TcpStream, sync::oneshot};

/// A connection a sniffer has recognised, with everything to serve it.
///
/// Sender: the connection's task. Receiver: the protocol actor the sniffer named, on the same
/// shard. Rate: once per recognised connection. Verb: `offer`; refused sessions are closed.
///
/// The actor serves it in a task of its own (`actix::spawn`), never in its handler: a handler that
/// waits stops every other session of the shard. Dropping the session ends the connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Session {
    /// The client's socket.
    pub client: TcpStream,
    /// A fresh connection to the backend that the routing table names for this connection as bytes,
    /// where it names one and it could be reached.
    pub upstream: Option<TcpStream>,
    /// Bytes already received from the client, to be looked at first.
    pub received: Vec<u8>,
    /// The client.
    pub peer: SocketAddr,
    /// The address the client dialled.
    pub original: SocketAddr,
    /// Tells the shard that the session is over. Dropped with the session.
    pub(crate) ended: oneshot::Sender<()>,
}

impl Session {
    /// A session and what tells its end. For the shard; extensions receive sessions.
    pub fn new(
        client: TcpStream,
        upstream: Option<TcpStream>,
        received: Vec<u8>,
        peer: SocketAddr,
        original: SocketAddr,
    ) -> (Self, oneshot::Receiver<()>) {
        let (ended, end) = oneshot::channel();
        let session = Self {
            client,
            upstream,
            received,
            peer,
            original,
            ended,
        };
        (session, end)
    }

    /// Has nobody an interest in the session any more (the gateway is shutting down)?
    pub fn is_abandoned(&self) -> bool {
        self.ended.is_closed()
    }
}
