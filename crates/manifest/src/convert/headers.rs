//! Header operations: which names may be changed, and what a value may hold (VS-H-100..105).
use super::Context;
use crate::{
    codes, form,
    yaml::{Map, Span},
};
use pointsman_model::{
    HeaderValue,
    action::{FieldOps, HeaderOps},
};
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
    let mut pairs = |field: &str| -> Vec<(Arc<str>, HeaderValue)> {
        let entries = map.map(field).map_or(&[][..], |map| &map.entries);
        entries
            .iter()
            .filter_map(|(key, node)| {
                let value = node.as_text()?;
                check_name(&key.text, key.span, field, of_request, context);
                let value = self::value(&key.text, value, node.span, context);
                Some(((*key.text).into(), value))
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
    } else if FieldOps::is_of_the_hop(name) {
        context.report.info(
            codes::NOT_SUPPORTED,
            at,
            format!("`{field}` of {name:?} does nothing (VS-H-104)"),
            "frames the message, or belongs to one connection",
            "it is as if it were not written: the gateway writes such fields itself",
        );
    }
}

/// Takes a value apart: characters that would end the header and begin another one are refused
/// (RFC 9110 section 5.5), and commands that Envoy does not have (VS-H-105).
fn value(name: &str, text: &str, at: Span, context: &mut Context<'_>) -> HeaderValue {
    let control = |c: char| c != '\t' && (c < ' ' || c == '\u{7f}');
    let fault = if text.contains(['\r', '\n']) {
        ("goes over several lines".to_owned(), "a header is one line")
    } else if text.contains(control) {
        ("contains a control character".to_owned(), "")
    } else {
        match HeaderValue::parse(text) {
            Ok(value) => {
                if let Some(command) = value.without_effect() {
                    context.report.info(
                        codes::NOT_SUPPORTED,
                        at,
                        format!("the value of `{name}` asks for {command}"),
                        "nothing gives it",
                        "it is as if nothing were written there; a value that is empty then adds no header",
                    );
                }
                return value;
            }
            Err(fault) => (format!("{fault} (VS-H-105)"), HELP),
        }
    };
    context.report.error(
        codes::VALUE,
        at,
        format!("the value of `{name}` {}", fault.0),
        "cannot be sent",
        fault.1,
    );
    HeaderValue::from("")
}

const HELP: &str = "a command is written %NAME% or %NAME(arguments)%; a percent sign is written %%";
