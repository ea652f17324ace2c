//! `pointsman test`: what connections and requests must become, checked without sending anything.
//!
//! A [`file`](mod@file) holds cases; each of them is a question of `explain` with an expectation.
//! The question is answered by the code of `explain --json`, which is that of the data path,
//! [`check`] compares the answer with the expectation, and [`report`] says what came of it.
mod check;
mod file;
mod report;

use self::{
    check::Difference,
    file::{Case, Suite},
};
use super::{
    args,
    documents::Documents,
    exit,
    explain::{Answer, Answerer},
    output,
};
use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

/// One case and what came of it.
struct Outcome<'c> {
    suite: &'c Suite,
    case: &'c Case,
    result: Result<Vec<Difference>, String>,
    /// What the answer is about, for whoever looks at a failure: a rule's place, and the closing
    /// sentence of `explain`.
    rule: Option<String>,
    sentence: Option<String>,
    took: Duration,
}

impl Outcome<'_> {
    fn passed(&self) -> bool {
        self.result.as_ref().is_ok_and(Vec::is_empty)
    }

    /// `mesh/routes.test.yaml:9`.
    fn place(&self) -> String {
        format!("{}:{}", self.suite.file, self.case.line)
    }

    /// A sentence for each thing that is not as expected.
    fn complaints(&self) -> Vec<String> {
        match &self.result {
            Ok(differences) => differences.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.clone()],
        }
    }
}

pub(super) fn test(command: &args::Test) -> anyhow::Result<ExitCode> {
    let settings = args::load(
        &args::ConfigArgs::default(),
        &command.client,
        &args::ProcessArgs::default(),
        Vec::new(),
    )?
    .settings;
    let mut suites = Vec::new();
    for path in &command.cases {
        suites.push(Suite::read(path).map_err(args::WrongUse)?);
    }
    let documents = Documents::read(&command.files, &settings.client)?;
    let mut answerer = Answerer::new(&documents.world, &settings.given(), false);

    let wanted = |case: &Case| {
        let filter = command.filter.as_deref().unwrap_or_default();
        case.name.contains(filter)
    };
    let cases: Vec<_> = suites
        .iter()
        .flat_map(|suite| suite.cases.iter().map(move |case| (suite, case)))
        .filter(|(_, case)| wanted(case))
        .collect();
    if cases.is_empty() {
        let error = match &command.filter {
            Some(filter) => anyhow::anyhow!("no case has {filter:?} in its name"),
            None => anyhow::anyhow!("there are no cases"),
        };
        return Err(args::WrongUse(error).into());
    }

    let color = output::colored(command.color, &std::io::stdout());
    let text = command.output == args::TestOutput::Text;
    let progress = !text && std::io::stderr().is_terminal();
    let mut outcomes = Vec::with_capacity(cases.len());
    for (done, (suite, case)) in cases.iter().enumerate() {
        let outcome = run(&mut answerer, suite, case);
        if text && !(command.quiet && outcome.passed()) {
            output::print(format_args!("{}", report::line(&outcome, color)));
        }
        if progress {
            let _ = write!(std::io::stderr(), "\r{}/{}", done + 1, cases.len());
        }
        outcomes.push(outcome);
    }
    if progress {
        let _ = writeln!(std::io::stderr());
    }
    let set_aside = documents
        .findings
        .iter()
        .filter(|it| it.level == pointsman_model::Level::Error)
        .count();
    if set_aside > 0 {
        eprintln!(
            "note: {set_aside} errors in the documents: what they are about took no part; see pointsman analyze"
        );
    }
    match command.output {
        args::TestOutput::Text => output::print(format_args!("{}", report::summary(&outcomes))),
        args::TestOutput::Json => output::say!("{}", report::json(&outcomes)),
        args::TestOutput::Junit => output::print(format_args!("{}", report::junit(&outcomes))),
    }
    Ok(match outcomes.iter().all(Outcome::passed) {
        true => exit::FINE,
        false => exit::FAILED,
    })
}

fn run<'c>(answerer: &mut Answerer<'_>, suite: &'c Suite, case: &'c Case) -> Outcome<'c> {
    let started = Instant::now();
    let answer = answerer.ask(case.asked.clone());
    let rule = answer.as_ref().ok().and_then(rule_of);
    let result = match answer {
        Ok(answer) => Ok(check::check(&case.expect, &case.asked, &answer, answerer)),
        Err(error) => Err(format!("cannot be asked: {error:#}")),
    };
    let failed = !result.as_ref().is_ok_and(Vec::is_empty);
    let sentence = failed.then(|| answerer.tell(case.asked.clone()).ok());
    Outcome {
        suite,
        case,
        result,
        rule,
        sentence: sentence.flatten().map(|it| it.sentence),
        took: started.elapsed(),
    }
}

fn rule_of(answer: &Answer) -> Option<String> {
    let rule = answer.rule.as_ref()?;
    Some(format!("{}  {}:{}", rule.label, rule.file, rule.line))
}
