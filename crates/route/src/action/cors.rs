//! Cross-origin requests (VS-H-90..99). A proxy never rejects one: it answers preflights, and tells
//! browsers what they may show.
use crate::{
    condition::with_field,
    text::Text,
    traffic::{Fields, Request},
};
use pointsman_model::{
    HeaderValue,
    action::{self, FieldOps},
};
use std::sync::Arc;

/// `corsPolicy`, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    origins: Box<[Text]>,
    /// One of the origins is `*`, or takes it.
    any_origin: bool,
    /// Lists joined with `,` (VS-H-96); `None` for an empty one.
    methods: Option<Arc<str>>,
    headers: Option<Arc<str>>,
    exposed: Option<Arc<str>>,
    /// Whole seconds.
    max_age: Option<Arc<str>>,
    credentials: bool,
    forward_unmatched: bool,
}

/// What becomes of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing changes: no `Origin`, or one that is not allowed (VS-H-90, VS-H-95).
    Untouched,
    /// Answered with 200, these fields and no body (VS-H-92, VS-H-93).
    Preflight(Vec<(&'static str, Box<str>)>),
    /// Sent on; this is done to the response after everything the rule does to it (VS-H-94).
    Allowed(FieldOps),
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";

impl Cors {
    /// `origins` are the compiled `allowOrigins` of `policy`.
    pub(crate) fn new(policy: &action::Cors, origins: Vec<Text>) -> Self {
        let joined = |list: &[Arc<str>]| (!list.is_empty()).then(|| list.join(",").into());
        Self {
            any_origin: origins.iter().any(|origin| origin.holds(b"*")),
            origins: origins.into(),
            methods: joined(&policy.allow_methods),
            headers: joined(&policy.allow_headers),
            exposed: joined(&policy.expose_headers),
            max_age: policy.max_age.map(|age| age.as_secs().to_string().into()),
            credentials: policy.allow_credentials == Some(true),
            forward_unmatched: !policy.ignore_unmatched_preflights,
        }
    }

    /// Asks for one request. Allocates only if it has an `Origin`.
    pub fn ask<F: Fields + ?Sized>(&self, request: &Request<'_, F>) -> Verdict {
        let field = |name| with_field(request, name, text);
        let Some(origin) = field("origin").flatten() else {
            return Verdict::Untouched;
        };
        let allowed = self.any_origin || self.origins.iter().any(|it| it.holds(origin.as_bytes()));
        let wanted = match request.method {
            "OPTIONS" => field("access-control-request-method").flatten(),
            _ => None,
        };
        let Some(method) = wanted else {
            return if allowed {
                Verdict::Allowed(self.exposing(&origin))
            } else {
                Verdict::Untouched
            };
        };
        match allowed {
            true => Verdict::Preflight(self.preflight(origin, method, || {
                field("access-control-request-headers").flatten()
            })),
            false if self.forward_unmatched => Verdict::Untouched,
            false => Verdict::Preflight(Vec::new()),
        }
    }

    fn preflight(
        &self,
        origin: Box<str>,
        method: Box<str>,
        headers: impl FnOnce() -> Option<Box<str>>,
    ) -> Vec<(&'static str, Box<str>)> {
        let mut fields = vec![(ALLOW_ORIGIN, origin)];
        if self.credentials {
            fields.push((ALLOW_CREDENTIALS, "true".into()));
        }
        // A `*` alone says back what was asked for (VS-H-96).
        let methods = match self.methods.as_deref() {
            Some("*") => Some(method),
            listed => listed.map(Into::into),
        };
        let headers = match self.headers.as_deref() {
            Some("*") => headers(),
            listed => listed.map(Into::into),
        };
        fields.extend(methods.map(|it| ("access-control-allow-methods", it)));
        fields.extend(headers.map(|it| ("access-control-allow-headers", it)));
        let age = self.max_age.as_deref();
        fields.extend(age.map(|it| ("access-control-max-age", it.into())));
        fields
    }

    fn exposing(&self, origin: &str) -> FieldOps {
        let mut set = vec![(ALLOW_ORIGIN.into(), HeaderValue::from(origin))];
        if self.credentials {
            set.push((ALLOW_CREDENTIALS.into(), "true".into()));
        }
        if let Some(exposed) = &self.exposed {
            set.push(("access-control-expose-headers".into(), (&**exposed).into()));
        }
        FieldOps {
            set,
            ..FieldOps::default()
        }
    }
}

/// A value that is sent back must be text; an empty one is none.
fn text(value: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn policy(origins: &[Text], edit: impl FnOnce(&mut action::Cors)) -> Cors {
        let mut policy = action::Cors {
            allow_methods: vec!["GET".into(), "POST".into()],
            max_age: Some(Duration::from_millis(86_400_999)),
            ..action::Cors::default()
        };
        edit(&mut policy);
        Cors::new(&policy, origins.to_vec())
    }

    fn exact(origin: &str) -> Text {
        Text::Exact(origin.into())
    }

    fn ask(cors: &Cors, method: &str, fields: &[(&str, &str)]) -> Verdict {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect();
        cors.ask(&Request {
            method,
            authority: "web",
            path: "/",
            query: None,
            scheme: "http",
            fields: &fields,
        })
    }

    fn preflight(origin: &'static str) -> [(&'static str, &'static str); 3] {
        [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "x-a,x-b"),
        ]
    }

    fn set(verdict: Verdict) -> Vec<String> {
        let Verdict::Allowed(operations) = verdict else {
            panic!("{verdict:?}")
        };
        let set = operations.set.iter();
        set.map(|(name, value)| format!("{name}: {value}"))
            .collect()
    }

    fn answered(verdict: Verdict) -> Vec<String> {
        let Verdict::Preflight(fields) = verdict else {
            panic!("{verdict:?}")
        };
        let fields = fields.iter();
        fields
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    }

    /// VS-H-92, VS-H-96, T-H-140.
    #[test]
    fn a_preflight_is_answered() {
        let cors = policy(&[exact("https://a.com")], |_| {});
        assert_eq!(
            answered(ask(&cors, "OPTIONS", &preflight("https://a.com"))),
            [
                "access-control-allow-origin: https://a.com",
                "access-control-allow-methods: GET,POST",
                "access-control-max-age: 86400",
            ]
        );
        let cors = policy(&[exact("*")], |it| {
            it.allow_methods = vec!["*".into()];
            it.allow_headers = vec!["*".into()];
            it.max_age = None;
            it.allow_credentials = Some(true);
        });
        assert_eq!(
            answered(ask(&cors, "OPTIONS", &preflight("https://b.com"))),
            [
                "access-control-allow-origin: https://b.com",
                "access-control-allow-credentials: true",
                "access-control-allow-methods: POST",
                "access-control-allow-headers: x-a,x-b",
            ]
        );
    }

    /// VS-H-93, T-H-141, T-H-142.
    #[test]
    fn an_unmatched_preflight_is_forwarded_or_answered_without_an_origin() {
        let forward = policy(&[exact("https://a.com")], |_| {});
        let ignore = policy(&[exact("https://a.com")], |it| {
            it.ignore_unmatched_preflights = true;
        });
        let fields = preflight("https://b.com");
        assert_eq!(ask(&forward, "OPTIONS", &fields), Verdict::Untouched);
        assert_eq!(
            ask(&ignore, "OPTIONS", &fields),
            Verdict::Preflight(Vec::new())
        );
    }

    /// VS-H-90, VS-H-91, VS-H-94, VS-H-95, VS-H-97, T-H-143..145.
    #[test]
    fn other_requests_are_never_rejected() {
        let cors = policy(&[exact("https://a.com")], |it| {
            it.expose_headers = vec!["x-one".into(), "x-two".into()];
            it.allow_credentials = Some(true);
        });
        let allowed = [
            "access-control-allow-origin: https://a.com",
            "access-control-allow-credentials: true",
            "access-control-expose-headers: x-one,x-two",
        ];
        let origin = [("origin", "https://a.com")];
        assert_eq!(set(ask(&cors, "GET", &origin)), allowed);
        assert_eq!(set(ask(&cors, "OPTIONS", &origin)), allowed);
        for fields in [&[][..], &[("origin", "")], &[("origin", "https://b.com")]] {
            assert_eq!(ask(&cors, "GET", fields), Verdict::Untouched);
        }
        // Two of them are one value, and that is nobody's origin.
        let twice = [origin[0], ("Origin", "https://a.com")];
        assert_eq!(ask(&cors, "GET", &twice), Verdict::Untouched);
        let off = policy(&[exact("https://a.com")], |it| {
            it.allow_credentials = Some(false);
        });
        assert_eq!(set(ask(&off, "GET", &origin)), allowed[..1]);
    }

    /// VS-H-17, T-H-146.
    #[test]
    fn patterns_take_whole_origins() {
        let pattern = crate::text::Pattern::compile(&r"https://.*\.a\.com".into()).0;
        let cors = policy(&[Text::Pattern(pattern)], |_| {});
        let of = |origin| ask(&cors, "GET", &[("origin", origin)]);
        assert_eq!(of("https://x.a.com.evil"), Verdict::Untouched);
        assert!(matches!(of("https://x.a.com"), Verdict::Allowed(_)));
    }
}
