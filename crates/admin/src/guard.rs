//! Keeps web pages that a user happens to visit from using the user's browser against us.
//!
//! A page can make a browser connect to a loopback address. It can read the answer if its own name
//! resolves to that address (DNS rebinding), and it can cause changes without reading anything
//! (cross-site request forgery). The browser tells on it both times: in Host and in Origin.
use crate::page::Reply;
use hyper::{
    HeaderMap, Method, StatusCode, Uri, Version,
    header::{self, HeaderName},
    http::uri::Authority,
};
use std::net::IpAddr;

/// `None`: let it pass. `loopback`: the socket listens on a loopback address, so that only names
/// of this machine are right.
pub(crate) fn refuse(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    loopback: bool,
) -> Option<Reply> {
    let host = match single(headers, &header::HOST) {
        Ok(host) => host,
        Err(()) => return Some(refusal(StatusCode::BAD_REQUEST, "More than one Host.")),
    };
    // RFC 9112 section 3.2. Browsers do not speak HTTP/1.0, simple probes do.
    if host.is_none() && version != Version::HTTP_10 {
        return Some(refusal(StatusCode::BAD_REQUEST, "The Host is missing."));
    }
    if loopback {
        let named = host.is_none_or(|host| host.parse().is_ok_and(|a| is_loopback(&a)));
        if !named || !uri.authority().is_none_or(is_loopback) {
            return Some(refusal(
                StatusCode::FORBIDDEN,
                "This address answers to localhost and loopback addresses only; check the Host.",
            ));
        }
    }
    let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe {
        let same = match single(headers, &header::ORIGIN) {
            Ok(None) => true, // not a browser
            Ok(Some(origin)) => host.is_some_and(|host| {
                origin
                    .strip_prefix("http://")
                    .is_some_and(|origin| origin.eq_ignore_ascii_case(host))
            }),
            Err(()) => false,
        };
        if !same {
            return Some(refusal(
                StatusCode::FORBIDDEN,
                "Requests that change something are not taken from other sites; check the Origin.",
            ));
        }
    }
    None
}

fn refusal(status: StatusCode, sentence: &str) -> Reply {
    Reply::text(status, format!("{sentence}\n"))
}

/// The value of a field that may come once. A value that is not text is an empty one: it matches
/// nothing.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(());
    }
    Ok(first.map(|value| value.to_str().unwrap_or_default()))
}

fn is_loopback(authority: &Authority) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, target: &str, fields: &[(&str, &str)]) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let uri = target.parse().expect("a target");
        refuse(&method, &uri, Version::HTTP_11, &headers, true).map(|r| r.status.as_u16())
    }

    #[test]
    fn only_names_of_this_machine_are_right_on_loopback() {
        for host in [
            "localhost",
            "LOCALHOST:15000",
            "127.0.0.1:15000",
            "127.77.0.1",
            "[::1]:15000",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(status(Method::GET, "/", &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:15000",
            "localhost@evil.example",
            "evil.example@localhost",
            "10.0.0.1",
            "0.0.0.0",
            "",
            "local host",
        ] {
            let got = status(Method::GET, "/", &[("host", host)]);
            assert_eq!(got, Some(403), "{host:?}");
        }
    }

    #[test]
    fn host_comes_once_and_the_absolute_form_is_checked_too() {
        assert_eq!(status(Method::GET, "/", &[]), Some(400));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(status(Method::GET, "/", &twice), Some(400));
        let target = "http://evil.example/";
        assert_eq!(
            status(Method::GET, target, &[("host", "localhost")]),
            Some(403)
        );
    }

    #[test]
    fn changes_come_from_the_same_origin_or_from_no_browser() {
        let host = ("host", "localhost:15000");
        let post = |origin| status(Method::POST, "/", &[host, ("origin", origin)]);
        assert_eq!(status(Method::POST, "/", &[host]), None);
        assert_eq!(post("http://localhost:15000"), None);
        for origin in ["http://evil.example", "null", "http://localhost:3000", ""] {
            assert_eq!(post(origin), Some(403), "{origin:?}");
        }
        // Reading is what Host protects.
        let get = status(Method::GET, "/", &[host, ("origin", "http://evil.example")]);
        assert_eq!(get, None);
    }
}
