//! What else a rule may do: retries, faults, mirrors, CORS.
use super::{
    Context, action,
    condition::{self, Subject},
};
use crate::{
    codes, form,
    report::near,
    yaml::{Key, Map, Node},
};
use pointsman_model::{
    action::{Abort, Cors, Fault, Mirror, PartsPerMillion, Retries},
    matches::StringMatch,
};

/// Words of `retryOn` (VS-H-79c); besides them, three digits are a status.
const RETRY_WORDS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "refused-stream",
    "retriable-4xx",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Names of gRPC statuses, by number (VS-H-80).
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Methods `allowMethods` may list (VS-H-168).
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "*",
];

/// `retries` (VS-H-72, VS-H-74, VS-H-164).
pub(super) fn retries(map: &Map, context: &mut Context<'_>) -> Retries {
    let attempts = map.int("attempts").unwrap_or_default();
    if let Some(node) = map.get("attempts")
        && attempts < 0
    {
        context.report.error(
            codes::VALUE,
            node.span,
            format!("`attempts` cannot be {attempts} (VS-H-164)"),
            "expected a whole number, 0 and up",
            "0 switches retries off",
        );
    } else if attempts == 0
        && let Some((key, _)) = map
            .entries
            .iter()
            .find(|(key, node)| &*key.text != "attempts" && !node.is_null())
    {
        context.report.error(
            codes::COMBINATION,
            key.span,
            format!(
                "`{}` says how to retry, but `attempts` is 0 (VS-H-72)",
                key.text
            ),
            "never used",
            "set `attempts` to 1 or more, or remove the other fields",
        );
    }
    if let Some(node) = map.get("retryOn") {
        let words = node.as_text().unwrap_or_default().split(',');
        for written in words.filter(|_| node.as_text() != Some("")) {
            let word = written.trim();
            if word != written || word.is_empty() {
                context.report.error(
                    codes::WORD,
                    node.span,
                    "`retryOn` has words with commas between, and nothing else (VS-H-164)",
                    match word.is_empty() {
                        true => "an empty word",
                        false => "a blank beside a comma",
                    },
                    "as in 5xx,reset",
                );
            }
            if word.is_empty() {
                continue;
            }
            let status = word.len() == 3
                && word
                    .parse::<u16>()
                    .is_ok_and(|code| (100..=599).contains(&code));
            if !status && !RETRY_WORDS.contains(&word) {
                context.report.error(
                    codes::WORD,
                    node.span,
                    format!("`retryOn` knows no {word:?} (VS-H-164)"),
                    "words with commas between",
                    match near(word, RETRY_WORDS.into_iter()) {
                        Some(meant) => format!("did you mean {meant}?"),
                        None => "conditions such as 5xx or connect-failure, or a status".into(),
                    },
                );
            }
        }
    }
    Retries {
        attempts: u32::try_from(attempts).unwrap_or_default(),
        per_try_timeout: Context::duration(map, "perTryTimeout"),
        retry_on: Context::text(map, "retryOn"),
        remote_localities: map.bool("retryRemoteLocalities"),
        ignore_previous_hosts: map.bool("retryIgnorePreviousHosts"),
        backoff: Context::duration(map, "backoff"),
    }
}

/// Percent with a resolution of 0.0001 (VS-H-80); the schema has checked 0..=100.
fn share(percentage: Option<&Map>) -> Option<PartsPerMillion> {
    let percentage = percentage?;
    let value = percentage
        .get("value")
        .and_then(|node| node.as_scalar()?.number())
        .unwrap_or_default();
    Some((value * 10_000.0).round().clamp(0.0, 1_000_000.0) as PartsPerMillion)
}

/// A percentage that faults can have: none at all, or no less than can be told from none.
fn fault_share(map: &Map, context: &mut Context<'_>) -> Option<PartsPerMillion> {
    let percentage = map.map("percentage");
    if let Some(node) = percentage.and_then(|it| it.get("value"))
        && let Some(number) = node.as_scalar().and_then(|it| it.number())
        && number > 0.0
        && number < 0.0001
    {
        context.report.error(
            codes::VALUE,
            node.span,
            "the smallest percentage is 0.0001 (VS-H-80)",
            "one in a million",
            "",
        );
    }
    share(percentage)
}

/// A fault without a share is injected into nothing, which nobody writes on purpose (VS-H-81).
fn never(key: &Key, context: &mut Context<'_>) {
    context.report.warning(
        codes::REQUIRED,
        key.span,
        format!("`{}` has no `percentage` (VS-H-81)", key.text),
        "0 % is meant",
        "nothing is injected",
        "add `percentage: {value: 100}`",
    );
}

/// Fields of faults that Istio's API has and nobody implements (VS-H-85).
fn unimplemented(map: &Map, field: &str, context: &mut Context<'_>) {
    if let Some((key, _)) = map.entry(field) {
        context.report.error(
            codes::VALUE,
            key.span,
            format!("`{field}` is not implemented, by Istio neither (VS-H-85)"),
            "would inject nothing",
            match field {
                "http2Error" => "write `httpStatus` or `grpcStatus`",
                _ => "write `fixedDelay`",
            },
        );
    }
}

/// `fault` (VS-H-80..85). A missing percentage is 0 % (VS-H-81).
pub(super) fn fault(key: &Key, map: &Map, context: &mut Context<'_>) -> Fault {
    if !map.has("delay") && !map.has("abort") {
        context.report.error(
            codes::COMBINATION,
            key.span,
            "a fault needs `delay` or `abort`",
            "nothing to inject",
            "",
        );
    }
    let delay = map.map("delay").and_then(|delay| {
        unimplemented(delay, "exponentialDelay", context);
        context.deprecated(delay, "percent", "percentage");
        let share = fault_share(delay, context).or_else(|| whole(delay, "percent", context));
        let (key, _) = map.entry("delay")?;
        if !delay.has("fixedDelay") && !delay.has("exponentialDelay") {
            context.report.warning(
                codes::REQUIRED,
                key.span,
                "a delay needs `fixedDelay`",
                "how long?",
                "nothing is delayed",
                "add `fixedDelay`",
            );
        } else if share.is_none() {
            never(key, context);
        }
        let duration = Context::duration(delay, "fixedDelay")?;
        Some((duration, share.unwrap_or_default()))
    });
    let abort = map.map("abort").and_then(|abort| {
        context.exclusive(abort, "httpStatus", "grpcStatus", "VS-H-80");
        unimplemented(abort, "http2Error", context);
        let share = fault_share(abort, context);
        let (key, _) = map.entry("abort")?;
        if share.is_none() {
            never(key, context);
        }
        let share = share.unwrap_or_default();
        if let Some(node) = abort.get("httpStatus") {
            let status = u16::try_from(node.as_int()?).unwrap_or_default();
            if !(200..=599).contains(&status) {
                context.report.error(
                    codes::VALUE,
                    node.span,
                    "an abort has a status from 200 to 599 (VS-H-80)",
                    "not a final status",
                    "",
                );
            }
            return Some((Abort::Http(status), share));
        }
        let Some(node) = abort.get("grpcStatus") else {
            if !abort.has("http2Error") {
                context.report.warning(
                    codes::REQUIRED,
                    key.span,
                    "an abort needs `httpStatus` or `grpcStatus`",
                    "with what?",
                    "nothing is aborted",
                    "add `httpStatus`",
                );
            }
            return None;
        };
        let word = node.as_text()?;
        let number = GRPC_STATUSES.iter().position(|status| *status == word);
        let Some(number) = number.and_then(|number| u8::try_from(number).ok()) else {
            context.report.error(
                codes::WORD,
                node.span,
                format!("{word:?} is not a gRPC status (VS-H-80)"),
                "a name in capitals",
                match near(word, GRPC_STATUSES.into_iter()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "as in UNAVAILABLE".into(),
                },
            );
            return None;
        };
        Some((Abort::Grpc(number), share))
    });
    Fault { delay, abort }
}

/// A whole number of percent, as older versions of the API have it.
fn whole(map: &Map, field: &str, context: &mut Context<'_>) -> Option<PartsPerMillion> {
    let percent = Context::uint(map, field)?;
    if percent > 100 {
        context.report.error(
            codes::VALUE,
            map.get(field).map(|node| node.span).unwrap_or_default(),
            format!("`{field}` cannot be {percent}"),
            "a percentage is a number from 0 to 100",
            "",
        );
    }
    Some(percent.min(100) * 10_000)
}

/// `mirror` or `mirrors` (VS-H-86, VS-H-38).
pub(super) fn mirrors(rule: &Map, context: &mut Context<'_>) -> Vec<Mirror> {
    context.exclusive(rule, "mirror", "mirrors", "VS-H-38");
    let old = ["mirrorPercent", "mirror_percent"].map(|field| {
        context.deprecated(rule, field, "mirrorPercentage");
        whole(rule, field, context)
    });
    let mut mirrors = Vec::new();
    if let Some(node) = rule.get("mirror")
        && let Some(destination) = action::destination(node, context)
    {
        let [first, second] = old;
        let share = share(rule.map("mirrorPercentage")).or(first).or(second);
        mirrors.push(Mirror {
            destination,
            share: share.unwrap_or(1_000_000),
        });
    }
    for map in rule.list("mirrors").iter().filter_map(Node::as_map) {
        let node = map.get("destination");
        if let Some(destination) = node.and_then(|node| action::destination(node, context)) {
            mirrors.push(Mirror {
                destination,
                share: share(map.map("percentage")).unwrap_or(1_000_000),
            });
        }
    }
    mirrors
}

/// `corsPolicy` (VS-H-90..98, VS-H-168).
pub(super) fn cors(key: &Key, map: &Map, context: &mut Context<'_>) -> Cors {
    let mut allow_origins: Vec<StringMatch> = Context::texts(map, "allowOrigin")
        .into_iter()
        .map(StringMatch::Exact)
        .collect();
    context.deprecated(map, "allowOrigin", "allowOrigins");
    for node in map.list("allowOrigins") {
        let forms = node.as_map().map_or(&[][..], |it| &it.entries);
        if forms
            .iter()
            .all(|(_, text)| matches!(text.as_text(), None | Some("")))
        {
            context.report.error(
                codes::CONDITION,
                node.start(),
                "an item of `allowOrigins` is empty (VS-H-90)",
                "which origin?",
                "as in {exact: \"https://shop.example\"}; {exact: \"*\"} allows every origin",
            );
            continue;
        }
        let condition = condition::string_match(key, node, Subject::Always, context);
        allow_origins.extend(condition);
    }
    for node in map.list("allowMethods") {
        let Some(word) = node.as_text() else { continue };
        if !METHODS.contains(&word) {
            context.report.error(
                codes::WORD,
                node.span,
                format!("{word:?} is not a method (VS-H-168)"),
                "expected a method in capitals",
                match near(word, METHODS.into_iter()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "as in GET, or * for all".into(),
                },
            );
        }
    }
    for field in ["allowHeaders", "exposeHeaders"] {
        for node in map.list(field) {
            let name = node.as_text().unwrap_or_default();
            if name != "*" && (name.starts_with(':') || !form::header_name(name)) {
                context.report.error(
                    codes::HEADER_NAME,
                    node.span,
                    format!("{name:?} in `{field}` is not a header name"),
                    "letters, digits and -, or * for all",
                    "",
                );
            }
        }
    }
    if let Some(node) = map.get("maxAge")
        && Context::duration(map, "maxAge").is_some_and(|age| age.subsec_nanos() > 0)
    {
        context.report.error(
            codes::VALUE,
            node.span,
            "`maxAge` is told in whole seconds (VS-H-96)",
            "has a fraction of a second",
            "",
        );
    }
    Cors {
        allow_origins,
        allow_methods: Context::texts(map, "allowMethods"),
        allow_headers: Context::texts(map, "allowHeaders"),
        expose_headers: Context::texts(map, "exposeHeaders"),
        max_age: Context::duration(map, "maxAge"),
        allow_credentials: map.bool("allowCredentials"),
        ignore_unmatched_preflights: map.text("unmatchedPreflights") == Some("IGNORE"),
    }
}
