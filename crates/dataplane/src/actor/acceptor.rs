//! `Acceptor`: the shard's listening sockets. They come and go with the catalogue.
use crate::{
    capture::{self, Mode},
    connection::{Accepted, Arriving},
    message::ShardFindings,
    shard::Shard,
};
use actix::{Actor, AsyncContext, Context, Handler, Message};
use pointsman_model::{Code, Finding, Level, ObjectKey, Place};
use pointsman_runtime::{Link, Offered, Outlet, offer};
use pointsman_telemetry::{Recorder, names};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot};

use super::sniffer::Sniffer;

/// An address could not be bound.
pub const CANNOT_BIND: Code = Code(320);

/// How long accepting pauses when the process is out of descriptors or connections.
const PAUSE: Duration = Duration::from_millis(50);
/// How often an address that could not be bound is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Listen on what the view now served wants.
///
/// Sender: `Replica`, and the actor itself on a timer. Receiver: `Acceptor`. Rate: once per
/// installed snapshot whose addresses differ, by `ask`, and every two seconds while an address
/// cannot be bound.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Rebind;

/// Close all listening sockets; connections go on.
///
/// Sender: the process, once, when it drains. Receiver: `Acceptor`. Verb: `tell`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopAccepting;

/// Owner of one shard's listening sockets.
pub struct Acceptor {
    shard: Rc<Shard>,
    sniffer: Link<Sniffer>,
    catalogue: Outlet<ShardFindings>,
    recorder: Recorder,
    listening: HashMap<SocketAddr, Listening>,
    failed: BTreeMap<SocketAddr, Finding>,
    reported: Vec<Finding>,
    stopped: bool,
}

/// Ends its accept task when dropped.
struct Listening {
    _stop: oneshot::Sender<()>,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The local address is where the client dialled.
    Local,
    /// The kernel redirected the client here.
    Redirected,
}

impl Acceptor {
    /// Nothing is bound until the first [`Rebind`].
    pub fn new(
        shard: Rc<Shard>,
        sniffer: Link<Sniffer>,
        catalogue: Outlet<ShardFindings>,
        recorder: Recorder,
    ) -> Self {
        let stopped = shard.drain.is_draining();
        Self {
            shard,
            sniffer,
            catalogue,
            recorder,
            listening: HashMap::new(),
            failed: BTreeMap::new(),
            reported: Vec::new(),
            // Made anew in the middle of a drain, it stays closed.
            stopped,
        }
    }

    fn wanted(&self) -> BTreeMap<SocketAddr, Option<(ObjectKey, Place)>> {
        let capture = &self.shard.capture;
        match capture.mode {
            Mode::Redirect => [
                IpAddr::from(Ipv4Addr::UNSPECIFIED),
                Ipv6Addr::UNSPECIFIED.into(),
            ]
            .map(|ip| (SocketAddr::new(ip, capture.port), None))
            .into(),
            Mode::Bind => self
                .shard
                .view()
                .table()
                .binds()
                .iter()
                .map(|bind| {
                    let owner = (bind.object.clone(), bind.place.clone());
                    (bind.address, Some(owner))
                })
                .collect(),
        }
    }

    fn rebind(&mut self) {
        let wanted = self.wanted();
        // A vanished address stops accepting; its connections are tasks of their own and go on.
        self.listening
            .retain(|address, _| wanted.contains_key(address));
        self.failed.clear();
        let origin = match self.shard.capture.mode {
            Mode::Bind => Origin::Local,
            Mode::Redirect => Origin::Redirected,
        };
        for (address, owner) in wanted {
            if self.listening.contains_key(&address) {
                continue;
            }
            let backlog = self.shard.settings.limits.backlog;
            let interface = self.shard.capture.interface.as_deref();
            match capture::listen(address, backlog, interface) {
                Ok(listener) => {
                    let (stop, stopped) = oneshot::channel();
                    actix::spawn(accept(
                        self.shard.clone(),
                        self.sniffer.clone(),
                        listener,
                        origin,
                        stopped,
                    ));
                    self.listening.insert(address, Listening { _stop: stop });
                }
                // No IPv6 on this machine is no fault of anybody's.
                Err(_) if owner.is_none() && address.is_ipv6() => {}
                Err(error) => {
                    self.recorder
                        .counter(&names::BIND_FAILURES, [&*address.to_string()])
                        .increment(1);
                    self.failed
                        .insert(address, cannot_bind(address, owner.as_ref(), &error));
                }
            }
        }
        self.shard.ourselves.bind(self.listening.keys().copied());
        let findings: Vec<Finding> = self.failed.values().cloned().collect();
        if findings != self.reported {
            let report = ShardFindings {
                shard: self.shard.index,
                findings: findings.clone(),
            };
            if offer(&self.catalogue, report).is_ok() {
                self.reported = findings;
            }
        }
    }
}

fn cannot_bind(
    address: SocketAddr,
    owner: Option<&(ObjectKey, Place)>,
    error: &io::Error,
) -> Finding {
    let (cause, help) = match error.kind() {
        ErrorKind::AddrNotAvailable => (
            "the address does not belong to this machine".to_owned(),
            "add it to an interface (ip addr add), use an address in 127.0.0.0/8, or capture with --capture redirect",
        ),
        ErrorKind::AddrInUse => (
            "another process (or an endpoint on the same machine) already listens there".to_owned(),
            "stop the other process or move one of the two to another port",
        ),
        ErrorKind::PermissionDenied => (
            "ports below 1024 need a privilege".to_owned(),
            "give the binary CAP_NET_BIND_SERVICE, lower net.ipv4.ip_unprivileged_port_start, or use a higher port",
        ),
        _ => (error.to_string(), ""),
    };
    let mut finding = Finding::new(
        CANNOT_BIND,
        Level::Warning,
        format!("{address} cannot be bound: {cause}"),
    )
    .effect(format!(
        "traffic to {address} does not reach the gateway; everything else serves, and binding is tried again every {} s",
        RETRY.as_secs()
    ))
    .help(help);
    if let Some((object, place)) = owner {
        finding = finding.of(object).at(place);
    }
    finding
}

/// Accepts until told to stop, then takes what is already in the queue: those clients were told
/// by the kernel that they are connected.
async fn accept(
    shard: Rc<Shard>,
    sniffer: Link<Sniffer>,
    listener: TcpListener,
    origin: Origin,
    mut stopped: oneshot::Receiver<()>,
) {
    let fixed = listener
        .local_addr()
        .ok()
        .filter(|address| origin == Origin::Local && !address.ip().is_unspecified());
    'accepting: loop {
        // Before accepting: the kernel's queue holds whoever is one too many.
        while shard.is_full() {
            shard.counts.limit("limits.connections");
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = &mut stopped => break 'accepting,
            }
        }
        let (stream, peer) = tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&shard, &error).await;
                    continue;
                }
            },
            _ = &mut stopped => break 'accepting,
        };
        if let Some(accepted) = arrived(stream, peer, origin, fixed) {
            hand_over(&shard, &sniffer, accepted).await;
        }
    }
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpStream::from_std(stream));
        let accepted = stream.ok().and_then(|it| arrived(it, peer, origin, fixed));
        if let Some(accepted) = accepted {
            hand_over(&shard, &sniffer, accepted).await;
        }
    }
}

fn arrived(
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    origin: Origin,
    fixed: Option<SocketAddr>,
) -> Option<Accepted> {
    let (original, original_is_self) = match (origin, fixed) {
        (_, Some(address)) => (address, true),
        (Origin::Local, None) => (stream.local_addr().ok()?, true),
        (Origin::Redirected, None) => {
            let local = stream.local_addr().ok()?;
            let original = capture::original_destination(&stream).ok()?;
            (original, original == local)
        }
    };
    let original = SocketAddr::new(original.ip().to_canonical(), original.port());
    Some(Accepted {
        stream,
        peer,
        original,
        original_is_self,
    })
}

/// A full mailbox means that connections arrive faster than tasks can be started: accepting waits,
/// and the kernel's queue is the bound.
async fn hand_over(shard: &Shard, sniffer: &Link<Sniffer>, accepted: Accepted) {
    let mut message = super::sniffer::Arrived(accepted, Arriving::new(&shard.arriving));
    loop {
        match offer(sniffer, message) {
            Ok(()) => return,
            Err(Offered::Full(back)) => {
                shard.counts.limit("mailbox.sniffer");
                message = back;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(Offered::Dead(_)) => return,
        }
    }
}

/// Waits where trying again at once would only burn the core: out of descriptors or memory.
async fn pause(shard: &Shard, error: &io::Error) {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM
    if matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12)) {
        shard.counts.out_of_descriptors(error);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Actor for Acceptor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !self.stopped {
            self.rebind();
        }
        ctx.run_interval(RETRY, |acceptor, _| {
            let unreported = acceptor.reported.len() != acceptor.failed.len();
            if !acceptor.stopped && (!acceptor.failed.is_empty() || unreported) {
                acceptor.rebind();
            }
        });
    }
}

impl Handler<Rebind> for Acceptor {
    type Result = ();

    fn handle(&mut self, _: Rebind, _: &mut Self::Context) {
        if !self.stopped {
            self.rebind();
        }
    }
}

impl Handler<StopAccepting> for Acceptor {
    type Result = ();

    fn handle(&mut self, _: StopAccepting, _: &mut Self::Context) {
        self.stopped = true;
        self.listening.clear();
    }
}
