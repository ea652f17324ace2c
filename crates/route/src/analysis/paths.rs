//! Conditions on `uri` that no path can satisfy, for paths are normalised before they are compared
//! (PS-80, VS-H-20). Patterns are left alone.
use crate::{
    compile::Findings,
    normalization,
    traffic::{is_path, is_path_byte},
};
use pointsman_model::{
    ClientContext, Finding, Level, PathNormalization, World, matches::StringMatch,
};
use pointsman_wire::path::normalize;

use super::codes::PATH_OF_NO_REQUEST;

/// What may stand behind a prefix that ends inside a segment of dots, or inside an escape. Of these
/// one makes a path of it, if anything does.
const TAILS: [&str; 5] = ["", "x", "0", "B", "25"];

pub(super) fn check(world: &World, context: &ClientContext, findings: &mut Findings) {
    let mode = context.path_normalization;
    for service in world.virtual_services.values() {
        for rule in &service.http {
            for one in &rule.matches {
                let Some((verb, text, cause)) = one.uri.as_ref().and_then(|it| never(it, mode))
                else {
                    continue;
                };
                let (effect, help) = cause.told(text, mode);
                findings.push(
                    Finding::new(
                        PATH_OF_NO_REQUEST,
                        Level::Warning,
                        format!(
                            "no path can {verb} `{text}`: this match of rule {} takes nothing",
                            rule.number()
                        ),
                    )
                    .of(&service.meta.key)
                    .at(&one.place)
                    .effect(effect)
                    .help(help),
                );
            }
        }
    }
}

/// Why no path is like that.
#[derive(Clone, Copy)]
enum Cause {
    Start,
    Query,
    Byte,
    Escape,
    NotNormal,
}

/// Whether it is to be that text or to begin with it, and why none does. Letter case plays no role:
/// whatever is normalised in one is so in the other.
fn never(uri: &StringMatch, mode: PathNormalization) -> Option<(&'static str, &str, Cause)> {
    let (verb, text, tails) = match uri {
        StringMatch::Exact(text) => ("be", &**text, TAILS.get(..1).unwrap_or_default()),
        StringMatch::Prefix(text) => ("begin with", &**text, TAILS.as_slice()),
        StringMatch::Regex(_) | StringMatch::Present => return None,
    };
    let mode = normalization(mode);
    let whole = || tails.iter().map(|tail| format!("{text}{tail}"));
    // Without any text a prefix takes everything (VS-H-19), and CONNECT has no path.
    if text.is_empty() || whole().any(|path| is_path(&path, mode)) {
        return None;
    }
    let cause = match text.bytes().find(|byte| !is_path_byte(*byte)) {
        _ if !text.starts_with('/') => Cause::Start,
        Some(b'?') => Cause::Query,
        Some(_) => Cause::Byte,
        None if whole().all(|path| normalize(&path, mode).is_err()) => Cause::Escape,
        None => Cause::NotNormal,
    };
    Some((verb, text, cause))
}

impl Cause {
    /// Effect and help.
    fn told(self, text: &str, mode: PathNormalization) -> (String, String) {
        let (effect, help) = match self {
            Self::Start => ("paths begin with `/`", format!("write `/{text}`")),
            Self::Query => (
                "paths are compared without their query",
                "say in `queryParams` what stands behind the `?`".to_owned(),
            ),
            Self::Byte => (
                "no path has such a character",
                "write it escaped, as clients send it: `%20` for a blank".to_owned(),
            ),
            Self::Escape => (
                "requests with such an escape are answered 400",
                "two hexadecimal digits, not 00, stand behind a `%`, which itself is `%25`"
                    .to_owned(),
            ),
            Self::NotNormal => {
                let effect = format!(
                    "paths are normalised before they are compared; `pathNormalization` is {}",
                    mode.as_str()
                );
                // An escape may be cut off at the end of a prefix.
                let help = match normalize(text, normalization(mode)) {
                    Ok(normal) => format!("write `{normal}`"),
                    Err(_) => "write it as it is then".to_owned(),
                };
                return (effect, help);
            }
        };
        (effect.to_owned(), help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None as Unchanged};
    use proptest::prelude::*;

    const MODES: [PathNormalization; 4] = [Unchanged, Base, MergeSlashes, DecodeAndMergeSlashes];

    fn sent() -> impl Strategy<Value = String> {
        let pieces = vec![
            "/", "//", "\\", ".", "..", ";", "a", "%", "%2e", "%2F", "%5c", "%6", "%61", "%3",
            "%7", "%0", "%00", "0", "B", "<", "*",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..8)
            .prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

        /// PS-80, VS-H-20.
        #[test]
        fn what_a_path_can_be_and_begin_with_is_not_told(sent in sent()) {
            for mode in MODES {
                let Ok(path) = normalize(&sent, normalization(mode)) else {
                    continue;
                };
                let exact = StringMatch::Exact(path.as_ref().into());
                prop_assert!(never(&exact, mode).is_none(), "{path} {mode:?}");
                for end in 0..=path.len() {
                    let prefix = StringMatch::Prefix(path[..end].into());
                    prop_assert!(never(&prefix, mode).is_none(), "{prefix:?} {mode:?}");
                }
            }
        }
    }
}
