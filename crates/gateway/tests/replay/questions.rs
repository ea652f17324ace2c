//! Random questions, and the traffic that asks the same of a gateway.
use super::{
    common::Probe,
    documents::{Mesh, OUTSIDE, PATHS, answered, chance, one},
};
use fastrand::Rng;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// One question in the form of `explain --json`.
pub(crate) fn random(rng: &mut Rng, mesh: &Mesh, id: usize) -> Value {
    let ip = match chance(rng, 80) && !mesh.addresses.is_empty() {
        true => mesh.addresses[rng.usize(..mesh.addresses.len())].as_str(),
        false => one(
            rng,
            &["192.0.2.9", "198.51.100.9", "203.0.113.2", "10.0.0.5"],
        ),
    };
    let ports: Vec<u16> = answered().collect();
    let port = ports[rng.usize(..ports.len())];
    let mut asked = json!({"id": id, "via": "mesh", "ip": ip, "port": port});
    // Most traffic is meant for somebody.
    let mut name = None;
    if chance(rng, 45) && !mesh.addressed.is_empty() {
        let (ip, port) = &mesh.addressed[rng.usize(..mesh.addressed.len())];
        asked["ip"] = ip.as_str().into();
        asked["port"] = (*port).into();
    } else if chance(rng, 90) && !mesh.named.is_empty() {
        let (host, port) = &mesh.named[rng.usize(..mesh.named.len())];
        name = Some(host.as_str());
        asked["port"] = (*port).into();
    }
    match rng.u8(..10) {
        0..2 => asked["protocol"] = "tcp".into(),
        2..4 => {
            asked["protocol"] = "tls".into();
            if chance(rng, 85) {
                asked["sni"] = host(rng, name).into();
            }
            if chance(rng, 30) {
                asked["alpn"] = json!(["h2", "http/1.1"]);
            }
        }
        _ => request(rng, name, &mut asked),
    }
    asked
}

fn request(rng: &mut Rng, name: Option<&str>, asked: &mut Value) {
    asked["protocol"] = "http".into();
    let mut host = match chance(rng, 10) {
        true => asked["ip"].as_str().unwrap_or_default().to_owned(),
        false => host(rng, name),
    };
    match rng.u8(..12) {
        0 => host.push_str(":80"),
        1 => host.push_str(":9999"),
        2 => host = host.to_ascii_uppercase(),
        3 => host.push('.'),
        _ => {}
    }
    asked["host"] = host.into();
    asked["method"] = one(
        rng,
        &["GET", "GET", "GET", "POST", "PUT", "OPTIONS", "PURGE"],
    )
    .into();
    let path = match rng.u8(..6) {
        0 => one(
            rng,
            &["/a/../b", "/./a", "/a//b", "/%61", "/b/..", "/a%2Fb"],
        ),
        _ => one(rng, &PATHS),
    };
    let query = one(rng, &["", "", "?k=1", "?k=22&x", "?x=1&k=1", "?"]);
    asked["path"] = format!("{path}{query}").into();
    let mut headers = json!({});
    if chance(rng, 40) {
        headers["user"] = one(
            rng,
            &[&json!("1"), &json!("22"), &json!("x"), &json!(["1", "x"])],
        )
        .clone();
    }
    if chance(rng, 30) {
        headers["x-set"] = "zero".into();
        headers["x-add"] = "zero".into();
        headers["x-gone"] = "zero".into();
    }
    asked["headers"] = headers;
    if chance(rng, 5) {
        asked["version"] = "1.0".into();
    }
    if chance(rng, 8) {
        spoil(rng, asked);
    }
}

/// Makes it what no client should send: refused where requests are read, bytes elsewhere.
fn spoil(rng: &mut Rng, asked: &mut Value) {
    match rng.u8(..6) {
        0 => asked["path"] = "/a b".into(),
        1 => asked["path"] = "no-slash".into(),
        2 => asked["host"] = "fd00::5".into(),
        3 => asked["host"] = "web/x".into(),
        4 => asked["method"] = "G(T".into(),
        _ => drop(asked.as_object_mut().map(|it| it.remove("host"))),
    }
}

/// A form of this name, or one that some document may have.
fn host(rng: &mut Rng, name: Option<&str>) -> String {
    if let Some(name) = name.filter(|_| chance(rng, 90)) {
        let short = name.strip_suffix(".svc.cluster.local").unwrap_or(name);
        return match rng.u8(..4) {
            0 => name.to_owned(),
            1 => short.strip_suffix(".default").unwrap_or(short).to_owned(),
            2 => short.strip_suffix(".prod").unwrap_or(short).to_owned(),
            _ => short.to_owned(),
        };
    }
    let name = one(rng, &["web", "api", "auto", "raw", "sec"]);
    match rng.u8(..10) {
        0..4 => name.to_owned(),
        4 => format!("{name}.prod"),
        5 => format!("{name}.default.svc"),
        6 => format!("{name}.default.svc.cluster.local"),
        7 => format!("x.{name}.default.svc.cluster.local"),
        8 => one(
            rng,
            &[
                "lit.example.org",
                "unknown.example.com",
                "b.wild.example.com",
            ],
        )
        .to_owned(),
        _ => one(rng, &OUTSIDE).trim_start_matches("*.").to_owned(),
    }
}

/// Where its client dials.
pub(crate) fn to(question: &Value) -> SocketAddr {
    let ip = question["ip"].as_str().expect("ip").parse().expect("ip");
    SocketAddr::new(ip, question["port"].as_u64().expect("port") as u16)
}

/// The same as traffic.
pub(crate) fn probe(question: &Value) -> Probe {
    let text = |key: &str| question[key].as_str().unwrap_or_default();
    match text("protocol") {
        "tcp" => Probe::bytes(),
        "tls" => {
            let alpn = question["alpn"].as_array().into_iter().flatten();
            let alpn: Vec<&str> = alpn.filter_map(Value::as_str).collect();
            Probe::hello(question["sni"].as_str(), &alpn)
        }
        _ => {
            let host = question["host"].as_str().map(|host| ("host", host));
            let mut fields: Vec<_> = host.into_iter().collect();
            for (name, values) in question["headers"].as_object().into_iter().flatten() {
                match values {
                    Value::Array(values) => {
                        let values = values.iter().filter_map(Value::as_str);
                        fields.extend(values.map(|value| (name.as_str(), value)));
                    }
                    value => fields.push((name, value.as_str().unwrap_or_default())),
                }
            }
            let version = question["version"].as_str().unwrap_or("1.1");
            Probe::request(text("method"), text("path"), &fields).version(version)
        }
    }
}
