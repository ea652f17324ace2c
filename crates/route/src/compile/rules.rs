//! Compiling the rules of a VirtualService for one port.
use crate::{
    condition::{Alternative, Condition},
    retries::{RetriesFrom, RetriesInForce},
    rule::{Action, CompiledMirror, Origin, Rule, RuleList, TcpRule},
    table::Table,
    text::{Pattern, Text, is_presence},
    trace::Reason,
};
use foldhash::HashMap;
use pointsman_model::{
    ClientContext, Finding, HttpAction, HttpRoute, Level, ObjectKey, Place, ServicePort,
    VirtualService, WeightedDestination, World,
    action::Retries,
    matches::{ClientMatch, HttpMatch, StringMatch},
    object::Labels,
    policy::selects,
};
use std::sync::Arc;

use super::{
    backends::Backends,
    destinations::Destinations,
    findings::{BAD_PATTERN, Findings},
    hosts::Known,
    registry::{Registry, Service},
};

/// The mesh's retries (VS-H-71).
fn mesh_retries(context: &ClientContext) -> Option<Arc<RetriesInForce>> {
    let written = Retries::clone(context.retries.as_ref()?);
    Some(Arc::new(RetriesInForce::new(written, RetriesFrom::Mesh)))
}

/// Compiles rules; each VirtualService once per port, whatever the number of its hosts.
pub(crate) struct Compiler<'a, 'w> {
    pub(crate) destinations: Destinations<'a, 'w>,
    context: &'a ClientContext,
    previous: Option<&'a Table>,
    known: &'a Known<'a>,
    /// One for all rules that have none of their own.
    pub(crate) mesh_retries: Option<Arc<RetriesInForce>>,
    patterns: HashMap<Arc<str>, Pattern>,
    lists: HashMap<(ObjectKey, u16), Option<Arc<RuleList>>>,
}

impl<'a, 'w> Compiler<'a, 'w> {
    pub(crate) fn new(
        registry: &'a Registry<'w>,
        backends: &'a Backends<'w>,
        world: &'w World,
        context: &'a ClientContext,
        previous: Option<&'a Table>,
        known: &'a Known<'a>,
    ) -> Self {
        Self {
            destinations: Destinations::new(registry, backends, world, context),
            context,
            previous,
            known,
            mesh_retries: mesh_retries(context),
            patterns: HashMap::default(),
            lists: HashMap::default(),
        }
    }

    /// The patterns in use, for the next compilation.
    pub(crate) fn into_patterns(self) -> HashMap<Arc<str>, Pattern> {
        self.patterns
    }

    /// Checks every destination, also of rules that no traffic can reach on any port.
    pub(crate) fn validate(&self, service: &VirtualService, findings: &mut Findings) {
        for rule in &service.http {
            let routes = match &rule.action {
                HttpAction::Route(routes) => routes.as_slice(),
                _ => &[],
            };
            let mirrors = rule.mirrors.iter().map(|mirror| &mirror.destination);
            let key = author(service, rule);
            for destination in routes.iter().map(|item| &item.destination).chain(mirrors) {
                let _ = self.destinations.resolve(destination, None, key, findings);
            }
        }
        let raw = service.tls.iter().map(|rule| &rule.route);
        let raw = raw.chain(service.tcp.iter().map(|rule| &rule.route));
        for item in raw.flatten() {
            let key = &service.meta.key;
            let destination = &item.destination;
            let _ = self.destinations.resolve(destination, None, key, findings);
        }
    }

    /// The http rules that can apply to this client on that port; `None` if there are none, and
    /// the VirtualService is to be ignored (VSB-14).
    pub(crate) fn http(
        &mut self,
        service: &Arc<VirtualService>,
        port: u16,
        findings: &mut Findings,
    ) -> Option<Arc<RuleList>> {
        let key = (service.meta.key.clone(), port);
        if let Some(list) = self.lists.get(&key) {
            return list.clone();
        }
        let rules = self.http_rules(service, port, Side::Mesh, findings);
        let list = (!rules.is_empty()).then(|| {
            // Compared before the index is built, which takes longer.
            match self.known.rules(&service.meta.key, port) {
                Some(known) if known.rules().iter().map(|rule| &**rule).eq(&rules) => {
                    Arc::clone(known)
                }
                _ => Arc::new(RuleList::new(rules)),
            }
        });
        self.lists.insert(key, list.clone());
        list
    }

    /// The http rules that can apply on that side and port.
    pub(crate) fn http_rules(
        &mut self,
        service: &Arc<VirtualService>,
        port: u16,
        side: Side<'_>,
        findings: &mut Findings,
    ) -> Vec<Rule> {
        (0..service.http.len())
            .filter_map(|index| self.http_rule(service, index, port, side, findings))
            .collect()
    }

    fn http_rule(
        &mut self,
        service: &Arc<VirtualService>,
        index: usize,
        port: u16,
        side: Side<'_>,
        findings: &mut Findings,
    ) -> Option<Rule> {
        let rule = service.http.get(index)?;
        let key = author(service, rule);
        let mut alternatives = Vec::new();
        for (number, one) in rule.matches.iter().enumerate() {
            if applies_to_http(&one.client, port, self.context, side).is_ok() {
                alternatives.push(self.alternative(one, number as u32, key, findings));
            }
        }
        if alternatives.is_empty() && !rule.matches.is_empty() {
            return None; // VS-H-7
        }
        let before = self.known.rules(&service.meta.key, port).map(|it| &**it);
        let action = match &rule.action {
            HttpAction::Route(route) => {
                Action::Forward(self.destinations.split(route, port, key, findings))
            }
            HttpAction::Redirect(redirect) => Action::Redirect(redirect.clone()),
            HttpAction::Respond(response) => Action::Respond(response.clone()),
            HttpAction::Delegate { .. } => return None, // told when it could not be followed
        };
        let mirrors = rule
            .mirrors
            .iter()
            .map(|mirror| CompiledMirror {
                cluster: self
                    .destinations
                    .resolve(&mirror.destination, Some(port), key, findings),
                share: mirror.share,
            })
            .collect();
        Some(Rule {
            origin: Origin {
                object: service.meta.key.clone(),
                rule: Some(rule.index),
                name: rule.name.clone(),
                place: rule.place.clone(),
                label: {
                    let ObjectKey {
                        namespace, name, ..
                    } = &service.meta.key;
                    format!("{namespace}/{name}{}", rule.number()).into()
                },
            },
            alternatives: alternatives.into_boxed_slice(),
            action,
            timeout: rule.timeout,
            mirrors,
            retries: match &rule.retries {
                None => self.mesh_retries.clone(),
                Some(own) => Some(Arc::new(RetriesInForce::new(
                    own.clone(),
                    RetriesFrom::Rule,
                ))),
            },
            effects: self.effects(rule, before, key, findings),
            source: Some((Arc::clone(service), index)),
        })
    }

    fn alternative(
        &mut self,
        one: &HttpMatch,
        index: u32,
        key: &ObjectKey,
        findings: &mut Findings,
    ) -> Alternative {
        let mut text = |made: &StringMatch| self.text(made, &one.place, key, findings);
        let mut conditions = Vec::new();
        if let Some(uri) = &one.uri {
            conditions.push(Condition::Path {
                text: text(uri),
                any_case: one.ignore_uri_case,
            });
        }
        conditions.extend(one.method.as_ref().map(|it| Condition::Method(text(it))));
        conditions.extend(
            one.authority
                .as_ref()
                .map(|it| Condition::Authority(text(it))),
        );
        conditions.extend(one.scheme.as_ref().map(|it| Condition::Scheme(text(it))));
        for (name, it) in &one.headers {
            conditions.push(Condition::Header(Arc::clone(name), text(it)));
        }
        for (name, it) in &one.without_headers {
            conditions.push(Condition::WithoutHeader(Arc::clone(name), text(it)));
        }
        for (name, it) in &one.query {
            conditions.push(Condition::Query(Arc::clone(name), text(it)));
        }
        Alternative {
            conditions: conditions.into_boxed_slice(),
            name: one.name.clone(),
            index,
            place: one.place.clone(),
        }
    }

    pub(super) fn text(
        &mut self,
        text: &StringMatch,
        place: &Place,
        key: &ObjectKey,
        findings: &mut Findings,
    ) -> Text {
        match text {
            _ if is_presence(text) => Text::Present,
            StringMatch::Exact(value) => Text::Exact(Arc::clone(value)),
            StringMatch::Prefix(value) => Text::Prefix(Arc::clone(value)),
            StringMatch::Present => Text::Present,
            StringMatch::Regex(source) => {
                let before = || self.previous?.patterns.get(source);
                let known = self.patterns.get(source).or_else(before);
                // One that cannot be used is told of wherever it is written.
                let (pattern, error) = match known {
                    Some(known) if known.usable() => (known.clone(), None),
                    _ => Pattern::compile(source),
                };
                if let Some(error) = error {
                    findings.push(
                        Finding::new(
                            BAD_PATTERN,
                            Level::Error,
                            format!("pattern {source:?} cannot be used: {error}"),
                        )
                        .of(key)
                        .at(place)
                        .effect("the condition never holds"),
                    );
                }
                self.patterns.insert(Arc::clone(source), pattern.clone());
                Text::Pattern(pattern)
            }
        }
    }

    /// The rule of a service nobody routes (VSB-16).
    pub(crate) fn default_rule(&self, service: &Service<'_>, port: &ServicePort) -> Rule {
        Rule {
            origin: default_origin(service, port),
            alternatives: Box::default(),
            action: Action::Forward(self.destinations.own_split(service, port, None)),
            timeout: None,
            mirrors: Box::default(),
            retries: self.mesh_retries.clone(),
            effects: None,
            source: None,
        }
    }

    /// The same for bytes.
    pub(crate) fn default_bytes(&self, service: &Service<'_>, port: &ServicePort) -> Arc<TcpRule> {
        Arc::new(TcpRule {
            origin: default_origin(service, port),
            split: self.destinations.own_split(service, port, None),
        })
    }

    /// One `tls` or `tcp` rule.
    pub(crate) fn bytes(
        &self,
        service: &VirtualService,
        written: &RawRoute<'_>,
        port: u16,
        findings: &mut Findings,
    ) -> Arc<TcpRule> {
        let key = &service.meta.key;
        let RawRoute {
            section,
            index,
            place,
            route,
        } = *written;
        Arc::new(TcpRule {
            origin: Origin {
                object: key.clone(),
                rule: Some(index),
                name: None,
                place: place.clone(),
                label: format!("{}/{}.{section}#{index}", key.namespace, key.name).into(),
            },
            split: self.destinations.split(route, port, key, findings),
        })
    }

    /// May a `tls` or `tcp` match apply to this client and port (VS-S-4, VSB-30)? Here everything
    /// is ANDed.
    pub(crate) fn applies_to_bytes(&self, one: &ClientMatch, port: u16) -> bool {
        why_not(one, port, self.context, Side::Mesh).is_ok() && Side::Mesh.is_among(&one.gateways)
    }
}

/// On which side a match is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side<'s> {
    /// Transparent clients.
    Mesh,
    /// One Gateway.
    Gateway {
        /// `namespace/name`.
        name: &'s str,
        /// Labels of the proxy (VS-H-11).
        labels: &'s Labels,
    },
}

impl Side<'_> {
    /// An empty list names every side.
    fn is_among(&self, gateways: &[Arc<str>]) -> bool {
        let own = match self {
            Self::Mesh => "mesh",
            Self::Gateway { name, .. } => name,
        };
        gateways.is_empty() || gateways.iter().any(|gateway| **gateway == *own)
    }
}

/// May a `tls` or `tcp` match apply on a Gateway? Labels and namespaces are not looked at there
/// (GW-71, GW-72).
pub(crate) fn applies_to_bytes(one: &ClientMatch, port: u16, side: Side<'_>) -> bool {
    one.port.is_none_or(|own| own == port) && side.is_among(&one.gateways)
}

/// A `tls` or `tcp` rule, without its matches.
pub(crate) struct RawRoute<'r> {
    /// `tls` or `tcp`.
    pub(crate) section: &'static str,
    pub(crate) index: u32,
    pub(crate) place: &'r Place,
    pub(crate) route: &'r [WeightedDestination],
}

fn default_origin(service: &Service<'_>, port: &ServicePort) -> Origin {
    Origin {
        object: service.meta.key.clone(),
        rule: None,
        name: None,
        place: port.place.clone(),
        label: format!("default route of {}", service.host).into(),
    }
}

/// The document that wrote a rule: the VirtualService, or its delegate.
fn author<'r>(service: &'r VirtualService, rule: &'r HttpRoute) -> &'r ObjectKey {
    let delegate = rule.delegated.as_ref().map(|delegate| &delegate.object);
    delegate.unwrap_or(&service.meta.key)
}

/// May an `http` match apply on this side and port? A list of gateways that names the side makes
/// labels and namespace irrelevant (VS-H-13); the port counts in both cases (VS-H-14).
pub(crate) fn applies_to_http(
    one: &ClientMatch,
    port: u16,
    context: &ClientContext,
    side: Side<'_>,
) -> Result<(), Reason> {
    if one.gateways.is_empty() {
        return why_not(one, port, context, side);
    }
    if !side.is_among(&one.gateways) {
        return Err(Reason::SourceDiffers);
    }
    match one.port {
        Some(own) if own != port => Err(Reason::PortDiffers),
        _ => Ok(()),
    }
}

/// Port, namespace and labels of the client, or of the gateway proxy.
fn why_not(
    one: &ClientMatch,
    port: u16,
    context: &ClientContext,
    side: Side<'_>,
) -> Result<(), Reason> {
    if one.port.is_some_and(|own| own != port) {
        return Err(Reason::PortDiffers);
    }
    let labels = match side {
        Side::Mesh => &context.labels,
        Side::Gateway { labels, .. } => labels,
    };
    let namespace = one.source_namespace.as_ref();
    if namespace.is_some_and(|own| *own != context.namespace)
        || !selects(&one.source_labels, labels)
    {
        return Err(Reason::SourceDiffers);
    }
    Ok(())
}
