//! Header operations: which names may be changed, and what a value may hold (VS-H-100..105).
use super::Context;
use crate::{
    codes, form,
    yaml::{Map, Span},
};
use pointsman_model::action::{FieldOps, HeaderOps};
use std::sync::Arc;

/// `headers` of a rule or destination (VS-H-100).
pub(super) fn headers(map: &Map, context: &mut Context<'_>) -> HeaderOps {
    let Some(headers) = map.map("headers") else {
        return HeaderOps::default();
    };
    let mut side = |name: &str, of_request| {
        headers
            .map(name)
            .map(|map| operations(map, of_request, context))
            .unwrap_or_default()
    };
    HeaderOps {
        request: side("request", true),
        response: side("response", false),
    }
}

fn operations(map: &Map, of_request: bool, context: &mut Context<'_>) -> FieldOps {
    let mut pairs = |field: &str| -> Vec<(Arc<str>, Arc<str>)> {
        let entries = map.map(field).map_or(&[][..], |map| &map.entries);
        entries
            .iter()
            .filter_map(|(key, node)| {
                let value = node.as_text()?;
                check_name(&key.text, key.span, field, of_request, context);
                if let Some((fault, help)) = value_fault(value) {
                    context.report.error(
                        codes::VALUE,
                        node.span,
                        format!("the value of `{}` {fault}", key.text),
                        "cannot be sent",
                        help,
                    );
                }
                Some(((*key.text).into(), value.into()))
            })
            .collect()
    };
    let (set, add) = (pairs("set"), pairs("add"));
    let mut remove = Vec::new();
    for node in map.list("remove") {
        let name = node.as_text().unwrap_or_default();
        check_name(name, node.span, "remove", false, context);
        remove.push(name.into());
    }
    FieldOps { remove, set, add }
}

/// The name of the authority, which requests have as a header of HTTP/1.1 or a pseudo header.
pub(super) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

fn check_name(name: &str, at: Span, field: &str, may_be_host: bool, context: &mut Context<'_>) {
    if is_authority(name) && may_be_host {
        return;
    }
    if name.starts_with(':') || is_authority(name) {
        context.report.error(
            codes::HEADER_NAME,
            at,
            format!("`{field}` cannot change {name:?} here (VS-H-104)"),
            "belongs to the request line",
            match is_authority(name) {
                true => {
                    "the authority can be set or added on requests, or with `rewrite.authority`"
                }
                false => {
                    "paths are changed with `rewrite.uri`; the other pseudo headers not at all"
                }
            },
        );
    } else if !form::header_name(name) {
        context.report.error(
            codes::HEADER_NAME,
            at,
            format!("{name:?} in `{field}` is not a header name (VS-H-165)"),
            "letters, digits and -",
            "",
        );
    }
}

/// What is wrong with a value, and what to do about it: characters that would end the header and
/// begin another one (RFC 9110 section 5.5), and commands that do not end (VS-H-105).
fn value_fault(value: &str) -> Option<(&'static str, &'static str)> {
    if value.contains(['\r', '\n']) {
        return Some(("goes over several lines", "a header is one line"));
    }
    if value
        .chars()
        .any(|c| c != '\t' && (c < ' ' || c == '\u{7f}'))
    {
        return Some(("contains a control character", ""));
    }
    const HELP: &str =
        "a command is written %NAME% or %NAME(arguments)%; a percent sign is written %%";
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(literal) = after.strip_prefix('%') {
            rest = literal;
            continue;
        }
        let word = after
            .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
            .unwrap_or(after.len());
        let mut tail = after.get(word..).unwrap_or_default();
        if word == 0 {
            return Some(("has a % without a command (VS-H-105)", HELP));
        }
        if let Some(arguments) = tail.strip_prefix('(') {
            let Some((_, closed)) = arguments.split_once(')') else {
                return Some(("has a command whose ( is not closed (VS-H-105)", HELP));
            };
            tail = closed;
        }
        // `:10` cuts what the command gives.
        if let Some(length) = tail.strip_prefix(':') {
            tail = length.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        let Some(done) = tail.strip_prefix('%') else {
            return Some(("has a command that does not end in % (VS-H-105)", HELP));
        };
        rest = done;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::value_fault;

    #[test]
    fn percent_signs_come_in_pairs_or_around_a_command() {
        for value in [
            "",
            "plain",
            "100%%",
            "%HOSTNAME%",
            "a %REQ(x-id?y)% b",
            "%REQ(x):12%",
            "%%%PROTOCOL%",
            "%START_TIME(%Y-%m)%",
            "tab\tfine",
            "ümlaut",
        ] {
            assert_eq!(value_fault(value), None, "{value}");
        }
        for value in [
            "100%",
            "abc%123",
            "%START_TIME%%",
            "%REQ(x%",
            "% %",
            "%lower%",
            "a\nb",
            "\u{0}",
            "\u{7f}",
        ] {
            assert!(value_fault(value).is_some(), "{value}");
        }
    }
}
