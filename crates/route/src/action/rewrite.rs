//! What a rule changes in a message: target, authority, fields.
use super::Incoming;
use crate::rule::{Action, Rule};
use pointsman_model::action::{FieldOps, HeaderOps, Rewrite};
use smallvec::SmallVec;

/// Operations on fields, level by level.
pub type Levels<'r> = SmallVec<[&'r FieldOps; 2]>;

/// Fields to append.
pub type Extra<'a> = SmallVec<[(&'a str, &'a [u8]); 8]>;

/// The levels of operations in the order they apply: one destination, rule first; of several, the
/// destination first (VS-H-101, VS-H-102). Empty levels are left out. `target` is the position of
/// the picked destination; `None` where the rule answers by itself.
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
    ordered
        .into_iter()
        .flatten()
        .filter(|operations| !operations.is_empty())
        .collect()
}

/// The rule's own operations, those of its destination, and whether it has several.
fn written<'r>(
    rule: &'r Rule,
    target: Option<usize>,
    side: impl Fn(&'r HeaderOps) -> &'r FieldOps,
) -> (Option<&'r FieldOps>, Option<&'r FieldOps>, bool) {
    let own = rule.model().map(|model| side(&model.headers));
    let (theirs, several) = match (&rule.action, target) {
        (Action::Forward(split), Some(index)) => (
            split
                .targets()
                .get(index)
                .map(|target| side(&target.headers)),
            split.targets().len() > 1,
        ),
        _ => (None, false),
    };
    (own, theirs, several)
}

/// Carries out operations level by level: all removes first, then per level `set`, then `add`
/// (VS-H-100, VS-H-101). `names` are those of the received fields; `leave_out` is told the
/// positions of those that are not sent on, some of them more than once. Returns the fields to
/// append.
///
/// `Host`, pseudo fields and the fields that frame a message are not for rules to touch here:
/// the first is [`authority`], the rest would let a rule break the framing that was just checked
/// (VS-H-103, VS-H-104).
pub fn operations<'a>(
    levels: impl Iterator<Item = &'a FieldOps> + Clone,
    names: impl Iterator<Item = &'a str> + Clone,
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
    for name in levels.clone().flat_map(|level| &level.remove) {
        if allowed(name) {
            leave_out(name);
        }
    }
    for level in levels {
        for (name, value) in level.set.iter().filter(|(name, _)| allowed(name)) {
            leave_out(name);
            extra.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
            extra.push((name, value.as_bytes()));
        }
        for (name, value) in level.add.iter().filter(|(name, _)| allowed(name)) {
            extra.push((name, value.as_bytes()));
        }
    }
    extra
}

fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-connection",
    ];
    name.starts_with(':') || NAMES.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// The authority that field operations set: a `set` or `add` of `host` or `:authority`. The rule's
/// goes before its destination's, whatever the order of other fields (VS-H-103).
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
        .map(|(_, value)| &**value)
        .next_back()
}

/// The target after a rewrite of the path; `None` where the rule has none, or its pattern is not in
/// the path. The query is kept (VS-H-53..57).
pub(super) fn target(rule: &Rule, rewrite: &Rewrite, incoming: &Incoming<'_>) -> Option<String> {
    if let Some(uri) = rewrite.uri.as_deref() {
        return Some(replace(
            uri,
            incoming.path,
            incoming.matched,
            incoming.query,
        ));
    }
    let effects = rule.effects.as_ref()?;
    let mut made = effects.substitution.as_ref()?.replace(incoming.path)?;
    if let Some(query) = incoming.query {
        made.push('?');
        made.push_str(query);
    }
    Some(made)
}

/// The matched part of the path is replaced as text, without any repair of slashes (VS-H-53..60).
fn replace(uri: &str, path: &str, matched: usize, query: Option<&str>) -> String {
    let rest = path.get(matched..).unwrap_or_default();
    let mut target = String::with_capacity(uri.len() + rest.len() + query.map_or(0, str::len) + 1);
    target.push_str(uri);
    target.push_str(rest);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
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
        let mut drop = Vec::new();
        let names = fields.iter().map(|&(name, _)| name);
        let extra = operations(levels.iter(), names, |index| drop.push(index));
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
        assert_eq!(apply(&[rule, destination], &[]), ["y: 1", "x: dest"]); // VS-H-101, T-H-72
    }

    #[test]
    fn framing_is_not_for_rules() {
        let level = ops(
            &["host", "content-length"],
            &[("transfer-encoding", "chunked")],
            &[],
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
        ] {
            assert_eq!(replace(uri, path, prefix.len(), query), expected);
        }
    }
}
