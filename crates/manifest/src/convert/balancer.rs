//! `loadBalancer`: algorithm, consistent hash, localities (BE-30..59a).
use super::Context;
use crate::{
    codes,
    yaml::{Key, Map, Node, Span},
};
use foldhash::HashMap;
use pointsman_model::policy::{Algorithm, HashKey, LoadBalancer};

/// Tables of maglev are smaller than this (BE-45).
const MAGLEV_LIMIT: u32 = 5_000_011;
/// Labels of `failoverPriority` that say the same as `failover` (BE-53).
const LOCALITY_LABELS: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

/// `detects`: does the policy have `outlierDetection`, without which nothing fails over (BE-51)?
pub(super) fn load_balancer(map: &Map, detects: bool, context: &mut Context<'_>) -> LoadBalancer {
    context.exclusive(map, "simple", "consistentHash", "BE-40");
    context.exclusive(map, "localityLbSetting", "zoneAwareLbSetting", "BE-59a");
    context.exclusive(map, "warmup", "warmupDurationSecs", "BE-39");
    context.deprecated(map, "warmupDurationSecs", "warmup");
    let algorithm = match map.entry("consistentHash") {
        Some((key, node)) => node
            .as_map()
            .and_then(|map| hash_key(key, map, context))
            .map_or(Algorithm::default(), Algorithm::ConsistentHash),
        None => match map.text("simple") {
            Some("ROUND_ROBIN") => Algorithm::RoundRobin,
            Some("RANDOM") => Algorithm::Random,
            Some("PASSTHROUGH") => Algorithm::Passthrough,
            _ => Algorithm::LeastRequest,
        },
    };
    if let Some(warmup) = map.map("warmup")
        && let Some(node) = warmup.get("aggression")
        && node
            .as_scalar()
            .and_then(|it| it.number())
            .is_some_and(|number| number < 1.0)
    {
        context.report.error(
            codes::VALUE,
            node.span,
            "`aggression` is 1 or more (BE-39)",
            "below 1",
            "",
        );
    }
    if let Some((key, node)) = map.entry("localityLbSetting")
        && let Some(setting) = node.as_map()
    {
        localities(key, setting, detects, context);
    }
    LoadBalancer {
        algorithm,
        warmup: map
            .map("warmup")
            .and_then(|map| Context::duration(map, "duration"))
            .or_else(|| Context::duration(map, "warmupDurationSecs")),
    }
}

/// BE-40..46.
fn hash_key(key: &Key, map: &Map, context: &mut Context<'_>) -> Option<HashKey> {
    context.exclusive(map, "ringHash", "maglev", "BE-44");
    context.exclusive(map, "minimumRingSize", "ringHash", "BE-46");
    context.exclusive(map, "minimumRingSize", "maglev", "BE-46");
    context.deprecated(map, "minimumRingSize", "ringHash");
    if let Some((key, node)) = map.entry("maglev") {
        let size = node
            .as_map()
            .and_then(|map| Context::uint(map, "tableSize"));
        let size = size.unwrap_or_default();
        // In this order: looking for factors of large numbers takes long.
        if size >= MAGLEV_LIMIT || !is_prime(size) {
            context.report.error(
                codes::VALUE,
                key.span,
                "`maglev` needs `tableSize`, a prime number below 5000011 (BE-45)",
                match size {
                    0 => "no size".to_owned(),
                    size => format!("{size} is not"),
                },
                "65537 is a usual one",
            );
        }
    }
    let mut keys = Vec::new();
    if let Some(name) = Context::text(map, "httpHeaderName") {
        keys.push(HashKey::Header(name));
    }
    if let Some((key, cookie)) = map.entry("httpCookie")
        && let Some(cookie) = cookie.as_map()
    {
        if cookie.text("name") == Some("") {
            context.report.error(
                codes::REQUIRED,
                key.span,
                "a cookie needs a `name` (BE-41)",
                "is empty",
                "",
            );
        }
        cookie_path(cookie, context);
        keys.push(HashKey::Cookie {
            name: cookie.text("name").unwrap_or_default().into(),
            path: Context::text(cookie, "path"),
            ttl: Context::duration(cookie, "ttl"),
        });
    }
    if map.bool("useSourceIp") == Some(true) {
        keys.push(HashKey::SourceIp);
    }
    if let Some(name) = Context::text(map, "httpQueryParameterName") {
        keys.push(HashKey::Query(name));
    }
    if keys.len() != 1 {
        context.report.error(
            codes::COMBINATION,
            key.span,
            format!(
                "a consistent hash has one key, and this one has {}",
                keys.len()
            ),
            "what is hashed?",
            "one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName",
        );
    }
    keys.into_iter().next()
}

/// The value of a `Path` attribute (RFC 6265 section 4.1.1): it must not end the attribute.
fn cookie_path(cookie: &Map, context: &mut Context<'_>) {
    if let Some(node) = cookie.get("path")
        && let Some(path) = node.as_text()
        && path.chars().any(|c| c.is_control() || c == ';')
    {
        context.report.error(
            codes::VALUE,
            node.span,
            format!("{path:?} is not the path of a cookie"),
            "no ; and no control characters",
            "",
        );
    }
}

fn is_prime(number: u32) -> bool {
    let divides = |factor: &u32| number.is_multiple_of(*factor);
    number >= 2
        && (2..)
            .take_while(|factor| u64::from(*factor) * u64::from(*factor) <= u64::from(number))
            .find(divides)
            .is_none()
}

/// `localityLbSetting` (BE-51..55).
fn localities(key: &Key, map: &Map, detects: bool, context: &mut Context<'_>) {
    context.exclusive(map, "distribute", "failover", "BE-53");
    context.exclusive(map, "distribute", "failoverPriority", "BE-53");
    if let Some((first, _)) = map.entry("failover") {
        for node in map.list("failoverPriority") {
            let label = node.as_text().unwrap_or_default();
            if LOCALITY_LABELS.contains(&label) {
                context.report.collision(
                    codes::COMBINATION,
                    node.span,
                    format!("{label} does not go with `failover`"),
                    "says which regions come first",
                    (first.span, "and so does this"),
                    "keep one of them",
                );
            }
        }
    }
    let mut origins = Vec::new();
    for item in map.list("distribute").iter().filter_map(Node::as_map) {
        if let Some(node) = item.get("from") {
            origins.push((node.as_text().unwrap_or_default(), node.span));
        }
        shares(item, context);
    }
    check_localities(&origins, context);
    let fails_over = ["failover", "failoverPriority"]
        .iter()
        .any(|field| !map.list(field).is_empty());
    if fails_over && !detects && map.bool("enabled") != Some(false) {
        context.report.warning(
            codes::COMBINATION,
            key.span,
            "nothing fails over without `outlierDetection` (BE-51)",
            "in the same policy",
            "all endpoints are used alike",
            "add `outlierDetection`",
        );
    }
    for item in map.list("failover").iter().filter_map(Node::as_map) {
        let region = |field: &str| item.text(field).unwrap_or_default();
        let at = item
            .entries
            .first()
            .map(|(key, _)| key.span)
            .unwrap_or_default();
        let fault = if region("from") == region("to") {
            Some("`from` and `to` are the same region")
        } else if [region("from"), region("to")]
            .iter()
            .any(|it| it.contains(['/', '*']))
        {
            Some("`from` and `to` are regions, without zone and without *")
        } else {
            None
        };
        if let Some(fault) = fault {
            context.report.error(
                codes::VALUE,
                at,
                format!("{fault} (BE-53)"),
                "cannot fail over",
                "as in {from: eu-west, to: eu-north}",
            );
        }
    }
}

/// Weights of `to`, 1 to 100 each and 100 together (BE-55).
fn shares(item: &Map, context: &mut Context<'_>) {
    let Some((key, to)) = item.entry("to") else {
        return;
    };
    let entries = to.as_map().map_or(&[][..], |map| &map.entries);
    let mut sum: i64 = 0;
    for (locality, node) in entries {
        let weight = node.as_int().unwrap_or_default();
        sum = sum.saturating_add(weight);
        if !(1..=100).contains(&weight) {
            context.report.error(
                codes::WEIGHT,
                node.span,
                format!("the weight of {} cannot be {weight} (BE-55)", locality.text),
                "from 1 to 100",
                "leave out localities that get nothing",
            );
        }
    }
    if sum != 100 {
        context.report.error(
            codes::WEIGHT,
            key.span,
            format!("the weights sum to {sum} (BE-55)"),
            "100 are needed",
            "",
        );
    }
    let places: Vec<_> = entries
        .iter()
        .map(|(key, _)| (&*key.text, key.span))
        .collect();
    check_localities(&places, context);
}

/// Forms as region/zone/subzone, a `*` only at the end, and none inside another.
fn check_localities(all: &[(&str, Span)], context: &mut Context<'_>) {
    // Comparing all pairs would turn a long list into minutes, so what each one lies in is kept.
    let mut whole: HashMap<&str, (&str, Span)> = HashMap::default();
    let mut around: HashMap<&str, (&str, Span)> = HashMap::default();
    for &(text, span) in all {
        let stars = text.matches('*').count();
        let misplaced = stars > 1 || (stars == 1 && !text.ends_with('*'));
        if misplaced || text.splitn(3, '/').any(str::is_empty) {
            context.report.error(
                codes::VALUE,
                span,
                format!("{text:?} is not a locality (BE-55)"),
                "region/zone/subzone",
                "a * may only be at the end, as in eu-west/*",
            );
            continue;
        }
        let own = outermost(text);
        let other = wider(own).find_map(|it| whole.get(it)).or(around.get(own));
        if let Some(&(other, first)) = other {
            context.report.collision(
                codes::VALUE,
                span,
                format!("the localities {text} and {other} overlap (BE-55)"),
                "the second one",
                (first, "the first one"),
                "",
            );
        }
        whole.insert(own, (text, span));
        for it in wider(own) {
            around.insert(it, (text, span));
        }
    }
}

/// A locality without a zone means all its zones, as one that ends in `*` does.
fn outermost(text: &str) -> &str {
    text.trim_end_matches('*').trim_end_matches('/')
}

/// The locality and those it lies in: `eu/a`, `eu` and everything.
fn wider(own: &str) -> impl Iterator<Item = &str> {
    let shorter = own.match_indices('/').filter_map(|(at, _)| own.get(..at));
    [own, ""].into_iter().chain(shorter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes() {
        let primes: Vec<u32> = (0..30).filter(|&number| is_prime(number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65537) && !is_prime(65536));
    }

    #[test]
    fn localities_lie_in_wider_ones() {
        let within = |inner: &str, outer: &str| {
            let outer = outermost(outer);
            wider(outermost(inner)).any(|it| it == outer)
        };
        for (inner, outer) in [
            ("eu/a", "eu"),
            ("eu/a/1", "eu/a/*"),
            ("eu", "eu/*"),
            ("eu", "*"),
            ("eu", "eu"),
        ] {
            assert!(within(inner, outer), "{inner} in {outer}");
        }
        for (inner, outer) in [("eu", "eu/a"), ("europe", "eu"), ("eu/b", "eu/a/*")] {
            assert!(!within(inner, outer), "{inner} in {outer}");
        }
    }
}
