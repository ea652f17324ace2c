//! Merging the matches of a rule that delegates with those of a delegate's rule (VS-H-113..117).
use pointsman_model::matches::{ClientMatch, HttpMatch, StringMatch};
use std::sync::Arc;

/// All compatible pairs, the delegate's matches outside (VS-H-113).
///
/// # Errors
/// A match of the delegate that no match of the root is compatible with: the whole rule is dropped
/// (VS-H-114).
pub(crate) fn matches<'m>(
    root: &[HttpMatch],
    delegate: &'m [HttpMatch],
) -> Result<Vec<HttpMatch>, Option<&'m HttpMatch>> {
    if root.is_empty() {
        return Ok(delegate.to_vec());
    }
    if delegate.is_empty() {
        return Ok(root.to_vec());
    }
    let mut merged = Vec::with_capacity(delegate.len());
    for own in delegate {
        let before = merged.len();
        merged.extend(
            root.iter()
                .filter(|root| compatible(root, own))
                .map(|root| one(root, own)),
        );
        if merged.len() == before {
            return Err(Some(own));
        }
    }
    Ok(merged)
}

/// `root-delegate`, or the one there is (VS-H-115).
pub(crate) fn name(root: &Option<Arc<str>>, own: &Option<Arc<str>>) -> Option<Arc<str>> {
    match (root, own) {
        (Some(root), Some(own)) => Some(format!("{root}-{own}").into()),
        (root, own) => own.clone().or_else(|| root.clone()),
    }
}

/// VS-H-116. The caller knows that the two are compatible.
fn one(root: &HttpMatch, own: &HttpMatch) -> HttpMatch {
    let text = |root: &Option<StringMatch>, own: &Option<StringMatch>| {
        own.as_ref().or(root.as_ref()).cloned()
    };
    let (client, above) = (&own.client, &root.client);
    let mut source_labels = above.source_labels.clone();
    source_labels.extend(client.source_labels.clone());
    HttpMatch {
        name: name(&root.name, &own.name),
        uri: text(&root.uri, &own.uri),
        ignore_uri_case: own.ignore_uri_case,
        scheme: text(&root.scheme, &own.scheme),
        method: text(&root.method, &own.method),
        authority: text(&root.authority, &own.authority),
        headers: union(&root.headers, &own.headers),
        without_headers: union(&root.without_headers, &own.without_headers),
        query: union(&root.query, &own.query),
        client: ClientMatch {
            port: client.port.or(above.port),
            source_labels,
            source_namespace: client
                .source_namespace
                .clone()
                .or_else(|| above.source_namespace.clone()),
            gateways: if client.gateways.is_empty() {
                above.gateways.clone()
            } else {
                client.gateways.clone()
            },
        },
        place: own.place.clone(),
    }
}

type Keyed = [(Arc<str>, StringMatch)];

fn union(root: &Keyed, own: &Keyed) -> Vec<(Arc<str>, StringMatch)> {
    let inherited = root
        .iter()
        .filter(|(name, _)| own.iter().all(|(other, _)| other != name));
    own.iter().chain(inherited).cloned().collect()
}

/// VS-H-117.
fn compatible(root: &HttpMatch, own: &HttpMatch) -> bool {
    let (above, client) = (&root.client, &own.client);
    narrows(root.uri.as_ref(), own.uri.as_ref())
        && narrows(root.scheme.as_ref(), own.scheme.as_ref())
        && narrows(root.method.as_ref(), own.method.as_ref())
        && narrows(root.authority.as_ref(), own.authority.as_ref())
        && all_narrow(&root.headers, &own.headers)
        && all_narrow(&root.without_headers, &own.without_headers)
        && all_narrow(&root.query, &own.query)
        && root.ignore_uri_case == own.ignore_uri_case
        && (above.port.is_none() || client.port.is_none() || above.port == client.port)
        // Also where only the root names one: a quirk of the model that is kept, since documents
        // that work here must work there.
        && (above.source_namespace.is_none() || above.source_namespace == client.source_namespace)
        && client.source_labels.iter().all(|(key, value)| {
            above.source_labels.get(key).is_none_or(|own| own == value)
        })
        && (above.gateways.is_empty()
            || client.gateways.iter().all(|it| above.gateways.contains(it)))
}

fn all_narrow(root: &Keyed, own: &Keyed) -> bool {
    own.iter().all(|(name, text)| {
        let above = root.iter().find(|(other, _)| other == name);
        narrows(above.map(|(_, text)| text), Some(text))
    })
}

/// Is the delegate's text at least as narrow as the root's? Patterns cannot be compared, so beside
/// anything else they are a conflict.
fn narrows(root: Option<&StringMatch>, own: Option<&StringMatch>) -> bool {
    use StringMatch::{Exact, Prefix, Present};
    let (Some(root), Some(own)) = (root, own) else {
        return true;
    };
    match (root, own) {
        // Presence asks for less than every value, and adds nothing to any.
        (Present, _) => true,
        (Exact(root), Exact(own)) => root == own,
        (Prefix(root), Prefix(own) | Exact(own)) => own.starts_with(&**root),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of VS-H-117, text by text.
    #[test]
    fn texts_narrow() {
        let exact = |text: &str| Some(StringMatch::Exact(text.into()));
        let prefix = |text: &str| Some(StringMatch::Prefix(text.into()));
        let regex = |text: &str| Some(StringMatch::Regex(text.into()));
        let present = || Some(StringMatch::Present);
        let cases = [
            (None, exact("/a"), true),
            (exact("/a"), None, true),
            (regex("/a.*"), None, true),
            (exact("/a"), exact("/a"), true),
            (exact("/a"), exact("/ab"), false),
            (exact("/a"), prefix("/a"), false),
            (exact("/a"), regex("/a"), false),
            (exact("/a"), present(), false),
            (prefix("/a"), prefix("/a"), true),
            (prefix("/a"), prefix("/ab"), true),
            (prefix("/a"), exact("/a/b"), true),
            (prefix("/a/b"), prefix("/a"), false),
            (prefix("/a"), exact("/b"), false),
            (prefix("/a"), prefix(""), false),
            (prefix(""), prefix("/a"), true),
            (prefix("/a"), regex("/a"), false),
            (prefix("/a"), present(), false),
            (regex("/a"), regex("/a"), false),
            (regex("/a"), exact("/a"), false),
            (present(), exact("a"), true),
            (present(), present(), true),
        ];
        for (root, own, expected) in cases {
            let actual = narrows(root.as_ref(), own.as_ref());
            assert_eq!(actual, expected, "{root:?} {own:?}");
        }
    }
}
