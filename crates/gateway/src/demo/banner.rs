//! What `pointsman demo` prints once everything runs.
use super::tries::{Try, change, ticking, tries};
use std::{fmt::Write as _, net::SocketAddr, path::Path};

/// What the text depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Where the admin page listens; `None`: it is off.
    pub admin: Option<SocketAddr>,
    /// Where the manifests are.
    pub dir: &'a Path,
    /// How `explain` is called here, the target to follow: `./pointsman explain -f demo`; `None`
    /// leaves it out.
    pub explain: Option<&'a str>,
    /// Does the environment send HTTP through a proxy (`http_proxy`, `all_proxy`)? Then `curl`
    /// would ask that proxy for loopback addresses.
    pub http_proxy: bool,
}

impl<'a> Facts<'a> {
    /// The facts of this process's environment, without `explain`.
    pub fn here(admin: Option<SocketAddr>, dir: &'a Path) -> Self {
        // The variables curl reads; HTTP_PROXY in capitals is not among them.
        let names = [
            "http_proxy",
            "https_proxy",
            "HTTPS_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ];
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            admin,
            dir,
            explain: None,
            http_proxy: names.into_iter().any(is_set),
        }
    }
}

const SERVICES: &str = "\
Sample shop on loopback: 9 services, 12 endpoints, one process with the gateway
  productpage   http  127.77.0.10:9080     reviews v1 v2 v3  http  127.77.0.12:9080
  details       http  127.77.0.11:9080     ratings           http  127.77.0.13:9080
  mysql         auto  127.77.0.20:13306    (the server speaks first)
  orders-0..2   tcp   127.77.1.1-3:9000    (headless)
  vault         tls   vault.example.com:8443    by server name, any address
  payments      http  payments.example.com:9081 by Host, any address
  legacy        alias of details
";

/// The text: services, commands to try, and how to change a route while it is in use.
pub fn banner(facts: &Facts<'_>) -> String {
    let mut out = SERVICES.to_owned();
    out.push_str("\nTry, in another terminal:\n");
    if facts.http_proxy {
        out.push_str("  # first: your proxy settings would swallow these requests\n");
        out.push_str("  export no_proxy='*'\n");
    }
    for attempt in tries() {
        add(&mut out, &attempt);
    }
    if let Some(explain) = facts.explain {
        out.push_str("  # why did that go where it went?\n");
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "  {explain} http://reviews:9080/reviews/1 -H 'end-user: jason'"
        );
    }
    out.push_str("\nChange a route while it is in use:\n");
    add(&mut out, &ticking());
    add(&mut out, &change(facts.dir));
    let _ = writeln!(out, "\nManifests: {}", facts.dir.display());
    if let Some(admin) = facts.admin {
        let _ = writeln!(
            out,
            "Admin:     http://{admin}/   metrics http://{admin}/metrics"
        );
    }
    out.push_str("Ctrl-C stops everything.\n");
    out
}

fn add(out: &mut String, attempt: &Try) {
    let _ = writeln!(out, "  # {}", attempt.title);
    let _ = writeln!(out, "  {}", attempt.command);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::files;

    fn facts(dir: &Path) -> Facts<'_> {
        Facts {
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 15000))),
            dir,
            explain: None,
            http_proxy: false,
        }
    }

    #[test]
    fn every_command_is_printed_on_a_line_of_its_own() {
        let dir = Path::new("./pointsman-demo");
        let text = banner(&facts(dir));
        for attempt in tries().into_iter().chain([ticking(), change(dir)]) {
            assert!(
                text.contains(&format!("\n  {}\n", attempt.command)),
                "{}",
                attempt.command
            );
        }
        assert!(text.contains("http://127.0.0.1:15000/metrics"));
        assert!(!text.contains("no_proxy") && !text.contains("explain"));
    }

    #[test]
    fn a_proxy_and_explain_are_mentioned_where_there_are_any() {
        let dir = Path::new("d");
        let text = banner(&Facts {
            explain: Some("./pointsman explain -f d"),
            http_proxy: true,
            admin: None,
            ..facts(dir)
        });
        assert!(text.contains("no_proxy='*'"));
        assert!(text.contains("  ./pointsman explain -f d http://reviews:9080/"));
        assert!(!text.contains("Admin:"));
    }

    /// The table is written by hand: it must not drift from the manifests.
    #[test]
    fn the_table_agrees_with_the_manifests() {
        let all: String = files().iter().map(|file| file.1).collect();
        let cluster_ips = all.matches("clusterIP: 127.77.0.").count();
        assert_eq!(SERVICES.matches("127.77.0.").count(), cluster_ips);
        for line in all.lines() {
            if let Some(address) = line.trim().strip_prefix("clusterIP: ")
                && address != "None"
            {
                assert!(SERVICES.contains(address), "{address}");
            }
        }
        let services =
            all.matches("kind: Service\n").count() + all.matches("kind: ServiceEntry\n").count();
        assert!(SERVICES.contains(&format!(": {services} services")));
        let endpoints =
            all.matches("  - addresses: [").count() + all.matches("    - address: ").count();
        assert!(SERVICES.contains(&format!(" {endpoints} endpoints")));
    }
}
