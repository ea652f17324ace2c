//! What else a rule may do: retries, faults, mirrors, CORS.
use super::{
    Context, action,
    condition::{self, Subject},
};
use crate::{
    codes,
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
    if attempts <= 0
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
        for word in words.map(str::trim).filter(|word| !word.is_empty()) {
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
        if !delay.has("fixedDelay") && !delay.has("exponentialDelay") {
            let at = map.entry("delay").map(|(key, _)| key.span);
            context.report.error(
                codes::REQUIRED,
                at.unwrap_or_default(),
                "a delay needs `fixedDelay`",
                "how long?",
                "",
            );
        }
        let duration = Context::duration(delay, "fixedDelay")?;
        let whole = || Context::uint(delay, "percent").map(|percent| percent.min(100) * 10_000);
        let share = share(delay.map("percentage")).or_else(whole);
        Some((duration, share.unwrap_or_default()))
    });
    let abort = map.map("abort").and_then(|abort| {
        context.exclusive(abort, "httpStatus", "grpcStatus", "VS-H-80");
        let share = share(abort.map("percentage")).unwrap_or_default();
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
                let at = map.entry("abort").map(|(key, _)| key.span);
                context.report.error(
                    codes::REQUIRED,
                    at.unwrap_or_default(),
                    "an abort needs `httpStatus` or `grpcStatus`",
                    "with what?",
                    "",
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

/// `mirror` or `mirrors` (VS-H-86, VS-H-38).
pub(super) fn mirrors(rule: &Map, context: &mut Context<'_>) -> Vec<Mirror> {
    context.exclusive(rule, "mirror", "mirrors", "VS-H-38");
    let mut mirrors = Vec::new();
    if let Some(node) = rule.get("mirror")
        && let Some(destination) = action::destination(node, context)
    {
        let whole = || {
            Context::uint(rule, "mirrorPercent")
                .or_else(|| Context::uint(rule, "mirror_percent"))
                .map(|percent| percent.min(100) * 10_000)
        };
        let share = share(rule.map("mirrorPercentage")).or_else(whole);
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
    for node in map.list("allowOrigins") {
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
