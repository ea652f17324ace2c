//! Connections routed as bytes: raw TCP, TLS that is not terminated, passthrough.
use super::detect::{Detected, Undecided};
use crate::{
    access::pending::Ending,
    context::Context,
    shard::{
        cluster_state::{ClusterState, Dialled, Tried},
        endpoint_state::{self, EndpointState, InFlight},
        pool_limits::{Full, PoolLimits},
        registry::IdleEnd,
        view::View,
    },
    socket::Socket,
    stream,
    tunnel::{self, End, Patience},
};
use pointsman_route::{Class, ConnectionDecision, TcpRule};
use pointsman_telemetry::{ClusterStats, Flags};
use pointsman_wire::sniff::is_unasked_http;
use std::{
    future::{Future, pending},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// A connection to a backend, opened before it is known that it is needed. It counts once it is a tunnel.
pub(crate) struct Early {
    upstream: Socket,
    in_flight: InFlight,
    stats: Rc<ClusterStats>,
    since: Instant,
    patience: Patience,
    /// The server has spoken first.
    pub(crate) spoke: bool,
    /// What was read of what it has said.
    said: Vec<u8>,
}

/// Who has something to say.
pub(crate) enum First {
    Client,
    Server,
    /// Nobody who matters, and the early connection is of no use any more.
    Nobody,
}

/// A server that ends a connection within this time does not want it, which its client is told. One that
/// ends it later has waited for the client to speak, as servers of HTTP do, and will take another.
const UNWANTED: Duration = Duration::from_millis(500);

/// For so long a server that has begun as those of HTTP begin may take to go on: what another says may be
/// no longer.
const WORD: Duration = Duration::from_millis(500);

impl Early {
    /// Opens one for a connection that began at `started`. `None` where no backend is chosen, its limits
    /// leave no place, or it failed once the client had spoken: that is routed by what it says.
    ///
    /// # Errors
    /// The connection ends, and is recorded: its client is gone, or waits for a server that is not there.
    pub(crate) async fn open(
        cx: &Context<'_>,
        started: Instant,
    ) -> Result<Option<Self>, Undecided> {
        let Some(target) = Self::target(cx, started) else {
            return Ok(None);
        };
        match target.connect(cx).await {
            Ok((upstream, in_flight)) => {
                cx.access.connected(&upstream);
                Ok(Some(Self {
                    upstream,
                    in_flight,
                    stats: target.stats,
                    since: Instant::now(),
                    patience: target.patience,
                    spoke: false,
                    said: Vec::new(),
                }))
            }
            Err(Flags::DC) => {
                refuse(cx, &target.stats, Flags::DC);
                Err(Undecided::ClientGone)
            }
            Err(Flags::UO) => Ok(None),
            Err(_) if stream::peek(cx.client) == stream::Peer::Spoke => Ok(None),
            Err(flags) => {
                refuse(cx, &target.stats, flags);
                Err(Undecided::NoServer)
            }
        }
    }

    /// Where the connection goes as bytes, by the documents of now; and its record begins, in case that
    /// it ends before anybody has said anything.
    fn target(cx: &Context<'_>, started: Instant) -> Option<Chosen> {
        let view = cx.view();
        let ConnectionDecision::Forward(rule) = cx.decide(&view, Class::Tcp, None) else {
            return None;
        };
        let target = plan(cx, &view, rule).ok()?;
        cx.lease.hold(view.generation());
        cx.access.begin(None, started);
        cx.access.edit(|record| record.revision = view.generation());
        cx.access.decided_by(&rule.origin);
        if let Some(label) = &target.label {
            cx.access.backend(label);
        }
        Some(target)
    }

    /// Carries what somebody has begun to say.
    pub(crate) async fn carry(self: Box<Self>, cx: &Context<'_>, detected: Detected) {
        let Self {
            upstream,
            in_flight,
            stats,
            since,
            mut patience,
            said,
            ..
        } = *self;
        let spent = since.elapsed();
        patience.total = patience.total.map(|total| total.saturating_sub(spent));
        let open = Open::new(stats);
        carry(
            cx,
            &upstream,
            in_flight,
            open,
            patience,
            (detected.bytes, said),
        )
        .await;
    }

    /// Waits for either side to have something to say, for as long as a tunnel of the backend's may be
    /// silent, no request waits for its place, and the process does not drain.
    pub(crate) async fn first(&mut self, cx: &Context<'_>) -> Result<First, End> {
        let Patience { idle, total } = self.patience;
        let (limit, over) = match total {
            // Zero would be no limit at all.
            Some(total) if idle.is_zero() || total <= idle => {
                (total.max(Duration::from_millis(1)), End::TooOld)
            }
            _ => (idle, End::Idle),
        };
        let first = pin!(async {
            tokio::select! {
                biased;
                come = stream::arrival(cx.client) => match come {
                    stream::Peer::Ended => Err(End::Closed),
                    stream::Peer::Gone => Err(End::ClientReset),
                    stream::Peer::Silent | stream::Peer::Spoke => Ok(First::Client),
                },
                word = first_word(cx, &self.upstream, self.since, &mut self.said) => word,
                () = wanted(cx, &self.in_flight) => Ok(First::Nobody),
            }
        });
        match cx.idle(limit, first).await {
            Ok(first) => first,
            Err(IdleEnd::Elapsed) => Err(over),
            Err(IdleEnd::Draining) => Err(End::Closed),
        }
    }

    /// Ends both sides, of which none has said anything: a tunnel that carried nothing.
    pub(crate) fn end(self, cx: &Context<'_>, end: End) {
        if let Some(limit) = end.limit() {
            cx.shard.counts.limit(limit);
        }
        if end != End::Closed {
            stream::reset_on_close(cx.client);
            stream::reset_on_close(&self.upstream);
        }
        refuse(cx, &self.stats, flags(end));
    }
}

/// Waits until the server of a connection that was opened at `since` has something to say, and reads so
/// much of it that it can be told from HTTP, if that is looked for: no server of HTTP speaks first, though
/// it may tell its SETTINGS, or that it is tired of waiting.
async fn first_word(
    cx: &Context<'_>,
    upstream: &Socket,
    since: Instant,
    said: &mut Vec<u8>,
) -> Result<First, End> {
    loop {
        let come = stream::arrival(upstream);
        let come = if said.is_empty() {
            come.await
        } else {
            let more = tokio::time::timeout(WORD, come).await;
            more.unwrap_or(stream::Peer::Silent)
        };
        let tired = said.is_empty() && since.elapsed() > UNWANTED;
        match come {
            stream::Peer::Ended | stream::Peer::Gone if tired => return Ok(First::Nobody),
            stream::Peer::Gone => return Err(End::UpstreamReset),
            stream::Peer::Silent | stream::Peer::Ended => return Ok(First::Server),
            stream::Peer::Spoke if !cx.inspection().http => return Ok(First::Server),
            stream::Peer::Spoke => {}
        }
        if said.is_empty() {
            *said = cx.shard.buffers.small();
        }
        // An error shows when it is waited for again.
        let _ = stream::try_read(upstream, said);
        match is_unasked_http(said) {
            Some(true) => return Ok(First::Nobody),
            Some(false) => return Ok(First::Server),
            None => {}
        }
    }
}

/// Waits until a request, on any shard, waits for the place of this one among the backend's connections
/// (BE-60).
async fn wanted(cx: &Context<'_>, in_flight: &InFlight) {
    let Some(permit) = in_flight.permit() else {
        return pending().await;
    };
    let mut wanted = cx.shard.shared.wanted();
    while permit.wanted_by() == 0 {
        if wanted.changed().await.is_err() {
            return pending().await;
        }
    }
}

/// A connection to a backend, counted as open until it is dropped.
struct Open {
    stats: Rc<ClusterStats>,
    /// How it ended.
    flags: Flags,
}

impl Open {
    fn new(stats: Rc<ClusterStats>) -> Self {
        stats.tcp_opened();
        let flags = Flags::EMPTY;
        Self { stats, flags }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stats.tcp_closed(self.flags, 0, 0);
    }
}

/// A chosen backend.
pub(crate) struct Chosen {
    cluster: Option<Rc<ClusterState>>,
    endpoint: Option<Rc<EndpointState>>,
    /// Of the backend, for the access log.
    label: Option<Arc<str>>,
    stats: Rc<ClusterStats>,
    timeout: Duration,
    /// Whose limits hold, and whose probes are sent (BE-62).
    limited: Option<Rc<ClusterState>>,
    patience: Patience,
}

/// What a rule says about one connection: a backend, or why there is none.
pub(crate) type Plan = Result<Chosen, (Rc<ClusterStats>, Flags)>;

/// Sends a connection where its rule says.
pub(crate) async fn forward(cx: &Context<'_>, plan: Plan, detected: Detected) {
    match plan {
        Ok(chosen) => run(cx, chosen, detected).await,
        Err((stats, flags)) => refuse(cx, &stats, flags),
    }
}

/// Unmatched: forwarded unchanged to the original destination (LIS-60, LIS-66).
pub(crate) async fn passthrough(cx: &Context<'_>, detected: Detected) {
    cx.access.passthrough();
    if cx.original_is_self {
        let why = format_args!("nothing recognises a connection to {}", cx.original);
        cx.shard.counts.self_connect(&why);
        return refuse(cx, &cx.shard.passthrough, Flags::NR);
    }
    let chosen = Chosen {
        cluster: None,
        endpoint: Some(cx.shard.original(cx.original)),
        label: None,
        stats: cx.shard.passthrough.clone(),
        timeout: cx.shard.settings.timeouts.connect.0,
        limited: None,
        patience: Patience::of(None, &cx.shard.settings),
    };
    run(cx, chosen, detected).await;
}

/// Unmatched in REGISTRY_ONLY mode: accepted, then closed without data (LIS-60).
pub(crate) fn blackhole(cx: &Context<'_>, detected: Detected) {
    drop(detected);
    cx.access.blackhole();
    refuse(cx, &cx.shard.blackhole, Flags::UH);
}

/// No server of a gateway takes it, or none that can be served: accepted, then closed without data
/// (GW-41, GW-42, VS-H-149).
pub(crate) fn closed(cx: &Context<'_>, detected: Detected, why: &'static str) {
    drop(detected);
    cx.shard.counts.refuse(why);
    cx.access.edit(|record| record.why = why.into());
    refuse(cx, &cx.shard.blackhole, Flags::NR);
}

/// Opens a connection to the backend that the table names for this connection as bytes.
pub(crate) async fn upstream(cx: &Context<'_>, view: &View) -> Option<(Socket, InFlight)> {
    match cx.decide(view, Class::Tcp, None) {
        ConnectionDecision::Forward(rule) => {
            let chosen = plan(cx, view, rule).ok()?;
            if let Some(label) = &chosen.label {
                cx.access.backend(label);
            }
            let (upstream, in_flight) = chosen.connect(cx).await.ok()?;
            cx.access.connected(&upstream);
            Some((upstream, in_flight))
        }
        _ => None,
    }
}

/// Chooses the backend of a connection.
pub(crate) fn plan(cx: &Context<'_>, view: &View, rule: &TcpRule) -> Plan {
    let shard = cx.shard;
    let target = rule.split.pick(shard.random.borrow_mut().u32(..));
    let Some(cluster) = target.cluster.ok().and_then(|id| shard.cluster(view, id)) else {
        return Err((shard.blackhole.clone(), Flags::NC));
    };
    let timeout = cluster.cluster.policy.pool.connect_timeout;
    let mut chosen = Chosen {
        endpoint: None,
        label: Some(cluster.cluster.label.clone()),
        stats: cluster.stats.clone(),
        timeout: timeout.unwrap_or(shard.settings.timeouts.connect.0),
        limited: (cluster.limits.is_some() || cluster.lifetime.probes.is_some())
            .then(|| cluster.clone()),
        patience: Patience::of(Some(&cluster.cluster.policy.pool), &shard.settings),
        cluster: None,
    };
    match cluster.dialled(cx.original, cx.original_is_self) {
        None | Some(Dialled::Any) => chosen.cluster = Some(cluster),
        Some(Dialled::Endpoint(endpoint)) => chosen.endpoint = Some(endpoint),
        Some(Dialled::Address(address)) => chosen.endpoint = Some(shard.original(address)),
        Some(Dialled::Ourselves) => {
            shard.counts.self_connect(&cluster.cluster.label);
            return Err((cluster.stats.clone(), Flags::NR));
        }
    }
    Ok(chosen)
}

impl Chosen {
    /// Connects once; TCP is not retried on another endpoint (VS-H-147).
    async fn connect(&self, cx: &Context<'_>) -> Result<(Socket, InFlight), Flags> {
        let in_flight = match (&self.endpoint, &self.cluster) {
            (Some(endpoint), _) => endpoint.enter(),
            (None, Some(cluster)) => cluster
                .pick(&Tried::new(), &cx.shard.random)
                .ok_or(Flags::UH)?,
            (None, None) => return Err(Flags::UH),
        };
        cx.access.chosen(in_flight.endpoint());
        let limits = self.limited.as_ref().and_then(|it| it.limits.as_deref());
        let permit = match limits.map_or(Ok(None), PoolLimits::connection) {
            Ok(permit) => permit,
            // Nobody waits: a client that gets nothing would not know why (VS-H-148).
            Err(Full(limit)) => {
                cx.shard.counts.limit(limit);
                return Err(Flags::UO);
            }
        };
        let connect = in_flight.endpoint().connect(cx.shard);
        match opened(cx, self.timeout, connect).await {
            Ok(Ok(upstream)) => {
                let backend = self.limited.as_deref();
                if let Some(probes) = backend.and_then(|it| it.lifetime.probes.as_ref()) {
                    stream::keep_alive(&upstream, probes);
                }
                Ok((upstream, in_flight.with(permit)))
            }
            Ok(Err(error)) if endpoint_state::is_ourselves(&error) => {
                cx.shard.counts.self_connect(&error);
                Err(Flags::UF)
            }
            Ok(Err(_)) => Err(Flags::UF),
            Err(flags) => {
                if flags == Flags::UF {
                    cx.shard.counts.limit("timeouts.connect");
                }
                Err(flags)
            }
        }
    }
}

/// How often a client is looked at that waits for a connection to be opened. A look is a system call,
/// which no connection pays that is opened sooner.
const LOOK: Duration = Duration::from_secs(1);

/// Waits for a connection to be opened, for up to `limit`; zero for any time. The error says why not:
/// its time is over, or the client has reset its own, or is cut. One that has ended its side may still
/// wait for what the server says.
async fn opened<T>(
    cx: &Context<'_>,
    limit: Duration,
    opening: impl Future<Output = T>,
) -> Result<T, Flags> {
    let mut opening = pin!(cx.lease.unless_cut(opening));
    let end = cx.lease.after(limit);
    loop {
        let look = cx.lease.after(LOOK).min(end);
        match cx.lease.until(look, opening.as_mut()).await {
            Ok(Some(output)) => return Ok(output),
            Ok(None) => return Err(Flags::DC),
            Err(_) if stream::is_broken(cx.client) => return Err(Flags::DC),
            Err(_) if look == end => return Err(Flags::UF),
            Err(_) => {}
        }
    }
}

async fn run(cx: &Context<'_>, chosen: Chosen, detected: Detected) {
    if let Some(label) = &chosen.label {
        cx.access.backend(label);
    }
    match chosen.connect(cx).await {
        Ok((upstream, in_flight)) => {
            let Chosen {
                stats, patience, ..
            } = chosen;
            let open = Open::new(stats);
            let begun = (detected.bytes, Vec::new());
            carry(cx, &upstream, in_flight, open, patience, begun).await;
        }
        Err(flags) => refuse(cx, &chosen.stats, flags),
    }
}

/// `first` and `reply` are what was read of the client and of the server already.
async fn carry(
    cx: &Context<'_>,
    upstream: &Socket,
    in_flight: InFlight,
    mut open: Open,
    patience: Patience,
    (first, reply): (Vec<u8>, Vec<u8>),
) {
    cx.access.connected(upstream);
    let live = cx.shard.live(&open.stats);
    let summary = tunnel::run(cx, upstream, first, reply, patience, live.bytes()).await;
    drop(live);
    let flags = flags(summary.end);
    open.flags = flags;
    drop(open);
    cx.access.finish(&Ending::of_connection(
        flags,
        (summary.received, summary.sent),
    ));
    drop(in_flight);
    if summary.unheard {
        // Boxed, as it is rare.
        Box::pin(tunnel::hear_out(cx)).await;
    }
}

fn flags(end: End) -> Flags {
    match end {
        End::Closed | End::Idle => Flags::EMPTY,
        End::ClientReset | End::Cut => Flags::DC,
        End::UpstreamReset => Flags::UR,
        End::TooOld => Flags::DT,
    }
}

/// Closes a connection that carried nothing: counted as opened and closed, with the reason.
fn refuse(cx: &Context<'_>, stats: &ClusterStats, flags: Flags) {
    stats.tcp_opened();
    stats.tcp_closed(flags, 0, 0);
    cx.access.finish(&Ending::of_connection(flags, (0, 0)));
}
