//! Requests to one host: the divisions of each of their parts, put together.
use super::{
    Class, Diff, Effect, Example, ExampleRequest, Limits, Side,
    cells::{self, Cell, Compared},
    effect,
    fronts::Door,
    names::Group,
    words,
};
use crate::{
    condition::{Alternative, Condition},
    hosts::VirtualHost,
    rule::Origin,
    table::Table,
    text::Text,
    traffic::normalization,
};
use pointsman_wire::{http1::is_token, path::Normalization};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// The path of OPTIONS that is about a server and none of its resources.
pub(super) const WHOLE_SERVER: &str = "*";
pub(super) const OPTIONS: &str = "OPTIONS";

/// A part of a request that rules look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Path,
    Method,
    Scheme,
    Authority,
    /// Path and query as one, which `:path` is; its axis is of the queries.
    Target,
    Header(Arc<str>),
    Query(Arc<str>),
}

/// A part with its divisions. The first is what a plain request has.
pub(super) struct Axis {
    pub(super) part: Part,
    pub(super) texts: Vec<Compared>,
    /// `None`: the request does not have it.
    pub(super) cells: Vec<Option<Cell>>,
}

/// The requests to one host that the rules can tell apart: a division of every part.
pub(super) struct Space {
    pub(super) axes: Vec<Axis>,
    /// Patterns of `:path` may tell more queries apart than those of the axis.
    loose: bool,
}

/// Position of a division on every axis.
pub(super) type Point = Vec<usize>;

/// Compares the requests to the hosts of a group.
pub(super) fn compare(
    old: &Table,
    new: &Table,
    door: &Door,
    group: &Group<'_>,
    limits: &Limits,
    diff: &mut Diff,
) {
    let (space, complete) = Space::new(old, new, door, group, limits);
    let host = group.spellings.first().map_or("", String::as_str);
    if !complete {
        diff.cut(format!(
            "{host}:{}: its texts are more than were taken apart (limit: {} states, {} MiB)",
            door.original.port(),
            limits.states,
            limits.automaton_bytes >> 20
        ));
    }
    if space.loose {
        diff.cut(format!(
            "{host}:{}: not every query was tried that matches of :path can tell apart beside the others",
            door.original.port()
        ));
    }
    let points = match space.size() {
        Some(size) if size <= limits.requests_per_host => space.all(),
        _ => {
            let size = space
                .size()
                .map_or("too many".to_owned(), |it| it.to_string());
            let points = space.crossings(group, limits.requests_per_host);
            diff.cut(format!(
                "{host}:{}: {} of {size} combinations were tried",
                door.original.port(),
                points.len()
            ));
            points
        }
    };
    let decide = |point: &Point| {
        let request = space.request(point);
        both(old, new, door, door.sni.as_deref(), &request)
    };
    let mut found: BTreeMap<(Effect, Effect), (usize, Point)> = BTreeMap::new();
    diff.probes += points.len();
    for point in points {
        let ((before, _), (after, _)) = decide(&point);
        if before != after {
            let cost = space.cost(&point);
            let best = found
                .entry((before, after))
                .or_insert_with(|| (usize::MAX, point.clone()));
            if cost < best.0 {
                *best = (cost, point);
            }
        }
    }
    for (effects, (_, point)) in found {
        let ((_, by_old), (_, by_new)) = decide(&point);
        let stays = space.stays(&point, |other| {
            let ((before, _), (after, _)) = decide(other);
            (&before, &after) == (&effects.0, &effects.1)
        });
        let named = match door.tls {
            true => format!("https://{host}"),
            false => host.to_owned(),
        };
        let what = words::what(&space, &point, &stays, &named, door.original.port());
        let (by_old, by_new) = (by_old.cloned(), by_new.cloned());
        let class = Class {
            example: example(old, new, door, space.request(&point), &effects),
            what,
            via: door.via,
            old: Side {
                effect: effects.0,
                origin: by_old,
            },
            new: Side {
                effect: effects.1,
                origin: by_new,
            },
            also: Vec::new(),
        };
        let every = space.axes.iter().zip(&stays);
        let every = every.fold(true, |all, (axis, it)| all && it.len() == axis.cells.len());
        // Where all requests fare as all bytes do, the bytes have been told of.
        let told = every
            && door.any_host
            && diff.classes.iter().any(|own| {
                own.what == format!("TCP {}", door.original)
                    && own.old.effect == class.old.effect
                    && own.new.effect == class.new.effect
            });
        if !told {
            add(class, diff);
        }
    }
}

type Told<'t> = (Effect, Option<&'t Origin>);

fn both<'t>(
    old: &'t Table,
    new: &'t Table,
    door: &Door,
    sni: Option<&str>,
    request: &ExampleRequest,
) -> (Told<'t>, Told<'t>) {
    (
        effect::of_request(old, door.original, sni, request),
        effect::of_request(new, door.original, sni, request),
    )
}

/// Clients send the server name that is the Host, if that comes to the same.
fn example(
    old: &Table,
    new: &Table,
    door: &Door,
    request: ExampleRequest,
    effects: &(Effect, Effect),
) -> Example {
    let mut sni = door.sni.clone();
    if door.tls {
        let (host, _) = crate::hosts::without_port(&request.authority);
        if host.parse::<IpAddr>().is_err() {
            let ((before, _), (after, _)) = both(old, new, door, Some(host), &request);
            if (&before, &after) == (&effects.0, &effects.1) {
                sni = Some(host.to_owned());
            }
        }
    }
    Example::Request {
        original: door.original,
        sni,
        own: door.own,
        request,
    }
}

/// The same change of many hosts is one class.
fn add(class: Class, diff: &mut Diff) {
    let same = |own: &&mut Class| {
        own.old.effect == class.old.effect
            && own.new.effect == class.new.effect
            && own.old.origin.as_ref().map(|it| &it.label)
                == class.old.origin.as_ref().map(|it| &it.label)
            && own.new.origin.as_ref().map(|it| &it.label)
                == class.new.origin.as_ref().map(|it| &it.label)
            && words::of_rule(&own.what) == words::of_rule(&class.what)
    };
    // Only the latest are looked through: the hosts of one VirtualService come one after the other
    // far more often than not, and a list of thousands must not be searched for each of them.
    let recent = diff.classes.iter_mut().rev().take(64);
    match recent.into_iter().find(same) {
        Some(own) => own.also.push(words::host_of(&class.what).to_owned()),
        None => diff.classes.push(class),
    }
}

fn alternatives(host: Option<&Arc<VirtualHost>>) -> impl Iterator<Item = &Alternative> {
    let rules = host.map(|host| host.rules.rules()).unwrap_or_default();
    rules.iter().flat_map(|rule| rule.alternatives.iter())
}

/// The part a condition looks at, and the text. Pseudo headers are other names of parts (VS-H-29).
fn asked(condition: &Condition) -> (Part, Compared) {
    let (part, text) = match condition {
        Condition::Path { text, any_case } => return (Part::Path, (text.clone(), *any_case)),
        Condition::Method(text) => (Part::Method, text),
        Condition::Scheme(text) => (Part::Scheme, text),
        Condition::Authority(text) => (Part::Authority, text),
        Condition::Query(name, text) => (Part::Query(name.clone()), text),
        Condition::Header(name, text) | Condition::WithoutHeader(name, text) => {
            let part = match &**name {
                ":method" => Part::Method,
                ":scheme" => Part::Scheme,
                ":authority" | "host" => Part::Authority,
                ":path" => Part::Target,
                _ => Part::Header(name.clone()),
            };
            (part, text)
        }
    };
    (part, (text.clone(), false))
}

fn ask(parts: &mut BTreeMap<Part, Vec<Compared>>, part: Part, compared: Compared) {
    let texts = parts.entry(part).or_default();
    if compared.0 != Text::Present && !texts.contains(&compared) {
        texts.push(compared);
    }
}

/// Puts what whole targets are compared with to the paths and to the queries, by an example of
/// every division. The first is false if the divisions may not be all, the second true if what
/// they are made of may meet the other texts in more ways.
fn whole_targets(
    parts: &mut BTreeMap<Part, Vec<Compared>>,
    mode: Normalization,
    limits: &Limits,
) -> (bool, bool) {
    let texts = parts.remove(&Part::Target).unwrap_or_default();
    if texts.is_empty() {
        return (true, false);
    }
    // Those of whole targets are among them.
    let paths = parts.get(&Part::Path).map_or(0, Vec::len) > texts.len();
    let (cells, complete) = cells::divide(&texts, &cells::target(mode), limits);
    for cell in cells {
        if let Some((path, query)) = cell.value.split_once('?') {
            for (part, text) in [(Part::Path, path), (Part::Target, query)] {
                ask(parts, part, (Text::Exact(text.into()), false));
            }
        }
    }
    let pattern = texts.iter().any(|(it, _)| matches!(it, Text::Pattern(_)));
    let queries = parts.keys().any(|part| matches!(part, Part::Query(_)));
    // One that nobody names tells a target from its path.
    parts.entry(Part::Target).or_default();
    (complete, queries || (pattern && paths))
}

impl Part {
    /// Can a request have it at all? Others are absent always.
    fn can_be_sent(&self) -> bool {
        match self {
            Self::Header(name) => is_token(name.as_bytes()),
            Self::Query(name) => {
                let plain = |byte: u8| byte.is_ascii_graphic() && !b"&#=".contains(&byte);
                name.bytes().all(plain)
            }
            _ => true,
        }
    }
}

impl Space {
    /// False if the divisions may not be all.
    fn new(
        old: &Table,
        new: &Table,
        door: &Door,
        group: &Group<'_>,
        limits: &Limits,
    ) -> (Self, bool) {
        let mut parts: BTreeMap<Part, Vec<Compared>> = BTreeMap::new();
        for part in [Part::Path, Part::Method, Part::Scheme, Part::Authority] {
            parts.insert(part, Vec::new());
        }
        for alternative in alternatives(group.old).chain(alternatives(group.new)) {
            for condition in &alternative.conditions {
                let (part, compared) = asked(condition);
                // A target may have no query.
                if part == Part::Target {
                    ask(&mut parts, Part::Path, compared.clone());
                }
                ask(&mut parts, part, compared);
            }
        }
        // A proxy in front may say what the scheme was (VS-H-25).
        if parts
            .get(&Part::Scheme)
            .is_some_and(|texts| !texts.is_empty())
        {
            for scheme in ["http", "https"] {
                let said = (Text::Exact(scheme.into()), false);
                ask(&mut parts, Part::Header("x-forwarded-proto".into()), said);
            }
        }
        let modes = [old, new].map(|table| normalization(table.context().path_normalization));
        // Each makes more equal than the one before: what the last one leaves alone, both do.
        let mode = modes.into_iter().max().unwrap_or_default();
        let (mut complete, loose) = whole_targets(&mut parts, mode, limits);
        let axes = parts
            .into_iter()
            .map(|(part, texts)| {
                let (mut cells, all) = match &part {
                    _ if !part.can_be_sent() => (Vec::new(), true),
                    Part::Path => cells::divide(&texts, &cells::path(mode), limits),
                    Part::Target => cells::divide(&texts, &cells::query(), limits),
                    Part::Method => cells::divide(&texts, &cells::method(), limits),
                    Part::Header(_) => cells::divide(&texts, &cells::field(), limits),
                    Part::Query(_) => cells::divide(&texts, &cells::parameter(), limits),
                    // TLS is not terminated for transparent clients: their scheme is http.
                    Part::Scheme => (vec![fixed(door.scheme())], true),
                    Part::Authority => authorities(old, new, door, group, &texts, limits),
                };
                complete &= all;
                let absent = matches!(part, Part::Target | Part::Header(_) | Part::Query(_));
                let mut all: Vec<Option<Cell>> = Vec::with_capacity(cells.len() + 1);
                all.extend(absent.then_some(None));
                all.extend(cells.drain(..).map(Some));
                Axis {
                    part,
                    texts,
                    cells: all,
                }
            })
            .collect();
        (Self { axes, loose }, complete)
    }

    /// How many combinations there are; `None`: more than can be counted.
    fn size(&self) -> Option<usize> {
        self.axes
            .iter()
            .try_fold(1_usize, |size, axis| size.checked_mul(axis.cells.len()))
    }

    fn all(&self) -> Vec<Point> {
        let mut points: Vec<Point> = vec![Vec::new()];
        for axis in &self.axes {
            points = points
                .into_iter()
                .flat_map(|point| {
                    (0..axis.cells.len()).map(move |at| {
                        let mut longer = point.clone();
                        longer.push(at);
                        longer
                    })
                })
                .collect();
        }
        points
    }

    /// Where there are too many combinations: for each pair of what the old and the new rules ask
    /// for, the requests that both take, varied in one part at a time.
    fn crossings(&self, group: &Group<'_>, limit: usize) -> Vec<Point> {
        let allowed = |host| -> Vec<Vec<Vec<usize>>> {
            let mut all: Vec<_> = alternatives(host).map(|it| self.allowed(it)).collect();
            // Requests that no alternative asks anything of.
            all.push(
                self.axes
                    .iter()
                    .map(|axis| (0..axis.cells.len()).collect())
                    .collect(),
            );
            all
        };
        let (old, new) = (allowed(group.old), allowed(group.new));
        let mut points: Vec<Point> = Vec::new();
        let mut known = foldhash::HashSet::default();
        let mut add = |point: Point, points: &mut Vec<Point>| {
            if known.insert(point.clone()) {
                points.push(point);
            }
            points.len() < limit
        };
        // Near the diagonal first: rule lists that were edited have most rules in common.
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for i in 0..old.len() {
            for j in 0..new.len() {
                pairs.push((i, j));
            }
        }
        pairs.sort_by_key(|(i, j)| i.abs_diff(*j));
        for (i, j) in pairs {
            let (Some(old), Some(new)) = (old.get(i), new.get(j)) else {
                continue;
            };
            let both: Vec<Vec<usize>> = old
                .iter()
                .zip(new)
                .map(|(old, new)| old.iter().copied().filter(|it| new.contains(it)).collect())
                .collect();
            let Some(base) = both
                .iter()
                .map(|cells: &Vec<usize>| cells.first().copied())
                .collect::<Option<Point>>()
            else {
                continue;
            };
            if !add(base.clone(), &mut points) {
                return points;
            }
            for (axis, cells) in both.iter().enumerate() {
                for &cell in cells {
                    let mut varied = base.clone();
                    if let Some(at) = varied.get_mut(axis) {
                        *at = cell;
                    }
                    if !add(varied, &mut points) {
                        return points;
                    }
                }
            }
        }
        points
    }

    /// The divisions of each part in which the conditions of an alternative hold.
    fn allowed(&self, alternative: &Alternative) -> Vec<Vec<usize>> {
        self.axes
            .iter()
            .map(|axis| {
                (0..axis.cells.len())
                    .filter(|&at| {
                        alternative.conditions.iter().all(|condition| {
                            let (part, (text, folded)) = asked(condition);
                            // Of a target no axis has the whole.
                            if part != axis.part || part == Part::Target {
                                return true;
                            }
                            let value = axis.cells.get(at).and_then(Option::as_ref);
                            let value = value.map(|cell| cell.value.as_bytes());
                            let holds = |value| match folded {
                                true => text.holds_in_any_case(value),
                                false => text.holds(value),
                            };
                            match (condition, value) {
                                (Condition::WithoutHeader(..), Some(value)) => !holds(value),
                                (Condition::WithoutHeader(..), None) => {
                                    text == Text::Present || !holds(b"")
                                }
                                (_, value) => value.is_some_and(holds),
                            }
                        })
                    })
                    .collect()
            })
            .collect()
    }

    /// The request at a point.
    pub(super) fn request(&self, point: &Point) -> ExampleRequest {
        let mut made = ExampleRequest::default();
        for (axis, &at) in self.axes.iter().zip(point) {
            let Some(cell) = axis.cells.get(at).and_then(Option::as_ref) else {
                continue;
            };
            let value = cell.value.clone();
            match &axis.part {
                Part::Path => made.path = value,
                Part::Method => made.method = value,
                Part::Scheme => made.scheme = value,
                Part::Authority => made.authority = value,
                Part::Target => made.query = Some(value),
                Part::Header(name) => made.headers.push((name.to_string(), value)),
                Part::Query(name) => {
                    let query = made.query.get_or_insert_default();
                    if !query.is_empty() {
                        query.push('&');
                    }
                    query.push_str(&format!("{name}={value}"));
                }
            }
        }
        // The one path that belongs to a method (RFC 9112 section 3.2.4).
        if made.path == WHOLE_SERVER {
            OPTIONS.clone_into(&mut made.method);
            made.query = None;
        }
        made
    }

    /// How far a request is from a plain one: parts that differ weigh most, then their lengths.
    fn cost(&self, point: &Point) -> usize {
        let one = |(axis, &at): (&Axis, &usize)| {
            let cell = axis.cells.get(at).and_then(Option::as_ref);
            let length = cell.map_or(0, |cell| cell.value.len());
            length + if at == 0 { 0 } else { 1000 }
        };
        self.axes.iter().zip(point).map(one).sum()
    }

    /// For each part, the divisions that can take the place of the point's without leaving its
    /// class.
    fn stays(&self, point: &Point, mut same: impl FnMut(&Point) -> bool) -> Vec<Vec<usize>> {
        let mut stays = Vec::with_capacity(self.axes.len());
        for (number, axis) in self.axes.iter().enumerate() {
            let mut varied = point.clone();
            let cells = (0..axis.cells.len()).filter(|&cell| {
                let Some(at) = varied.get_mut(number) else {
                    return false;
                };
                *at = cell;
                same(&varied)
            });
            stays.push(cells.collect());
        }
        stays
    }
}

fn fixed(value: &str) -> Cell {
    Cell {
        value: value.to_owned(),
        holds: Vec::new(),
    }
}

/// Hosts in all forms that reach the group; those that `authority` conditions tell apart.
fn authorities(
    old: &Table,
    new: &Table,
    door: &Door,
    group: &Group<'_>,
    texts: &[Compared],
    limits: &Limits,
) -> (Vec<Cell>, bool) {
    let port = door.original.port();
    let with_port = |name: &str| match name.contains(':') {
        true => format!("[{name}]:{port}"),
        false => format!("{name}:{port}"),
    };
    let mut values: Vec<String> = Vec::new();
    for name in &group.spellings {
        let plain = match name.contains(':') {
            true => format!("[{name}]"),
            false => name.clone(),
        };
        // The form a client sends comes first: the port is left out where it is the scheme's.
        let (first, second) = match (door.tls, port) {
            (false, 80) | (true, 443) => (plain, with_port(name)),
            _ => (with_port(name), plain),
        };
        values.push(first);
        if texts.is_empty() {
            break;
        }
        values.push(second);
    }
    let mut complete = true;
    if !texts.is_empty() {
        let (cells, all) = cells::divide(texts, &cells::field(), limits);
        complete = all;
        let sound = cells.into_iter().map(|cell| cell.value);
        let sound = sound.filter(|it| !it.contains([' ', '/', '@', '?', '#']));
        values.extend(sound);
    }
    let mut known: HashMap<Vec<usize>, ()> = HashMap::new();
    let mut made = Vec::new();
    for value in values {
        let name = value.as_str();
        if !group.has(old, new, door, name) {
            continue;
        }
        let holds: Vec<usize> = (0..texts.len())
            .filter(|&at| {
                let text = texts.get(at);
                text.is_some_and(|(text, _)| text.holds(name.as_bytes()))
            })
            .collect();
        if known.insert(holds.clone(), ()).is_none() {
            made.push(Cell { value, holds });
        }
    }
    (made, complete)
}
