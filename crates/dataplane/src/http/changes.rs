//! What a rule changes in a message, in the codec's terms, and what is known for the commands in its
//! values. What the changes are is said in `pointsman_route::action`, which `explain` runs too.
use super::{Context, fields::ResponseFields};
use crate::socket::Socket;
use pointsman_model::{
    action::FieldOps,
    header_value::{Command, Made},
};
use pointsman_route::{
    Fields, Rule,
    action::{self, Extra, Facts, Levels, levels},
};
use pointsman_telemetry::{Flags, access_log::calendar};
use pointsman_wire::http1::{FieldSet, ResponseHead};
use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// What is done to the fields of the response to a routed request, whoever makes it (VS-H-106).
#[derive(Default)]
pub(super) enum Changes {
    #[default]
    Nothing,
    /// The operations of the rule and of its destination at this index, if it has any.
    Rule(Arc<Rule>, Option<usize>),
    /// Operations of this request alone, level by level, and how many of the first are one.
    Own(Box<[FieldOps]>, usize),
}

impl Changes {
    /// Those of the rule and its destination at `target`, then `last`. They are copied only if there
    /// is a `last`, or if a value asks for something: `facts` of the request are gone by the time
    /// there is a response.
    pub(super) fn new(
        rule: &Arc<Rule>,
        target: Option<usize>,
        last: Option<FieldOps>,
        facts: &impl Facts,
    ) -> Self {
        let levels = levels(rule, target, |headers| &headers.response);
        if last.is_some() || levels.iter().any(action::asks) {
            let settled = levels.iter().map(|level| action::settle(level, facts));
            Self::Own(settled.chain(last).collect(), levels.joined())
        } else if levels.is_empty() {
            Self::Nothing
        } else {
            Self::Rule(rule.clone(), target)
        }
    }

    /// The operations, level by level.
    pub(super) fn levels(&self) -> Levels<'_> {
        match self {
            Self::Nothing => Levels::new(),
            Self::Rule(rule, target) => levels(rule, *target, |headers| &headers.response),
            Self::Own(levels, joined) => Levels::of(levels, *joined),
        }
    }
}

/// The received fields to leave out and the ones to append.
pub(super) fn operations<'a, 'n>(
    levels: &Levels<'a>,
    names: impl Iterator<Item = &'n str> + Clone,
    facts: &impl Facts,
) -> (FieldSet, Extra<'a>) {
    let mut drop = FieldSet::default();
    let extra = action::operations(levels, names, facts, |index| drop.insert(index));
    (drop, extra)
}

/// What the process knows: the time and its machine.
pub(super) struct Process<'a> {
    pub(super) cx: &'a Context<'a>,
    /// When the request began.
    pub(super) started: Instant,
}

impl Facts for Process<'_> {
    fn put(&self, made: &Made, out: &mut Vec<u8>) -> bool {
        match made.command {
            Command::Hostname => out.extend_from_slice(self.cx.shard.hostname().as_bytes()),
            Command::StartTime => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let start = now
                    .unwrap_or_default()
                    .saturating_sub(self.started.elapsed());
                let millis = u64::try_from(start.as_millis()).unwrap_or(u64::MAX);
                calendar::timestamp(millis, out);
            }
            _ => return false,
        }
        true
    }
}

/// What is known of a response.
pub(super) struct Response<'a, 'h> {
    pub(super) status: u16,
    pub(super) flags: Flags,
    pub(super) details: &'static str,
    /// Who gave it, and what it said; `None` for one of our own.
    pub(super) from: Option<(&'a Socket, &'a ResponseHead<'h>)>,
}

impl Facts for Response<'_, '_> {
    fn put(&self, made: &Made, out: &mut Vec<u8>) -> bool {
        let address = |of: fn(&Socket) -> std::io::Result<std::net::SocketAddr>| {
            self.from.and_then(|(upstream, _)| of(upstream).ok())
        };
        match &made.command {
            Command::ResponseCode => out.extend_from_slice(self.status.to_string().as_bytes()),
            Command::ResponseFlags => out.extend_from_slice(self.flags.to_string().as_bytes()),
            Command::ResponseDetails => out.extend_from_slice(self.details.as_bytes()),
            Command::UpstreamRemote(part) => {
                if let Some(address) = address(Socket::peer_addr) {
                    action::put_address(address, *part, out);
                }
            }
            Command::UpstreamLocal(part) => {
                if let Some(address) = address(Socket::local_addr) {
                    action::put_address(address, *part, out);
                }
            }
            Command::ResponseHeader(name, other) => {
                let Some((_, head)) = self.from else {
                    return true;
                };
                let fields = ResponseFields(head);
                let mut found = false;
                for name in [Some(name), other.as_ref()].into_iter().flatten() {
                    if !found {
                        fields.each(name, &mut |value| {
                            if std::mem::replace(&mut found, true) {
                                out.push(b',');
                            }
                            out.extend_from_slice(value);
                        });
                    }
                }
            }
            _ => return false,
        }
        true
    }
}
