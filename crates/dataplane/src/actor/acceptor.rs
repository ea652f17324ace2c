//! `Acceptor`: the shard's listening sockets. They come and go with the catalogue.
use crate::{
    capture::{self, Mode},
    connection::{Accepted, Arriving},
    message::ShardFindings,
    shard::Shard,
};
use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture};
use pointsman_model::{Code, Finding, Level, ObjectKey, Place};
use pointsman_route::{Bind, Via};
use pointsman_runtime::{Link, Offered, Outlet, offer};
use pointsman_telemetry::{Recorder, names};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::sniffer::Sniffer;

/// An address could not be bound.
pub const CANNOT_BIND: Code = Code(320);
/// An address is wanted for capture and for a gateway listener.
pub const WANTED_TWICE: Code = Code(321);

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

/// Close all listening sockets; connections go on. Answered once whoever the kernel had connected is on
/// the way to be served.
///
/// Sender: the process, once, when it drains. Receiver: `Acceptor`. Verb: `ask`, or `tell` after a
/// question that was taken back.
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
    /// The last report found no room.
    unreported: bool,
    stopped: bool,
}

/// A socket that is listened on. Ends its accept task when dropped.
struct Listening {
    door: Door,
    task: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

/// A socket that is to be listened on.
struct Wanted {
    door: Door,
    /// Who wants it; `None`: the way of capture itself.
    owner: Option<(ObjectKey, Place)>,
    /// Beside another one: a machine without IPv6 does without it.
    optional: bool,
}

impl Wanted {
    fn of(bind: &Bind, via: Via) -> (SocketAddr, Self) {
        let door = Door {
            via,
            origin: Origin::Local,
        };
        let owner = Some((bind.object.clone(), bind.place.clone()));
        let wanted = Self {
            door,
            owner,
            optional: false,
        };
        (bind.address, wanted)
    }
}

/// What comes in through a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Door {
    via: Via,
    origin: Origin,
}

/// Where a client of a socket wanted to go.
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
            unreported: false,
            // Made anew in the middle of a drain, it stays closed.
            stopped,
        }
    }

    /// The sockets that capture and the gateway listeners need, and what stands against it.
    fn wanted(&self) -> (BTreeMap<SocketAddr, Wanted>, Vec<Finding>) {
        let capture = &self.shard.capture;
        let tables = &self.shard.snapshot().tables;
        let mut wanted: BTreeMap<SocketAddr, Wanted> = match capture.mode {
            Mode::Redirect => [
                IpAddr::from(Ipv4Addr::UNSPECIFIED),
                Ipv6Addr::UNSPECIFIED.into(),
            ]
            .map(|ip| {
                let door = Door {
                    via: Via::Mesh,
                    origin: Origin::Redirected,
                };
                let wanted = Wanted {
                    door,
                    owner: None,
                    optional: ip.is_ipv6(),
                };
                (SocketAddr::new(ip, capture.port), wanted)
            })
            .into(),
            Mode::Bind => {
                let binds = tables.mesh().binds().iter();
                binds.map(|bind| Wanted::of(bind, Via::Mesh)).collect()
            }
        };
        let mut findings = Vec::new();
        for bind in tables.gateway_binds() {
            let (address, gateway) = Wanted::of(bind, Via::Gateway);
            let everywhere = address.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED);
            match wanted.get(&address) {
                Some(captured) => findings.push(wanted_twice(bind, captured.owner.as_ref())),
                // An IPv4 socket takes no IPv6 clients, and a server without an address is for all.
                None if everywhere => {
                    let beside = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
                    let (_, mut gateway) = Wanted::of(bind, Via::Gateway);
                    gateway.optional = true;
                    wanted.entry(beside).or_insert(gateway);
                }
                None => {}
            }
            // What capture itself needs it must have: without it nothing would be captured.
            if wanted.get(&address).is_none_or(|it| it.owner.is_some()) {
                wanted.insert(address, gateway);
            }
        }
        (wanted, findings)
    }

    fn rebind(&mut self) {
        let (wanted, conflicts) = self.wanted();
        // A vanished address stops accepting; its connections are tasks of their own and go on.
        self.listening.retain(|address, listening| {
            wanted
                .get(address)
                .is_some_and(|wanted| wanted.door == listening.door)
        });
        self.failed.clear();
        for (address, wanted) in wanted {
            let Wanted {
                door,
                owner,
                optional,
            } = wanted;
            if self.listening.contains_key(&address) {
                continue;
            }
            let backlog = self.shard.settings.limits.backlog;
            let interface = self.shard.capture.interface.as_deref();
            match capture::listen(address, backlog, interface) {
                Ok(listener) => {
                    let (stop, stopped) = oneshot::channel();
                    let task = actix::spawn(accept(
                        self.shard.clone(),
                        self.sniffer.clone(),
                        listener,
                        door,
                        stopped,
                    ));
                    let listening = Listening {
                        door,
                        task,
                        _stop: stop,
                    };
                    self.listening.insert(address, listening);
                }
                // No IPv6 on this machine is no fault of anybody's.
                Err(_) if optional => {}
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
        let failed = self.failed.values().cloned();
        let findings: Vec<Finding> = conflicts.into_iter().chain(failed).collect();
        if findings != self.reported {
            let report = ShardFindings {
                shard: self.shard.index,
                findings: findings.clone(),
            };
            self.unreported = offer(&self.catalogue, report).is_err();
            if !self.unreported {
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

fn wanted_twice(bind: &Bind, captured: Option<&(ObjectKey, Place)>) -> Finding {
    let finding = Finding::new(
        WANTED_TWICE,
        Level::Warning,
        format!("{} is wanted for capture too", bind.address),
    )
    .of(&bind.object)
    .at(&bind.place);
    match captured {
        Some((_, place)) => finding
            .effect("the Gateway has it, and what was to be captured there is served as the Gateway says")
            .help("give one of them another port or another address, or capture with --capture redirect")
            .related(place, "captured for this"),
        None => finding
            .effect("redirected traffic comes in there, and the Gateway is not served on it")
            .help("give the server another port, or change `capture.port`"),
    }
}

/// Accepts until told to stop, then takes what is already in the queue: those clients were told
/// by the kernel that they are connected.
async fn accept(
    shard: Rc<Shard>,
    sniffer: Link<Sniffer>,
    listener: TcpListener,
    door: Door,
    mut stopped: oneshot::Receiver<()>,
) {
    let fixed = listener
        .local_addr()
        .ok()
        .filter(|address| door.origin == Origin::Local && !address.ip().is_unspecified());
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
                Err(error) => tokio::select! {
                    biased;
                    _ = &mut stopped => break 'accepting,
                    () = pause(&shard, &error) => continue,
                },
            },
            _ = &mut stopped => break 'accepting,
        };
        if let Some(accepted) = arrived(stream, peer, door, fixed) {
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
        let accepted = stream.ok().and_then(|it| arrived(it, peer, door, fixed));
        if let Some(accepted) = accepted {
            hand_over(&shard, &sniffer, accepted).await;
        }
    }
}

fn arrived(
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    door: Door,
    fixed: Option<SocketAddr>,
) -> Option<Accepted> {
    let (original, original_is_self) = match (door.origin, fixed) {
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
        stream: stream.into(),
        peer,
        via: door.via,
        original,
        original_is_self,
    })
}

/// A full mailbox means that connections arrive faster than tasks can be started: accepting waits,
/// and the kernel's queue is the bound.
async fn hand_over(shard: &Shard, sniffer: &Link<Sniffer>, accepted: Accepted) {
    let mut message = super::sniffer::Arrived(accepted, Arriving::new(shard));
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
            let unreported = acceptor.unreported;
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
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopAccepting, _: &mut Self::Context) -> Self::Result {
        self.stopped = true;
        let listening = self.listening.drain();
        let tasks: Vec<_> = listening.map(|(_, listening)| listening.task).collect();
        Box::pin(async move {
            for task in tasks {
                // One that has panicked takes nobody any more.
                let _ = task.await;
            }
        })
    }
}
