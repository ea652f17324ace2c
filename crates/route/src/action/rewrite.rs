//! What a rule changes in a message: target, authority, fields.
use super::{
    Incoming,
    made::{self, Facts},
};
use crate::rule::{Action, Rule};
use pointsman_model::{
    HttpAction,
    action::{FieldOps, HeaderOps, Rewrite},
};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Operations on fields, level by level.
#[derive(Clone, Debug, Default)]
pub struct Levels<'r> {
    list: SmallVec<[&'r FieldOps; 2]>,
    /// So many of the first are carried out as one.
    joined: usize,
}

impl<'r> Levels<'r> {
    /// No operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Levels in their order; empty ones are left out. The first `joined` of the others are one: all
    /// their removes, then every `set`, then every `add` (VS-H-101). Each of the rest sees what was
    /// done before it (VS-H-102).
    pub fn of(list: impl IntoIterator<Item = &'r FieldOps>, joined: usize) -> Self {
        let filled = list.into_iter().filter(|level| !level.is_empty());
        let list: SmallVec<_> = filled.collect();
        let joined = joined.min(list.len());
        Self { list, joined }
    }

    /// The same, and then this level.
    pub fn then(mut self, last: Option<&'r FieldOps>) -> Self {
        self.list.extend(last.filter(|level| !level.is_empty()));
        self
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The levels.
    pub fn iter(&self) -> impl Iterator<Item = &'r FieldOps> + Clone {
        self.list.iter().copied()
    }

    /// How many of the first are carried out as one.
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// What is carried out as one, in its order.
    fn groups(&self) -> impl Iterator<Item = &[&'r FieldOps]> {
        let (joined, rest) = self
            .list
            .split_at_checked(self.joined)
            .unwrap_or((&[], &self.list));
        std::iter::once(joined).chain(rest.chunks(1))
    }
}

/// Fields to append.
pub type Extra<'a> = SmallVec<[(&'a str, Cow<'a, [u8]>); 8]>;

/// The same as the codec wants them.
pub fn lines<'e>(extra: &'e Extra<'_>) -> SmallVec<[(&'e str, &'e [u8]); 3]> {
    // Small, as it is moved for each message, and hardly one has more of them.
    let mut lines = SmallVec::new();
    for (name, value) in extra {
        lines.push((*name, &**value));
    }
    lines
}

/// The levels of operations in the order they apply: one destination, rule first; of several, the
/// destination first (VS-H-101, VS-H-102). `target` is the position of the picked destination;
/// `None` where the rule answers by itself.
pub fn levels<'r>(
    rule: &'r Rule,
    target: Option<usize>,
    side: impl Fn(&'r HeaderOps) -> &'r FieldOps,
) -> Levels<'r> {
    let (own, theirs, several) = written(rule, target, side);
    let ordered = if several {
        [theirs, own]
    } else {
        [own, theirs]
    };
    let joined = if several { 1 } else { 2 };
    Levels::of(ordered.into_iter().flatten(), joined)
}

/// The rule's own operations, those of its destination, and whether it has several: as written,
/// because one of weight 0 is never picked, but still makes its rule one of several.
fn written<'r>(
    rule: &'r Rule,
    target: Option<usize>,
    side: impl Fn(&'r HeaderOps) -> &'r FieldOps,
) -> (Option<&'r FieldOps>, Option<&'r FieldOps>, bool) {
    let own = rule.model().map(|model| side(&model.headers));
    let theirs = match (&rule.action, target) {
        (Action::Forward(split), Some(index)) => split.targets().get(index),
        _ => None,
    };
    let written = rule.model().map(|model| &model.action);
    let several = matches!(written, Some(HttpAction::Route(list)) if list.len() > 1);
    (own, theirs.map(|target| side(&target.headers)), several)
}

/// Carries out operations: removes, then `set`, then `add` (VS-H-100), of the levels that are one
/// together, then of each of the others. `names` are those of the received
/// fields; `leave_out` is told the positions of those that are not sent on, some of them more than
/// once. Returns the fields to append. A value that comes out empty changes nothing, as in Envoy.
///
/// `Host`, pseudo fields and the fields that frame a message are not for rules to touch here:
/// the first is [`authority`], the rest would let a rule break the framing that was just checked
/// (VS-H-103, VS-H-104).
pub fn operations<'a, 'n>(
    levels: &Levels<'a>,
    names: impl Iterator<Item = &'n str> + Clone,
    facts: &impl Facts,
    mut leave_out: impl FnMut(usize),
) -> Extra<'a> {
    let mut leave_out = |wanted: &str| {
        for (index, name) in names.clone().enumerate() {
            if name.eq_ignore_ascii_case(wanted) {
                leave_out(index);
            }
        }
    };
    let mut extra = Extra::new();
    let allowed = |name: &str| !is_reserved(name);
    for name in levels.iter().flat_map(|level| &level.remove) {
        if allowed(name) {
            leave_out(name);
        }
    }
    for group in levels.groups() {
        let removed = |name: &str| {
            let mut names = group.iter().flat_map(|level| &level.remove);
            names.any(|it| it.eq_ignore_ascii_case(name))
        };
        extra.retain(|(own, _)| !removed(own));
        let set = group.iter().flat_map(|level| &level.set);
        for (name, value) in set.filter(|(name, _)| allowed(name)) {
            let value = made::value(value, facts);
            if !value.is_empty() {
                leave_out(name);
                extra.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
                extra.push((name, value));
            }
        }
        let add = group.iter().flat_map(|level| &level.add);
        for (name, value) in add.filter(|(name, _)| allowed(name)) {
            let value = made::value(value, facts);
            if !value.is_empty() {
                extra.push((name, value));
            }
        }
    }
    extra
}

fn is_reserved(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host") || FieldOps::is_of_the_hop(name)
}

/// The authority that field operations set: a `set` or `add` of `host` or `:authority`. The rule's
/// goes before its destination's, whatever the order of other fields (VS-H-103). It is taken as it
/// is written, commands included: Istio makes a literal of it.
pub fn authority(rule: &Rule, target: usize) -> Option<&str> {
    let (own, theirs, _) = written(rule, Some(target), |headers| &headers.request);
    [own, theirs]
        .into_iter()
        .flatten()
        .find_map(named_authority)
}

fn named_authority(operations: &FieldOps) -> Option<&str> {
    let written = operations.set.iter().chain(&operations.add);
    written
        .filter(|(name, _)| name.eq_ignore_ascii_case("host") || &**name == ":authority")
        .map(|(_, value)| value.written())
        .next_back()
}

/// The target after a rewrite of the path; `None` where the rule has none, or its pattern is not in
/// the path. The query is kept (VS-H-53..57).
pub(super) fn target(rule: &Rule, rewrite: &Rewrite, incoming: &Incoming<'_>) -> Option<String> {
    if let Some(uri) = rewrite.uri.as_deref() {
        return Some(replace(uri, incoming));
    }
    let effects = rule.effects.as_ref()?;
    let made = effects.substitution.as_ref()?.replace(incoming.path)?;
    Some(finish(made, incoming))
}

/// The matched part of the path is replaced as text (VS-H-53..60).
fn replace(uri: &str, incoming: &Incoming<'_>) -> String {
    let rest = incoming.path.get(incoming.matched..).unwrap_or_default();
    let query = incoming.query.map_or(0, str::len);
    let mut path = String::with_capacity(uri.len() + rest.len() + query + 1);
    path.push_str(uri);
    path.push_str(rest);
    finish(path, incoming)
}

/// Slashes are not repaired, but a path without one in front could be sent by neither version of HTTP
/// (VS-H-60); only what came as `*` may stay that (RFC 9112 section 3.2.4).
fn finish(mut path: String, incoming: &Incoming<'_>) -> String {
    let is_all = path == "*" && incoming.path == "*";
    if !path.starts_with('/') && !is_all {
        path.insert(0, '/');
    }
    if let Some(query) = incoming.query {
        path.push('?');
        path.push_str(query);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> FieldOps {
        let pairs =
            |list: &[(&str, &str)]| list.iter().map(|&(n, v)| (n.into(), v.into())).collect();
        FieldOps {
            remove: remove.iter().map(|&name| name.into()).collect(),
            set: pairs(set),
            add: pairs(add),
        }
    }

    fn apply(levels: &[FieldOps], fields: &[(&str, &str)]) -> Vec<String> {
        apply_in(levels.len(), levels, fields)
    }

    fn apply_in(joined: usize, levels: &[FieldOps], fields: &[(&str, &str)]) -> Vec<String> {
        let mut drop = Vec::new();
        let names = fields.iter().map(|&(name, _)| name);
        let levels = Levels::of(levels, joined);
        let extra = operations(&levels, names, &made::Nothing, |index| drop.push(index));
        let kept = fields
            .iter()
            .enumerate()
            .filter(|(index, _)| !drop.contains(index))
            .map(|(_, (name, value))| format!("{name}: {value}"));
        let added = extra
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
        kept.chain(added).collect()
    }

    #[test]
    fn add_appends_and_set_replaces() {
        let fields = [("x", "1")];
        // VS-H-100.
        assert_eq!(
            apply(&[ops(&[], &[], &[("x", "2")])], &fields),
            ["x: 1", "x: 2"]
        ); // T-H-74
        assert_eq!(apply(&[ops(&[], &[("X", "2")], &[])], &fields), ["X: 2"]); // T-H-75
        assert_eq!(apply(&[ops(&["x"], &[], &[("x", "2")])], &fields), ["x: 2"]); // T-H-76
    }

    #[test]
    fn the_last_level_sets_and_cannot_remove_what_an_earlier_one_added() {
        let rule = ops(&[], &[("x", "rule")], &[("y", "1")]);
        let destination = ops(&["y"], &[("x", "dest")], &[]);
        assert_eq!(apply(&[rule, destination], &[]), ["x: dest", "y: 1"]); // VS-H-101, T-H-72
    }

    /// VS-H-101: what the destination sets does not replace what the rule adds.
    #[test]
    fn levels_that_are_one_set_before_they_add() {
        let rule = ops(&[], &[("x", "rule set")], &[("x", "rule")]);
        let destination = ops(&[], &[("X", "dest set")], &[("x", "dest")]);
        let both = [rule, destination];
        let client = [("x", "client")];
        let one = ["X: dest set", "x: rule", "x: dest"];
        assert_eq!(apply(&both, &client), one);
        assert_eq!(
            apply_in(1, &both, &client),
            ["X: dest set", "x: dest"],
            "of several destinations"
        );
        let cors = ops(&[], &[("x", "cors")], &[]);
        let levels = Levels::of(&both, both.len()).then(Some(&cors));
        let names = client.iter().map(|(name, _)| *name);
        let extra = operations(&levels, names, &made::Nothing, |_| {});
        assert_eq!(lines(&extra)[..], [("x", &b"cors"[..])]);
    }

    /// VS-H-102: of several destinations the rule comes last, and sees what the picked one did.
    #[test]
    fn in_turn_a_level_removes_what_an_earlier_one_added() {
        let destination = ops(&[], &[("X", "dest"), ("z", "1")], &[("y", "1")]);
        let rule = ops(&["Y"], &[("x", "rule")], &[("y", "2")]);
        assert_eq!(
            apply_in(1, &[destination, rule], &[("y", "0")]),
            ["z: 1", "x: rule", "y: 2"]
        );
    }

    /// VS-H-104.
    #[test]
    fn framing_is_not_for_rules() {
        let level = ops(
            &["host", "content-length"],
            &[("transfer-encoding", "chunked"), (":path", "/")],
            &[(":method", "PUT"), ("connection", "close")],
        );
        assert_eq!(
            apply(&[level], &[("Content-Length", "3")]),
            ["Content-Length: 3"]
        );
    }

    #[test]
    fn prefixes_are_replaced_as_text() {
        // The table of VS-H-60.
        for (prefix, uri, path, query, expected) in [
            (
                "/ratings",
                "/v1/ratings",
                "/ratings/7",
                Some("x=1"),
                "/v1/ratings/7?x=1",
            ),
            ("/ratings", "/v1", "/ratingsX", None, "/v1X"),
            ("/a", "/", "/a/x", None, "//x"),
            ("/a/", "/", "/a/x", None, "/x"),
            ("/a/", "/b", "/a/x", None, "/bx"),
            ("/", "/v1", "/x", None, "/v1x"),
            ("/", "/v1/", "/x", None, "/v1/x"),
            ("/api/", "v1/", "/api/x", None, "/v1/x"),
            ("/x", "", "/x", Some("y"), "/?y"),
            ("/x", "*", "/x", None, "/*"),
            ("*", "*", "*", None, "*"),
        ] {
            let incoming = Incoming {
                received: path,
                path,
                query,
                matched: prefix.len(),
            };
            assert_eq!(replace(uri, &incoming), expected);
        }
    }
}
