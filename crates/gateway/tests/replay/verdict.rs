//! Is what became of a probe what the answer says?
use super::common::Fate;
use pointsman_testkit::Response;
use serde_json::{Map, Value};
use std::net::SocketAddr;

/// # Errors
/// In a sentence, what became of it instead.
pub(crate) fn agrees(question: &Value, answer: &Value, fate: &Fate) -> Result<(), String> {
    let kind = answer["kind"].as_str().unwrap_or_default();
    let http = question["protocol"] == "http";
    match (kind, fate) {
        ("forward", Fate::Bytes(at)) if answer.get("rule").is_some() => among(answer, *at),
        ("forward", Fate::Backend(at, head, response)) => {
            among(answer, *at)?;
            sent(answer, head, response)
        }
        // Chance took a destination that nothing can be sent to.
        ("forward", Fate::Answer(response)) if partly(answer) => status(response, 503),
        ("forward", Fate::Closed) if partly(answer) => Ok(()),
        ("passthrough", Fate::Bytes(at)) if answer["reason"] == "destination_unknown" => {
            among(answer, *at)
        }
        ("passthrough", Fate::Backend(at, head, response)) => {
            among(answer, *at)?;
            sent(answer, head, response)
        }
        ("redirect" | "respond" | "notfound" | "reject", Fate::Answer(response)) => {
            own(answer, response)
        }
        ("unavailable" | "blackhole", Fate::Answer(response)) if http => own(answer, response),
        ("unavailable" | "blackhole", Fate::Closed) if answer.get("status").is_none() => Ok(()),
        _ => Err(format!("{fate:?}")),
    }
}

/// One of the endpoints it names.
fn among(answer: &Value, at: SocketAddr) -> Result<(), String> {
    let endpoints = answer["endpoints"].as_array().into_iter().flatten();
    match endpoints.into_iter().any(|it| *it == at.to_string()) {
        true => Ok(()),
        false => Err(format!("it came to {at}")),
    }
}

/// Some destinations of several can be used, others cannot.
fn partly(answer: &Value) -> bool {
    let weights = answer["weights"].as_array().into_iter().flatten();
    weights.into_iter().any(|it| it.get("reason").is_some())
}

/// What the endpoint saw and what came back are as one of the destinations has it.
fn sent(answer: &Value, head: &str, response: &Response) -> Result<(), String> {
    let mut kinds: Vec<&Value> = answer["weights"].as_array().into_iter().flatten().collect();
    if answer.get("path").is_some() {
        kinds = vec![answer];
    }
    let fits = |told: &Value| {
        let line = head.lines().next().unwrap_or_default();
        let target = line.split(' ').nth(1);
        let added = fields(&told["request_headers"]).all(|(name, value)| has(head, name, value));
        let back = fields(&told["response_headers"])
            .all(|(name, value)| response.values(name).any(|it| it == value));
        target == told["path"].as_str()
            && has(head, "host", told["authority"].as_str().unwrap_or_default())
            && added
            && back
    };
    match kinds.into_iter().any(fits) {
        true => Ok(()),
        false => Err(format!(
            "the endpoint saw {head:?} and {:?} came back",
            response.fields
        )),
    }
}

/// The gateway's own answer.
fn own(answer: &Value, response: &Response) -> Result<(), String> {
    let number = answer["status"].as_u64().unwrap_or_default();
    status(response, number as u16)?;
    if let Some(location) = answer["location"].as_str()
        && response.field("location") != Some(location)
    {
        return Err(format!("location {:?}", response.field("location")));
    }
    if let Some(body) = answer["body"].as_str()
        && response.text() != body
    {
        return Err(format!("body {:?}", response.text()));
    }
    for (name, value) in fields(&answer["response_headers"]) {
        if !response.values(name).any(|it| it == value) {
            return Err(format!("{:?} came back", response.fields));
        }
    }
    Ok(())
}

fn status(response: &Response, expected: u16) -> Result<(), String> {
    match response.status == expected {
        true => Ok(()),
        false => Err(format!("{} {}", response.status, response.text())),
    }
}

/// Names and values; a list is several values.
fn fields(told: &Value) -> impl Iterator<Item = (&str, &str)> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let fields = told.as_object().unwrap_or(&NONE);
    fields.iter().flat_map(|(name, value)| {
        let several = value.as_array().map_or(&[][..], Vec::as_slice);
        let single = value.as_str().into_iter();
        let values = single.chain(several.iter().filter_map(Value::as_str));
        values.map(move |value| (name.as_str(), value))
    })
}

fn has(head: &str, name: &str, value: &str) -> bool {
    head.lines().skip(1).any(|line| {
        line.split_once(':')
            .is_some_and(|(it, rest)| it.eq_ignore_ascii_case(name) && rest.trim() == value)
    })
}
