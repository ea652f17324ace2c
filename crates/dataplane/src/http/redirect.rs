//! Rules that answer by themselves: redirects (VS-H-40..49) and direct responses (VS-H-50..52).
use super::{RequestFacts, decide::Levels, rewrite};
use pointsman_model::action::{DirectResponse, Redirect};
use pointsman_wire::http1::{LocalResponse, RequestHead, RequestKind, write_local_response};
use std::{fmt::Write as _, net::SocketAddr};

/// The `Location` of a redirect. `matched` is the length of the matched prefix of `path`.
pub(crate) fn location(
    redirect: &Redirect,
    head: &RequestHead<'_>,
    path: &str,
    matched: usize,
    original: SocketAddr,
) -> String {
    build(
        redirect,
        head.host.unwrap_or_default(),
        path,
        head.query,
        matched,
        original.port(),
    )
}

fn build(
    redirect: &Redirect,
    host: &str,
    path: &str,
    query: Option<&str>,
    matched: usize,
    listener_port: u16,
) -> String {
    // TLS is not terminated yet: what arrives here came in clear text.
    let came_by = "http";
    let scheme = redirect.scheme.as_deref().unwrap_or(came_by);
    let default_port = |scheme: &str| if scheme == "https" { 443 } else { 80 };
    let (name, own_port) = split_port(host);
    let name = redirect.authority.as_deref().unwrap_or(name);
    // An explicit port that is the scheme's default says nothing (VS-H-44).
    let explicit = redirect.port.filter(|&port| port != default_port(scheme));
    let port = match (explicit, redirect.port_from_request) {
        (Some(port), _) => Some(port),
        (None, Some(true)) => Some(listener_port).filter(|&port| port != default_port(scheme)),
        (None, Some(false)) => None,
        (None, None) if redirect.authority.is_some() => None,
        // The Host's own port stays, unless it is the default of the scheme that is left (VS-H-46).
        (None, None) => own_port.filter(|&port| scheme == came_by || port != default_port(came_by)),
    };
    let mut location = format!("{scheme}://{name}");
    if let Some(port) = port {
        let _ = write!(location, ":{port}");
    }
    match (&redirect.uri, &redirect.prefix_rewrite) {
        (Some(uri), _) => {
            if !uri.starts_with('/') {
                location.push('/');
            }
            location.push_str(uri);
        }
        (None, Some(prefix)) => {
            location.push_str(prefix);
            location.push_str(path.get(matched..).unwrap_or_default());
        }
        (None, None) => location.push_str(path),
    }
    let has_query = redirect.uri.as_deref().is_some_and(|uri| uri.contains('?'));
    if let Some(query) = query.filter(|_| !has_query) {
        location.push('?');
        location.push_str(query);
    }
    location
}

/// Host and port of an authority; brackets of an IPv6 literal stay.
fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse().ok())
        }
        _ => (host, None),
    }
}

/// Appends a redirect.
pub(crate) fn write(
    out: &mut Vec<u8>,
    status: u16,
    location: &str,
    levels: &Levels<'_>,
    facts: &RequestFacts,
    keep_alive: bool,
) {
    respond(
        out,
        status,
        &[("location", location)],
        &[],
        levels,
        facts,
        keep_alive,
    );
}

/// Appends a direct response.
pub(crate) fn write_direct(
    out: &mut Vec<u8>,
    response: &DirectResponse,
    levels: &Levels<'_>,
    facts: &RequestFacts,
    keep_alive: bool,
) {
    let text: &[(&str, &str)] = if response.body_is_text {
        &[("content-type", "text/plain")]
    } else {
        &[]
    };
    respond(
        out,
        response.status,
        text,
        &response.body,
        levels,
        facts,
        keep_alive,
    );
}

fn respond(
    out: &mut Vec<u8>,
    status: u16,
    own: &[(&str, &str)],
    body: &[u8],
    levels: &Levels<'_>,
    facts: &RequestFacts,
    keep_alive: bool,
) {
    let (drop, extra) =
        rewrite::operations(levels.iter().copied(), own.iter().map(|&(name, _)| name));
    let kept = own
        .iter()
        .enumerate()
        .filter(|&(index, _)| !drop.contains(index))
        .map(|(_, &field)| field);
    let added = extra
        .iter()
        .filter_map(|&(name, value)| Some((name, std::str::from_utf8(value).ok()?)));
    let fields: Vec<(&str, &str)> = kept.chain(added).collect();
    write_local_response(
        out,
        &LocalResponse {
            status,
            fields: &fields,
            body,
            keep_alive,
            to: facts.version,
            head_only: facts.kind == RequestKind::Head,
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(edit: impl FnOnce(&mut Redirect)) -> Redirect {
        let mut redirect = Redirect {
            code: 301,
            ..Redirect::default()
        };
        edit(&mut redirect);
        redirect
    }

    #[test]
    fn locations_are_built_as_the_rule_says() {
        // (redirect, host, path, query, matched prefix, listener port, location); T-H-40..51.
        let cases = [
            (
                redirect(|r| r.uri = Some("/new".into())),
                "web",
                "/old",
                Some("q=1"),
                0,
                80,
                "http://web/new?q=1",
            ),
            (
                redirect(|r| r.uri = Some("/new?z=2".into())),
                "web",
                "/old",
                Some("q=1"),
                0,
                80,
                "http://web/new?z=2",
            ),
            (
                redirect(|r| r.uri = Some("new".into())),
                "web",
                "/old",
                None,
                0,
                80,
                "http://web/new",
            ),
            (
                redirect(|r| r.prefix_rewrite = Some("/bar".into())),
                "web",
                "/foo/x",
                Some("q"),
                4,
                80,
                "http://web/bar/x?q",
            ),
            (
                redirect(|r| r.prefix_rewrite = Some("/".into())),
                "web",
                "/foo/x",
                None,
                4,
                80,
                "http://web//x",
            ),
            (
                redirect(|r| r.authority = Some("new.com".into())),
                "web",
                "/a",
                Some("b"),
                0,
                80,
                "http://new.com/a?b",
            ),
            (
                redirect(|r| r.scheme = Some("https".into())),
                "web:8080",
                "/a",
                None,
                0,
                80,
                "https://web:8080/a",
            ),
            (
                redirect(|r| r.scheme = Some("https".into())),
                "web:80",
                "/a",
                None,
                0,
                80,
                "https://web/a",
            ),
            (
                redirect(|r| {
                    r.scheme = Some("https".into());
                    r.port = Some(8443);
                }),
                "web",
                "/a",
                None,
                0,
                80,
                "https://web:8443/a",
            ),
            (
                redirect(|r| {
                    r.scheme = Some("https".into());
                    r.port = Some(443);
                }),
                "web",
                "/a",
                None,
                0,
                80,
                "https://web/a",
            ),
            (
                redirect(|r| r.port = Some(80)),
                "web:8080",
                "/a",
                None,
                0,
                80,
                "http://web:8080/a",
            ),
            (
                redirect(|r| {
                    r.authority = Some("new.com".into());
                    r.port_from_request = Some(true);
                }),
                "web",
                "/",
                None,
                0,
                8080,
                "http://new.com:8080/",
            ),
            (
                redirect(|r| r.scheme = Some("https".into())),
                "[fd00::1]:80",
                "/a",
                None,
                0,
                80,
                "https://[fd00::1]/a",
            ),
        ];
        for (redirect, host, path, query, matched, port, expected) in cases {
            assert_eq!(
                build(&redirect, host, path, query, matched, port),
                expected,
                "{redirect:?}"
            );
        }
    }
}
