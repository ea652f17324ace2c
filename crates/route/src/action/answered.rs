//! The fields of an answer of the gateway's own, as its rule changes them.
use super::{
    made::Facts,
    rewrite::{Extra, Levels, operations},
};
use pointsman_wire::grpc::Dialect;

/// The fields that the answer has by itself, after these operations (VS-H-106). Of `content-type` one is
/// told: gRPC's, as the status beside it is read by that; else what the rule says; else the answer's own,
/// which cannot be removed, as clients would guess (VS-H-51).
pub fn answered<'a>(
    own: &[(&'a str, &'a str)],
    levels: &Levels<'a>,
    facts: &impl Facts,
) -> Extra<'a> {
    let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
    let mut left_out = Vec::new();
    let names = own.iter().map(|&(name, _)| name);
    let mut extra = operations(levels, names, facts, |index| left_out.push(index));
    if own
        .iter()
        .any(|(name, value)| is_type(name) && is_grpc(value))
    {
        extra.retain(|(name, _)| !is_type(name));
    }
    let typed = extra.iter().any(|(name, _)| is_type(name));
    let kept = own.iter().enumerate().filter(|(index, (name, _))| {
        if is_type(name) {
            !typed
        } else {
            !left_out.contains(index)
        }
    });
    let kept = kept.map(|(_, &(name, value))| (name, value.as_bytes().into()));
    kept.chain(extra).collect()
}

fn is_grpc(content_type: &str) -> bool {
    Dialect::of(content_type.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::{super::Nothing, *};
    use pointsman_model::action::FieldOps;

    /// VS-H-51.
    #[test]
    fn one_content_type_is_told() {
        let html = || vec![("Content-Type".into(), "text/html".into())];
        let set = FieldOps {
            set: html(),
            ..FieldOps::default()
        };
        let add = FieldOps {
            add: html(),
            ..FieldOps::default()
        };
        let remove = FieldOps {
            remove: vec!["content-type".into(), "x-own".into()],
            ..FieldOps::default()
        };
        let told = |kind: &str, operations: &FieldOps| {
            let own = [("content-type", kind), ("x-own", "1")];
            let levels = Levels::of([operations], 1);
            let told = answered(&own, &levels, &Nothing).into_iter();
            told.map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
                .collect::<Vec<_>>()
        };
        for operations in [&set, &add] {
            assert_eq!(told("text/plain", operations), ["1", "text/html"]);
            assert_eq!(
                told("application/grpc", operations),
                ["application/grpc", "1"]
            );
        }
        assert_eq!(told("text/plain", &remove), ["text/plain"]);
    }
}
