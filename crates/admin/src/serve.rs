//! Sockets and connections.
use crate::{
    admin::Admin,
    guard,
    page::{Reply, Request},
    places::{Entry, Place},
    stream::Stream,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use pointsman_telemetry::names;
use std::{convert::Infallible, io, net::SocketAddr, pin::pin, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Where the default admin address listens.
pub const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15000);

/// How long accepting pauses after it failed, which it does when descriptors run out: without a
/// pause it would fail again at once and keep the thread busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an address shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Every page.
    Full,
    /// Metrics and health only, for scrapers and probes on other machines.
    Public,
}

/// Why an address was not opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It can be reached from other machines.
    #[error("{0} is not a loopback address, and the admin pages have no login")]
    NotLoopback(SocketAddr),
    /// The system refused.
    #[error("cannot listen on {address}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Opens a socket. An address that other machines reach gets [`Door::Public`], or [`Door::Full`]
/// with `allow_remote`.
///
/// # Errors
/// When the address is not fit for the door or cannot be bound.
pub async fn bind(
    address: SocketAddr,
    door: Door,
    allow_remote: bool,
) -> Result<TcpListener, BindError> {
    if door == Door::Full && !allow_remote && !address.ip().to_canonical().is_loopback() {
        return Err(BindError::NotLoopback(address));
    }
    let io = |source| BindError::Io { address, source };
    TcpListener::bind(address).await.map_err(io)
}

/// Accepts and serves until it is dropped; connections it has accepted then go on to their end.
/// Must run where `tokio::task::spawn_local` does: in a `LocalSet` or on an actix arbiter.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, door: Door) -> Infallible {
    // An address that cannot be told is taken for loopback, where the Host is checked.
    let loopback = listener
        .local_addr()
        .map_or(true, |address| address.ip().to_canonical().is_loopback());
    let limit = names::LIMITS_HIT.labels.map(|_| "admin_connections");
    let refused = admin.recorder.counter(&names::LIMITS_HIT, limit);
    let mut failing = false;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the admin address cannot accept");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        match Place::take(&admin) {
            Entry::Taken {
                place,
                lost,
                instead,
            } => {
                refused.increment(u64::from(instead));
                let connection = connection(stream, peer, place, door, loopback);
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = connection => {}
                        _ = lost => {}
                    }
                });
            }
            Entry::Full => refused.increment(1),
        }
    }
}

async fn connection(socket: TcpStream, peer: SocketAddr, place: Place, door: Door, loopback: bool) {
    let place = Rc::new(place);
    let admin = &place.admin;
    let settings = &admin.settings;
    let stream = Stream::new(socket, settings.write_timeout, place.clone());
    let service = service_fn(async |request| {
        place.begin();
        let answer = answer(admin, request, peer, door, loopback).await;
        place.answered();
        answer
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_timeout)
        .max_buf_size(settings.max_head.max(8 * 1024)) // hyper panics below
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = sleep(settings.max_age) => {
            connection.as_mut().graceful_shutdown();
            timeout(settings.close_timeout, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "admin connection ended early");
    }
}

async fn answer(
    admin: &Arc<Admin>,
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    door: Door,
    loopback: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reply = match reply(admin, request, peer, door, loopback).await {
        Ok(reply) | Err(reply) => reply,
    };
    Ok(reply.into_response())
}

async fn reply(
    admin: &Arc<Admin>,
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    door: Door,
    loopback: bool,
) -> Result<Reply, Reply> {
    let (head, body) = request.into_parts();
    let refused = guard::refuse(
        &head.method,
        &head.uri,
        head.version,
        &head.headers,
        loopback,
    );
    if let Some(refused) = refused {
        return Err(refused);
    }
    let path = head.uri.path();
    let route = admin.find(door, &head.method, path)?;
    let request = Request {
        path: path.to_owned(),
        query: head.uri.query().map(str::to_owned),
        body: read(admin, body).await?,
        method: head.method,
        headers: head.headers,
        peer,
    };
    Ok(admin.answer(door, route, request).await)
}

async fn read(admin: &Admin, body: Incoming) -> Result<Bytes, Reply> {
    let settings = &admin.settings;
    let body = Limited::new(body, settings.max_body).collect();
    match timeout(settings.body_timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Reply::text(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The body is larger than {} bytes.\n", settings.max_body),
        )),
        Ok(Err(_)) => Err(Reply::text(
            StatusCode::BAD_REQUEST,
            "The body ended early or is malformed.\n",
        )),
        Err(_) => Err(Reply::text(
            StatusCode::REQUEST_TIMEOUT,
            "The body took too long.\n",
        )),
    }
}
