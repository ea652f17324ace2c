//! `--curl`: a curl command as it was pasted, quotes, line breaks and all.
use super::{
    question::{Head, Question, Traffic},
    shell::words,
};
use anyhow::{Context, bail};
use std::net::SocketAddr;

/// Options with a value that say nothing about where a request goes. Short names, then long ones.
const WITH_VALUE: [&str; 25] = [
    "-o",
    "-w",
    "-m",
    "-c",
    "-E",
    "-y",
    "-Y",
    "-C",
    "-D",
    "-K",
    "-U",
    "-P",
    "-z",
    "--cacert",
    "--capath",
    "--cert",
    "--key",
    "--ciphers",
    "--connect-timeout",
    "--limit-rate",
    "--max-redirs",
    "--noproxy",
    "--retry",
    "--retry-delay",
    "--retry-max-time",
];
/// Options without a value that say nothing about where a request goes.
const WITHOUT_VALUE: [&str; 21] = [
    "-s",
    "-S",
    "-v",
    "-i",
    "-k",
    "-L",
    "-f",
    "-g",
    "-N",
    "-O",
    "-4",
    "-6",
    "-#",
    "-j",
    "-n",
    "-q",
    "-Z",
    "-R",
    "-a",
    "-J",
    "--path-as-is",
];

/// Long names of options that are told by their short ones below.
const LONG: [(&str, &str); 44] = [
    ("--next", "-:"),
    ("--request", "-X"),
    ("--header", "-H"),
    ("--data", "-d"),
    ("--data-ascii", "-d"),
    ("--data-raw", "-d"),
    ("--data-binary", "-d"),
    ("--form", "-F"),
    ("--form-string", "-F"),
    ("--upload-file", "-T"),
    ("--get", "-G"),
    ("--head", "-I"),
    ("--user-agent", "-A"),
    ("--referer", "-e"),
    ("--cookie", "-b"),
    ("--user", "-u"),
    ("--oauth2-bearer", "-u"),
    ("--proxy", "-x"),
    ("--http1.0", "-0"),
    ("--insecure", "-k"),
    ("--silent", "-s"),
    ("--show-error", "-S"),
    ("--verbose", "-v"),
    ("--include", "-i"),
    ("--location", "-L"),
    ("--fail", "-f"),
    ("--fail-with-body", "-f"),
    ("--no-buffer", "-N"),
    ("--no-progress-meter", "-s"),
    ("--progress-bar", "-#"),
    ("--globoff", "-g"),
    ("--ipv4", "-4"),
    ("--ipv6", "-6"),
    ("--remote-name", "-O"),
    ("--output", "-o"),
    ("--write-out", "-w"),
    ("--max-time", "-m"),
    ("--cookie-jar", "-c"),
    ("--range", "-r"),
    ("--dump-header", "-D"),
    ("--http1.1", "-s"),
    ("--http2", "-s"),
    ("--http2-prior-knowledge", "-s"),
    ("--tcp-nodelay", "-s"),
];

/// The question of a curl command, and what of the command was not looked at.
pub(super) fn question(
    text: &str,
    to: Option<SocketAddr>,
) -> anyhow::Result<(Question, Vec<String>)> {
    let mut words = words(text)?.into_iter().peekable();
    words.next_if(|word| word == "curl" || word.ends_with("/curl"));
    let mut command = Command::default();
    while let Some(word) = words.next() {
        if command.only_urls || word == "-" || !word.starts_with('-') {
            command.url(word);
        } else if word == "--" {
            command.only_urls = true;
        } else if word.starts_with("--") {
            command.long(&word, &mut words)?;
        } else {
            command.short(&word, &mut words)?;
        }
    }
    command.finish(to)
}

#[derive(Default)]
struct Command {
    url: Option<String>,
    method: Option<String>,
    target: Option<String>,
    headers: Vec<(String, String)>,
    removed: Vec<String>,
    data: Vec<String>,
    /// Of `--url-query`.
    query: Vec<String>,
    json: bool,
    form: bool,
    upload: Option<String>,
    cookies: Vec<String>,
    get: bool,
    head: bool,
    old: bool,
    only_urls: bool,
    notes: Vec<String>,
}

impl Command {
    fn url(&mut self, url: String) {
        if self.url.is_none() {
            self.url = Some(url);
        } else {
            self.notes
                .push(format!("only the first URL counts, not {url}"));
        }
    }

    fn long(&mut self, name: &str, words: &mut impl Iterator<Item = String>) -> anyhow::Result<()> {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{name} needs a value"))
        };
        match name {
            "--url" => {
                let url = value()?;
                self.url(url);
            }
            "--request-target" => self.target = Some(value()?),
            "--data-urlencode" => {
                let made = self.encoded(&value()?);
                self.data.push(made);
            }
            "--url-query" => {
                let text = value()?;
                let made = match text.strip_prefix('+') {
                    Some(as_is) => as_is.to_owned(),
                    None => self.encoded(&text),
                };
                self.query.push(made);
            }
            "--json" => {
                self.data.push(value()?);
                self.json = true;
            }
            "--compressed" => self.header("accept-encoding", "deflate, gzip"),
            "--resolve" | "--connect-to" => {
                let value = value()?;
                self.notes.push(format!(
                    "{name} {value} is not looked at; say where the client dials with --to"
                ));
            }
            _ => match LONG.iter().find(|(long, _)| *long == name) {
                Some((_, short)) => self.option(short, &mut value)?,
                None => self.option(name, &mut value)?,
            },
        }
        Ok(())
    }

    /// `-sSL`, `-XPOST`, `-H value`: a value is the rest of the word, or the next word.
    fn short(
        &mut self,
        word: &str,
        words: &mut impl Iterator<Item = String>,
    ) -> anyhow::Result<()> {
        let mut rest = word.get(1..).unwrap_or_default();
        while let Some(letter) = rest.chars().next() {
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            let name = format!("-{letter}");
            let mut taken = false;
            self.option(&name, &mut || {
                taken = true;
                if rest.is_empty() {
                    words
                        .next()
                        .with_context(|| format!("{name} needs a value"))
                } else {
                    Ok(rest.to_owned())
                }
            })?;
            if taken {
                break;
            }
        }
        Ok(())
    }

    fn option(
        &mut self,
        name: &str,
        value: &mut dyn FnMut() -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        match name {
            "-X" => self.method = Some(value()?),
            "-H" => self.written_header(&value()?),
            "-d" => self.data.push(value()?),
            "-F" => {
                value()?;
                self.form = true;
            }
            "-T" => self.upload = Some(value()?),
            "-G" => self.get = true,
            "-I" => self.head = true,
            "-0" => self.old = true,
            "-A" => self.header("user-agent", &value()?),
            "-e" => self.header("referer", &value()?),
            "-r" => {
                let range = format!("bytes={}", value()?);
                self.header("range", &range);
            }
            "-b" => match value()? {
                cookie if cookie.contains('=') => self.cookies.push(cookie),
                file => self
                    .notes
                    .push(format!("the cookies of the file {file} are not looked at")),
            },
            "-u" => {
                value()?;
                self.authorized();
            }
            "-:" => bail!("--next begins another request: give the command of one"),
            "-x" => {
                let proxy = value()?;
                self.notes
                    .push(format!("the proxy {proxy} is not looked at"));
            }
            name if WITH_VALUE.contains(&name) => drop(value()?),
            name if WITHOUT_VALUE.contains(&name) => {}
            name => bail!("curl's {name} is not known here; leave it out"),
        }
        Ok(())
    }

    fn header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn authorized(&mut self) {
        self.default_header("authorization", "(not shown)");
        self.notes
            .push("the value of the authorization header is not looked at".to_owned());
    }

    /// `content`, `=content`, `name=content`; of files only the name is known.
    fn encoded(&mut self, text: &str) -> String {
        let (name, content) = match text.split_once('=') {
            Some((name, content)) => (name, content),
            None if text.contains('@') => {
                self.notes
                    .push(format!("the data of the file in {text} is not looked at"));
                return String::new();
            }
            None => ("", text),
        };
        let mut made = match name {
            "" => String::new(),
            name => format!("{name}="),
        };
        for byte in content.bytes() {
            match byte {
                b'-' | b'.' | b'_' | b'~' => made.push(char::from(byte)),
                b' ' => made.push('+'),
                _ if byte.is_ascii_alphanumeric() => made.push(char::from(byte)),
                _ => made.push_str(&format!("%{byte:02X}")),
            }
        }
        made
    }

    /// `Name: value`; `Name:` takes one of curl's own away; `Name;` sends it empty.
    fn written_header(&mut self, text: &str) {
        match text.split_once(':') {
            Some((name, value)) if value.trim().is_empty() => {
                self.removed.push(name.trim().to_ascii_lowercase());
            }
            Some((name, value)) => self.header(name.trim(), value.trim()),
            None if text.starts_with('@') => self
                .notes
                .push(format!("the headers of the file {text} are not looked at")),
            None => self.header(text.trim_end_matches(';').trim(), ""),
        }
    }

    /// Curl's own header, unless the command says otherwise.
    fn default_header(&mut self, name: &str, value: &str) {
        let said = self.removed.iter().any(|it| it == name)
            || self
                .headers
                .iter()
                .any(|(it, _)| it.eq_ignore_ascii_case(name));
        if !said {
            self.header(name, value);
        }
    }

    fn finish(mut self, to: Option<SocketAddr>) -> anyhow::Result<(Question, Vec<String>)> {
        let Some(url) = self.url.take() else {
            bail!("the curl command has no URL");
        };
        let url = if url.contains("://") {
            url
        } else {
            format!("http://{url}")
        };
        let (url, user) = without_user(&url);
        if user {
            self.authorized();
        }
        let mut question = Question::of_target(&url, to)?;
        let Traffic::Http(head) = &mut question.traffic else {
            self.notes.push(
                "TLS is opaque to the gateway: only the server name counts, not path and headers"
                    .to_owned(),
            );
            return Ok((question, self.notes));
        };
        let body = !self.get && (!self.data.is_empty() || self.form);
        let method = match self.method.take() {
            Some(method) => method,
            None if self.head => "HEAD".to_owned(),
            None if self.upload.is_some() => "PUT".to_owned(),
            None if body => "POST".to_owned(),
            None => "GET".to_owned(),
        };
        // Curl drops the one for the other.
        let query = match self.get && !self.data.is_empty() {
            true => self.data.join("&"),
            false => self.query.join("&"),
        };
        if !query.is_empty() {
            if !head.target.contains('?') {
                head.target.push('?');
            } else if !head.target.ends_with(['?', '&']) {
                head.target.push('&');
            }
            head.target.push_str(&query);
        }
        // A folder is made the place of a file in it.
        if let Some(file) = self
            .upload
            .as_deref()
            .filter(|_| head.target.ends_with('/'))
        {
            head.target
                .push_str(file.rsplit('/').next().unwrap_or_default());
        }
        if !self.cookies.is_empty() {
            let cookies = self.cookies.join(";");
            self.default_header("cookie", &cookies);
        }
        if let Some(target) = self.target.take() {
            head.target = target;
        }
        self.default_header("accept", if self.json { "application/json" } else { "*/*" });
        self.default_header("user-agent", "curl/8");
        if body && self.json {
            self.default_header("content-type", "application/json");
        } else if body && self.form {
            self.default_header("content-type", "multipart/form-data");
        } else if body {
            self.default_header("content-type", "application/x-www-form-urlencoded");
        }
        if self.upload.is_some() && !self.old {
            let written = self.headers.len();
            self.default_header("expect", "100-continue");
            if self.headers.len() > written {
                self.notes.push(
                    "expect: 100-continue is taken to be sent: older curls do so with every upload, newer ones with those over 1 MiB"
                        .to_owned(),
                );
            }
        }
        *head = Head {
            method,
            headers: self.headers,
            old: self.old,
            ..std::mem::take(head)
        };
        head.settle_host();
        Ok((question, self.notes))
    }
}

/// The URL without the `user:password@` in front of its host, and whether there was one.
fn without_user(url: &str) -> (String, bool) {
    let whole = || (url.to_owned(), false);
    let Some((scheme, rest)) = url.split_once("://") else {
        return whole();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => (format!("{scheme}://{host}{path}"), true),
        None => whole(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> (Head, Vec<String>) {
        let (question, notes) = question(text, None).unwrap();
        match question.traffic {
            Traffic::Http(head) => (head, notes),
            other => panic!("{other:?}"),
        }
    }

    fn header<'h>(head: &'h Head, name: &str) -> Option<&'h str> {
        let mut found = head.headers.iter().filter(|(it, _)| it == name);
        found.next().map(|(_, value)| &**value)
    }

    #[test]
    fn a_pasted_command_is_understood() {
        let (head, notes) = head(
            "curl -sSL -k -XPUT 'http://shop:8080/cart?id=1' \\\n -H 'Host: other' \\\n  -H\"x-user: jason\" --data-raw '{}' -H 'Accept:' --compressed -o /dev/null",
        );
        assert_eq!((&*head.method, &*head.target), ("PUT", "/cart?id=1"));
        assert_eq!(head.host.as_deref(), Some("other"));
        assert_eq!(header(&head, "x-user"), Some("jason"));
        assert_eq!(header(&head, "accept"), None);
        assert_eq!(header(&head, "accept-encoding"), Some("deflate, gzip"));
        assert_eq!(
            header(&head, "content-type"),
            Some("application/x-www-form-urlencoded")
        );
        assert_eq!(notes.len(), 0, "{notes:?}");
    }

    #[test]
    fn methods_follow_from_options() {
        for (command, method, target) in [
            ("curl a", "GET", "/"),
            ("curl -d x=1 a/b", "POST", "/b"),
            ("curl -G -d x=1 -d y=2 'a/b?z=3'", "GET", "/b?z=3&x=1&y=2"),
            ("curl -I a", "HEAD", "/"),
            ("curl -T file a/up", "PUT", "/up"),
            ("curl -T some/file a/up/", "PUT", "/up/file"),
            (
                "curl -G --data-urlencode 'b=2 3&x' --data-urlencode '=a/b' a",
                "GET",
                "/?b=2+3%26x&a%2Fb",
            ),
            ("curl --data-urlencode b=2 a", "POST", "/"),
            (
                "curl -d x --url-query 'b=2 3' 'a/?z=1'",
                "POST",
                "/?z=1&b=2+3",
            ),
            (
                "curl --url-query +b%20c --url-query d 'a/?'",
                "GET",
                "/?b%20c&d",
            ),
            ("curl -G -d x=1 --url-query b=2 a", "GET", "/?x=1"),
            ("curl -G -d '' --url-query b=2 a", "GET", "/"),
            ("curl -F f=@x a", "POST", "/"),
            ("/usr/bin/curl --request DELETE --url a/b", "DELETE", "/b"),
            ("--json '{}' a", "POST", "/"),
            ("curl -X OPTIONS --request-target '*' a", "OPTIONS", "*"),
        ] {
            let (head, _) = head(command);
            assert_eq!(
                (&*head.method, &*head.target),
                (method, target),
                "{command}"
            );
        }
    }

    #[test]
    fn headers_follow_from_options() {
        let (head, notes) = head("curl -b a=b -b c=d -b jar -r 0-10 'http://me:secret@a:80/x'");
        assert_eq!(head.host.as_deref(), Some("a:80"));
        assert_eq!(header(&head, "cookie"), Some("a=b;c=d"));
        assert_eq!(header(&head, "range"), Some("bytes=0-10"));
        let (own, _) = self::head("curl -H 'cookie: z=1' -b a=b a");
        assert_eq!(header(&own, "cookie"), Some("z=1"));
        assert!(header(&head, "authorization").is_some());
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(!notes.concat().contains("secret"), "{notes:?}");
    }

    #[test]
    fn an_upload_expects_to_be_told_to_go_on() {
        let (waits, notes) = head("curl -T f a/f");
        assert_eq!(header(&waits, "expect"), Some("100-continue"));
        assert!(notes[0].contains("expect"), "{notes:?}");
        for command in [
            "curl -d x a",
            "curl -0 -T f a/f",
            "curl -H Expect: -T f a/f",
        ] {
            let (head, notes) = head(command);
            assert_eq!(header(&head, "expect"), None, "{command}");
            assert_eq!(notes.len(), 0, "{notes:?}");
        }
    }

    #[test]
    fn what_is_not_looked_at_is_said() {
        let (_, notes) = head("curl --resolve a:80:192.0.2.1 -u me:secret a b");
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].contains("--to"), "{notes:?}");
        assert!(!notes.concat().contains("secret"), "{notes:?}");
        let (question, notes) = question("curl https://a.com/x -H 'y: z'", None).unwrap();
        assert_eq!(question.original.port(), 443);
        assert!(notes[0].contains("opaque"), "{notes:?}");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for command in [
            "curl",
            "curl --frobnicate a",
            "curl -H",
            "curl -sß a",
            "curl 'a",
        ] {
            assert!(question(command, None).is_err(), "{command}");
        }
        for command in ["curl a --next b", "curl -d x a -: b"] {
            let refused = question(command, None).unwrap_err().to_string();
            assert!(refused.contains("--next"), "{refused}");
        }
    }
}
