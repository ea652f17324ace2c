//! What is told of a request once it is over: to its client, to those who count, and in its record.
use super::{Context, RequestFacts, grpc, progress::Progress, step::Forward};
use crate::access::pending::Ending;
use pointsman_telemetry::{ClusterStats, Flags, RequestProtocol};

/// How a request was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// By HTTP; 0: not at all.
    pub(super) status: u16,
    /// By gRPC, to a call that got such a status.
    pub(super) grpc: Option<u8>,
    pub(super) flags: Flags,
    /// As in [`Local`](super::local::Local).
    pub(super) details: &'static str,
}

impl Told {
    /// Of a request whose client went before it was answered, or which was cut then.
    pub(super) fn gone(cx: &Context<'_>) -> Self {
        Self {
            status: 0,
            grpc: None,
            flags: Flags::DC,
            details: details_of_cut(cx, Flags::DC),
        }
    }
}

/// The end of a request for which no endpoint has answered. `whose`: whom it counts for, if it was routed.
/// `bytes`: of bodies, from the client and to it.
pub(super) fn record(
    cx: &Context<'_>,
    whose: Option<(&ClusterStats, &RequestFacts)>,
    told: Told,
    bytes: (u64, u64),
) {
    record_bodies(cx, whose, told, bytes, bytes);
}

/// The end of a request that an endpoint has answered.
pub(super) fn record_exchange(
    cx: &Context<'_>,
    forward: &Forward,
    progress: &Progress,
    status: u16,
    flags: Flags,
    details: &'static str,
) {
    let bytes = (progress.moved.received.get(), progress.moved.sent.get());
    // What moved behind a switch of protocols is counted as TCP's already, and was no body.
    let bodies = match progress.switched.get() {
        true => (0, 0),
        false => bytes,
    };
    let told = Told {
        status,
        grpc: progress.grpc_status.get(),
        flags,
        details,
    };
    record_bodies(cx, Some(forward.routed()), told, bytes, bodies);
}

fn record_bodies(
    cx: &Context<'_>,
    whose: Option<(&ClusterStats, &RequestFacts)>,
    told: Told,
    bytes: (u64, u64),
    bodies: (u64, u64),
) {
    let Told {
        status,
        grpc,
        mut flags,
        details,
    } = told;
    if let Some((stats, facts)) = whose {
        flags |= facts.injected;
        let protocol = match facts.grpc {
            Some(_) => RequestProtocol::Grpc(grpc::counted(grpc, status)),
            None => RequestProtocol::Http,
        };
        let micros = u64::try_from(facts.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        stats.request(status, flags, protocol, micros, bodies.0, bodies.1);
    }
    cx.access.finish(&Ending {
        status,
        flags,
        details,
        bytes,
    });
}

/// Envoy's words for a response that was cut.
pub(super) fn details_of_cut(cx: &Context<'_>, flags: Flags) -> &'static str {
    match flags {
        Flags::DC if cx.lease.is_cut() => "downstream_local_disconnect",
        Flags::DC => "downstream_remote_disconnect",
        Flags::UT => "response_timeout",
        Flags::SI => "stream_idle_timeout",
        Flags::UR => "upstream_reset_after_response_started{remote_reset}",
        Flags::UPE => "upstream_reset_after_response_started{protocol_error}",
        // The one thing that a client can do wrong behind the head of its response.
        Flags::DPE => "bytes_before_upgrade",
        _ => "upstream_reset_after_response_started{connection_termination}",
    }
}
