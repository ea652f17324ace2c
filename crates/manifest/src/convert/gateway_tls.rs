//! `tls` of a Gateway's server (GW-7, GW-10..24).
use super::Context;
use crate::{
    codes,
    yaml::{Map, Node, Span},
};
use pointsman_model::{
    Protocol, ProtocolClass,
    gateway::{CertificateFiles, CertificateSource, ServerTls, ServerTlsMode, TlsVersion},
};
use std::{path::PathBuf, sync::Arc};

/// The fields that name a certificate of the server, in groups that are sources (GW-18).
const SOURCES: [&[&str]; 4] = [
    &["credentialName"],
    &["credentialNames"],
    &["serverCertificate", "privateKey"],
    &["tlsCertificates"],
];

/// Cipher suites of TLS 1.2 and before that can be chosen (GW-21).
const CIPHER_SUITES: [&str; 19] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// The settings of a server that begins at `start` and speaks `protocol`.
pub(super) fn tls(
    server: &Map,
    start: Span,
    protocol: Protocol,
    context: &mut Context<'_>,
) -> Option<ServerTls> {
    let class = protocol.class();
    let Some((map, (key, _))) = server.map("tls").zip(server.entry("tls")) else {
        if class == ProtocolClass::Tls {
            context.report.error(
                codes::SERVER_TLS,
                start,
                format!("a server of protocol {protocol} needs `tls` (GW-7)"),
                "`tls` is missing here",
                "to forward it undecrypted write `tls: {mode: PASSTHROUGH}`",
            );
        }
        return None;
    };
    let mode = match map.text("mode") {
        Some("SIMPLE") => ServerTlsMode::Simple,
        Some("MUTUAL") => ServerTlsMode::Mutual,
        Some("OPTIONAL_MUTUAL") => ServerTlsMode::OptionalMutual,
        Some("ISTIO_MUTUAL") => ServerTlsMode::IstioMutual,
        Some("AUTO_PASSTHROUGH") => ServerTlsMode::AutoPassthrough,
        _ => ServerTlsMode::Passthrough,
    };
    let https_redirect = map.bool("httpsRedirect").unwrap_or_default();
    match class {
        // A protocol that is none was told already.
        ProtocolClass::Tls | ProtocolClass::Auto => {}
        ProtocolClass::Http => {
            if mode.terminates() || written(map).next().is_some() {
                context.report.error(
                    codes::SERVER_TLS,
                    key.span,
                    format!("a plain text server ({protocol}) cannot have certificates (GW-7)"),
                    "only `httpsRedirect` is possible here",
                    "for TLS write `protocol: HTTPS`",
                );
            }
        }
        ProtocolClass::Tcp | ProtocolClass::Udp => context.report.error(
            codes::SERVER_TLS,
            key.span,
            format!("a server of protocol {protocol} cannot have `tls` (GW-7)"),
            "raw bytes",
            "for TLS write `protocol: TLS`",
        ),
    }
    if https_redirect && class != ProtocolClass::Http {
        let at = map.get("httpsRedirect").map(|node| node.span);
        context.report.warning(
            codes::SERVER_TLS,
            at.unwrap_or_default(),
            "`httpsRedirect` has a meaning for plain HTTP only (GW-50)",
            "this server does not speak plain HTTP",
            "nothing is redirected",
            "move it to the server of the plain HTTP port",
        );
    }
    let certificates = if class == ProtocolClass::Tls {
        certificates(map, key.span, mode, context)
    } else {
        CertificateSource::None
    };
    let (min_version, max_version) = versions(map, context);
    let path = |name| Context::text(map, name).map(|text| PathBuf::from(&*text));
    Some(ServerTls {
        mode,
        https_redirect: https_redirect && class == ProtocolClass::Http,
        certificates,
        client_ca_secret: Context::text(map, "caCertCredentialName"),
        client_crl: path("caCrl"),
        subject_alt_names: Context::texts(map, "subjectAltNames"),
        certificate_spki: Context::texts(map, "verifyCertificateSpki"),
        certificate_hash: Context::texts(map, "verifyCertificateHash"),
        min_version,
        max_version,
        cipher_suites: cipher_suites(map, context),
    })
}

/// Certificate fields that are there and not empty.
fn written(map: &Map) -> impl Iterator<Item = (&'static str, Span)> {
    let names = SOURCES.into_iter().flatten().copied();
    names.chain(["caCertificates"]).filter_map(|name| {
        let node = map.get(name)?;
        let filled = !node.items().is_empty() || node.as_text().is_some_and(|it| !it.is_empty());
        filled.then_some((name, node.span))
    })
}

fn certificates(
    map: &Map,
    at: Span,
    mode: ServerTlsMode,
    context: &mut Context<'_>,
) -> CertificateSource {
    let word = mode.as_str();
    if !mode.terminates() {
        if let Some((name, span)) = written(map).next() {
            context.report.warning(
                codes::SERVER_TLS,
                span,
                format!("mode {word} uses no certificate (GW-10, GW-15)"),
                format!("`{name}` is not looked at"),
                "the client's TLS is forwarded as it is",
                "remove it, or write `mode: SIMPLE` to end TLS here",
            );
        }
        return CertificateSource::None;
    }
    if mode == ServerTlsMode::IstioMutual {
        if let Some((name, span)) = written(map).next() {
            context.report.error(
                codes::SERVER_TLS,
                span,
                format!("mode {word} takes its certificates from the mesh (GW-14)"),
                format!("`{name}` must not be there"),
                "remove it, or write `mode: MUTUAL`",
            );
        }
        return CertificateSource::Mesh;
    }
    let has = |name: &str| written(map).any(|(own, _)| own == name);
    let mut sources = SOURCES
        .into_iter()
        .filter(|source| source.iter().any(|name| has(name)));
    let Some(source) = sources.next() else {
        context.report.error(
            codes::SERVER_TLS,
            at,
            format!("mode {word} needs a certificate (GW-11, GW-18)"),
            "none is named",
            "name a Secret with `credentialName`, or files with `serverCertificate` and `privateKey`",
        );
        return CertificateSource::None;
    };
    if let Some(other) = sources.next() {
        let names: Vec<&str> = [source, other].into_iter().flatten().copied().collect();
        context.report.error(
            codes::SERVER_TLS,
            at,
            format!(
                "exactly one source of certificates is possible (GW-18): {}",
                names.join(", ")
            ),
            "more than one",
            "keep one of them",
        );
    }
    let verifies = matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    let lacks_ca = |map: &Map| verifies && map.filled("caCertificates").is_none();
    match source {
        ["credentialName"] => {
            let name = Context::text(map, "credentialName");
            CertificateSource::Secrets(name.into_iter().collect())
        }
        ["credentialNames"] => {
            let names = Context::texts(map, "credentialNames");
            at_most_two(map, "credentialNames", names.len(), context);
            CertificateSource::Secrets(names)
        }
        ["tlsCertificates"] => {
            let nodes = map.list("tlsCertificates");
            at_most_two(map, "tlsCertificates", nodes.len(), context);
            let maps = nodes.iter().filter_map(|node| Some((node, node.as_map()?)));
            let files = maps.filter_map(|(node, item)| files(item, node.start(), word, context));
            CertificateSource::Files(files.collect())
        }
        _ => {
            if lacks_ca(map) && !map.has("caCertCredentialName") {
                context.report.error(
                    codes::SERVER_TLS,
                    at,
                    format!("mode {word} needs something to verify clients by (GW-12, GW-13)"),
                    "no CA is named",
                    "add `caCertificates` or `caCertCredentialName`",
                );
            }
            CertificateSource::Files(files(map, at, word, context).into_iter().collect())
        }
    }
}

/// One for each kind of key (GW-18).
fn at_most_two(map: &Map, name: &str, count: usize, context: &mut Context<'_>) {
    if count > 2 {
        let at = map.get(name).map(Node::start).unwrap_or_default();
        context.report.error(
            codes::SERVER_TLS,
            at,
            format!("at most two `{name}` are possible (GW-18), not {count}"),
            "one with an RSA key and one with an ECDSA key",
            "",
        );
    }
}

fn files(map: &Map, at: Span, word: &str, context: &mut Context<'_>) -> Option<CertificateFiles> {
    let path = |name| Context::text(map, name).map(|text| PathBuf::from(&*text));
    match (path("serverCertificate"), path("privateKey")) {
        (Some(certificate), Some(key)) => Some(CertificateFiles {
            certificate,
            key,
            client_ca: path("caCertificates"),
        }),
        (certificate, _) => {
            let missing = match certificate {
                Some(_) => "privateKey",
                None => "serverCertificate",
            };
            context.report.error(
                codes::SERVER_TLS,
                at,
                format!("mode {word} needs `serverCertificate` and `privateKey` (GW-17)"),
                format!("`{missing}` is missing"),
                "",
            );
            None
        }
    }
}

/// GW-20.
fn versions(map: &Map, context: &mut Context<'_>) -> (Option<TlsVersion>, Option<TlsVersion>) {
    let version = |name: &str| match map.text(name)? {
        "TLSV1_0" => Some(TlsVersion::V1_0),
        "TLSV1_1" => Some(TlsVersion::V1_1),
        "TLSV1_2" => Some(TlsVersion::V1_2),
        "TLSV1_3" => Some(TlsVersion::V1_3),
        _ => None,
    };
    let (min, max) = (version("minProtocolVersion"), version("maxProtocolVersion"));
    let at = |name: &str| map.get(name).map(|node| node.span).unwrap_or_default();
    if min.unwrap_or(TlsVersion::V1_2) > max.unwrap_or(TlsVersion::V1_3) {
        context.report.warning(
            codes::SERVER_TLS,
            at("maxProtocolVersion"),
            "the highest TLS version is lower than the lowest (GW-20)",
            "no version is left",
            "every handshake fails",
            "the lowest is TLSV1_2 unless `minProtocolVersion` says otherwise",
        );
    }
    if min.is_some_and(|min| min < TlsVersion::V1_2) && map.list("cipherSuites").is_empty() {
        context.report.warning(
            codes::SERVER_TLS,
            at("minProtocolVersion"),
            "TLS before 1.2 needs old cipher suites to be listed (GW-20)",
            "no `cipherSuites`",
            "clients that speak only the old version cannot connect",
            "list them in `cipherSuites`, or require TLSV1_2",
        );
    }
    (min, max)
}

/// Unknown and repeated names are left out (GW-21).
fn cipher_suites(map: &Map, context: &mut Context<'_>) -> Vec<Arc<str>> {
    let mut suites: Vec<Arc<str>> = Vec::new();
    for node in map.list("cipherSuites") {
        let Some(text) = node.as_text() else { continue };
        let fault = if !CIPHER_SUITES.contains(&text) {
            "not a known cipher suite"
        } else if suites.iter().any(|known| **known == *text) {
            "listed already"
        } else {
            suites.push(text.into());
            continue;
        };
        context.report.warning(
            codes::SERVER_TLS,
            node.span,
            format!("cipher suite {text:?} is ignored (GW-21)"),
            fault,
            "the other suites apply; if none is left, the defaults do",
            "",
        );
    }
    suites
}
