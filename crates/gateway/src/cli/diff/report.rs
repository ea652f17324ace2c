//! The difference for people, and as JSON.
use super::Report;
use crate::cli::output;
use pointsman_route::{
    Origin,
    diff::{Class, Example, ExampleRequest, Side},
    snapshot::Via,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

/// Hosts or addresses named that share a class with its example.
const ALSO: usize = 5;
/// Findings shown; `analyze` shows all.
const FINDINGS: usize = 5;

pub(super) fn text(report: &Report<'_>, color: bool) -> String {
    let paint = |code: &str, text: &str| match color {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let mut out = String::new();
    let diff = &report.diff;
    if diff.is_empty() {
        out.push_str("no traffic changes\n");
    }
    if let Some((old, new)) = diff.paths {
        let change = format!("{} -> {}", old.as_str(), new.as_str());
        let _ = writeln!(out, "~ paths are normalised by another mode: {change}");
        let _ = writeln!(
            out,
            "  requests whose path is not in its normal form may go elsewhere: they are not in the classes"
        );
    }
    if let Some((old, new)) = diff.trusted_proxies {
        let _ = writeln!(out, "~ numTrustedProxies of gateways: {old} -> {new}");
        let _ = writeln!(
            out,
            "  another client address is believed, and x-forwarded-* of clients stay or go"
        );
    }
    if (diff.paths.is_some() || diff.trusted_proxies.is_some()) && !diff.classes.is_empty() {
        out.push('\n');
    }
    if !diff.classes.is_empty() {
        let (many, verb) = plural(diff.classes.len(), "traffic class", "traffic classes");
        let _ = writeln!(out, "~ {many} {verb}");
    }
    for class in &diff.classes {
        let door = match class.via {
            Via::Mesh => "",
            Via::Gateway => "   via gateway",
        };
        let _ = writeln!(out, "\n  {}{door}", paint("1", &class.what));
        let [old, new] = ends(class);
        let width = old.chars().count().max(new.chars().count()).min(70);
        let place = |side: &Side| side.origin.as_ref().map(told).unwrap_or_default();
        let line = |arrow, it: &str, side| {
            let line = format!("     {arrow} {it:<width$}   {}", place(side));
            format!("{}\n", line.trim_end())
        };
        out.push_str(&line("  ", &old, &class.old));
        out.push_str(&line("->", &new, &class.new));
        for change in details(class) {
            let _ = writeln!(out, "        {change}");
        }
        if !class.also.is_empty() {
            let shown: Vec<&str> = class.also.iter().take(ALSO).map(String::as_str).collect();
            let more = match class.also.len().checked_sub(ALSO) {
                None | Some(0) => String::new(),
                Some(more) => format!(" and {more} more"),
            };
            let _ = writeln!(out, "        also: {}{more}", shown.join(", "));
        }
        let _ = writeln!(out, "        {}", command(report, class));
    }
    if !diff.backends.is_empty() {
        let (many, verb) = plural(diff.backends.len(), "backend", "backends");
        let _ = writeln!(out, "\n~ {many} {verb}");
        for backend in &diff.backends {
            let label = paint("1", &backend.label);
            let _ = writeln!(out, "\n  {label}   {}", backend.place);
            for change in &backend.changes {
                let _ = writeln!(out, "        {change}");
            }
        }
    }
    for sentence in &diff.cut {
        let _ = writeln!(out, "\n! not complete: {sentence}");
    }
    if !report.findings.is_empty() {
        let (many, _) = plural(report.findings.len(), "new finding", "new findings");
        let _ = writeln!(out, "\n+ {many}");
        for finding in report.findings.iter().take(FINDINGS) {
            let place = finding.place.as_ref().map(ToString::to_string);
            let _ = writeln!(
                out,
                "  {}[{}]: {}  {}",
                finding.level.as_str(),
                finding.code,
                finding.message,
                place.unwrap_or_default()
            );
        }
        if let Some(more @ 1..) = report.findings.len().checked_sub(FINDINGS) {
            let _ = writeln!(out, "  and {more} more: pointsman analyze shows them all");
        }
    }
    if report.settled > 0 {
        let (many, verb) = match report.settled {
            1 => ("1 finding".to_owned(), "is"),
            many => (format!("{many} findings"), "are"),
        };
        let _ = writeln!(out, "\n- {many} {verb} gone");
    }
    out
}

fn plural(count: usize, one: &str, many: &str) -> (String, &'static str) {
    match count {
        1 => (format!("1 {one}"), "changes"),
        _ => (format!("{count} {many}"), "change"),
    }
}

/// What became of it, and what becomes of it.
fn ends(class: &Class) -> [String; 2] {
    [&class.old, &class.new].map(|side| side.effect.outcome.to_string())
}

fn told(origin: &Origin) -> String {
    format!("{}  {}", origin.label, origin.place)
}

/// What is done on the way, where that differs: `timeout: none -> 2s`.
fn details(class: &Class) -> Vec<String> {
    let (old, new) = (&class.old.effect.details, &class.new.effect.details);
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let text = |it: Option<&String>| it.map_or("none", |it| it.as_str()).to_owned();
    names
        .into_iter()
        .filter(|name| old.get(name) != new.get(name))
        .map(|name| format!("{name}: {} -> {}", text(old.get(name)), text(new.get(name))))
        .collect()
}

/// The question to `explain` that shows it.
fn command(report: &Report<'_>, class: &Class) -> String {
    let file = quoted(&report.new.display().to_string());
    let context: String = report
        .context
        .iter()
        .map(|word| format!(" {}", quoted(word)))
        .collect();
    let gateway = match class.via {
        Via::Mesh => "",
        Via::Gateway => " --gateway",
    };
    let target = match &class.example {
        // What a client offers inside TLS has no flag.
        Example::Connection {
            mesh_alpn: true, ..
        } => {
            let line = quoted(&question(class).to_string());
            return format!("echo {line} | pointsman explain -f {file}{context} --json");
        }
        Example::Connection {
            original,
            tls: true,
            sni,
            mesh_alpn: false,
        } => match sni {
            Some(name) => format!("tls://{name} --to {original}"),
            None => format!("tls://{original}"),
        },
        Example::Connection { original, .. } => format!("tcp://{original}"),
        Example::Request {
            original,
            sni,
            own,
            request,
        } if request.scheme == "https" => {
            let mut made = in_tls(original, sni.as_deref(), request);
            if *own && sni.is_some() {
                made.push_str(&format!(" --to {original}"));
            }
            made
        }
        Example::Request {
            original,
            own,
            request,
            ..
        } => {
            let mut made = of_request(request, &request.authority);
            let host = &request.authority;
            let named = *host == original.to_string() || *host == original.ip().to_string();
            if *own && !named {
                made.push_str(&format!(" --to {original}"));
            }
            made
        }
    };
    format!("pointsman explain -f {file}{context}{gateway} {target}")
}

/// The URL has the server name; a Host that is another one is a header.
fn in_tls(original: &SocketAddr, sni: Option<&str>, request: &ExampleRequest) -> String {
    let (port, address) = (original.port(), original.ip());
    let address = match address {
        IpAddr::V4(it) => it.to_string(),
        IpAddr::V6(it) => format!("[{it}]"),
    };
    let authority = match (sni.unwrap_or(&address), port) {
        (name, 443) => name.to_owned(),
        (name, port) => format!("{name}:{port}"),
    };
    let mut made = of_request(request, &authority);
    if authority != request.authority {
        made.push_str(&format!(
            " -H {}",
            quoted(&format!("Host: {}", request.authority))
        ));
    }
    made
}

fn of_request(request: &ExampleRequest, authority: &str) -> String {
    let query = request.query.as_ref().map(|it| format!("?{it}"));
    let query = query.unwrap_or_default();
    // No URL has this path.
    if request.path == "*" {
        let url = format!("{}://{authority}/", request.scheme);
        let mut curl = format!("curl -X OPTIONS --request-target '*' {}", quoted(&url));
        for (name, value) in &request.headers {
            curl.push_str(&format!(" -H {}", quoted(&format!("{name}: {value}"))));
        }
        return format!("--curl {}", quoted(&curl));
    }
    let url = format!("{}://{authority}{}{query}", request.scheme, request.path);
    let mut made = quoted(&url);
    if request.method != "GET" {
        made.push_str(&format!(" -X {}", quoted(&request.method)));
    }
    for (name, value) in &request.headers {
        made.push_str(&format!(" -H {}", quoted(&format!("{name}: {value}"))));
    }
    made
}

/// As a word of a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ":/.-_%+,=@".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// One object; version 1 of its form.
pub(super) fn json(report: &Report<'_>) -> Value {
    let diff = &report.diff;
    let side = |side: &Side| {
        let origin = side.origin.as_ref();
        json!({
            "outcome": side.effect.outcome.as_str(),
            "text": side.effect.outcome.to_string(),
            "details": side.effect.details,
            "rule": origin.map(|it| &*it.label),
            "file": origin.map(|it| it.place.file.to_string()),
            "line": origin.map(|it| it.place.line),
        })
    };
    let classes = diff.classes.iter().map(|class| {
        json!({
            "what": class.what,
            "via": via(class),
            "old": side(&class.old),
            "new": side(&class.new),
            "also": class.also,
            "example": question(class),
            "command": command(report, class),
        })
    });
    let backends = diff.backends.iter().map(|backend| {
        json!({
            "cluster": &*backend.label,
            "changes": backend.changes,
            "file": backend.place.file.to_string(),
            "line": backend.place.line,
        })
    });
    let mut told = json!({
        "version": 1,
        "differs": !diff.is_empty(),
        "classes": classes.collect::<Vec<_>>(),
        "backends": backends.collect::<Vec<_>>(),
        "findings": report.findings.iter().map(output::finding_json).collect::<Vec<_>>(),
        "settled": report.settled,
        "not_complete": diff.cut,
        "probes": diff.probes,
    });
    if let Some((old, new)) = diff.paths {
        told["path_normalization"] = json!({"old": old.as_str(), "new": new.as_str()});
    }
    if let Some((old, new)) = diff.trusted_proxies {
        told["num_trusted_proxies"] = json!({"old": old, "new": new});
    }
    told
}

fn via(class: &Class) -> &'static str {
    match class.via {
        Via::Mesh => "mesh",
        Via::Gateway => "gateway",
    }
}

/// As `explain --json` reads it.
fn question(class: &Class) -> Value {
    let mut made = of_example(&class.example);
    if class.via == Via::Gateway {
        made["via"] = via(class).into();
    }
    made
}

fn of_example(example: &Example) -> Value {
    match example {
        Example::Connection {
            original,
            tls,
            sni,
            mesh_alpn,
        } => {
            let mut made = json!({
                "protocol": if *tls { "tls" } else { "tcp" },
                "ip": original.ip(),
                "port": original.port(),
            });
            if let Some(name) = sni {
                made["sni"] = name.as_str().into();
            }
            if *mesh_alpn {
                made["alpn"] = json!(["istio"]);
            }
            made
        }
        Example::Request {
            original,
            sni,
            request,
            ..
        } => {
            let query = request.query.as_ref().map(|it| format!("?{it}"));
            let fields = request.headers.iter();
            let mut made = json!({
                "protocol": "http",
                "ip": original.ip(),
                "port": original.port(),
                "method": request.method,
                "host": request.authority,
                "path": format!("{}{}", request.path, query.unwrap_or_default()),
                "headers": fields
                    .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
                    .collect::<serde_json::Map<_, _>>(),
            });
            if request.scheme == "https" {
                made["tls"] = json!({ "sni": sni });
            }
            made
        }
    }
}
