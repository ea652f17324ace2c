//! The published schema of each kind that is read: one table for "what fields are there", "what
//! type have they" and "does anything act on them".
//!
//! The table is text, under `schema/` of this crate, because it grows with every kind and every
//! release of the APIs it describes, and because whoever makes a field work has one character to
//! remove. A block begins with a line and goes on while lines are indented:
//!
//! ```text
//! kind VirtualService networking.istio.io/v1,v1beta1     a document; `v1` alone is the core group
//!   spec! VirtualServiceSpec                             `!`: required
//! type HTTPRoute                                         a map that allows no other fields
//!   - fault HTTPFaultInjection "no fault is injected"    `-`: known, not acted upon: PM0005 says so
//!   -! proxyProtocol ProxyProtocol "no PROXY header …"   `-!`: a warning: traffic goes wrong meanwhile
//!   . statPrefix string                                  `.`: known, without meaning for routing
//! open PodStatus                                         a map that may hold more
//! strict StringMatch                                     a map whose unknown fields set the document aside
//! ```
//!
//! Types: `string`, `bool`, `int`, `uint` (0 and up), `port` (1..=65535), `number`, `percent`
//! (0..=100), `duration` (1 ms and up), `duration0` (0 and up), `time` (RFC 3339), `cidr`
//! (an address or a range), `base64`, `intOrString`, `enum(A|-B)` (`-`: as for fields), `any`,
//! `[T]` a list, `{T}` a map with free keys, or the name of a block.
mod check;
mod table;

pub(crate) use check::check;
pub use table::{Field, KnownKind, Standing, Table, Type, table};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        let table = table();
        assert_eq!(table.faults(), &[] as &[String]);
        assert_eq!(table.kinds().count(), 11);
    }

    #[test]
    fn a_field_is_flipped_in_one_place() {
        let table = table();
        let standing = |path: &str| table.field(path).map(|field| field.standing);
        assert_eq!(
            standing("VirtualService.spec.http.route.destination.host"),
            Some(Standing::Supported)
        );
        assert_eq!(
            standing("VirtualService.spec.http.retries.retryRemoteLocalities"),
            Some(Standing::NotYet)
        );
        let grave = |path: &str| table.field(path).is_some_and(|field| field.grave);
        assert!(grave("DestinationRule.spec.trafficPolicy.tunnel"));
        assert!(!grave(
            "VirtualService.spec.http.retries.retryRemoteLocalities"
        ));
        assert_eq!(standing("Service.spec.nodePort"), None);
        assert_eq!(
            standing("Service.spec.loadBalancerClass"),
            Some(Standing::Quiet)
        );
        assert_eq!(
            standing("DestinationRule.spec.subsets.trafficPolicy.tls"),
            Some(Standing::NotYet)
        );
    }
}
