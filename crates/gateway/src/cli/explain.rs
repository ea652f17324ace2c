//! `pointsman explain`.
use super::{args, exit};
use std::process::ExitCode;

pub(super) fn explain(_command: &args::Explain) -> anyhow::Result<ExitCode> {
    Ok(exit::no_route())
}
