//! gRPC-Web (PS-4): for ports that say so, calls of browsers become calls of gRPC.
use super::RequestFacts;
use http::{
    HeaderMap, HeaderValue, Request,
    header::{CONTENT_LENGTH, CONTENT_TYPE, TE},
};
use pointsman_wire::{grpc::Dialect, http1::RequestHead, http2::Outgoing};

/// How the client of one request speaks gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrpcWeb {
    /// It writes base64.
    pub(super) asks_in_text: bool,
    /// It reads base64.
    pub(super) reads_text: bool,
}

/// Makes a call of gRPC of one of gRPC-Web that goes to whom it is translated for. The request may
/// lack the fields of `head`, which it is made from.
pub(super) fn translate(
    facts: &RequestFacts,
    head: &RequestHead<'_>,
    http2: Option<&mut Outgoing<Request<()>>>,
) {
    if let (Some(web), Some(http2)) = (GrpcWeb::of(facts), http2) {
        let source = head.source.map(|source| &source.headers);
        http2.complete(|| source.cloned().unwrap_or_default());
        web.request(http2.message_mut().headers_mut());
    }
}

impl GrpcWeb {
    /// What is to be translated for the endpoint of a request, and back.
    pub(super) fn of(facts: &RequestFacts) -> Option<Self> {
        let answered = facts.grpc.filter(|dialect| *dialect != Dialect::Grpc)?;
        Some(Self {
            asks_in_text: facts.asks_in_text,
            reads_text: answered == Dialect::WebText,
        })
    }

    /// The same of a copy, whose answer nobody reads.
    pub(super) fn of_copy(call: Option<Dialect>) -> Option<Self> {
        let dialect = call.filter(|dialect| *dialect != Dialect::Grpc)?;
        Some(Self {
            asks_in_text: dialect == Dialect::WebText,
            reads_text: false,
        })
    }

    /// The head of the request as the endpoint reads it.
    pub(super) fn request(self, fields: &mut HeaderMap) {
        set_content_type(fields, Dialect::Grpc);
        fields.insert(TE, HeaderValue::from_static("trailers"));
        if self.asks_in_text {
            fields.remove(CONTENT_LENGTH);
        }
    }

    /// The head of the response as the client reads it. `false`: it is no answer of gRPC (a page of
    /// some proxy), and passes as it is with its body, as it would to a client of gRPC.
    pub(super) fn response(self, fields: &mut HeaderMap) -> bool {
        let mut said = fields.get_all(CONTENT_TYPE).iter();
        if !said.any(|said| matches!(Dialect::of(said.as_bytes()), Some((Dialect::Grpc, _)))) {
            return false;
        }
        set_content_type(
            fields,
            match self.reads_text {
                true => Dialect::WebText,
                false => Dialect::Web,
            },
        );
        fields.remove(CONTENT_LENGTH);
        true
    }
}

/// What follows the dialect (`+proto`, parameters) is kept.
fn set_content_type(fields: &mut HeaderMap, dialect: Dialect) {
    let mut said = fields.get_all(CONTENT_TYPE).iter();
    let value = said.find_map(|said| dialect.content_type(said.as_bytes()));
    if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
        fields.insert(CONTENT_TYPE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_in_the_content_type_changes() {
        for (said, dialect, expected) in [
            (
                "application/grpc-web+proto",
                Dialect::Grpc,
                "application/grpc+proto",
            ),
            (
                "application/grpc+json",
                Dialect::WebText,
                "application/grpc-web-text+json",
            ),
            ("text/plain", Dialect::Web, "text/plain"),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static(said));
            set_content_type(&mut fields, dialect);
            assert_eq!(fields[CONTENT_TYPE], expected, "{said}");
        }
    }
}
