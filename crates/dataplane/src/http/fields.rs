//! Fields as the routing table reads them.
use pointsman_route::Fields;
use pointsman_wire::http1::{RequestHead, ResponseHead};

/// The fields of a parsed head.
pub(super) struct HeadFields<'a, 'h>(pub(super) &'a RequestHead<'h>);

impl Fields for HeadFields<'_, '_> {
    fn each<'s>(&'s self, name: &str, f: &mut dyn FnMut(&'s [u8])) {
        for field in self.0.fields {
            if field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name) {
                f(field.value);
            }
        }
    }
}

/// The fields of a parsed response.
pub(super) struct ResponseFields<'a, 'h>(pub(super) &'a ResponseHead<'h>);

impl Fields for ResponseFields<'_, '_> {
    fn each<'s>(&'s self, name: &str, f: &mut dyn FnMut(&'s [u8])) {
        for field in self.0.fields {
            if field.name.eq_ignore_ascii_case(name) {
                f(field.value);
            }
        }
    }
}
