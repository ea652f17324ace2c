//! One HTTP/1 connection to an endpoint, and what its pool must know of it.
use super::pool_limits::{ConnectionPermit, Lifetime};
use crate::{socket::Socket, stream};
use pointsman_model::policy::TcpKeepalive;
use std::{
    ops::Deref,
    time::{Duration, Instant},
};

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Upstream {
    stream: Socket,
    /// Only where a policy limits connections: most of them are told apart by nothing.
    limited: Option<Box<Limited>>,
}

#[derive(Debug)]
struct Limited {
    opened: Instant,
    /// Requests it was taken for.
    requests: u32,
    /// Probes that the kernel was asked for.
    probes: Option<TcpKeepalive>,
    /// Where the backend's connections are counted.
    permit: Option<ConnectionPermit>,
}

impl Limited {
    fn new(permit: Option<ConnectionPermit>) -> Box<Self> {
        Box::new(Self {
            opened: Instant::now(),
            requests: 0,
            probes: None,
            permit,
        })
    }
}

impl Upstream {
    /// One that was opened just now, for a request.
    pub(crate) fn new(
        stream: Socket,
        lifetime: &Lifetime,
        permit: Option<ConnectionPermit>,
    ) -> Self {
        let limited = permit.is_some() || lifetime.is_limited();
        let mut upstream = Self {
            stream,
            limited: limited.then(|| Limited::new(permit)),
        };
        upstream.take(lifetime);
        upstream
    }

    /// One more request is sent on it. One that was opened for a backend with the same endpoint and
    /// without limits begins to be counted here.
    pub(super) fn take(&mut self, lifetime: &Lifetime) {
        if lifetime.is_limited() {
            let limited = self.limited.get_or_insert_with(|| Limited::new(None));
            limited.requests = limited.requests.saturating_add(1);
            if let Some(probes) = lifetime.probes
                && limited.probes != Some(probes)
            {
                stream::keep_alive(&self.stream, &probes);
                limited.probes = Some(probes);
            }
        }
    }

    /// May it carry one more request, having had none for `idle`?
    pub(super) fn may_serve(&self, lifetime: &Lifetime, idle: Duration) -> bool {
        let within =
            |limit: Option<Duration>, age| limit.is_none_or(|limit| limit.is_zero() || age < limit);
        within(lifetime.idle, idle)
            && self.limited.as_ref().is_none_or(|limited| {
                (lifetime.requests == 0 || limited.requests < lifetime.requests)
                    && (lifetime.total.is_none()
                        || within(lifetime.total, limited.opened.elapsed()))
            })
    }

    /// When it is too old to be kept, if ever.
    pub(super) fn end(&self, lifetime: &Lifetime) -> Option<Instant> {
        let total = lifetime.total.filter(|total| !total.is_zero())?;
        self.limited.as_ref()?.opened.checked_add(total)
    }

    /// Itself, if nothing has come on it since it was given back: that would answer the next request.
    /// Else it is closed, and what is left is the right to another one.
    pub(crate) fn still_sound(self) -> Result<Self, Option<ConnectionPermit>> {
        match stream::is_disturbed(&self) {
            false => Ok(self),
            true => Err(self.into_permit()),
        }
    }

    /// Closes it, and keeps the right to have one open.
    pub(crate) fn into_permit(self) -> Option<ConnectionPermit> {
        self.limited?.permit
    }

    /// The right by which it is open.
    pub(super) fn permit(&self) -> Option<&ConnectionPermit> {
        self.limited.as_ref()?.permit.as_ref()
    }
}

impl Deref for Upstream {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.stream
    }
}
