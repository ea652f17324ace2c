//! One condition of a rule's match, and an alternative: conditions that must all hold (VS-H-2).
use crate::{
    text::Text,
    trace::Reason,
    traffic::{Fields, Request},
};
use pointsman_model::Place;
use smallvec::SmallVec;
use std::sync::Arc;

/// One condition on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `uri` (VS-H-20..24).
    Path {
        /// Compared with the normalised path.
        text: Text,
        /// `ignoreUriCase`.
        any_case: bool,
    },
    /// `method`.
    Method(Text),
    /// `scheme`.
    Scheme(Text),
    /// `authority`: as received, port included, case-sensitive (VS-H-27).
    Authority(Text),
    /// One key of `headers` (VS-H-28).
    Header(Arc<str>, Text),
    /// One key of `withoutHeaders` (VS-H-31).
    WithoutHeader(Arc<str>, Text),
    /// One key of `queryParams` (VS-H-32).
    Query(Arc<str>, Text),
}

impl Condition {
    /// `Ok` if the request satisfies the condition, otherwise the one reason why not.
    pub fn check<F: Fields + ?Sized>(&self, request: &Request<'_, F>) -> Result<(), Reason> {
        let (holds, reason) = match self {
            Self::Path { text, any_case } => {
                let path = request.path.as_bytes();
                let holds = if *any_case {
                    text.holds_in_any_case(path)
                } else {
                    text.holds(path)
                };
                (holds, Reason::PathDiffers)
            }
            Self::Method(text) => (text.holds(request.method.as_bytes()), Reason::MethodDiffers),
            Self::Scheme(text) => (text.holds(request.scheme.as_bytes()), Reason::HeaderDiffers),
            Self::Authority(text) => (
                text.holds(request.authority.as_bytes()),
                Reason::HostDiffers,
            ),
            Self::Header(name, text) => match any_value(request, name, |value| text.holds(value)) {
                None => (false, Reason::HeaderAbsent),
                Some(holds) => (holds, Reason::HeaderDiffers),
            },
            Self::WithoutHeader(name, text) => {
                let found = any_value(request, name, |value| text.holds(value));
                // A missing header counts as empty text, except for the presence form.
                let negated = match (found, text) {
                    (Some(holds), _) => !holds,
                    (None, Text::Present) => true,
                    (None, text) => !text.holds(b""),
                };
                (negated, Reason::HeaderDiffers)
            }
            Self::Query(name, text) => (
                first_parameter(request.query, name)
                    .is_some_and(|value| text.holds(value.as_bytes())),
                Reason::QueryDiffers,
            ),
        };
        if holds { Ok(()) } else { Err(reason) }
    }

    /// What the condition compares with a text, if that can be looked up.
    pub(crate) fn compared(&self) -> Option<(Subject, &Text)> {
        match self {
            Self::Method(text) => Some((Subject::Method, text)),
            Self::Authority(text) => Some((Subject::Authority, text)),
            Self::Header(name, text) => Some((Subject::Header(Arc::clone(name)), text)),
            Self::Query(name, text) => Some((Subject::Query(Arc::clone(name)), text)),
            Self::Path { .. } | Self::Scheme(_) | Self::WithoutHeader(..) => None,
        }
    }

    /// What the condition looks at, in the words of `explain`: `header end-user`.
    pub fn subject(&self) -> String {
        match self {
            Self::Path { .. } => "path".to_owned(),
            Self::Method(_) => "method".to_owned(),
            Self::Scheme(_) => "scheme".to_owned(),
            Self::Authority(_) => "authority".to_owned(),
            Self::Header(name, _) => format!("header {name}"),
            Self::WithoutHeader(name, _) => format!("without header {name}"),
            Self::Query(name, _) => format!("query {name}"),
        }
    }

    /// The whole condition: `header end-user = "jason"`.
    pub fn describe(&self) -> String {
        let text = match self {
            Self::Path { text, any_case } => {
                let folded = if *any_case { " (any letter case)" } else { "" };
                return format!("path {}{folded}", text.describe());
            }
            Self::Method(text)
            | Self::Scheme(text)
            | Self::Authority(text)
            | Self::Header(_, text)
            | Self::WithoutHeader(_, text)
            | Self::Query(_, text) => text,
        };
        format!("{} {}", self.subject(), text.describe())
    }

    /// What the request has instead; `None` if it has nothing there.
    pub fn actual<F: Fields + ?Sized>(&self, request: &Request<'_, F>) -> Option<String> {
        match self {
            Self::Path { .. } => Some(request.path.to_owned()),
            Self::Method(_) => Some(request.method.to_owned()),
            Self::Scheme(_) => Some(request.scheme.to_owned()),
            Self::Authority(_) => Some(request.authority.to_owned()),
            Self::Header(name, _) | Self::WithoutHeader(name, _) => {
                with_field(request, name, |value| {
                    String::from_utf8_lossy(value).into_owned()
                })
            }
            Self::Query(name, _) => first_parameter(request.query, name).map(str::to_owned),
        }
    }
}

/// What the exact value of a condition can be looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    Method,
    Authority,
    Header(Arc<str>),
    Query(Arc<str>),
}

impl Subject {
    /// Hands each value to `read`, as [`Condition::check`] sees them; more than one only of a field.
    pub(crate) fn each_value<F: Fields + ?Sized>(
        &self,
        request: &Request<'_, F>,
        mut read: impl FnMut(&[u8]),
    ) {
        match self {
            Self::Method => read(request.method.as_bytes()),
            Self::Authority => read(request.authority.as_bytes()),
            Self::Header(name) => each_value(request, name, read),
            Self::Query(name) => {
                if let Some(value) = first_parameter(request.query, name) {
                    read(value.as_bytes());
                }
            }
        }
    }

    /// False where reading the value allocates.
    pub(crate) fn is_cheap(&self) -> bool {
        !matches!(self, Self::Header(name) if &**name == ":path")
    }
}

/// Does `holds` say so of any value of the field? `None`: there is no such field.
fn any_value<F: Fields + ?Sized>(
    request: &Request<'_, F>,
    name: &str,
    holds: impl Fn(&[u8]) -> bool,
) -> Option<bool> {
    let mut any = None;
    each_value(request, name, |value| {
        any = Some(any == Some(true) || holds(value));
    });
    any
}

/// Hands to `read` what conditions on a field look at: every field of the name by itself, so that a
/// client hides none behind another (VS-H-28). Pseudo headers are as in [`with_field`].
fn each_value<F: Fields + ?Sized>(
    request: &Request<'_, F>,
    name: &str,
    mut read: impl FnMut(&[u8]),
) {
    if name.starts_with(':') || name == "host" {
        with_field(request, name, read);
        return;
    }
    let mut values: SmallVec<[&[u8]; 4]> = SmallVec::new();
    request.fields.each(name, &mut |value| values.push(value));
    match values.as_slice() {
        several @ [_, _, ..] if is_one_value(name) => read(&several.join(&b',')),
        values => values.iter().for_each(|value| read(value)),
    }
}

/// Fields that Envoy joins as it receives them, so that rules written for it see one value.
fn is_one_value(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept-encoding"
            | "access-control-request-headers"
            | "access-control-request-method"
            | "authorization"
            | "cache-control"
            | "content-encoding"
            | "content-type"
            | "expect"
            | "grpc-accept-encoding"
            | "grpc-timeout"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "origin"
            | "pragma"
            | "referer"
            | "user-agent"
            | "via"
            | "x-client-trace-id"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-request-id"
    )
}

/// Hands the value of a field to `read`; several values are one, joined with `,`. Pseudo headers
/// are ordinary keys, and `host` is another name of `:authority` (VS-H-29).
pub(crate) fn with_field<F: Fields + ?Sized, R>(
    request: &Request<'_, F>,
    name: &str,
    read: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    match name {
        ":method" => return Some(read(request.method.as_bytes())),
        ":scheme" => return Some(read(request.scheme.as_bytes())),
        ":authority" | "host" => {
            return (!request.authority.is_empty()).then(|| read(request.authority.as_bytes()));
        }
        ":path" => {
            let Some(query) = request.query else {
                return Some(read(request.path.as_bytes()));
            };
            let mut whole = Vec::with_capacity(request.path.len() + 1 + query.len());
            whole.extend_from_slice(request.path.as_bytes());
            whole.push(b'?');
            whole.extend_from_slice(query.as_bytes());
            return Some(read(&whole));
        }
        _ => {}
    }
    let mut values: SmallVec<[&[u8]; 4]> = SmallVec::new();
    request.fields.each(name, &mut |value| values.push(value));
    match values.as_slice() {
        [] => None,
        [value] => Some(read(value)),
        several => Some(read(&several.join(&b','))),
    }
}

/// The raw value of the first parameter of that name; `k` and `k=` are both empty (VS-H-32).
fn first_parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// One item of a rule's `match` list: all conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// Conditions, cheapest and most telling first: path, method, then the rest.
    pub conditions: Box<[Condition]>,
    /// `name` of the item (VS-H-8).
    pub name: Option<Arc<str>>,
    /// Index in the rule's `match` list, from 0.
    pub index: u32,
    /// Where it is written.
    pub place: Place,
}

impl Alternative {
    /// Do all conditions hold?
    pub fn holds<F: Fields + ?Sized>(&self, request: &Request<'_, F>) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.check(request).is_ok())
    }

    /// How many bytes of the path a rewrite replaces (VS-H-53..56, VS-H-59): the prefix that
    /// matched, all of it after an exact or pattern match, `/` without a path condition.
    pub fn prefix_len(&self, path: &str) -> usize {
        for condition in &self.conditions {
            if let Condition::Path { text, .. } = condition {
                return match text {
                    Text::Prefix(prefix) => prefix.len().min(path.len()),
                    _ => path.len(),
                };
            }
        }
        path.len().min(1)
    }

    /// True for an alternative that takes every request (VS-H-5).
    pub fn takes_everything(&self) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Path { text, .. } => match text {
                Text::Prefix(prefix) => matches!(&**prefix, "" | "/"),
                Text::Pattern(pattern) => &**pattern.source() == ".*",
                _ => false,
            },
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a rewrite replaces depends on how the match that held looked at the path: VS-H-56.
    #[test]
    fn a_rewrite_replaces_what_matched() {
        let with = |text: Text, any_case: bool| Alternative {
            conditions: Box::new([
                Condition::Path { text, any_case },
                Condition::Method(Text::Present),
            ]),
            name: None,
            index: 0,
            place: Place::nowhere(),
        };
        // VS-H-53, VS-H-59.
        assert_eq!(
            with(Text::Prefix("/foo".into()), true).prefix_len("/FOO/x"),
            4
        );
        assert_eq!(with(Text::Prefix("".into()), false).prefix_len("/x"), 0);
        // VS-H-54.
        assert_eq!(with(Text::Exact("/a".into()), false).prefix_len("/a"), 2);
        let pattern = Text::Pattern(crate::text::Pattern::compile(&"/a.*".into()).0);
        assert_eq!(with(pattern, false).prefix_len("/abc/d"), 6);
        let mut without = with(Text::Present, false);
        without.conditions = Box::default(); // VS-H-55
        assert_eq!(without.prefix_len("/x"), 1);
        assert_eq!(without.prefix_len(""), 0);
    }
}
