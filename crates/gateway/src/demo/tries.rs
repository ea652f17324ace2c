//! Commands to try, each with what its answer contains.
use std::path::Path;

/// A shell command that works as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// What it shows, for people.
    pub title: &'static str,
    /// A line for `sh`.
    pub command: String,
    /// The answer contains this.
    pub expect: &'static str,
    /// The program that must be installed for it.
    pub needs: &'static str,
}

/// Commands that end by themselves within a few seconds, in the order a newcomer would try them.
/// They need the shop and a gateway that serves [`files`](super::files()) by bind capture.
pub fn tries() -> Vec<Try> {
    let curl = |title, command: &str, expect| Try {
        title,
        command: command.to_owned(),
        expect,
        needs: "curl",
    };
    vec![
        curl(
            "the page; it asks details and reviews through the gateway",
            "curl http://127.77.0.10:9080/",
            "productpage-v1",
        ),
        curl(
            "routing by header: jason gets v2",
            "curl -H 'end-user: jason' http://127.77.0.12:9080/reviews/1",
            "reviews-v2",
        ),
        curl(
            "weights: everyone else gets v1 or v3",
            "for i in 1 2 3 4 5 6; do curl http://127.77.0.12:9080/reviews/1; done",
            "reviews-v",
        ),
        curl(
            "an alias: legacy is details by another name",
            "curl -H 'Host: legacy' http://127.0.0.1:9080/details/1",
            "details-v1",
        ),
        curl(
            "headless: each pod at its own address",
            "curl http://127.77.1.2:9000/",
            "orders-1",
        ),
        curl(
            "a service outside the cluster, known by its Host alone",
            "curl -H 'Host: payments.example.com' http://127.0.0.1:9081/pay",
            "payments-v1",
        ),
        curl(
            "TLS passed through unopened, routed by the server name (SNI)",
            "curl -k --resolve vault.example.com:8443:127.0.0.1 https://vault.example.com:8443/secret",
            "vault-v1",
        ),
        Try {
            title: "the certificate is the server's own",
            command: "openssl s_client -connect 127.0.0.1:8443 -servername vault.example.com \
                      </dev/null 2>/dev/null | openssl x509 -noout -subject"
                .to_owned(),
            expect: "vault.example.com",
            needs: "openssl",
        },
        curl(
            "a server that speaks first, on a port that declares nothing",
            "{ sleep 1; echo hello; echo quit; sleep 1; } | \
             curl -sN -m 5 telnet://127.77.0.20:13306 | tr -cs '[:print:]' '\\n'",
            "mysql-0 heard: hello",
        ),
    ]
}

/// A connection that never ends by itself, to be left running while routes change.
pub fn ticking() -> Try {
    Try {
        title: "leave this running: no change of a route ends it",
        command: "curl -N http://127.77.0.11:9080/stream".to_owned(),
        expect: "details-v1 tick",
        needs: "curl",
    }
}

/// Edits the reviews manifest in `dir`, waits for the change to be active, and asks again. To be
/// run after [`tries`], whose weights it changes.
pub fn change(dir: &Path) -> Try {
    let file = quoted(&dir.join("reviews.yaml"));
    Try {
        title: "move everyone but jason to v3: edit reviews.yaml and save, or",
        command: format!(
            "sed -i 's/50 # percent to v1/0/; s/50 # percent to v3/100/' {file} && sleep 1 && \
             curl http://127.77.0.12:9080/reviews/1"
        ),
        expect: "reviews-v3",
        needs: "curl",
    }
}

/// As one word of a shell, which a path may not be by itself.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    // An option-like path would be read as one even in quotes.
    let prefix = if text.starts_with('-') { "./" } else { "" };
    format!("{prefix}'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::files;
    use std::process::Command;

    #[test]
    fn paths_stay_one_word() {
        for path in ["a/b.yaml", "a b", "it's", "-x", "$HOME;`ls`", "ü"] {
            let out = Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(Path::new(path)))])
                .output()
                .expect("sh is installed");
            let text = String::from_utf8(out.stdout).expect("UTF-8");
            assert_eq!(text.strip_prefix("./").unwrap_or(&text), path);
        }
    }

    /// Without the marks in the manifest the printed edit would silently change nothing.
    #[test]
    fn the_change_finds_what_it_edits() {
        let (_, text) = files()
            .iter()
            .find(|file| file.0 == "reviews.yaml")
            .expect("there");
        for mark in ["weight: 50 # percent to v1", "weight: 50 # percent to v3"] {
            assert_eq!(text.matches(mark).count(), 1, "{mark}");
        }
    }

    #[test]
    fn addresses_and_names_are_those_of_the_manifests() {
        let all: String = files().iter().map(|file| file.1).collect();
        for attempt in tries() {
            let words = attempt
                .command
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
            for word in words.filter(|word| word.starts_with("127.77.") || word.ends_with(".com")) {
                assert!(all.contains(word), "{word} of {}", attempt.command);
            }
        }
    }
}
