//! The record of a request or connection that is still running.
use crate::{
    shard::{Shard, endpoint_state::EndpointState},
    socket::Socket,
};
use pointsman_route::{EndpointAddress, Origin};
use pointsman_telemetry::{
    AccessRecord, Flags,
    access_log::{FIELD_LIMIT, Value, clip},
};
use pointsman_wire::http1::RequestHead;
use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// At most one record in the making: a client connection serves its requests one after the other.
///
/// Every method does nothing but one comparison while nobody wants records.
pub(crate) struct Pending {
    shard: Rc<Shard>,
    peer: SocketAddr,
    original: SocketAddr,
    record: RefCell<Option<Box<Begun>>>,
}

struct Begun {
    record: AccessRecord,
    started: Instant,
    /// Since when nobody but the endpoint is waited for.
    complete: Instant,
}

/// How it ended.
pub(crate) struct Ending {
    pub(crate) status: u16,
    pub(crate) flags: Flags,
    pub(crate) details: &'static str,
    /// Bytes from the client, and to it.
    pub(crate) bytes: (u64, u64),
}

impl Ending {
    /// Of a connection that was carried as bytes.
    pub(crate) fn of_connection(flags: Flags, bytes: (u64, u64)) -> Self {
        Self {
            status: 0,
            flags,
            details: "",
            bytes,
        }
    }
}

impl Pending {
    pub(crate) fn new(shard: Rc<Shard>, peer: SocketAddr, original: SocketAddr) -> Self {
        Self {
            shard,
            peer,
            original,
            record: RefCell::default(),
        }
    }

    fn is_on(&self) -> bool {
        self.shard.access.is_some()
    }

    /// Begins the record of a connection, or of bytes that are no request.
    pub(crate) fn begin(&self, server_name: Option<&str>, started: Instant) {
        if !self.is_on() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let start = now.unwrap_or_default().saturating_sub(started.elapsed());
        let record = AccessRecord {
            start_unix_ms: millis(start),
            downstream_local: Some(self.original),
            downstream_remote: Some(self.peer),
            server_name: server_name.map(|name| clip(name.as_bytes(), FIELD_LIMIT)),
            ..AccessRecord::default()
        };
        self.record.replace(Some(Box::new(Begun {
            record,
            started,
            complete: started,
        })));
    }

    /// Begins the record of a request with what its head says. `path` is the normalised path: what
    /// is logged is what was matched.
    pub(crate) fn request(
        &self,
        head: &RequestHead<'_>,
        path: &str,
        revision: u64,
        started: Instant,
    ) {
        if !self.is_on() {
            return;
        }
        self.begin(None, started);
        self.edit(|record| {
            record.method = text(head.method);
            record.path = match head.query {
                _ if path.is_empty() => text(head.target),
                None => text(path),
                Some(query) => {
                    let whole = [path.as_bytes(), b"?", query.as_bytes()].concat();
                    Some(clip(&whole, FIELD_LIMIT))
                }
            };
            record.protocol = Some(head.version.as_str());
            record.authority = head.host.and_then(text);
            for field in head.fields {
                let slot = if field.name.eq_ignore_ascii_case("user-agent") {
                    &mut record.user_agent
                } else if field.name.eq_ignore_ascii_case("x-request-id") {
                    &mut record.request_id
                } else if field.name.eq_ignore_ascii_case("x-forwarded-for") {
                    &mut record.x_forwarded_for
                } else {
                    continue;
                };
                *slot = Some(clip(field.value, FIELD_LIMIT));
            }
            record.revision = revision;
        });
    }

    /// Changes the record, if there is one.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut AccessRecord)) {
        if let Some(pending) = &mut *self.record.borrow_mut() {
            change(&mut pending.record);
        }
    }

    /// The rule that decided: its name (VS-H-8), or else the place in its list, and where it is
    /// written.
    pub(crate) fn decided_by(&self, origin: &Origin) {
        self.edit(|record| {
            let name = origin.name.as_ref().unwrap_or(&origin.label);
            record.route_name = Some(name.clone());
            record.rule = Some(origin.place.to_string().into());
            record.why = match origin.rule {
                Some(_) => "rule",
                None => "default_route",
            }
            .into();
        });
    }

    /// The endpoint is told this authority: from now on it is the request's, as in Envoy.
    pub(crate) fn authority(&self, told: &str) {
        self.edit(|record| {
            if record.authority.as_deref() != Some(told.as_bytes()) {
                record.received_authority = std::mem::replace(&mut record.authority, text(told));
            }
        });
    }

    /// Nothing recognised it: it goes where it was going, under the names Istio gives that.
    pub(crate) fn passthrough(&self) {
        self.edit(|record| {
            record.route_name = Some("allow_any".into());
            record.upstream_cluster = Some("PassthroughCluster".into());
            record.why = "passthrough".into();
        });
    }

    /// Nothing recognised it, and such traffic is refused.
    pub(crate) fn blackhole(&self) {
        self.edit(|record| {
            record.route_name = Some("block_all".into());
            record.why = "blackhole".into();
        });
    }

    /// The backend that was chosen.
    pub(crate) fn backend(&self, label: &Arc<str>) {
        self.edit(|record| record.upstream_cluster = Some(label.clone()));
    }

    /// The endpoint that was chosen.
    pub(crate) fn chosen(&self, endpoint: &EndpointState) {
        self.edit(|record| {
            record.upstream_local = None;
            // Of the try before.
            record.transport_failure = "".into();
            record.upstream_host = match endpoint.address {
                EndpointAddress::Socket(address) => Some(address),
                EndpointAddress::Name { .. } | EndpointAddress::Unix(_) => None,
            };
        });
    }

    /// The connection to it.
    pub(crate) fn connected(&self, upstream: &Socket) {
        self.edit(|record| {
            record.upstream_local = upstream.local_addr().ok();
            record.upstream_host = upstream.peer_addr().ok().or(record.upstream_host);
        });
    }

    /// The rest of the request is here, or what held it back is over. One that is complete from its
    /// beginning need not say so, nor read the clock.
    pub(crate) fn complete(&self) {
        if let Some(pending) = &mut *self.record.borrow_mut() {
            pending.complete = Instant::now();
        }
    }

    /// The head of the endpoint's response is here; `early`: before all of the request, so that it took no
    /// time that could be told.
    pub(crate) fn answered(&self, early: bool) {
        if let Some(pending) = &mut *self.record.borrow_mut() {
            let took = (!early).then(|| millis(pending.complete.elapsed()));
            pending.record.upstream_service_time_ms = took;
        }
    }

    /// Ends the record and hands it to the shard. Where none was begun (a malformed head, a late
    /// one) it is one that knows only who called.
    pub(crate) fn finish(&self, ending: &Ending) {
        let Some(ring) = &self.shard.access else {
            return;
        };
        if self.record.borrow().is_none() {
            self.begin(None, Instant::now());
        }
        let Some(pending) = self.record.take() else {
            return;
        };
        let Begun {
            mut record,
            started,
            ..
        } = *pending;
        record.response_code = ending.status;
        record.flags = ending.flags;
        // As Envoy has it, with why there was no connection.
        record.details = match ending.details.strip_suffix("connection_failure}") {
            Some(side) if !record.transport_failure.is_empty() => {
                let why = &record.transport_failure;
                format!("{side}connection_failure|{why}}}").into()
            }
            _ => ending.details.into(),
        };
        (record.bytes_received, record.bytes_sent) = ending.bytes;
        record.duration_ms = millis(started.elapsed());
        ring.push(record);
    }
}

fn text(value: &str) -> Value {
    (!value.is_empty()).then(|| clip(value.as_bytes(), FIELD_LIMIT))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
