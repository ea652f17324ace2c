//! Copies of requests (VS-H-86..89). Who gets one is drawn by [`drawn`](super::drawn).

/// The authority of a copy as Istio once sent it: `-shadow` behind the name, before the port
/// (VS-H-88).
pub fn shadow(authority: &str) -> String {
    let end = match authority.rfind([':', ']']) {
        Some(at) if authority.as_bytes().get(at) == Some(&b':') => at,
        _ => authority.len(),
    };
    let (name, port) = authority.split_at(end);
    format!("{name}-shadow{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VS-H-88, T-H-130.
    #[test]
    fn a_shadow_keeps_its_port() {
        for (authority, expected) in [
            ("web", "web-shadow"),
            ("web:80", "web-shadow:80"),
            ("[::1]:80", "[::1]-shadow:80"),
            ("[::1]", "[::1]-shadow"),
        ] {
            assert_eq!(shadow(authority), expected);
        }
    }
}
