//! The command line. `args` is what a person typed; each command has a file of its own.
#![allow(clippy::print_stderr, reason = "this is the command line")]
mod analyze;
mod args;
mod demo;
mod describe;
mod diff;
mod documents;
mod explain;
mod iptables;
pub(crate) mod output;
mod run;
mod settings;
mod test;

use args::{Arguments, Command};

use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// Exit codes: 0 fine, 1 findings or a failure, 2 wrong use, 3 the gateway cannot be reached,
/// 4 explained: no route, 5 explained: no usable endpoint, 141 nobody reads what it says.
pub(crate) mod exit {
    use std::process::ExitCode;

    pub(crate) const FINE: ExitCode = ExitCode::SUCCESS;
    pub(crate) const FAILED: ExitCode = ExitCode::FAILURE;
    /// As a shell says it of those that SIGPIPE ends.
    pub(crate) const READER_GONE: u8 = 141;
    pub(crate) fn wrong_use() -> ExitCode {
        ExitCode::from(2)
    }
    pub(crate) fn no_route() -> ExitCode {
        ExitCode::from(4)
    }
    pub(crate) fn no_endpoint() -> ExitCode {
        ExitCode::from(5)
    }
}

/// Runs the command that was typed.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        None => {
            output::everyday();
            Ok(exit::FINE)
        }
        Some(Command::Run(command)) => run::run(&command),
        Some(Command::Demo(command)) => demo::demo(&command),
        Some(Command::Analyze(command)) => analyze::analyze(&command),
        Some(Command::Validate(command)) => analyze::validate(&command),
        Some(Command::Explain(command)) => explain::explain(&command),
        Some(Command::Test(command)) => test::test(&command),
        Some(Command::Diff(command)) => diff::diff(&command),
        Some(Command::Describe(command)) => describe::describe(&command),
        Some(Command::Settings(command)) => settings::settings(&command),
        Some(Command::Iptables(command)) => Ok(iptables::command(&command)),
        Some(Command::Completion { shell }) => {
            // Into memory first: it panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "pointsman", &mut script);
            output::print(format_args!("{}", String::from_utf8_lossy(&script)));
            Ok(exit::FINE)
        }
        Some(Command::Version { output }) => {
            output::version(output);
            Ok(exit::FINE)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("pointsman: {error:#}");
        if error.is::<args::WrongUse>() {
            exit::wrong_use()
        } else {
            exit::FAILED
        }
    })
}
