//! What becomes of a request that a rule has taken. Where chance decides, the answer is that of a
//! request that is not drawn, and says what the chances are; what is drawn always, happens.
use super::{
    answer::{
        Answer, Destination, FaultAbort, FaultDelay, Faults, Kind, Mirror, Retries, RuleOrigin,
        Told, percentage, seconds,
    },
    decide::forward,
    execute::{self, Sent},
};
use pointsman_model::{
    action::{Abort, FieldOps},
    header_value::{Command, Made, Part},
};
use pointsman_route::{
    Action, Matched, Request, Split, Table, Target,
    action::{self, Asked, Facts, Injected, Nothing, Received, Verdict, aborted, location},
};
use pointsman_wire::{
    grpc::{Dialect, answered_in, call},
    http1::{Reason, Refusal, RequestHead, Version},
};
use serde_json::{Map, Value};
use std::net::SocketAddr;

/// A request and its rule.
pub(super) struct Taken<'a, 'h> {
    pub(super) table: &'a Table,
    pub(super) original: SocketAddr,
    pub(super) source: Option<SocketAddr>,
    pub(super) matched: Matched<'a>,
    pub(super) request: &'a Request<'a, Vec<(String, String)>>,
    pub(super) head: &'a RequestHead<'h>,
}

impl Taken<'_, '_> {
    pub(super) fn answer(&self) -> Answer {
        let rule = self.matched.rule;
        let request = self.request;
        let mut made = match &rule.action {
            Action::Redirect(redirect) => {
                let received = Received {
                    scheme: request.scheme,
                    authority: request.authority,
                    path: request.path,
                    query: request.query,
                    matched: self.matched.prefix_len,
                    port: self.matched.port(self.original),
                };
                let location = location(redirect, &received);
                if location.is_none() {
                    return Answer::refused(&Refusal::request(Reason::MissingHost));
                }
                Answer {
                    status: Some(redirect.code),
                    location,
                    response_headers: self.response(None, None),
                    ..Answer::new(Kind::Redirect, None)
                }
            }
            Action::Respond(response) => Answer {
                status: Some(response.status),
                body: Some(String::from_utf8_lossy(&response.body).into_owned()),
                response_headers: self.response(None, None),
                ..Answer::new(Kind::Respond, None)
            },
            Action::Forward(split) => self.forwarded(split),
        };
        made.rule = Some(RuleOrigin::new(&rule.origin));
        made
    }

    /// The fault first, then CORS, then the destination (VS-H-39, VS-H-84).
    fn forwarded(&self, split: &Split) -> Answer {
        let effects = self.matched.rule.effects.as_deref();
        let fault = effects.and_then(|it| it.fault.as_ref());
        // The highest draw falls only into a share of everything.
        let certain = fault.map_or_else(Injected::default, |it| action::inject(it, || u32::MAX));
        let cors = effects.and_then(|it| it.cors.as_ref());
        let verdict = cors.map_or(Verdict::Untouched, |cors| cors.ask(self.request));
        let mut made = match (certain.abort, verdict) {
            (Some(abort), _) => {
                let calls = |target| self.dialect(target).is_some();
                let aborted = aborted(abort, split.targets().iter().all(calls));
                Answer {
                    status: Some(aborted.status),
                    body: Some(aborted.body.to_owned()),
                    ..Answer::new(Kind::Respond, Some("fault"))
                }
            }
            (None, Verdict::Preflight(answer)) => Answer {
                status: Some(200),
                body: Some(String::new()),
                response_headers: fields(answer.iter().map(|(name, value)| (*name, &**value))),
                ..Answer::new(Kind::Respond, Some("preflight"))
            },
            (None, Verdict::Allowed(last)) => self.sent(split, Some(&last)),
            (None, Verdict::Untouched) => self.sent(split, None),
        };
        self.tell(&mut made, split, certain.abort);
        if let Some(fault) = fault {
            made.delay = fault.delay.map(|(delay, _)| seconds(delay));
            made.fault = Some(Faults {
                delay: fault.delay.map(|(delay, share)| FaultDelay {
                    time: seconds(delay),
                    percentage: percentage(share),
                }),
                abort: fault.abort.as_ref().map(|(abort, share)| {
                    let (status, grpc) = match *abort {
                        Abort::Http(status) => (status, None),
                        Abort::Grpc(number) => (200, Some(number)),
                    };
                    FaultAbort {
                        status,
                        grpc_status: grpc,
                        percentage: percentage(*share),
                    }
                }),
            });
        }
        made
    }

    /// What the client of a call is told of an answer of the gateway's own, where that is for the
    /// destination to say that was drawn: one of gRPC-Web reads gRPC's status only of those to whom it
    /// is translated (PS-4, VS-H-144).
    fn tell(&self, made: &mut Answer, split: &Split, abort: Option<&Abort>) {
        if made.status.is_none() {
            return;
        }
        let told = split.targets().iter().enumerate();
        let told = told.map(|(index, target)| {
            let fields = match abort {
                Some(abort) => self.fields_of(abort, split, index, target),
                None => made.response_headers.clone(),
            };
            self.told(made, fields, target)
        });
        let mut told: Vec<_> = told.collect();
        if is_one(&told) {
            if let Some((grpc_status, response_headers)) = told.pop() {
                made.grpc_status = grpc_status;
                made.response_headers = response_headers;
            }
            return;
        }
        made.response_headers.clear();
        let weights = forward(self.table, self.original, split, None).weights;
        let each = weights.into_iter().zip(told).map(|(weight, told)| Told {
            destination: weight.destination,
            weight: weight.weight,
            grpc_status: told.0,
            response_headers: told.1,
        });
        made.told = each.collect();
    }

    /// The fields of an abort in place of this destination, with the operations of both (VS-H-106).
    fn fields_of(
        &self,
        abort: &Abort,
        split: &Split,
        index: usize,
        target: &Target,
    ) -> Map<String, Value> {
        let rule = self.matched.rule;
        let levels = action::levels(rule, Some(index), |headers| &headers.response);
        let aborted = aborted(abort, self.dialect(target).is_some());
        execute::answered(aborted.fields, &levels, &self.facts(split, index))
    }

    /// In which dialect of gRPC the client reads an answer of the gateway's own in place of this destination.
    fn dialect(&self, target: &Target) -> Option<Dialect> {
        let head = self.head;
        let cluster = target.cluster.map(|id| self.table.cluster(id));
        let client_http2 = head.version == Version::Http2;
        let translated = cluster.is_ok_and(|cluster| cluster.translates_grpc_web(client_http2));
        let call = call(head.method, head.values("content-type"));
        answered_in(call, translated, head.values("accept"))
    }

    /// gRPC's status and these fields of the answer, to a call that goes to this destination.
    fn told(
        &self,
        made: &Answer,
        mut fields: Map<String, Value>,
        target: &Target,
    ) -> (Option<u8>, Map<String, Value>) {
        let Some(dialect) = self.dialect(target) else {
            return (None, fields);
        };
        for (name, value) in &mut fields {
            if let Value::String(text) = value {
                *text = match name.as_str() {
                    "content-type" if made.is_failure() => dialect.content_type_of_none(),
                    name => dialect.field(name, text),
                }
                .to_owned();
            }
        }
        (made.status_of_call(&fields), fields)
    }

    fn sent(&self, split: &Split, last: Option<&FieldOps>) -> Answer {
        let mut made = forward(self.table, self.original, split, Some(503));
        let sent = (0..split.targets().len()).map(|index| {
            let facts = self.facts(split, index);
            let mut sent =
                execute::forwarded(&self.matched, index, self.head, self.request.path, &facts);
            sent.response_headers = self.response(Some((split, index)), last);
            sent
        });
        spread(&mut made, sent.collect());
        self.wishes(&mut made);
        made
    }

    /// What is added to the response of a destination, or to the rule's own.
    fn response(
        &self,
        target: Option<(&Split, usize)>,
        last: Option<&FieldOps>,
    ) -> Map<String, Value> {
        let index = target.map(|(_, index)| index);
        let levels = action::levels(self.matched.rule, index, |headers| &headers.response);
        let levels = levels.then(last);
        match target {
            Some((split, index)) => execute::response(&levels, &self.facts(split, index)),
            None => execute::response(&levels, &self.known(None)),
        }
    }

    fn facts<'s>(&'s self, split: &Split, index: usize) -> Shown<'s> {
        let target = split.targets().get(index);
        let id = target.and_then(|target| target.cluster.ok());
        self.known(id.map(|id| &*self.table.cluster(id).label))
    }

    fn known<'s>(&'s self, cluster: Option<&'s str>) -> Shown<'s> {
        let origin = &self.matched.rule.origin;
        Shown(Asked {
            request: self.request,
            protocol: self.head.version.as_str(),
            // Without a port it is known by half.
            remote: self.source.filter(|source| source.port() > 0),
            local: self.original,
            route: origin.name.as_ref().unwrap_or(&origin.label),
            cluster,
            process: &Nothing,
        })
    }

    /// What the rule asks for beside the destination.
    fn wishes(&self, made: &mut Answer) {
        let rule = self.matched.rule;
        made.timeout = rule.timeout.map(seconds);
        let retries = rule.retries();
        made.retries = Some(Retries {
            attempts: retries.written.attempts,
            per_try_timeout: retries.written.per_try_timeout.map(seconds),
            retry_on: retries.retry_on().to_owned(),
        });
        let mirrors = rule.mirrors.iter().filter(|mirror| mirror.share > 0);
        made.mirrors = mirrors
            .filter_map(|mirror| {
                let cluster = self.table.cluster(mirror.cluster.ok()?);
                Some(Mirror {
                    destination: Destination::of_cluster(cluster),
                    percentage: percentage(mirror.share),
                })
            })
            .collect();
    }
}

/// What is known of a request that was not sent; the rest is shown as it is written.
struct Shown<'a>(Asked<'a, Vec<(String, String)>>);

impl Facts for Shown<'_> {
    fn put(&self, made: &Made, out: &mut Vec<u8>) -> bool {
        // The address that stands for any is nobody's.
        let unknown = self.0.local.ip().is_unspecified()
            && matches!(made.command, Command::DownstreamLocal(part) if part != Part::Port);
        if unknown || !self.0.put(made, out) {
            out.extend_from_slice(made.written.as_bytes());
        }
        true
    }
}

/// What is sent, once for all destinations if they agree, else beside each of them.
fn spread(made: &mut Answer, mut sent: Vec<Sent>) {
    if is_one(&sent) {
        made.sent = sent.pop();
        return;
    }
    for (weight, sent) in made.weights.iter_mut().zip(sent) {
        weight.sent = Some(sent);
    }
}

/// Are all of them the same?
fn is_one<T: PartialEq>(all: &[T]) -> bool {
    all.windows(2).all(|pair| pair.first() == pair.last())
}

fn fields<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Map<String, Value> {
    fields
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}
