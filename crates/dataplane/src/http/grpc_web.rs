//! gRPC-Web (PS-4): for ports that say so, calls of browsers become calls of gRPC.
use http::{
    HeaderMap, HeaderValue, Request,
    header::{CONTENT_LENGTH, CONTENT_TYPE, TE},
};
use pointsman_model::Protocol;
use pointsman_route::Cluster;
use pointsman_wire::{grpc::Dialect, http1::RequestHead, http2::Outgoing};

/// How the client of one request speaks gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrpcWeb {
    /// In base64.
    pub(super) text: bool,
}

impl GrpcWeb {
    /// Makes a call of gRPC of a request for `cluster`, if it is one of gRPC-Web and the port
    /// translates.
    pub(super) fn request(cluster: &Cluster, fields: &mut HeaderMap) -> Option<Self> {
        match cluster.protocol {
            Protocol::GrpcWeb => Self::translate(fields),
            _ => None,
        }
    }

    /// The same of one that may lack the fields of `head`, which it is made from.
    pub(super) fn outgoing(
        cluster: &Cluster,
        head: &RequestHead<'_>,
        http2: Option<&mut Outgoing<Request<()>>>,
    ) -> Option<Self> {
        let http2 = http2.filter(|_| cluster.protocol == Protocol::GrpcWeb)?;
        let source = head.source.map(|source| &source.headers);
        http2.complete(|| source.cloned().unwrap_or_default());
        Self::request(cluster, http2.message_mut().headers_mut())
    }

    /// The same whatever the port says.
    pub(super) fn translate(fields: &mut HeaderMap) -> Option<Self> {
        let said = fields.get(CONTENT_TYPE)?.as_bytes();
        let text = match Dialect::of(said)?.0 {
            Dialect::Grpc => return None,
            Dialect::Web => false,
            Dialect::WebText => true,
        };
        set_content_type(fields, Dialect::Grpc);
        fields.insert(TE, HeaderValue::from_static("trailers"));
        if text {
            fields.remove(CONTENT_LENGTH);
        }
        Some(Self { text })
    }

    /// The head of the response as the client reads it.
    pub(super) fn response(self, fields: &mut HeaderMap) {
        set_content_type(
            fields,
            match self.text {
                true => Dialect::WebText,
                false => Dialect::Web,
            },
        );
        fields.remove(CONTENT_LENGTH);
    }
}

/// What follows the dialect (`+proto`, parameters) is kept.
fn set_content_type(fields: &mut HeaderMap, dialect: Dialect) {
    let said = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if let Some(Ok(value)) = said
        .and_then(|said| dialect.content_type(said))
        .map(HeaderValue::try_from)
    {
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
