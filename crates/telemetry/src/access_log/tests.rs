use super::{calendar::civil, *};
use proptest::prelude::*;

fn line(record: &AccessRecord, format: Format) -> String {
    let mut out = Vec::new();
    format.write(record, &mut out);
    String::from_utf8(out).expect("access log lines are UTF-8")
}

fn value(text: &str) -> Value {
    Some(text.as_bytes().into())
}

/// The example of Istio's own documentation.
fn teapot() -> AccessRecord {
    AccessRecord {
        start_unix_ms: 1_606_346_461_023,
        method: value("GET"),
        path: value("/status/418"),
        protocol: Some("HTTP/1.1"),
        response_code: 418,
        details: "via_upstream".into(),
        bytes_sent: 135,
        duration_ms: 4,
        upstream_service_time_ms: Some(4),
        user_agent: value("curl/7.73.0-DEV"),
        request_id: value("84961386-6d84-929d-98bd-c5aee93b5c88"),
        authority: value("httpbin:8000"),
        upstream_host: "10.44.1.23:80".parse().ok(),
        upstream_cluster: Some("outbound|8000||httpbin.foo.svc.cluster.local".into()),
        upstream_local: "10.44.1.27:37652".parse().ok(),
        downstream_local: "10.0.45.184:8000".parse().ok(),
        downstream_remote: "10.44.1.23:46520".parse().ok(),
        route_name: Some("default".into()),
        ..AccessRecord::default()
    }
}

#[test]
fn http_line_is_istios_byte_for_byte() {
    assert_eq!(
        line(&teapot(), Format::default()),
        "[2020-11-25T23:21:01.023Z] \"GET /status/418 HTTP/1.1\" 418 - via_upstream - \"-\" \
         0 135 4 4 \"-\" \"curl/7.73.0-DEV\" \"84961386-6d84-929d-98bd-c5aee93b5c88\" \
         \"httpbin:8000\" \"10.44.1.23:80\" outbound|8000||httpbin.foo.svc.cluster.local \
         10.44.1.27:37652 10.0.45.184:8000 10.44.1.23:46520 - default\n"
    );
}

#[test]
fn tcp_line_has_dashes_for_the_request() {
    let record = AccessRecord {
        start_unix_ms: 1_606_346_461_023,
        flags: Flags::URX | Flags::UF,
        termination_details: "connect timeout".into(),
        transport_failure: "connection refused".into(),
        bytes_received: 1,
        bytes_sent: 2,
        duration_ms: 3,
        upstream_cluster: Some("outbound|3306||mysql.default.svc.cluster.local".into()),
        downstream_local: "[2001:db8::1]:3306".parse().ok(),
        downstream_remote: "10.44.1.23:46520".parse().ok(),
        server_name: value("db.example.com"),
        ..AccessRecord::default()
    };
    assert_eq!(
        line(&record, Format::default()),
        "[2020-11-25T23:21:01.023Z] \"- - -\" 0 URX,UF - connect_timeout \"connection refused\" \
         1 2 3 - \"-\" \"-\" \"-\" \"-\" \"-\" outbound|3306||mysql.default.svc.cluster.local \
         - [2001:db8::1]:3306 10.44.1.23:46520 db.example.com -\n"
    );
}

#[test]
fn extras_come_after_the_last_field() {
    let record = AccessRecord {
        rule: Some("default/reviews#1 reviews.yaml:14".into()),
        revision: 41,
        why: "prefix".into(),
        ..teapot()
    };
    let plain = line(&record, Format::default());
    let extras = line(&record, Format::Text { extras: true });
    assert_eq!(
        extras.strip_prefix(plain.trim_end()),
        Some(" rule=default/reviews#1\\x20reviews.yaml:14 rev=41 why=prefix\n")
    );
}

#[test]
fn json_has_istios_keys_and_ours() {
    let record = AccessRecord {
        rule: Some("default/reviews#1".into()),
        revision: 41,
        user_agent: Some(Box::from(&b"a\"b\n\xff"[..])),
        received_authority: value("bin"),
        ..teapot()
    };
    assert_eq!(
        line(&record, Format::Json),
        "{\"start_time\":\"2020-11-25T23:21:01.023Z\",\"route_name\":\"default\",\
         \"method\":\"GET\",\"path\":\"/status/418\",\"protocol\":\"HTTP/1.1\",\
         \"response_code\":418,\"response_flags\":\"-\",\
         \"response_code_details\":\"via_upstream\",\"connection_termination_details\":null,\
         \"bytes_received\":0,\"bytes_sent\":135,\"duration\":4,\"upstream_service_time\":\"4\",\
         \"x_forwarded_for\":null,\"user_agent\":\"a\\\"b\\n\u{fffd}\",\
         \"request_id\":\"84961386-6d84-929d-98bd-c5aee93b5c88\",\"authority\":\"httpbin:8000\",\
         \"upstream_host\":\"10.44.1.23:80\",\
         \"upstream_cluster\":\"outbound|8000||httpbin.foo.svc.cluster.local\",\
         \"upstream_local_address\":\"10.44.1.27:37652\",\
         \"downstream_local_address\":\"10.0.45.184:8000\",\
         \"downstream_remote_address\":\"10.44.1.23:46520\",\"requested_server_name\":null,\
         \"upstream_transport_failure_reason\":null,\
         \"rule\":\"default/reviews#1\",\"rev\":41,\"why\":null,\
         \"received_authority\":\"bin\"}\n"
    );
}

#[test]
fn hostile_values_stay_in_their_field() {
    let record = AccessRecord {
        user_agent: value("x\" 200 - fake \"\r\n[2020"),
        server_name: value("a b"),
        authority: value("tab\tdel\x7f\u{202e}\\"),
        request_id: value("grüße"),
        ..AccessRecord::default()
    };
    let line = line(&record, Format::default());
    assert!(
        line.contains("\"x\\\" 200 - fake \\\"\\x0d\\x0a[2020\""),
        "{line}"
    );
    assert!(line.contains(" a\\x20b "), "{line}");
    assert!(
        line.contains("\"tab\\x09del\\x7f\\xe2\\x80\\xae\\\\\""),
        "{line}"
    );
    assert!(line.contains("\"grüße\""), "{line}");
}

#[test]
fn clipping_never_goes_beyond_the_value() {
    assert_eq!(&*clip(b"abc", 2), b"ab");
    assert_eq!(&*clip(b"abc", 3), b"abc");
    assert_eq!(&*clip(b"abc", 4), b"abc");
}

#[test]
fn a_record_says_what_it_keeps() {
    assert_eq!(AccessRecord::default().bytes_besides(), 0);
    let mut record = teapot();
    let own = ["GET", "/status/418", "curl/7.73.0-DEV", "httpbin:8000"];
    let names = ["outbound|8000||httpbin.foo.svc.cluster.local", "default"];
    let id = 36;
    let told = |more: &[&str]| more.iter().map(|it| it.len()).sum::<usize>();
    let kept = told(&own) + told(&names) + id;
    assert_eq!(record.bytes_besides(), kept);
    record.x_forwarded_for = value("192.0.2.1");
    record.server_name = value("web");
    record.rule = Some("rule".into());
    record.transport_failure = String::from("reset").into();
    assert_eq!(record.bytes_besides(), kept + 9 + 3 + 4 + 5);
}

#[test]
fn calendar_knows_leap_years() {
    for (days, date) in [
        (0, (1970, 1, 1)),
        (59, (1970, 3, 1)),
        (11_016, (2000, 2, 29)),
        (11_017, (2000, 3, 1)),
        (20_512, (2026, 2, 28)),
        (20_513, (2026, 3, 1)),
        (47_540, (2100, 2, 28)),
        (47_541, (2100, 3, 1)),
    ] {
        assert_eq!(civil(days), date);
    }
}

/// Reads a line as a parser would: blanks part fields, but not inside quotes; undoes escapes.
fn fields(line: &str) -> Vec<Vec<u8>> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), Vec::new(), false);
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b' ' if !quoted => fields.push(std::mem::take(&mut field)),
            b'\\' => match bytes.next() {
                Some(b'x') => {
                    let digits = [bytes.next(), bytes.next()].map(Option::unwrap_or_default);
                    let digits = std::str::from_utf8(&digits).expect("hex digits");
                    field.push(u8::from_str_radix(digits, 16).expect("hex digits"));
                }
                other => field.extend(other),
            },
            byte => field.push(byte),
        }
    }
    assert!(!quoted, "quotes left open: {line}");
    fields.push(field);
    fields
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let tricky = prop_oneof![
        Just(&b"\""[..]),
        Just(&b"\\"[..]),
        Just(&b"\r\n"[..]),
        Just(&b" "[..]),
        Just("\u{2028}".as_bytes()),
        Just("\u{85}".as_bytes()),
        Just("\u{a0}ü".as_bytes()),
        Just(&b"\x1b[2J"[..]),
        Just(&b"\xc3"[..]),
        Just(&b"\\x0a"[..]),
    ];
    let piece = prop_oneof![
        tricky.prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever the peers send, the line is one line of 23 fields that give the values back.
    #[test]
    fn escaping_is_safe_and_reversible(
        [path, agent, authority, id, sni, forwarded] in std::array::from_fn::<_, 6, _>(|_| hostile()),
    ) {
        let some = |bytes: &Vec<u8>| Some(bytes.clone().into_boxed_slice());
        let record = AccessRecord {
            method: value("GET"),
            path: some(&path),
            x_forwarded_for: some(&forwarded),
            user_agent: some(&agent),
            request_id: some(&id),
            authority: some(&authority),
            server_name: some(&sni),
            ..AccessRecord::default()
        };
        let text = line(&record, Format::default());
        let body = text.strip_suffix('\n').expect("ends with a newline");
        prop_assert!(!body.contains(char::is_control));
        let separators = ['\u{2028}', '\u{2029}'];
        prop_assert!(!body.contains(separators));
        let fields = fields(body);
        prop_assert_eq!(fields.len(), 22);
        let or_dash = |bytes: &[u8]| if bytes.is_empty() { b"-".to_vec() } else { bytes.to_vec() };
        let request = [b"GET ".to_vec(), or_dash(&path), b" -".to_vec()].concat();
        prop_assert_eq!(&fields[1], &request);
        for (index, want) in [(11, &forwarded), (12, &agent), (13, &id), (14, &authority)] {
            prop_assert_eq!(&fields[index], want);
        }
        prop_assert_eq!(&fields[20], &or_dash(&sni));

        let json = line(&record, Format::Json);
        prop_assert_eq!(json.matches('\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        prop_assert_eq!(&parsed["path"], &*String::from_utf8_lossy(&path));
    }
}
