//! An expectation against an answer.
use super::file::Expect;
use crate::cli::explain::{Answer, Answerer, Asked, Destination, Protocol, Sent, Values};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// One thing that is not as expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) field: &'static str,
    pub(super) expected: String,
    pub(super) got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, got {}",
            self.field, self.expected, self.got
        )
    }
}

/// Names as the client of a table writes them.
pub(super) trait Names {
    /// The full host of `reviews` or `reviews.default`.
    fn full_host(&self, name: &str) -> String;
}

impl Names for Answerer<'_> {
    fn full_host(&self, name: &str) -> String {
        let client = self.table().context();
        let (namespace, domain) = (&client.namespace, &client.cluster_domain);
        match name.split('.').count() {
            1 => format!("{name}.{namespace}.svc.{domain}"),
            2 => format!("{name}.svc.{domain}"),
            3 if name.ends_with(".svc") => format!("{name}.{domain}"),
            _ => name.to_owned(),
        }
    }
}

/// Every expectation that the answer does not meet, in the order of the file's form.
pub(super) fn check(
    expect: &Expect,
    asked: &Asked,
    answer: &Answer,
    names: &impl Names,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |field, expected: &dyn fmt::Display, got: &dyn fmt::Display| {
        differences.push(Difference {
            field,
            expected: expected.to_string(),
            got: got.to_string(),
        });
    };
    let instead = summary(answer);
    if let Some(outcome) = expect.outcome
        && outcome != answer.kind
    {
        differ("outcome", &outcome.as_str(), &instead);
    }
    if let Some(kind) = expect.kind {
        let got = match asked.protocol {
            Protocol::Http if answer.is_of_a_request() => Protocol::Http,
            Protocol::Http if asked.tls.is_some() => Protocol::Tls,
            Protocol::Tls => Protocol::Tls,
            Protocol::Tcp | Protocol::Http => Protocol::Tcp,
        };
        if kind != got {
            differ("kind", &kind.as_str(), &got.as_str());
        }
    }
    if let Some(rule) = &expect.rule {
        let holds = answer.rule.as_ref().is_some_and(|got| {
            let object = format!("{}/{}", got.namespace, got.name);
            *rule == *got.label || *rule == object || got.rule_name.as_deref() == Some(rule)
        });
        if !holds {
            match &answer.rule {
                Some(got) => match &got.rule_name {
                    Some(name) => differ("rule", rule, &format_args!("{} ({name})", got.label)),
                    None => differ("rule", rule, &got.label),
                },
                None => differ("rule", rule, &format_args!("no rule: {instead}")),
            }
        }
    }
    let targets: Vec<&Destination> = match &answer.destination {
        Some(single) => vec![single],
        None => answer.weights.iter().map(|it| &it.destination).collect(),
    };
    let every = |holds: &dyn Fn(&Destination) -> bool| {
        !targets.is_empty() && targets.iter().all(|it| holds(it))
    };
    if let Some(service) = &expect.service {
        let full = names.full_host(service);
        if !every(&|it| it.host == *service || it.host == full) {
            differ("service", service, &instead);
        }
    }
    if let Some(subset) = &expect.subset
        && !every(&|it| it.subset.as_deref().unwrap_or_default() == subset)
    {
        differ("subset", subset, &instead);
    }
    if let Some(port) = expect.port
        && !every(&|it| it.port == Some(port))
    {
        differ("port", &port, &instead);
    }
    if let Some(cluster) = &expect.cluster
        && !every(&|it| label(it) == *cluster)
    {
        differ("cluster", cluster, &instead);
    }
    if let Some(weights) = &expect.weights
        && !shares_agree(weights, answer, names)
    {
        let all: Vec<String> = weights
            .iter()
            .map(|(it, share)| format!("{it} {share}"))
            .collect();
        differ("weights", &all.join(", "), &instead);
    }
    if let Some(endpoints) = &expect.endpoints {
        let mut wanted: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let mut got: Vec<&str> = answer.endpoints.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        got.sort_unstable();
        if wanted != got {
            differ("endpoints", &list(&wanted), &list(&got));
        }
    }
    if let Some(status) = expect.status
        && answer.status != Some(status)
    {
        match answer.status {
            Some(got) => differ("status", &status, &got),
            None => differ("status", &status, &instead),
        }
    }
    // Where the destinations get different ones, each has to be as expected.
    let sent: Vec<(String, &Sent)> = match &answer.sent {
        Some(sent) => vec![(String::new(), sent)],
        None => answer
            .weights
            .iter()
            .filter_map(|it| Some((format!(" to {}", label(&it.destination)), it.sent.as_ref()?)))
            .collect(),
    };
    let one = |got: Option<&'_ str>| vec![("", got.map(str::to_owned))];
    let each = |part: fn(&Sent) -> &str| match sent.as_slice() {
        [] => one(None),
        all => all
            .iter()
            .map(|(to, sent)| (to.as_str(), Some(part(sent).to_owned())))
            .collect(),
    };
    for (field, wanted, got) in [
        ("reason", &expect.reason, one(answer.reason)),
        (
            "location",
            &expect.location,
            one(answer.location.as_deref()),
        ),
        ("body", &expect.body, one(answer.body.as_deref())),
        ("path", &expect.path, each(|it| &it.path)),
        ("authority", &expect.authority, each(|it| &it.authority)),
        ("timeout", &expect.timeout, one(answer.timeout.as_deref())),
        ("delay", &expect.delay, one(answer.delay.as_deref())),
    ] {
        if let Some(wanted) = wanted
            && let Some((to, got)) = got.iter().find(|(_, got)| got.as_ref() != Some(wanted))
        {
            let quoted = got.as_ref().map(|got| format!("{got:?}{to}"));
            let none = format!("none: {instead}");
            differ(field, &format_args!("{wanted:?}"), &quoted.unwrap_or(none));
        }
    }
    let none = Map::new();
    let headers = |part: for<'s> fn(&'s Sent) -> &'s Map<String, Value>| match sent.as_slice() {
        [] => vec![("", &none)],
        all => all
            .iter()
            .map(|(to, sent)| (to.as_str(), part(sent)))
            .collect(),
    };
    let request = headers(|it| &it.request_headers);
    let response = match answer.response_headers.is_empty() {
        true => headers(|it| &it.response_headers),
        false => vec![("", &answer.response_headers)],
    };
    for (field, wanted, got) in [
        ("request_headers", &expect.request_headers, request),
        ("response_headers", &expect.response_headers, response),
    ] {
        for (name, wanted) in wanted {
            let (name_sent, wanted) = (name.to_ascii_lowercase(), json(wanted));
            let mut all = got.iter().map(|(to, fields)| (to, fields.get(&name_sent)));
            if let Some((to, got)) = all.find(|(_, got)| *got != Some(&wanted)) {
                let got = got.map_or_else(|| "no such field".to_owned(), Value::to_string);
                differ(
                    field,
                    &format_args!("{name}: {wanted}"),
                    &format_args!("{got}{to}"),
                );
            }
        }
    }
    if let Some(wanted) = &expect.retries
        && !answer.retries.as_ref().is_some_and(|got| wanted.holds(got))
    {
        let got = answer.retries.as_ref().map(|got| format!("{got:?}"));
        let wanted = format!("{wanted:?}");
        differ(
            "retries",
            &wanted,
            &got.unwrap_or_else(|| "none".to_owned()),
        );
    }
    if let Some(wanted) = &expect.mirrors {
        let got: BTreeMap<&str, f64> = answer
            .mirrors
            .iter()
            .map(|it| (&*it.destination.host, it.percentage))
            .collect();
        let full: Vec<(String, f64)> = wanted
            .iter()
            .map(|(name, share)| (names.full_host(name), *share))
            .collect();
        if got.len() != full.len() || full.iter().any(|(name, it)| got.get(&**name) != Some(it)) {
            differ(
                "mirrors",
                &format_args!("{wanted:?}"),
                &format_args!("{got:?}"),
            );
        }
    }
    differences
}

/// Are the shares those of the answer? Keys are subsets, services or clusters; only the proportion
/// counts, so percents and parts both do.
fn shares_agree(wanted: &BTreeMap<String, u32>, answer: &Answer, names: &impl Names) -> bool {
    let got: Vec<(&Destination, u64)> = match &answer.destination {
        Some(single) => vec![(single, 1)],
        None => answer
            .weights
            .iter()
            .map(|it| (&it.destination, u64::from(it.weight)))
            .collect(),
    };
    let whole = |it: &mut dyn Iterator<Item = u64>| it.sum::<u64>().max(1);
    let wanted_whole = whole(&mut wanted.values().map(|it| u64::from(*it)));
    let got_whole = whole(&mut got.iter().map(|it| it.1));
    let mut left: Vec<(&String, u64)> = wanted
        .iter()
        .filter(|(_, share)| **share > 0)
        .map(|(name, share)| (name, u64::from(*share)))
        .collect();
    for (destination, share) in got {
        let found = left.iter().position(|(name, wanted)| {
            let named = destination.subset.as_deref() == Some(name)
                || destination.host == **name
                || destination.host == names.full_host(name)
                || label(destination) == **name;
            named && wanted * got_whole == share * wanted_whole
        });
        match found {
            Some(at) => drop(left.remove(at)),
            None => return false,
        }
    }
    left.is_empty()
}

/// `outbound|9080|v2|reviews.default.svc.cluster.local`.
fn label(it: &Destination) -> String {
    format!(
        "outbound|{}|{}|{}",
        it.port.map(|port| port.to_string()).unwrap_or_default(),
        it.subset.as_deref().unwrap_or_default(),
        it.host
    )
}

/// What came instead, in a few words.
fn summary(answer: &Answer) -> String {
    let kind = answer.kind.as_str();
    let reason = answer
        .reason
        .map(|it| format!(" ({it})"))
        .unwrap_or_default();
    let to = match &answer.destination {
        Some(single) => Some(label(single)),
        None if answer.weights.is_empty() => None,
        None => {
            let all: Vec<String> = answer
                .weights
                .iter()
                .map(|it| format!("{} {}", it.weight, label(&it.destination)))
                .collect();
            Some(all.join(", "))
        }
    };
    match (to, &answer.location, answer.status) {
        (Some(to), ..) => format!("{kind} to {to}{reason}"),
        (None, Some(location), Some(status)) => format!("{kind} {status} to {location}"),
        (None, None, Some(status)) => format!("{kind} {status}{reason}"),
        _ => format!("{kind}{reason}"),
    }
}

fn list(all: &[&str]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    all.join(", ")
}

fn json(values: &Values) -> Value {
    match values {
        Values::One(value) => value.clone().into(),
        Values::Several(values) => values.clone().into(),
    }
}
