//! Gateways (GW-1..8, PS-36, PS-37).
use super::{Context, gateway_tls};
use crate::{
    codes, form,
    report::near,
    yaml::{Map, Node, Span},
};
use foldhash::{HashMap, HashMapExt as _};
use pointsman_model::{
    Gateway, HostPattern, Meta, Protocol, ProtocolClass,
    gateway::{Server, ServerBind, ServerHost},
};
use std::{net::IpAddr, path::PathBuf, sync::Arc};

/// What a server may speak (PS-37), and the variants of raw TCP that are accepted with it.
const PROTOCOLS: [&str; 11] = [
    "HTTP",
    "HTTPS",
    "HTTP2",
    "HTTP_PROXY",
    "GRPC",
    "GRPC-Web",
    "TLS",
    "TCP",
    "Mongo",
    "Redis",
    "MySQL",
];

pub(super) fn gateway(meta: Meta, spec: &Map, context: &mut Context<'_>) -> Gateway {
    let nodes = spec.list("servers");
    if let Some((key, _)) = spec.entry("servers")
        && nodes.is_empty()
    {
        context.report.error(
            codes::EMPTY,
            key.span,
            "a Gateway needs at least one server (GW-2)",
            "none is listed",
            "",
        );
    }
    let mut names: HashMap<Arc<str>, Span> = HashMap::new();
    let servers = (0..)
        .zip(nodes)
        .filter_map(|(index, node)| server(node, index, &mut names, context))
        .collect();
    Gateway {
        meta,
        selector: context.labels(spec.map("selector")),
        servers,
    }
}

fn server(
    node: &Node,
    index: u32,
    names: &mut HashMap<Arc<str>, Span>,
    context: &mut Context<'_>,
) -> Option<Server> {
    let map = node.as_map()?;
    let port = map.map("port")?;
    let port_name: Arc<str> = port.text("name").unwrap_or_default().into();
    let at = port
        .get("name")
        .map_or(node.start(), |written| written.span);
    if port_name.is_empty() {
        context.report.error(
            codes::REQUIRED,
            at,
            "the port of a server needs a name (GW-2)",
            "empty",
            "as in `name: http`",
        );
    } else if let Some(first) = names.insert(port_name.clone(), at) {
        context.report.collision(
            codes::PORTS,
            at,
            format!("two servers have a port with the name {port_name:?} (GW-2)"),
            "again",
            (first, "the first one"),
            "give each its own name",
        );
    }
    if let Some((key, _)) = port.entry("targetPort") {
        context.report.warning(
            codes::SURPRISE,
            key.span,
            "`targetPort` has no meaning on a Gateway (GW-2)",
            "nothing looks at it",
            "the port is `number`, or what a Service makes of it (GW-3)",
            "",
        );
    }
    let bind = bind(map, context);
    let number = number(port, bind.as_ref(), context);
    let protocol = protocol(port, context);
    Some(Server {
        index,
        name: Context::text(map, "name"),
        port: number,
        port_name,
        protocol,
        bind,
        hosts: hosts(map, context),
        tls: gateway_tls::tls(map, node.start(), protocol, context),
        place: context.report.place(node.start()),
    })
}

/// GW-5.
fn bind(map: &Map, context: &mut Context<'_>) -> Option<ServerBind> {
    let text = map.filled("bind")?;
    let at = map.get("bind").map(|node| node.span).unwrap_or_default();
    if let Some(path) = text.strip_prefix("unix://") {
        if !(path.starts_with('/') || path.starts_with('@')) {
            context.report.error(
                codes::VALUE,
                at,
                format!("{text:?} is not a socket (GW-5)"),
                "expected an absolute path",
                "as in unix:///run/app.sock",
            );
        } else {
            context.report.warning(
                codes::NOT_SUPPORTED,
                at,
                "Unix sockets are known but not listened on yet",
                "nothing listens here",
                "the server gets no traffic, the others do",
                "",
            );
        }
        return Some(ServerBind::Unix(PathBuf::from(path)));
    }
    match text.parse::<IpAddr>() {
        Ok(address) => Some(ServerBind::Ip(address)),
        Err(_) => {
            context.report.error(
                codes::VALUE,
                at,
                format!("{text:?} is not an address to bind (GW-5)"),
                "expected an IP address, or unix:///path",
                "leave it out to listen on all addresses",
            );
            None
        }
    }
}

fn number(port: &Map, bind: Option<&ServerBind>, context: &mut Context<'_>) -> u16 {
    let Some((written, node)) = port.int("number").zip(port.get("number")) else {
        return 0;
    };
    let socket = matches!(bind, Some(ServerBind::Unix(_)));
    match u16::try_from(written) {
        Ok(0) if socket => 0,
        Ok(number) if number > 0 && !socket => number,
        _ => {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("`number` cannot be {written}"),
                if socket {
                    "0 with a Unix socket (GW-5)"
                } else {
                    "a port is a number from 1 to 65535"
                },
                "",
            );
            0
        }
    }
}

/// There is no detection on a gateway, so a word that says nothing is an error (PS-36).
fn protocol(port: &Map, context: &mut Context<'_>) -> Protocol {
    let text = port.text("protocol").unwrap_or_default();
    let found = Protocol::from_word(text).filter(|word| word.class() != ProtocolClass::Udp);
    found.unwrap_or_else(|| {
        let head = text.split('-').next().unwrap_or_default();
        let meant = near(text, PROTOCOLS.into_iter()).or_else(|| near(head, PROTOCOLS.into_iter()));
        let at = port.get("protocol").map(|node| node.span);
        context.report.error(
            codes::PORTS,
            at.unwrap_or_default(),
            format!("{text:?} is not a protocol of a Gateway (PS-36, PS-37)"),
            "not one of the known words",
            match meant {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("one of {}", PROTOCOLS.join(", ")),
            },
        );
        Protocol::Auto
    })
}

/// GW-6: `[namespace/]host`. Short names are no hosts of a server; addresses are.
fn hosts(map: &Map, context: &mut Context<'_>) -> Vec<ServerHost> {
    let nodes = map.list("hosts");
    if let Some((key, _)) = map.entry("hosts")
        && nodes.is_empty()
    {
        context.report.error(
            codes::HOSTS,
            key.span,
            "a server needs at least one host (GW-6)",
            "none is listed",
            "for all hosts write \"*\"",
        );
    }
    let mut hosts = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(text) = node.as_text() else { continue };
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if let Some(namespace) = namespace
            && !(matches!(namespace, "*" | ".") || form::dns_name(namespace))
        {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("{namespace:?} in {text:?} is no namespace (GW-6)"),
                "expected a namespace, \".\" or \"*\" before the slash",
                match namespace {
                    "http:" | "https:" => "write the host alone, without scheme or path",
                    _ => "",
                },
            );
            continue;
        }
        let fault = match form::host(name, true) {
            Err(fault) => Some(fault.label()),
            Ok(()) if name != "*" && !name.contains('.') => {
                Some("a full name with dots, or \"*\"".to_owned())
            }
            Ok(()) => None,
        };
        if let Some(label) = fault {
            context.report.error(
                codes::VALUE,
                node.span,
                format!("{text:?} is not a host of a server (GW-6)"),
                label,
                "",
            );
            continue;
        }
        hosts.push(ServerHost {
            namespace: match namespace {
                None | Some("*") => None,
                Some(".") => Some(context.namespace().into()),
                Some(other) => Some(other.into()),
            },
            host: HostPattern::new(name.strip_suffix('.').unwrap_or(name)),
            place: context.report.place(node.span),
        });
    }
    hosts
}
