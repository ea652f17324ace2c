//! Checked trees to model objects.
//!
//! The schema has vouched for the shape; what is left to decide here are the rules that need more
//! than one field. A single value may have been out of range: it then reads as absent. Converters never stop at the first fault: a person wants to
//! see all of them, so they go on with a harmless stand-in; the object is thrown away anyway.
mod action;
mod balancer;
mod condition;
mod destination_rule;
mod effects;
mod endpoint;
mod gateway;
mod gateway_tls;
mod headers;
mod host_set;
mod http;
mod mesh;
mod meta;
mod policy;
mod service;
mod service_entry;
mod sidecar;
mod virtual_service;

pub(crate) use meta::key;

use crate::{
    Limits, codes, form,
    report::Report,
    yaml::{Lines, Map, Node, Span},
};
use pointsman_model::{HostPattern, Kind, Object, ObjectKey, host, object::Labels};
use std::{collections::BTreeMap, sync::Arc};

/// What every converter needs.
pub(crate) struct Context<'a> {
    pub(crate) report: Report,
    pub(crate) key: &'a ObjectKey,
    pub(crate) cluster_domain: &'a str,
    /// The whole text, for documents inside it.
    pub(crate) lines: &'a Lines<'a>,
    pub(crate) limits: &'a Limits,
}

/// Converts a document whose shape is that of its schema; `None` where an error was raised.
pub(crate) fn convert(root: &Node, context: &mut Context<'_>) -> Option<Object> {
    let map = root.as_map()?;
    let meta = meta::meta(root, map, context);
    let empty = Map::default();
    let spec = map.map("spec").unwrap_or(&empty);
    let object = match context.key.kind {
        Kind::Service => Object::Service(service::service(meta, map, spec, context).into()),
        Kind::EndpointSlice => Object::Endpoints(endpoint::slice(meta, map, context).into()),
        Kind::Endpoints => Object::Endpoints(endpoint::endpoints(meta, map, context).into()),
        Kind::Pod => Object::Pod(endpoint::pod(meta, map, spec, context).into()),
        Kind::ServiceEntry => {
            Object::ServiceEntry(service_entry::service_entry(meta, spec, context).into())
        }
        Kind::WorkloadEntry => {
            Object::WorkloadEntry(service_entry::workload_entry(meta, spec, context).into())
        }
        Kind::VirtualService => {
            Object::VirtualService(virtual_service::virtual_service(meta, spec, context).into())
        }
        Kind::DestinationRule => {
            Object::DestinationRule(destination_rule::destination_rule(meta, spec, context).into())
        }
        Kind::Gateway => Object::Gateway(gateway::gateway(meta, spec, context).into()),
        Kind::Sidecar => Object::Sidecar(sidecar::sidecar(meta, spec, context).into()),
        Kind::ConfigMap => Object::MeshSettings(mesh::mesh_settings(meta, map, context)?.into()),
    };
    (!context.report.failed()).then_some(object)
}

impl Context<'_> {
    fn namespace(&self) -> &str {
        &self.key.namespace
    }

    /// A short name belongs to the namespace of the document (VSB-4, BE-1, BE-11).
    fn complete(&self, name: &str) -> Arc<str> {
        let name = name.strip_suffix('.').unwrap_or(name);
        host::complete(name, self.namespace(), self.cluster_domain)
    }

    /// A host that is legal, completed; `None` after an error.
    fn host(&mut self, node: &Node, wildcard: bool) -> Option<HostPattern> {
        let text = node.as_text()?;
        if let Err(fault) = form::host(text, wildcard) {
            self.report.error(
                codes::VALUE,
                node.span,
                format!("{text:?} is not a host name"),
                fault.label(),
                match fault {
                    form::NameFault::Url => "write the host alone; ports have their own field",
                    form::NameFault::Wildcard => "as in *.example.com",
                    _ => "",
                },
            );
            return None;
        }
        Some(HostPattern::new(&self.complete(text)))
    }

    /// The host of a service, completed; `None` after an error. Services have names, not addresses.
    fn service_host(&mut self, node: &Node) -> Option<HostPattern> {
        let host = self.host(node, true)?;
        let text = node.as_text().unwrap_or_default();
        if text.parse::<std::net::IpAddr>().is_ok() {
            self.report.error(
                codes::VALUE,
                node.span,
                format!("{text} is an address, and services are named by host"),
                "expected a host name",
                "give the address to a ServiceEntry and name its host here",
            );
            return None;
        }
        Some(host)
    }

    /// Says what takes the place of a field.
    fn deprecated(&mut self, map: &Map, field: &str, instead: &str) {
        if let Some((key, _)) = map.entry(field) {
            self.report.info(
                codes::DEPRECATED,
                key.span,
                format!("`{field}` is deprecated, `{instead}` takes its place"),
                "still read",
                "none yet; Istio announces that it will no longer read it",
            );
        }
    }

    /// Labels or a selector (Kubernetes label syntax).
    fn labels(&mut self, map: Option<&Map>) -> Labels {
        let mut labels = BTreeMap::new();
        for (key, node) in map.map_or(&[][..], |map| &map.entries) {
            let value = node.as_text().unwrap_or_default();
            if !form::label_key(&key.text) {
                self.report.error(
                    codes::VALUE,
                    key.span,
                    format!("{:?} is not a label", key.text),
                    "letters, digits, -, _ and ., at most 63, with an optional prefix/",
                    "",
                );
            } else if !form::label_value(value) {
                self.report.error(
                    codes::VALUE,
                    node.span,
                    format!("{value:?} is not the value of a label"),
                    "letters, digits, -, _ and ., at most 63, first and last a letter or digit",
                    "",
                );
            }
            labels.insert((*key.text).into(), value.into());
        }
        labels
    }

    /// A name of the form of a DNS label, for instance of a subset.
    fn dns_name(&mut self, node: &Node, what: &str) -> Arc<str> {
        let text = node.as_text().unwrap_or_default();
        if !form::dns_name(text) {
            self.report.error(
                codes::VALUE,
                node.span,
                format!("{text:?} is not a name of {what}"),
                "lower case letters, digits and -, at most 63",
                "",
            );
        }
        text.into()
    }

    /// A list of texts.
    fn texts(map: &Map, name: &str) -> Vec<Arc<str>> {
        map.list(name)
            .iter()
            .filter_map(Node::as_text)
            .map(Arc::from)
            .collect()
    }

    fn text(map: &Map, name: &str) -> Option<Arc<str>> {
        map.filled(name).map(Arc::from)
    }

    fn port(map: &Map, name: &str) -> Option<u16> {
        map.int(name).and_then(|port| u16::try_from(port).ok())
    }

    fn uint(map: &Map, name: &str) -> Option<u32> {
        map.int(name).and_then(|number| u32::try_from(number).ok())
    }

    fn duration(map: &Map, name: &str) -> Option<std::time::Duration> {
        form::duration(map.text(name)?)
    }

    /// Two fields of which at most one may be there.
    fn exclusive(&mut self, map: &Map, one: &str, other: &str, rule: &'static str) {
        if let (Some((first, _)), Some((second, _))) = (map.entry(one), map.entry(other)) {
            let (earlier, later) = if place(first.span) <= place(second.span) {
                (first, second)
            } else {
                (second, first)
            };
            self.report.collision(
                codes::COMBINATION,
                later.span,
                format!("`{one}` and `{other}` exclude each other ({rule})"),
                "the second one",
                (earlier.span, "the first one"),
                "keep one of them",
            );
        }
    }
}

fn place(span: Span) -> (u32, u32) {
    (span.line, span.column)
}
