//! What is counted: the steps of a request that do no I/O, with the bytes of the side-by-side rows.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use pointsman_benches::traffic::{HTTP_HOST, realistic_request, small_request};
use pointsman_model::action::{FieldOps, Rewrite};
use pointsman_model::matches::StringMatch;
use pointsman_model::{ClientContext, HttpAction, Object, VirtualService, World};
use pointsman_route::action::{self, Incoming, Nothing};
use pointsman_route::{
    Class, Connection, ConnectionDecision, Fields, Matched, NoTrace, Request, RequestDecision,
    Table,
};
use pointsman_wire::http1::{
    BodyLength, ChunkDecoder, ChunkEvent, ChunkLimits, ConnectionOption, FieldSet, HeadLimits,
    RequestHead, RequestKind, RequestRewrite, Version, field_slots, parse_request, parse_response,
    write_chunk_header, write_request, write_response,
};
use pointsman_wire::http2;
use pointsman_wire::path::{self, Normalization};

use crate::world;

/// One thing that is counted.
pub(crate) struct Case {
    /// Its name in the baseline.
    pub(crate) name: &'static str,
    /// Everything that is not counted; gives what is.
    pub(crate) prepare: fn() -> Box<dyn FnMut()>,
}

pub(crate) const CASES: &[Case] = &[
    case("read-small", || read(small_request(HTTP_HOST))),
    case("read-realistic", || read(realistic_request(HTTP_HOST))),
    case("read-response", read_answer),
    case("write-realistic", write_unchanged),
    case("write-operations", write_changed),
    case("write-response", write_answer),
    case("chunks-read", chunks_read),
    case("chunks-write", chunks_write),
    case("route-host", || route(world::world(1_000), 500, "/")),
    case("route-rules-1", || route_rules(1)),
    case("route-rules-10", || route_rules(10)),
    case("route-rules-100", || route_rules(100)),
    case("route-headers-100", route_headers),
    case("request-small", || whole(small_request(HTTP_HOST))),
    case("request-realistic", || whole(realistic_request(HTTP_HOST))),
    case("h2-request-in", h2_request_in),
    case("h2-request-out", h2_request_out),
    case("h2-response-in", h2_response_in),
    case("h2-response-out", h2_response_out),
];

const fn case(name: &'static str, prepare: fn() -> Box<dyn FnMut()>) -> Case {
    Case { name, prepare }
}

/// An answer with the fields that services send.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Cache-Control: private, max-age=0\r\n\
    ETag: \"33a64df551425fcc55e4d42a148795d9\"\r\n\
    Vary: Accept-Encoding\r\n\
    X-Request-Id: 2f1c0e9a-6f0b-4c56-9d7e-3a1b5c7d9e0f\r\n\
    Content-Length: 1024\r\n\r\n";

fn read(bytes: Vec<u8>) -> Box<dyn FnMut()> {
    Box::new(move || {
        let mut slots = field_slots();
        let head = parse_request(black_box(&bytes), &mut slots, &HeadLimits::default());
        assert!(matches!(black_box(head), Ok(Some(_))));
    })
}

fn read_answer() -> Box<dyn FnMut()> {
    Box::new(|| {
        let mut slots = field_slots();
        let limits = HeadLimits::default();
        let head = parse_response(black_box(ANSWER), &mut slots, &limits, RequestKind::Other);
        assert!(matches!(black_box(head), Ok(Some(_))));
    })
}

/// Does this with the head of the realistic request, which is parsed only once.
fn with_head(mut call: impl FnMut(&RequestHead<'_>) + 'static) -> Box<dyn FnMut()> {
    // For as long as the process counts.
    let bytes: &'static [u8] = realistic_request(HTTP_HOST).leak();
    let slots = Box::leak(Box::new(field_slots()));
    let head = parse_request(bytes, slots, &HeadLimits::default());
    let head = head.expect("well formed").expect("complete");
    Box::new(move || call(black_box(&head)))
}

fn write_unchanged() -> Box<dyn FnMut()> {
    let mut out = Vec::with_capacity(4096);
    with_head(move |head| {
        out.clear();
        write_request(&mut out, head, &RequestRewrite::default(), head.body, &[]);
        black_box(&out);
    })
}

/// A rule that rewrites prefix and authority, and removes, sets and adds fields.
fn write_changed() -> Box<dyn FnMut()> {
    let table = compile(&changed(world::rules(1), |service| {
        for rule in &mut service.http {
            for one in &mut rule.matches {
                one.uri = Some(StringMatch::Prefix("/reviews".into()));
            }
            rule.rewrite = Some(Rewrite {
                uri: Some("/v2/reviews".into()),
                uri_regex: None,
                authority: Some("reviews.internal".into()),
            });
            rule.headers.request = FieldOps {
                remove: vec!["cookie".into(), "x-absent".into()],
                set: vec![("x-forwarded-proto".into(), "http".into())],
                add: vec![("x-route".into(), "reviews".into())],
            };
            if let HttpAction::Route(targets) = &mut rule.action {
                for target in targets {
                    target.headers.request.set = vec![("x-subset".into(), "v2".into())];
                }
            }
        }
    }));
    let mut out = Vec::with_capacity(4096);
    let (original, host) = visit(0);
    with_head(move |head| {
        let request = request(head, &host, head.path);
        let matched = decide(&table, original, &request);
        out.clear();
        send(&mut out, head, &request, &matched);
        black_box(&out);
    })
}

fn write_answer() -> Box<dyn FnMut()> {
    let slots = Box::leak(Box::new(field_slots()));
    let head = parse_response(ANSWER, slots, &HeadLimits::default(), RequestKind::Other);
    let head = head.expect("well formed").expect("complete");
    let mut out = Vec::with_capacity(4096);
    Box::new(move || {
        out.clear();
        let (head, keep) = (black_box(&head), ConnectionOption::KeepAlive);
        write_response(&mut out, head, keep, Version::Http11, head.body, &[]);
        black_box(&out);
    })
}

/// 16 chunks of 1 KiB and a trailer.
fn chunks_read() -> Box<dyn FnMut()> {
    let chunk = [b"400\r\n".as_slice(), &[b'x'; 1024], b"\r\n"].concat();
    let bytes = [chunk.repeat(16), b"0\r\nx-checksum: 77\r\n\r\n".to_vec()].concat();
    Box::new(move || {
        let mut decoder = ChunkDecoder::new(ChunkLimits::default());
        let (mut rest, mut data) = (black_box(bytes.as_slice()), 0);
        loop {
            let (done, event) = decoder.decode(rest).expect("well formed");
            rest = &rest[done..];
            match event {
                ChunkEvent::Data(range) => data += range.len(),
                ChunkEvent::TrailersEnd => break,
                ChunkEvent::NeedMore => panic!("complete"),
            }
        }
        assert_eq!(data, 16 * 1024);
    })
}

fn chunks_write() -> Box<dyn FnMut()> {
    let mut out = Vec::with_capacity(4096);
    Box::new(move || {
        out.clear();
        for length in [1, 77, 1024, 65_536] {
            write_chunk_header(&mut out, black_box(length));
        }
        black_box(&out);
    })
}

fn compile(world: &World) -> Table {
    Table::compile(world, &ClientContext::default(), None).table
}

/// Ten services, and this VirtualService, changed.
fn changed(mut rules: Object, change: impl FnOnce(&mut VirtualService)) -> World {
    if let Object::VirtualService(service) = &mut rules {
        change(Arc::get_mut(service).expect("unshared"));
    }
    let mut world = world::world(10);
    world.upsert(rules);
    world
}

/// The original destination and the Host of a service.
fn visit(number: u32) -> (SocketAddr, Arc<str>) {
    let original = SocketAddr::new(world::address(number), world::PORT);
    (original, world::host(number))
}

struct HeadFields<'a, 'h>(&'a RequestHead<'h>);

impl Fields for HeadFields<'_, '_> {
    fn each<'s>(&'s self, name: &str, visit: &mut dyn FnMut(&'s [u8])) {
        for field in self.0.fields {
            if field.name.eq_ignore_ascii_case(name) {
                visit(field.value);
            }
        }
    }
}

/// The request as it is routed; of the head come only the fields.
fn request<'a, 'h>(head: &'a RequestHead<'h>, host: &'a str, path: &'a str) -> Asking<'a, 'h> {
    Asking {
        fields: HeadFields(head),
        host,
        path,
    }
}

struct Asking<'a, 'h> {
    fields: HeadFields<'a, 'h>,
    host: &'a str,
    path: &'a str,
}

/// From the original destination to the rule, as for the first request of a connection.
fn decide<'t>(table: &'t Table, original: SocketAddr, asking: &Asking<'_, '_>) -> Matched<'t> {
    let connection = Connection {
        original,
        source: None,
        class: Class::Http,
        sni: None,
        mesh_alpn: false,
    };
    let listener = table.listener(original);
    let decision = table.connection(listener, &connection, &mut NoTrace);
    let ConnectionDecision::Http(hosts) = decision else {
        panic!("not HTTP: {decision:?}");
    };
    let request = Request {
        method: asking.fields.0.method,
        authority: asking.host,
        path: asking.path,
        query: asking.fields.0.query,
        scheme: "http",
        fields: &asking.fields,
    };
    match table.request(hosts, &request, &mut NoTrace) {
        RequestDecision::Rule(matched) => matched,
        other => panic!("no rule: {other:?}"),
    }
}

/// Writes the head for the endpoint.
fn send(out: &mut Vec<u8>, head: &RequestHead<'_>, asking: &Asking<'_, '_>, matched: &Matched<'_>) {
    let names = head.fields.iter().map(|field| field.name);
    let incoming = Incoming {
        received: head.path,
        path: asking.path,
        query: head.query,
        matched: matched.prefix_len,
    };
    let mut drop = FieldSet::default();
    let leave_out = |at| drop.insert(at);
    let outgoing = action::outgoing(matched.rule, 0, &incoming, names, &Nothing, leave_out);
    let extra = action::lines(&outgoing.extra);
    let rewrite = RequestRewrite {
        target: outgoing.target.as_deref(),
        host: outgoing.host,
        drop,
        connection: ConnectionOption::KeepAlive,
    };
    write_request(out, head, &rewrite, head.body, &extra);
}

fn route(world: World, number: u32, path: &'static str) -> Box<dyn FnMut()> {
    let table = compile(&world);
    let (original, host) = visit(number);
    with_head(move |head| {
        let asking = request(head, &host, black_box(path));
        black_box(decide(&table, original, &asking));
    })
}

/// The last of so many rules by path matches.
fn route_rules(rules: u32) -> Box<dyn FnMut()> {
    let path = format!("/area-{}/item", rules - 1);
    route(changed(world::rules(rules), |_| {}), 0, path.leak())
}

/// The last of 100 rules by the value of a field matches.
fn route_headers() -> Box<dyn FnMut()> {
    let world = changed(world::rules(100), |service| {
        for rule in &mut service.http {
            let value = if rule.index == 99 {
                "no-cache"
            } else {
                "other"
            };
            let value = StringMatch::Exact(value.into());
            for one in &mut rule.matches {
                one.uri = Some(StringMatch::Prefix("/".into()));
                one.headers = vec![("cache-control".into(), value.clone())];
            }
        }
    });
    route(world, 0, "/item")
}

/// Everything between the bytes of a request and those for the endpoint.
fn whole(bytes: Vec<u8>) -> Box<dyn FnMut()> {
    let table = compile(&world::world(1_000));
    let (original, host) = visit(500);
    let mut out = Vec::with_capacity(4096);
    Box::new(move || {
        let mut slots = field_slots();
        let head = parse_request(black_box(&bytes), &mut slots, &HeadLimits::default());
        let head = head.expect("well formed").expect("complete");
        let path = path::normalize(head.path, Normalization::default()).expect("well formed");
        let asking = request(&head, &host, &path);
        let matched = decide(&table, original, &asking);
        out.clear();
        send(&mut out, &head, &asking, &matched);
        black_box(&out);
    })
}

/// The realistic request as the HTTP/2 library hands it over.
fn h2_request() -> http::request::Parts {
    let bytes = realistic_request(HTTP_HOST);
    let mut slots = field_slots();
    let head = parse_request(&bytes, &mut slots, &HeadLimits::default());
    let head = head.expect("well formed").expect("complete");
    let rewrite = RequestRewrite::default();
    let request = http2::to_request(&head, &rewrite, "http", BodyLength::None, &[]);
    request.expect("well formed").into_parts().0
}

fn h2_request_in() -> Box<dyn FnMut()> {
    let parts = h2_request();
    Box::new(move || {
        let mut slots = http2::field_slots();
        let limits = HeadLimits::default();
        let head = http2::request_head(black_box(&parts), None, true, &mut slots, &limits);
        assert!(black_box(head).is_ok());
    })
}

fn h2_request_out() -> Box<dyn FnMut()> {
    with_head(|head| {
        let rewrite = RequestRewrite::default();
        let request = http2::to_request(head, &rewrite, "http", BodyLength::None, &[]);
        assert!(black_box(request).is_ok());
    })
}

fn h2_response() -> http::Response<()> {
    let mut slots = field_slots();
    let limits = HeadLimits::default();
    let head = parse_response(ANSWER, &mut slots, &limits, RequestKind::Other);
    let head = head.expect("well formed").expect("complete");
    http2::to_response(&head, head.body, &[]).expect("well formed")
}

fn h2_response_in() -> Box<dyn FnMut()> {
    let response = h2_response();
    Box::new(move || {
        let mut slots = http2::field_slots();
        let (status, fields) = (response.status(), black_box(response.headers()));
        let limits = HeadLimits::default();
        let kind = RequestKind::Other;
        let head = http2::response_head(status, fields, false, &mut slots, &limits, kind);
        assert!(black_box(head).is_ok());
    })
}

fn h2_response_out() -> Box<dyn FnMut()> {
    let slots = Box::leak(Box::new(field_slots()));
    let head = parse_response(ANSWER, slots, &HeadLimits::default(), RequestKind::Other);
    let head = head.expect("well formed").expect("complete");
    Box::new(move || {
        let response = http2::to_response(black_box(&head), head.body, &[]);
        assert!(black_box(response).is_ok());
    })
}
