//! The head of a request as its endpoint gets it, written once more for mirrors.
use super::super::grpc_web::GrpcWeb;
use pointsman_model::Protocol;
use pointsman_route::{Cluster, action};
use pointsman_wire::{
    grpc::call,
    http1::{RequestHead, RequestRewrite, write_request},
    http2::to_request,
};

/// A request of which there are to be copies.
pub(in crate::http) struct Original<'o, 'h> {
    pub(in crate::http) head: &'o RequestHead<'h>,
    pub(in crate::http) rewrite: &'o RequestRewrite<'o>,
    pub(in crate::http) extra: &'o [(&'o str, &'o [u8])],
    /// As it is sent to an endpoint that speaks HTTP/1.
    pub(in crate::http) http1: Option<&'o [u8]>,
    /// As it is sent to one that speaks HTTP/2.
    pub(in crate::http) http2: Option<&'o http::Request<()>>,
    /// It is translated for the endpoint.
    pub(in crate::http) web: Option<GrpcWeb>,
}

/// An original with the `Host` that its copies have.
pub(super) struct Shadowed<'o, 'h> {
    original: Original<'o, 'h>,
    /// Where it differs.
    host: Option<String>,
}

/// The head of a copy by HTTP/2.
pub(super) struct Http2Head {
    pub(super) request: Box<http::Request<()>>,
    /// The body is base64 (gRPC-Web) to be decoded for this mirror.
    pub(super) text: bool,
}

impl<'o, 'h> Original<'o, 'h> {
    /// `shadow`: is `-shadow` appended to the name (VS-H-88)?
    pub(super) fn shadowed(self, shadow: bool) -> Shadowed<'o, 'h> {
        let host = shadow.then(|| {
            let host = self.rewrite.host.or(self.head.host).unwrap_or_default();
            action::shadow(host)
        });
        Shadowed {
            original: self,
            host,
        }
    }
}

impl Shadowed<'_, '_> {
    fn rewrite(&self) -> RequestRewrite<'_> {
        RequestRewrite {
            host: self.host.as_deref().or(self.original.rewrite.host),
            ..*self.original.rewrite
        }
    }

    /// Can a mirror that speaks HTTP/1 get it? Of a call of gRPC-Web in base64 the body is decoded for
    /// the endpoint, and what it is then is spoken by HTTP/2 only.
    pub(super) fn has_http1(&self) -> bool {
        !self.original.web.is_some_and(|web| web.asks_in_text)
    }

    /// Appends it in HTTP/1.
    pub(super) fn http1(&self, out: &mut Vec<u8>) {
        let Original {
            head, extra, http1, ..
        } = self.original;
        match http1.filter(|_| self.host.is_none()) {
            Some(written) => out.extend_from_slice(written),
            None => {
                out.reserve(head.len + 128);
                write_request(out, head, &self.rewrite(), head.body, extra);
            }
        }
    }

    /// The same in HTTP/2, for a mirror of this backend; `None` where that has no words for it.
    pub(super) fn http2(&self, mirror: &Cluster) -> Option<Http2Head> {
        let Original {
            head,
            extra,
            http2,
            web: original,
            ..
        } = self.original;
        let mut request = match http2.filter(|_| self.host.is_none()) {
            Some(request) => request.clone(),
            None => to_request(head, &self.rewrite(), "http", head.body, extra).ok()?,
        };
        let fields = request.headers_mut();
        let web = original.or_else(|| match mirror.protocol {
            Protocol::GrpcWeb => GrpcWeb::of_copy(call(head.method, head.values("content-type"))),
            _ => None,
        });
        if let Some(web) = web {
            web.request(fields);
        }
        Some(Http2Head {
            request: Box::new(request),
            // What was decoded for the endpoint is decoded in the copy.
            text: original.is_none() && web.is_some_and(|web| web.asks_in_text),
        })
    }
}
