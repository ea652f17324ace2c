//! Where a redirect sends the client (VS-H-40..49).
use pointsman_model::action::Redirect;
use std::fmt::Write as _;

/// What a redirect takes from the request.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// How the request came: `http` or `https`.
    pub scheme: &'a str,
    /// `Host` or `:authority`, port included; may be empty.
    pub authority: &'a str,
    /// The normalised path.
    pub path: &'a str,
    /// Raw query without the `?`.
    pub query: Option<&'a str>,
    /// Bytes of the path that the rule's prefix matched.
    pub matched: usize,
    /// The port the client dialled; on a gateway the number of the server (VS-H-45).
    pub port: u16,
}

/// The `Location` of `httpsRedirect` (GW-50): the authority as received, its port included. `None`
/// where the request names none.
pub fn https_location(authority: &str, path: &str, query: Option<&str>) -> Option<String> {
    let path = in_location(path);
    (!authority.is_empty()).then(|| match query {
        Some(query) => format!("https://{authority}{path}?{query}"),
        None => format!("https://{authority}{path}"),
    })
}

/// The `Location` of a redirect. `None` where it would be relative, as neither the request nor the rule
/// names a host, and another scheme or port is asked for: it would lead back here.
pub fn location(redirect: &Redirect, received: &Received<'_>) -> Option<String> {
    let came_by = received.scheme;
    let scheme = redirect.scheme.as_deref().unwrap_or(came_by);
    let default_port = |scheme: &str| if scheme == "https" { 443 } else { 80 };
    let (name, own_port) = split_port(received.authority);
    let name = redirect.authority.as_deref().unwrap_or(name);
    // An explicit port that is the scheme's default says nothing (VS-H-44).
    let explicit = redirect.port.filter(|&port| port != default_port(scheme));
    let port = match (explicit, redirect.port_from_request) {
        (Some(port), _) => Some(port),
        (None, Some(true)) => Some(received.port).filter(|&port| port != default_port(scheme)),
        (None, Some(false)) => None,
        (None, None) if redirect.authority.is_some() => None,
        // The Host's own port stays, unless it is the default of the scheme that is left (VS-H-46).
        (None, None) => own_port.filter(|&port| scheme == came_by || port != default_port(came_by)),
    };
    let mut location = String::new();
    // Without a host it is relative: a URI of HTTP must not have an empty one (RFC 9110 section 4.2.1).
    if name.is_empty() {
        if scheme != came_by || redirect.port.is_some() {
            return None;
        }
    } else {
        let _ = write!(location, "{scheme}://{name}");
        if let Some(port) = port {
            let _ = write!(location, ":{port}");
        }
    }
    let path = in_location(received.path);
    match (&redirect.uri, &redirect.prefix_rewrite) {
        (Some(uri), _) => {
            if !uri.starts_with('/') {
                location.push('/');
            }
            location.push_str(uri);
        }
        (None, Some(prefix)) => {
            location.push_str(prefix);
            location.push_str(path.get(received.matched..).unwrap_or_default());
        }
        (None, None) => location.push_str(path),
    }
    // Two slashes in front would name a host (RFC 3986 section 4.2).
    if name.is_empty() && location.starts_with("//") {
        location.insert_str(0, "/.");
    }
    let has_query = redirect.uri.as_deref().is_some_and(|uri| uri.contains('?'));
    if let Some(query) = received.query.filter(|_| !has_query) {
        location.push('?');
        location.push_str(query);
    }
    Some(location)
}

/// The path of a URI: `*` of OPTIONS is none, and would become part of the host's name.
fn in_location(path: &str) -> &str {
    if path.starts_with('/') { path } else { "/" }
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
        // (rule, redirect, host, path, query, matched prefix, dialled port, location); T-H-40..51.
        type Edit = fn(&mut Redirect);
        type Case<'a> = (
            &'a str,
            Edit,
            &'a str,
            &'a str,
            Option<&'a str>,
            usize,
            u16,
            &'a str,
        );
        #[rustfmt::skip]
        let cases: [Case<'_>; 29] = [
            ("VS-H-40", |r| r.uri = Some("/new".into()), "web", "/old", Some("q=1"), 0, 80, "http://web/new?q=1"),
            ("VS-H-40", |r| r.uri = Some("/new?z=2".into()), "web", "/old", Some("q=1"), 0, 80, "http://web/new?z=2"),
            ("VS-H-40", |r| r.uri = Some("new".into()), "web", "/old", None, 0, 80, "http://web/new"),
            ("VS-H-41", |r| r.prefix_rewrite = Some("/bar".into()), "web", "/foo/x", Some("q"), 4, 80, "http://web/bar/x?q"),
            ("VS-H-41", |r| r.prefix_rewrite = Some("/".into()), "web", "/foo/baz", None, 4, 80, "http://web//baz"),
            ("VS-H-42", |r| r.authority = Some("new.com".into()), "web:8080", "/a", Some("b"), 0, 80, "http://new.com/a?b"),
            ("VS-H-42", |r| r.uri = Some("/new".into()), "", "/old", Some("q=1"), 0, 80, "/new?q=1"),
            ("VS-H-42", |r| r.scheme = Some("http".into()), "", "//evil.example/x", Some("q"), 0, 80, "/.//evil.example/x?q"),
            ("VS-H-42", |r| r.prefix_rewrite = Some("/".into()), "", "/a/x", None, 2, 80, "/.//x"),
            ("VS-H-42", |r| r.prefix_rewrite = Some("/".into()), "web", "/a/x", None, 2, 80, "http://web//x"),
            ("VS-H-43", |r| r.scheme = Some("https".into()), "web", "/a", None, 0, 80, "https://web/a"),
            ("VS-H-43", |r| r.scheme = Some("https".into()), "web", "*", None, 1, 80, "https://web/"),
            ("VS-H-43", |r| r.scheme = Some("https".into()), "web:81", "*", None, 1, 80, "https://web:81/"),
            ("VS-H-42", |r| r.authority = Some("new.com".into()), "web", "*", None, 0, 80, "http://new.com/"),
            ("VS-H-41", |r| r.prefix_rewrite = Some("/bar".into()), "web", "*", None, 1, 80, "http://web/bar"),
            ("VS-H-44", |r| { r.scheme = Some("https".into()); r.port = Some(8443); }, "web", "/a", None, 0, 80, "https://web:8443/a"),
            ("VS-H-44", |r| { r.scheme = Some("https".into()); r.port = Some(443); }, "web", "/a", None, 0, 80, "https://web/a"),
            ("VS-H-44", |r| { r.scheme = Some("https".into()); r.port = Some(80); }, "web", "/a", None, 0, 80, "https://web:80/a"),
            ("VS-H-44", |r| { r.authority = Some("new.com".into()); r.port = Some(80); }, "web", "/a", None, 0, 8080, "http://new.com/a"),
            ("VS-H-44", |r| r.port = Some(80), "web:8080", "/a", None, 0, 80, "http://web:8080/a"),
            ("VS-H-45", |r| { r.authority = Some("new.com".into()); r.port_from_request = Some(true); }, "web", "/", None, 0, 8080, "http://new.com:8080/"),
            ("VS-H-45", |r| { r.authority = Some("new.com".into()); r.port_from_request = Some(true); }, "web", "/", None, 0, 80, "http://new.com/"),
            ("VS-H-45", |r| r.port_from_request = Some(true), "web:9999", "/", None, 0, 8080, "http://web:8080/"),
            ("VS-H-45", |r| r.port_from_request = Some(false), "web:8080", "/", None, 0, 8080, "http://web/"),
            ("VS-H-46", |r| r.uri = Some("/new".into()), "web:8080", "/old", None, 0, 80, "http://web:8080/new"),
            ("VS-H-46", |r| r.scheme = Some("https".into()), "web:8080", "/a", None, 0, 80, "https://web:8080/a"),
            ("VS-H-46", |r| r.scheme = Some("https".into()), "web:80", "/a", None, 0, 80, "https://web/a"),
            ("VS-H-46", |r| r.scheme = Some("http".into()), "web:80", "/a", None, 0, 80, "http://web:80/a"),
            ("VS-H-46", |r| r.scheme = Some("https".into()), "[fd00::1]:80", "/a", None, 0, 80, "https://[fd00::1]/a"),
        ];
        for (rule, edit, host, path, query, matched, port, expected) in cases {
            let redirect = redirect(edit);
            let received = Received {
                scheme: "http",
                authority: host,
                path,
                query,
                matched,
                port,
            };
            assert_eq!(
                location(&redirect, &received).as_deref(),
                Some(expected),
                "{rule}: {redirect:?}"
            );
        }
    }

    /// GW-50.
    #[test]
    fn the_whole_server_is_no_part_of_a_host() {
        let location = |path| https_location("web:80", path, None);
        assert_eq!(location("*").as_deref(), Some("https://web:80/"));
        assert_eq!(location("/a").as_deref(), Some("https://web:80/a"));
    }

    /// VS-H-42.
    #[test]
    fn without_a_host_nobody_is_sent_to_another_scheme_or_port() {
        let received = Received {
            scheme: "http",
            authority: "",
            path: "/a",
            query: None,
            matched: 0,
            port: 80,
        };
        let to_https = redirect(|it| it.scheme = Some("https".into()));
        assert_eq!(location(&to_https, &received), None);
        assert_eq!(
            location(&redirect(|it| it.port = Some(8443)), &received),
            None
        );
        let named = redirect(|it| {
            it.scheme = Some("https".into());
            it.authority = Some("new.com".into());
        });
        assert_eq!(
            location(&named, &received).as_deref(),
            Some("https://new.com/a")
        );
    }
}
