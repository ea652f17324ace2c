//! Conditions: StringMatch and the match lists of HTTP, TLS and TCP rules.
use super::{Context, host_set::HostSet};
use crate::{
    codes, form,
    yaml::{Key, Map, Node, Span},
};
use foldhash::HashSet;
use ipnet::IpNet;
use pointsman_model::{
    HostPattern,
    matches::{ClientMatch, HttpMatch, StringMatch, TcpMatch, TlsMatch},
    re2::{self, Fault},
};
use std::sync::Arc;

/// Longest regular expression (VS-H-17), in characters.
const REGEX_CHARACTERS: usize = 1024;

/// What is wrong with a regular expression, and what to do about it (VS-H-17).
pub(super) fn regex_fault(pattern: &str) -> Option<(String, &'static str)> {
    if pattern.chars().nth(REGEX_CHARACTERS).is_some() {
        let fault = format!("is longer than {REGEX_CHARACTERS} characters");
        return Some((fault, "several matches are alternatives too"));
    }
    let fault = re2::parse(pattern).and_then(re2::whole).err()?;
    let help = match (&fault, pattern) {
        (Fault::Size, _) => "repeat fewer times",
        (Fault::Depth, _) => "several matches are alternatives too",
        (Fault::Syntax { .. }, "*") => "for anything write \".*\", or leave the condition out",
        (Fault::Syntax { .. }, _) => "RE2 syntax, without look-around and back-references",
    };
    Some((format!("cannot be compiled: {fault}"), help))
}

/// What is wrong with the text that takes the place of what `pattern` matches: `\0`..`\9` are groups
/// of the pattern, `\\` is a backslash.
pub(super) fn replacement_fault(pattern: &str, replacement: &str) -> Option<String> {
    let regex = re2::parse(pattern).and_then(|parsed| re2::search(&parsed));
    let groups = regex.map_or(10, |regex| regex.captures_len());
    let mut characters = replacement.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            continue;
        }
        match characters.next() {
            Some('\\') => {}
            Some(digit @ '0'..='9') if (digit as usize - '0' as usize) < groups => {}
            Some(digit @ '0'..='9') => {
                return Some(format!(
                    "names group {digit}, and the pattern has {}",
                    groups - 1
                ));
            }
            _ => return Some("has a backslash before something else than a digit".to_owned()),
        }
    }
    None
}

/// What a StringMatch is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// `uri`: an empty prefix takes everything (VS-H-19).
    Uri,
    /// A field a request always has: `method`, `scheme`, `authority`.
    Always,
    /// A header or query parameter: `{}` asks for presence (VS-H-18).
    Optional,
}

/// One StringMatch. `None`: no condition, or an error.
pub(super) fn string_match(
    key: &Key,
    node: &Node,
    subject: Subject,
    context: &mut Context<'_>,
) -> Option<StringMatch> {
    let map = node.as_map()?;
    let mut forms = ["exact", "prefix", "regex"]
        .into_iter()
        .filter_map(|form| Some((form, map.entry(form)?)));
    let Some((form, (written, value))) = forms.next() else {
        return (subject == Subject::Optional).then_some(StringMatch::Present);
    };
    if let Some((_, (other, _))) = forms.next() {
        context.report.collision(
            codes::COMBINATION,
            other.span,
            format!("`{}` has more than one form of comparison", key.text),
            "the second one",
            (written.span, "the first one"),
            "keep one; alternatives are items of `match`",
        );
    }
    let text = value.as_text()?;
    let fault = match form {
        "exact" => None,
        "prefix" if text.is_empty() && subject != Subject::Uri => Some((
            "is empty".to_owned(),
            "takes everything",
            match subject {
                Subject::Optional => "to ask for presence alone write {}",
                _ => "leave the condition out",
            },
        )),
        "prefix" => None,
        _ if text == "*" && subject == Subject::Optional => return Some(StringMatch::Present),
        _ if text.is_empty() => Some(("is empty".to_owned(), "matches only the empty text", "")),
        _ => regex_fault(text).map(|(fault, help)| (fault, "the whole value must match it", help)),
    };
    if let Some((fault, label, help)) = fault {
        context.report.error(
            codes::CONDITION,
            value.span,
            format!("`{form}` of `{}` {fault}", key.text),
            label,
            help,
        );
        return None;
    }
    let text: Arc<str> = text.into();
    Some(match form {
        "exact" => StringMatch::Exact(text),
        "prefix" => StringMatch::Prefix(text),
        _ => StringMatch::Regex(text),
    })
}

/// One item of `http[].match`.
pub(super) fn http(node: &Node, top: &Gateways, context: &mut Context<'_>) -> HttpMatch {
    let empty = Map::default();
    let map = node.as_map().unwrap_or(&empty);
    let mut one = |name: &str, subject| {
        let (key, node) = map.entry(name)?;
        string_match(key, node, subject, context)
    };
    let uri = one("uri", Subject::Uri);
    let scheme = one("scheme", Subject::Always);
    let method = one("method", Subject::Always);
    let authority = one("authority", Subject::Always);
    HttpMatch {
        name: Context::text(map, "name"),
        uri,
        ignore_uri_case: map.bool("ignoreUriCase").unwrap_or_default(),
        scheme,
        method,
        authority,
        headers: named(map, "headers", Some(top), context),
        without_headers: named(map, "withoutHeaders", Some(top), context),
        query: named(map, "queryParams", None, context),
        client: client(map, top, context),
        place: context.report.place(node.start()),
    }
}

/// Conditions by name: of headers where the gateways are given, else of query parameters.
fn named(
    map: &Map,
    field: &str,
    header_of: Option<&Gateways>,
    context: &mut Context<'_>,
) -> Vec<(Arc<str>, StringMatch)> {
    let entries = map.map(field).map_or(&[][..], |map| &map.entries);
    let mut conditions = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        let headers = header_of.is_some();
        let claim = headers && key.text.starts_with("@request.auth.claims");
        if claim && header_of.is_some_and(Gateways::has_mesh) {
            context.report.error(
                codes::COMBINATION,
                key.span,
                "conditions on token claims are for gateways only (VS-H-33)",
                "no gateway checks the token",
                "list the gateways in `gateways`, without mesh",
            );
        } else if claim {
            // VS-H-33: needs tokens to be checked. Carried: it then never matches, which is safe
            // for a condition that grants something.
            context.report.info(
                codes::NOT_SUPPORTED,
                key.span,
                "conditions on token claims are known but not supported yet",
                "nothing acts on it",
                "no request carries such a header, so the condition is as for a missing one",
            );
        } else if key.text.is_empty() || (headers && !is_header(&key.text)) {
            context.report.error(
                codes::HEADER_NAME,
                key.span,
                format!("{:?} is not a name in `{field}`", key.text),
                "letters, digits and -",
                "",
            );
        }
        let name: Arc<str> = if headers {
            key.text.to_ascii_lowercase().into()
        } else {
            (*key.text).into()
        };
        // Also where the value was written as `null`: Kubernetes drops it, a person meant {}.
        if let Some(condition) = string_match(key, node, Subject::Optional, context) {
            conditions.push((name, condition));
        }
    }
    conditions
}

/// A header, or one of the pseudo headers there are (RFC 9113 section 8.3; VS-H-29).
fn is_header(name: &str) -> bool {
    match name.strip_prefix(':') {
        Some(pseudo) => matches!(
            pseudo,
            "method" | "scheme" | "authority" | "path" | "status"
        ),
        None => form::header_name(name),
    }
}

/// The gateways a VirtualService is bound to.
pub(super) struct Gateways {
    names: HashSet<Arc<str>>,
    /// Those of a delegate are decided by the VirtualServices that delegate to it.
    is_known: bool,
}

impl Gateways {
    /// Takes normalised names; none at all means `mesh` (VSB-1).
    pub(super) fn new(names: &[Arc<str>]) -> Self {
        let mut names: HashSet<Arc<str>> = names.iter().cloned().collect();
        if names.is_empty() {
            names.insert("mesh".into());
        }
        Self {
            names,
            is_known: true,
        }
    }

    /// As those of a delegate, which is bound to nothing by itself (VS-H-110).
    pub(super) fn of_delegate(self) -> Self {
        Self {
            is_known: false,
            ..self
        }
    }

    /// Bound to transparent clients?
    pub(super) fn has_mesh(&self) -> bool {
        self.names.contains("mesh")
    }

    /// GW-60: `name`, `./name`, `namespace/name`, or `mesh`.
    pub(super) fn read(map: &Map, context: &mut Context<'_>) -> Vec<(Arc<str>, Span)> {
        let mut names = Vec::new();
        for node in map.list("gateways") {
            let Some(text) = node.as_text() else { continue };
            let (namespace, name) = match text.split_once('/') {
                Some((".", name)) => (context.namespace(), name),
                Some((namespace, name)) => (namespace, name),
                None => (context.namespace(), text),
            };
            if !(form::dns_name(namespace) && form::subdomain(name)) {
                context.report.error(
                    codes::VALUE,
                    node.span,
                    format!("{text:?} is not the name of a gateway"),
                    "expected name, namespace/name or mesh",
                    "",
                );
                continue;
            }
            let full: Arc<str> = match text {
                "mesh" => "mesh".into(),
                _ => format!("{namespace}/{name}").into(),
            };
            names.push((full, node.span));
        }
        names
    }
}

fn client(map: &Map, top: &Gateways, context: &mut Context<'_>) -> ClientMatch {
    let gateways = Gateways::read(map, context);
    for (name, span) in &gateways {
        // VS-H-169.
        if top.is_known && !top.names.contains(name) {
            context.report.warning(
                codes::MATCH_GATEWAY,
                *span,
                format!("the VirtualService is not bound to the gateway {name}"),
                "not in `gateways` at the top",
                "the condition can never hold there",
                "add it to `gateways` of the VirtualService, or remove it here",
            );
        }
    }
    ClientMatch {
        port: Context::port(map, "port"),
        source_labels: context.labels(map.map("sourceLabels")),
        source_namespace: map
            .get("sourceNamespace")
            .filter(|node| node.as_text() != Some(""))
            .map(|node| context.dns_name(node, "a namespace")),
        gateways: gateways.into_iter().map(|(name, _)| name).collect(),
    }
}

fn subnets(map: &Map) -> Vec<IpNet> {
    let items = map.list("destinationSubnets").iter();
    items
        .filter_map(|node| form::cidr(node.as_text()?))
        .collect()
}

/// One item of `tls[].match`. SNI names must lie within the hosts (VS-S-5).
pub(super) fn tls(
    node: &Node,
    hosts: &HostSet,
    top: &Gateways,
    context: &mut Context<'_>,
) -> TlsMatch {
    let empty = Map::default();
    let map = node.as_map().unwrap_or(&empty);
    let mut sni_hosts = Vec::new();
    if let Some((key, list)) = map.entry("sniHosts")
        && list.items().is_empty()
    {
        context.report.error(
            codes::SNI_HOST,
            key.span,
            "`sniHosts` is empty",
            "at least one name",
            "",
        );
    }
    for node in map.list("sniHosts") {
        let Some(text) = node.as_text() else { continue };
        let Some(full) = context.host(node, true) else {
            continue;
        };
        if hosts.covering(&full, true).is_none() {
            context.report.error(
                codes::SNI_HOST,
                node.span,
                format!("{text:?} is not within the hosts of this VirtualService (VS-S-5)"),
                "no host covers it",
                "add the name to `hosts`",
            );
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            context.report.warning(
                codes::SNI_HOST,
                node.span,
                format!("{text} is an address, and clients send no server name for addresses"),
                "RFC 6066 section 3",
                "the match takes only connections of clients that break this rule",
                "match the address with `destinationSubnets`",
            );
        }
        // As it comes over the wire: never completed.
        sni_hosts.push(HostPattern::new(text));
    }
    TlsMatch {
        sni_hosts,
        destination_subnets: subnets(map),
        client: client(map, top, context),
        place: context.report.place(node.start()),
    }
}

/// One item of `tcp[].match`.
pub(super) fn tcp(node: &Node, top: &Gateways, context: &mut Context<'_>) -> TcpMatch {
    let empty = Map::default();
    let map = node.as_map().unwrap_or(&empty);
    TcpMatch {
        destination_subnets: subnets(map),
        client: client(map, top, context),
        place: context.report.place(node.start()),
    }
}
