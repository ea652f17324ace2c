//! What is decided of a request.
use super::{
    RequestFacts,
    changes::Changes,
    grpc_web::GrpcWeb,
    local::{Local, Refused},
    mirror::Copies,
    told::Told,
    websocket::Accept,
};
use crate::{
    settings::Settings,
    shard::{cluster_state::ClusterState, endpoint_state::EndpointState},
};
use pointsman_route::RetriesInForce;
use pointsman_telemetry::ClusterStats;
use pointsman_wire::{
    grpc::Dialect,
    http1::{BodyLength, Refusal, RequestKind, Version},
    http2::Outgoing,
};
use std::{rc::Rc, sync::Arc, time::Duration};

/// What to do with the bytes received so far.
pub(super) enum Step {
    /// The head is incomplete.
    NeedMore,
    /// Malformed: refuse and close.
    Refuse(Refused),
    /// Answer with this.
    Reply(Reply),
    /// The answer of a rule is in `out` already.
    Answered(Answered),
    /// Send it on; the head for the endpoint is in `out`.
    Forward(Forward),
    /// Wait this long first (VS-H-80).
    After(Duration, Box<Step>),
}

impl Step {
    /// Of a head that could be read; `grpc`: as in [`RequestFacts`].
    pub(super) fn refused(refusal: Refusal, grpc: Option<Dialect>, method: &str) -> Self {
        Self::Refuse(Refused {
            refusal,
            grpc,
            head_only: RequestKind::of(method) == RequestKind::Head,
        })
    }

    /// Of a routed request: whom it counts for.
    pub(super) fn routed(&self) -> Option<(&ClusterStats, &RequestFacts)> {
        match self {
            Self::Reply(reply) => Some((&reply.stats, &reply.facts)),
            Self::Answered(answered) => Some((&answered.stats, &answered.facts)),
            Self::Forward(forward) => Some(forward.routed()),
            Self::After(_, step) => step.routed(),
            Self::NeedMore | Self::Refuse(_) => None,
        }
    }

    /// Of a request to an endpoint that speaks HTTP/2: its head.
    pub(super) fn http2(&mut self) -> Option<&mut Outgoing<http::Request<()>>> {
        match self {
            Self::Forward(forward) => forward.http2.as_deref_mut(),
            Self::After(_, step) => step.http2(),
            _ => None,
        }
    }
}

/// An answer that a rule made.
pub(super) struct Answered {
    pub(super) facts: RequestFacts,
    pub(super) told: Told,
    pub(super) stats: Rc<ClusterStats>,
}

/// A reply of our own to a well-formed request.
pub(super) struct Reply {
    pub(super) facts: RequestFacts,
    pub(super) local: Local,
    pub(super) stats: Rc<ClusterStats>,
    /// Only of a routed request (VS-H-106).
    pub(super) changes: Changes,
}

/// A request on its way to a backend.
pub(super) struct Forward {
    pub(super) facts: RequestFacts,
    pub(super) to: To,
    /// The rule's `timeout` (VS-H-63).
    pub(super) timeout: Option<Duration>,
    /// What is tried again; `None`: as nobody said otherwise.
    pub(super) retries: Option<Arc<RetriesInForce>>,
    /// What is done to the response.
    pub(super) changes: Changes,
    /// Copies for mirrors (VS-H-86).
    pub(super) copies: Option<Box<Copies>>,
    /// The head, where the endpoint speaks HTTP/2 (PS-60); otherwise it is in `out`.
    /// Without the fields of the client's request where they all go with it as they are: those are
    /// given to it afterwards.
    pub(super) http2: Option<Box<Outgoing<http::Request<()>>>>,
    /// What answers the key of a WebSocket whose version of HTTP changes. Boxed, as it is rare.
    pub(super) accept: Option<Box<Accept>>,
}

/// Where a request goes.
pub(super) enum To {
    /// An endpoint of a backend.
    Cluster(Rc<ClusterState>),
    /// The original destination: nothing recognised the request (LIS-62).
    Original(Rc<EndpointState>, Rc<ClusterStats>),
}

impl Forward {
    /// How the client speaks gRPC-Web, if it does, to an endpoint of gRPC.
    pub(super) fn grpc_web(&self) -> Option<GrpcWeb> {
        GrpcWeb::of(&self.facts)
    }

    /// Does it go from stream to stream, and tells no length? Both sides speak when they have
    /// something to say then, as in calls of gRPC: a client that sends nothing is not late (VS-H-66).
    pub(super) fn is_open(&self) -> bool {
        let facts = &self.facts;
        self.http2.is_some() && facts.version == Version::Http2 && facts.body == BodyLength::Chunked
    }

    /// Whom it counts for.
    pub(super) fn routed(&self) -> (&ClusterStats, &RequestFacts) {
        (self.stats(), &self.facts)
    }

    /// The counters of the backend.
    pub(super) fn stats(&self) -> &Rc<ClusterStats> {
        match &self.to {
            To::Cluster(cluster) => &cluster.stats,
            To::Original(_, stats) => stats,
        }
    }

    /// The backend it goes to; `None`: the original destination.
    pub(super) fn backend(&self) -> Option<&ClusterState> {
        match &self.to {
            To::Cluster(cluster) => Some(cluster),
            To::Original(..) => None,
        }
    }

    /// The retries in force.
    pub(super) fn retries(&self) -> &RetriesInForce {
        match &self.retries {
            Some(retries) => retries,
            None => RetriesInForce::built_in(),
        }
    }

    /// Bytes of its body that are kept to be sent again.
    pub(super) fn kept_bytes(&self, settings: &Settings) -> usize {
        let (retries, most) = (self.retries(), settings.limits.retry_body_bytes);
        let needed = match self.http2 {
            None => retries.repeats_sent(),
            // All of it is needed.
            Some(_) if matches!(self.facts.body, BodyLength::Length(all) if all > most as u64) => {
                false
            }
            Some(_) => {
                self.backend().is_some() && (retries.repeats_sent() || retries.repeats_refused())
            }
        };
        match needed {
            true => most,
            false => 0,
        }
    }
}
