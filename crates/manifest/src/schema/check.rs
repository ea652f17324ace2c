//! A document against the table: types, ranges, unknown and unsupported fields.
//!
//! After this pass converters may take every value for what its field says, unless it distrusts
//! the shape of the document: then they would only find consequences of what it has already said.
use super::table::{Block, Field, Standing, Type, table};
use crate::{
    codes, form,
    report::{Report, near},
    yaml::{Kind, Map, Node, Scalar, Span, Value},
};

/// Checks a document of a kind that is read.
pub(crate) fn check(kind: &'static str, root: &Node, report: &mut Report) {
    value(&Type::Block(kind), root, root.start(), kind, report);
}

/// Checks one value. `owner` names it in messages and is underlined where the value has no text.
fn value(ty: &Type, node: &Node, owner: Span, name: &str, report: &mut Report) {
    // In Kubernetes an explicit null is an absent field.
    if matches!(ty, Type::Any) || node.is_null() {
        return;
    }
    match (ty, &node.value) {
        (Type::List(inner), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                let name = &format!("{name}[{index}]");
                if item.is_null() {
                    report.distrust();
                    report.error(
                        codes::TYPE,
                        item.span,
                        format!("`{name}` is empty"),
                        format!("expected {}", wanted(inner)),
                        "write the item, or remove its `-`",
                    );
                }
                value(inner, item, item.start(), name, report);
            }
        }
        (Type::Map(inner), Value::Map(map)) => {
            for (key, item) in &map.entries {
                if item.is_null() && **inner != Type::Any {
                    report.distrust();
                    report.error(
                        codes::TYPE,
                        key.span,
                        format!("`{}` has no value", key.text),
                        format!("expected {}", wanted(inner)),
                        match **inner {
                            Type::Text => "an empty text is written \"\"",
                            // Dropping it would widen a condition without a word.
                            Type::Block("StringMatch") => "to ask for presence alone write {}",
                            _ => "",
                        },
                    );
                }
                value(inner, item, key.span, &key.text, report);
            }
        }
        (Type::Block(block), Value::Map(map)) => {
            if let Some(block) = table().block(block) {
                fields(block, map, owner, name, report);
            }
        }
        (_, Value::Scalar(scalar)) => match fault(ty, scalar) {
            None => surprises(ty, scalar, node.span, name, report),
            Some(Fault::Type) => wrong_type(ty, node, owner, name, report),
            Some(Fault::Value(label, help)) => {
                report.error(
                    codes::VALUE,
                    node.span,
                    format!("`{name}` cannot be {}", scalar.text),
                    label,
                    help,
                );
                // What an unknown word was meant to say decides how other fields are read.
                if matches!(ty, Type::Enum(_)) {
                    report.distrust();
                }
            }
        },
        _ => wrong_type(ty, node, owner, name, report),
    }
}

fn fields(block: &Block, map: &Map, owner: Span, name: &str, report: &mut Report) {
    for (key, node) in &map.entries {
        match block.field(&key.text) {
            Some(field) => known(field, key.span, node, report),
            None if block.open || report.is_full() => {}
            None => {
                let names = block.fields.iter().map(|field| field.name);
                let help = match near(&key.text, names) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => {
                        format!("remove it, or see whether it belongs above or below `{name}`")
                    }
                };
                let message = format!("`{name}` has no field `{}`", key.text);
                let label = "not known here";
                if block.strict {
                    report.error(codes::UNKNOWN_FIELD, key.span, message, label, help);
                } else {
                    let effect = "the field is ignored, everything else applies";
                    report.warning(codes::UNKNOWN_FIELD, key.span, message, label, effect, help);
                }
            }
        }
    }
    for field in block.fields.iter().filter(|field| field.required) {
        if !map.has(field.name) {
            report.distrust();
            report.error(
                codes::REQUIRED,
                owner,
                format!("`{name}` needs the field `{}`", field.name),
                format!("`{}` is missing here", field.name),
                format!("add `{}: `", field.name),
            );
        }
    }
}

fn known(field: &Field, key: Span, node: &Node, report: &mut Report) {
    if field.standing == Standing::NotYet && !node.is_null() {
        let message = format!("field `{}` is known but not supported yet", field.name);
        let label = "nothing acts on it";
        if field.grave {
            report.warning(codes::NOT_SUPPORTED, key, message, label, field.note, "");
        } else {
            report.info(codes::NOT_SUPPORTED, key, message, label, field.note);
        }
    }
    // Of fields without meaning for routing, nothing can be wrong that would matter here; but
    // those with a type are cheap to check, and Kubernetes would refuse the same.
    value(&field.ty, node, key, field.name, report);
}

enum Fault {
    Type,
    Value(String, String),
}

fn out_of_range(label: &str) -> Option<Fault> {
    Some(Fault::Value(label.to_owned(), String::new()))
}

/// What is wrong with a scalar, if anything.
fn fault(ty: &Type, scalar: &Scalar) -> Option<Fault> {
    let text = scalar.as_text();
    match ty {
        Type::Text => text.is_none().then_some(Fault::Type),
        Type::Bool => (!matches!(scalar.kind, Kind::Bool(_))).then_some(Fault::Type),
        Type::Int | Type::Uint | Type::Port => match (scalar.int(), ty) {
            (None, _) => Some(Fault::Type),
            (Some(number), Type::Port) if !(1..=65535).contains(&number) => {
                out_of_range("a port is a number from 1 to 65535")
            }
            (Some(number), Type::Uint) if !(0..=i64::from(u32::MAX)).contains(&number) => {
                out_of_range("expected a whole number from 0 to 4294967295")
            }
            (Some(number), _) if i32::try_from(number).is_err() && *ty == Type::Int => {
                out_of_range("expected a whole number of 32 bits")
            }
            _ => None,
        },
        Type::Number | Type::Percent => match scalar.number() {
            None => Some(Fault::Type),
            Some(number) if *ty == Type::Percent && !(0.0..=100.0).contains(&number) => {
                out_of_range("a percentage is a number from 0 to 100")
            }
            Some(_) => None,
        },
        Type::IntOrText => (text.is_none() && scalar.int().is_none()).then_some(Fault::Type),
        Type::Duration { zero } => match text {
            None if scalar.number().is_some() => Some(Fault::Value(
                "a duration needs a unit".into(),
                format!("for seconds write \"{}s\"", scalar.text),
            )),
            None => Some(Fault::Type),
            Some(text) => match form::duration(text) {
                None => Some(Fault::Value(
                    "not a duration".into(),
                    "write a number with a unit: h, m, s, ms; as in \"1.5h\" or \"300ms\"".into(),
                )),
                Some(duration) if !zero && duration.as_millis() == 0 => Some(Fault::Value(
                    "shorter than 1ms".into(),
                    "leave the field out to have none; the shortest is \"1ms\"".into(),
                )),
                Some(duration) if duration.subsec_nanos() % 1_000_000 != 0 => {
                    out_of_range("expected whole milliseconds")
                }
                Some(_) => None,
            },
        },
        Type::Time => match text {
            None => Some(Fault::Type),
            Some(text) if form::unix_seconds(text).is_none() => {
                out_of_range("expected a moment as in 2026-01-31T12:00:00Z")
            }
            Some(_) => None,
        },
        Type::Cidr => match text {
            None => Some(Fault::Type),
            Some(text) if form::cidr(text).is_none() => {
                out_of_range("expected an address as in 10.0.0.1 or a range as in 10.0.0.0/8")
            }
            Some(_) => None,
        },
        Type::Base64 => match text {
            None => Some(Fault::Type),
            Some(text) if form::base64(text).is_none() => Some(Fault::Value(
                "not base64".into(),
                "bytes are written in base64; plain text belongs into `string`".into(),
            )),
            Some(_) => None,
        },
        Type::Enum(words) => {
            let Some(text) = text else {
                return Some(Fault::Type);
            };
            if words.iter().any(|&(word, _)| word == text) {
                return None;
            }
            let all: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
            let help = match near(text, all.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("write one of {}", all.join(", ")),
            };
            Some(Fault::Value("not one of the known words".into(), help))
        }
        Type::List(_) | Type::Map(_) | Type::Block(_) => Some(Fault::Type),
        Type::Any => None,
    }
}

/// Values that are legal and yet not what they look like, or not acted upon.
fn surprises(ty: &Type, scalar: &Scalar, span: Span, name: &str, report: &mut Report) {
    if scalar.is_octal()
        && let Some(number) = scalar.int()
    {
        report.warning(
            codes::SURPRISE,
            span,
            format!("`{name}` is {number}: {} is octal", scalar.text),
            "a leading zero makes it octal",
            format!("{number} is used, as in Kubernetes"),
            format!("write {number}"),
        );
    }
    if scalar.is_letter() && *ty == Type::Text {
        report.warning(
            codes::SURPRISE,
            span,
            format!("`{name}` is a plain {}", scalar.text),
            "Kubernetes takes it for a boolean",
            "it is read as text; Kubernetes would not take the document",
            format!("write \"{}\"", scalar.text),
        );
    }
    if let Type::Enum(words) = ty
        && words
            .iter()
            .any(|&(word, standing)| *word == *scalar.text && standing == Standing::NotYet)
    {
        report.info(
            codes::NOT_SUPPORTED,
            span,
            format!("`{name}: {}` is known but not supported yet", scalar.text),
            "nothing acts on this word",
            "the field is carried, and that is all",
        );
    }
}

fn wrong_type(ty: &Type, node: &Node, owner: Span, name: &str, report: &mut Report) {
    let (found, help) = match &node.value {
        Value::List(_) => ("a list", list_help(ty)),
        Value::Map(_) => ("a map", list_help(ty)),
        Value::Scalar(scalar) => match scalar.kind {
            Kind::Text if matches!(ty, Type::List(inner) if !matches!(**inner, Type::List(_))) => {
                ("text", format!("write a list: [{}]", scalar.text))
            }
            Kind::Text if scalar_type(ty) => ("text", "remove the quotes, or the text".into()),
            Kind::Text => ("text", String::new()),
            kind if *ty == Type::Text || matches!(ty, Type::Enum(_)) => (
                noun(kind),
                format!(
                    "Kubernetes reads a plain {} as {}; for text write \"{}\"",
                    scalar.text,
                    noun(kind),
                    scalar.text
                ),
            ),
            kind => (noun(kind), String::new()),
        },
    };
    let span = if matches!(node.value, Value::Scalar(_)) {
        node.span
    } else {
        owner
    };
    report.distrust();
    report.error(
        codes::TYPE,
        span,
        format!("`{name}` has the wrong type"),
        format!("expected {}, found {found}", wanted(ty)),
        help,
    );
}

fn list_help(ty: &Type) -> String {
    match ty {
        Type::List(_) => "begin each item with `- `".into(),
        _ => String::new(),
    }
}

fn scalar_type(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Bool | Type::Int | Type::Uint | Type::Port | Type::Number | Type::Percent
    )
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "nothing",
        Kind::Bool(_) => "a boolean",
        Kind::Float(value) if value.fract() != 0.0 => "a fraction",
        Kind::Int(_) | Kind::Float(_) => "a number",
        Kind::Text => "text",
    }
}

fn wanted(ty: &Type) -> &'static str {
    match ty {
        Type::Text | Type::Time | Type::Cidr | Type::Base64 | Type::Enum(_) => "text",
        Type::Duration { .. } => "a duration",
        Type::Bool => "true or false",
        Type::Int | Type::Uint | Type::Port => "a whole number",
        Type::Number | Type::Percent => "a number",
        Type::IntOrText => "a number or a name",
        Type::List(_) => "a list",
        Type::Map(_) | Type::Block(_) => "a map",
        Type::Any => "anything",
    }
}
