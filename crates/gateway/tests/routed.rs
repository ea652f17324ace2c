//! What a rule makes of a request, over real sockets at the addresses of the golden fixture:
//! redirects, direct responses, rewrites and header operations, a row for each case.
//!
//! An expectation is the gateway's own answer (`301 location=http://web/new`), or the target that the
//! endpoint saw (`/v1/x`); `name=value` behind it are fields, all values of a name joined by `+`:
//! of the response after a status, of the request after a target, and of the response with `<name`.
mod common;
#[path = "../../route/tests/common/mod.rs"]
mod golden;

use common::{Everywhere, Fate, Feed, Probe, captured, enclosed, parsed};
use golden::{fixture_and, objects_of};

/// Case, rule of a VirtualService for `web`, request (`Host target name: value`), expectation.
type Row = (&'static str, &'static str, &'static str, &'static str);

const ANSWERS: &[Row] = &[
    (
        "T-H-43",
        "match: [{uri: {prefix: /foo}}], redirect: {prefixRewrite: /bar}",
        "web /foo/x?q",
        "301 location=http://web/bar/x?q",
    ),
    (
        "T-H-44",
        "match: [{uri: {prefix: /foo}}], redirect: {prefixRewrite: /}",
        "web /foo/x",
        "301 location=http://web//x",
    ),
    (
        "T-H-125",
        "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, retries: {attempts: 3, retryOn: 5xx}, route: [{destination: {host: web}}]",
        "web /",
        "503 x-at=",
    ),
    (
        "T-H-40",
        "redirect: {uri: /new}",
        "web /old?q=1",
        "301 location=http://web/new?q=1",
    ),
    (
        "T-H-41",
        "redirect: {uri: '/new?z=2'}",
        "web /old?q=1",
        "301 location=http://web/new?z=2",
    ),
    (
        "T-H-42",
        "redirect: {uri: new}",
        "web /old",
        "301 location=http://web/new",
    ),
    (
        "T-H-45",
        "redirect: {authority: new.com}",
        "web /a?b",
        "301 location=http://new.com/a?b",
    ),
    (
        "T-H-46",
        "redirect: {scheme: https}",
        "web:8080 /a",
        "301 location=https://web:8080/a",
    ),
    (
        "T-H-47",
        "redirect: {scheme: https}",
        "web:80 /a",
        "301 location=https://web/a",
    ),
    (
        "T-H-48",
        "redirect: {scheme: https, port: 8443}",
        "web /a",
        "301 location=https://web:8443/a",
    ),
    (
        "T-H-49",
        "redirect: {scheme: https, port: 443}",
        "web /a",
        "301 location=https://web/a",
    ),
    (
        "T-H-50",
        "redirect: {port: 80}",
        "web:8080 /a",
        "301 location=http://web:8080/a",
    ),
    (
        "T-H-51",
        "redirect: {derivePort: FROM_REQUEST_PORT, authority: new.com}",
        "alt / @10.0.0.95:8080",
        "301 location=http://new.com:8080/",
    ),
    (
        "T-H-52",
        "redirect: {uri: /new, redirectCode: 308}",
        "web /",
        "308 location=http://web/new",
    ),
    (
        "T-H-54",
        "directResponse: {status: 418, body: {string: tea}}",
        "web /",
        "418 body=tea",
    ),
    (
        "T-H-55",
        "{directResponse: {status: 418}, headers: {response: {set: {x: '1'}}}}",
        "web /",
        "418 x=1",
    ),
    (
        "VS-H-106",
        "{redirect: {uri: /new}, headers: {response: {add: {x: '1'}}}}",
        "web /",
        "301 x=1",
    ),
    (
        "VS-H-106",
        "{route: [{destination: {host: nobody}}], headers: {response: {set: {x: '1'}}}}",
        "web /",
        "503 x=1",
    ),
];

/// All of them with a route to `api.prod` beside.
const ROUTES: &[Row] = &[
    (
        "T-H-60",
        "match: [{uri: {prefix: /r}}], rewrite: {uri: /v1/r}",
        "web /r/7?x=1",
        "/v1/r/7?x=1",
    ),
    (
        "T-H-61",
        "match: [{uri: {prefix: /r}}], rewrite: {uri: /v1}",
        "web /rX",
        "/v1X",
    ),
    (
        "T-H-62",
        "match: [{uri: {prefix: /a}}], rewrite: {uri: /}",
        "web /a/x",
        "//x",
    ),
    (
        "T-H-63",
        "match: [{uri: {prefix: /a/}}], rewrite: {uri: /}",
        "web /a/x",
        "/x",
    ),
    (
        "T-H-64",
        "match: [{uri: {exact: /a}}], rewrite: {uri: /b}",
        "web /a?q",
        "/b?q",
    ),
    (
        "T-H-65",
        "match: [{uri: {regex: '/a.*'}}], rewrite: {uri: /b}",
        "web /abc/d",
        "/b",
    ),
    ("T-H-66", "rewrite: {uri: /v1}", "web /x", "/v1x"),
    (
        "T-H-67",
        "rewrite: {uriRegexRewrite: {match: '/([a-z]+)/([0-9]+)', rewrite: '/\\2/\\1'}}",
        "web /ab/12?q",
        "/12/ab?q",
    ),
    (
        "T-H-68",
        "rewrite: {uriRegexRewrite: {match: a, rewrite: b}}",
        "web /aXa",
        "/bXb",
    ),
    (
        "T-H-69",
        "rewrite: {authority: other.com}",
        "web /",
        "/ host=other.com",
    ),
    (
        "T-H-70",
        "timeout: 20s",
        "web /",
        "/ host=web x-envoy-original-path=",
    ),
    (
        "T-H-71",
        "match: [{uri: {prefix: /r}}], rewrite: {uri: /v}",
        "web /r",
        "/v x-envoy-original-path=/r",
    ),
    (
        "T-H-74",
        "headers: {request: {add: {x: '2'}}}",
        "web / x: 1",
        "/ x=1+2",
    ),
    (
        "T-H-75",
        "headers: {request: {set: {x: '2'}}}",
        "web / x: 1",
        "/ x=2",
    ),
    (
        "T-H-76",
        "headers: {request: {remove: [x], add: {x: '2'}}}",
        "web / x: 1",
        "/ x=2",
    ),
    (
        "T-H-77",
        "headers: {request: {set: {host: h.com}}}",
        "web /",
        "/ host=h.com",
    ),
    (
        "T-H-79",
        "headers: {response: {set: {x-seen: '1'}}}",
        "web /",
        "/ <x-seen=1",
    ),
    (
        "T-H-80",
        "headers: {request: {set: {x: '50%%'}}}",
        "web /",
        "/ x=50%",
    ),
];

/// Rules whose routes are part of the case.
const LEVELS: &[Row] = &[
    (
        "T-H-129",
        "mirror: {host: nobody}, route: [{destination: {host: web}}]",
        "web /x",
        "/x <x-seen=backend",
    ),
    (
        "T-H-72",
        "headers: {request: {set: {x: rule}}}, route: [{destination: {host: web}, headers: {request: {set: {x: dest}}}}]",
        "web /",
        "/ x=dest",
    ),
    (
        "T-H-73",
        "headers: {request: {set: {x: rule}}}, route: [{destination: {host: web}, weight: 1, headers: {request: {set: {x: a}}}}, {destination: {host: web}, weight: 1, headers: {request: {set: {x: b}}}}]",
        "web /",
        "/ x=rule",
    ),
    (
        "T-H-78",
        "rewrite: {authority: a.com}, route: [{destination: {host: web}, headers: {request: {set: {host: b.com}}}}]",
        "web /",
        "/ host=a.com",
    ),
];

#[test]
fn rules_do_what_their_cases_say() {
    enclosed("rules_do_what_their_cases_say", || async {
        let mut everywhere = Everywhere::default();
        everywhere.listen([8080]);
        let (gateway, mut feed) = Feed::serve_with(captured(), "").await;
        let fixture = objects_of(&fixture_and(&["svc alt ip=10.0.0.95 ports=http:8080/http"]));
        let beside = "route: [{destination: {host: api.prod.svc.cluster.local}}]";
        let routed = ROUTES.iter().map(|&(case, rule, request, expected)| {
            (case, format!("{{{rule}, {beside}}}"), request, expected)
        });
        let levels = LEVELS.iter().map(|&(case, rule, request, expected)| {
            (case, format!("{{{rule}}}"), request, expected)
        });
        let answers = ANSWERS.iter().map(|&(case, rule, request, expected)| {
            let rule = rule
                .strip_prefix('{')
                .and_then(|it| it.strip_suffix('}'))
                .unwrap_or(rule);
            (case, format!("{{{rule}}}"), request, expected)
        });
        let mut wrong = Vec::new();
        for (case, rule, request, expected) in answers.chain(routed).chain(levels) {
            let rules = parsed(&format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: it, labels: {{case: {case}}}}}\nspec: {{hosts: [web, alt], http: [{rule}]}}\n"
            ));
            let before = gateway.progress.borrow().active;
            feed.put(vec![("base", fixture.clone()), ("rules", rules)]);
            gateway.past(before).await;
            let told = describe(&ask(request).await, expected);
            if told != expected {
                wrong.push(format!("{case} {request}: {told} instead of {expected}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// `web /path x: 1 @10.0.0.10:80`.
async fn ask(request: &str) -> Fate {
    let (request, to) = request
        .split_once(" @")
        .unwrap_or((request, golden::case::HOME));
    let mut words = request.splitn(3, ' ');
    let (host, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let field = words.next().and_then(|it| it.split_once(": "));
    let fields: Vec<_> = [("host", host)].into_iter().chain(field).collect();
    Probe::request("GET", target, &fields)
        .send(to.parse().expect("an address"))
        .await
}

/// What happened, in as many words as the expectation has.
fn describe(fate: &Fate, expected: &str) -> String {
    let (first, head, response) = match fate {
        Fate::Answer(response) => (response.status.to_string(), "", response),
        Fate::Backend(_, head, response) => (
            head.split(' ').nth(1).unwrap_or_default().to_owned(),
            head.as_str(),
            response,
        ),
        other => return format!("{other:?}"),
    };
    let sent = |name: &str| -> Vec<String> {
        let fields = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let own = fields.filter(|(it, _)| it.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.to_owned()).collect()
    };
    let mut words = vec![first];
    for word in expected.split(' ').skip(1) {
        let (name, _) = word.split_once('=').expect("name=value");
        let values = match (name, name.strip_prefix('<')) {
            ("body", _) => vec![response.text()],
            (_, Some(name)) => response.values(name).map(str::to_owned).collect(),
            (name, None) if head.is_empty() => response.values(name).map(str::to_owned).collect(),
            (name, None) => sent(name),
        };
        words.push(format!("{name}={}", values.join("+")));
    }
    words.join(" ")
}
