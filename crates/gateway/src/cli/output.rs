//! What people and scripts get to see.
use super::{args, exit};
use pointsman_control::{FilesSettings, read_text};
use pointsman_model::{Finding, Level, codes};
use std::{
    collections::HashMap,
    fs,
    io::{IsTerminal, Write},
};

/// `println!` by [`print`].
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::output::print(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(crate) use say;

/// Colour by choice, `NO_COLOR`, `FORCE_COLOR`, and whether a person is looking.
pub(crate) fn colored(choice: args::Color, stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match choice {
        args::Color::Always => true,
        args::Color::Never => false,
        args::Color::Auto if set("NO_COLOR") => false,
        args::Color::Auto => set("FORCE_COLOR") || stream.is_terminal(),
    }
}

/// The everyday commands, for somebody who typed nothing else.
pub(super) fn everyday() {
    print(format_args!(
        "\
Pointsman routes TCP, TLS and HTTP as Kubernetes and Istio documents say.

  pointsman demo               sample shop and gateway on loopback: begin here
  pointsman run -f DIR         serve by the documents in DIR, follow their changes
  pointsman analyze -f DIR     say what is wrong with documents
  pointsman explain TARGET     say why a request or connection would go where
  pointsman test -f DIR FILE   check that traffic goes where FILE says it must
  pointsman diff -f A -f B     say which traffic changes from documents A to B
  pointsman describe KIND NAME show one thing with everything that refers to it
  pointsman settings           each setting, its value and where it came from
  pointsman iptables print     capture rules for --capture redirect

pointsman --help lists everything; pointsman COMMAND --help has examples.
"
    ));
}

pub(super) fn version(form: args::Output) {
    let version = env!("CARGO_PKG_VERSION");
    match form {
        args::Output::Text => say!("pointsman {version}"),
        args::Output::Json => say!("{}", serde_json::json!({ "version": version })),
    }
}

/// A finding as a JSON object: the stable machine form.
pub(crate) fn finding_json(finding: &Finding) -> serde_json::Value {
    let object = finding.object.as_ref();
    let place = finding.place.as_ref();
    serde_json::json!({
        "code": finding.code.to_string(),
        "level": finding.level.as_str(),
        "kind": object.map(|it| it.kind.as_str()),
        "namespace": object.map(|it| &*it.namespace),
        "name": object.map(|it| &*it.name),
        "file": place.map(|it| &*it.file),
        "line": place.map(|it| it.line),
        "column": place.map(|it| it.column),
        "message": finding.message,
        "effect": finding.effect,
        "help": finding.help,
        "istio": codes::entry(finding.code).map_or(&[][..], |it| it.istio),
    })
}

/// Everything that can be found, for `--list-codes`.
pub(super) fn list_codes(form: args::Output) {
    let rows = codes::CODES.iter().map(|it| {
        let levels: Vec<&str> = it.levels.iter().map(|level| level.as_str()).collect();
        (it, levels)
    });
    if form == args::Output::Json {
        for (it, levels) in rows {
            say!(
                "{}",
                serde_json::json!({
                    "code": it.code.to_string(),
                    "levels": levels,
                    "title": it.title,
                    "effect": it.meaning,
                    "help": it.advice,
                    "istio": it.istio,
                })
            );
        }
        return;
    }
    say!("{:<8}{:<16}{:<19}FOUND", "CODE", "LEVEL", "ISTIO");
    for (it, levels) in rows {
        let istio = match it.istio {
            [] => "-".to_owned(),
            codes => codes.join(", "),
        };
        say!(
            "{:<8}{:<16}{istio:<19}{}",
            it.code.to_string(),
            levels.join(", "),
            it.title
        );
    }
}

/// Renders findings with excerpts of their files, read as they are now.
pub(super) struct Renderer {
    texts: HashMap<String, Option<String>>,
    color: bool,
}

impl Renderer {
    pub(super) fn new(color: bool) -> Self {
        Self {
            texts: HashMap::new(),
            color,
        }
    }

    /// Uses this text for a file instead of reading it (standard input).
    pub(super) fn text(&mut self, file: &str, text: String) {
        self.texts.insert(file.to_owned(), Some(text));
    }

    pub(super) fn render(&mut self, finding: &Finding) -> String {
        let file = finding.place.as_ref().map(|place| place.file.to_string());
        let related = finding.related.as_ref().map(|it| it.place.file.to_string());
        for name in file.iter().chain(&related) {
            self.texts
                .entry(name.clone())
                .or_insert_with(|| again(name).ok());
        }
        let text = |name: &Option<String>| {
            name.as_ref()
                .and_then(|name| self.texts.get(name))
                .and_then(Option::as_deref)
        };
        pointsman_manifest::render(finding, text(&file), text(&related), self.color)
    }
}

/// The text of a file, as it is read for its documents. What is no file at all may have no end, or
/// nobody any more who writes it.
fn again(name: &str) -> std::io::Result<String> {
    if !fs::metadata(name)?.is_file() {
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    read_text(
        fs::File::open(name)?,
        FilesSettings::default().max_file_bytes,
    )
}

/// Excerpts shown at the start of `run`; the rest is one command away.
const SHOWN: usize = 20;

/// Warnings and errors on standard error, with excerpts. Whether anybody reads them is not the
/// gateway's concern.
pub(super) fn findings_to_stderr(findings: &[Finding]) {
    let mut renderer = Renderer::new(colored(args::Color::Auto, &std::io::stderr()));
    let mut stderr = std::io::stderr();
    let bad = || findings.iter().filter(|it| it.level >= Level::Warning);
    for finding in bad().take(SHOWN) {
        let _ = writeln!(stderr, "{}\n", renderer.render(finding));
    }
    if let Some(more) = bad().count().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(
            stderr,
            "and {more} more findings: `pointsman analyze` shows them all\n"
        );
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) ends the command quietly, with
/// [`exit::READER_GONE`]: what it would have found is not known. A full disk ends it with a sentence.
pub(crate) fn print(text: std::fmt::Arguments<'_>) {
    if let Err(error) = std::io::stdout().write_fmt(text) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(exit::READER_GONE.into());
        }
        let _ = writeln!(
            std::io::stderr(),
            "pointsman: cannot write the output: {error}"
        );
        std::process::exit(1);
    }
}

/// `3 errors, 1 warning`.
pub(super) fn tally(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|it| it.level == level).count();
    format!(
        "{}, {}",
        counted(count(Level::Error), "error"),
        counted(count(Level::Warning), "warning")
    )
}

/// `1 rule`, `2 rules`.
pub(super) fn counted(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}
