//! `pointsman settings`.
use super::{args, exit, output};
use std::process::ExitCode;

pub(super) fn settings(command: &args::Settings) -> anyhow::Result<ExitCode> {
    let loaded = args::load(
        &command.config,
        &command.client,
        &command.process,
        Vec::new(),
    )?;
    match command.output {
        args::Output::Json => output::say!("{}", serde_json::to_string_pretty(&loaded.effective)?),
        args::Output::Text => {
            let width = |f: fn(&crate::settings::Effective) -> &str| {
                loaded
                    .effective
                    .iter()
                    .map(|it| f(it).len())
                    .max()
                    .unwrap_or(0)
            };
            let (name, value) = (width(|it| &it.name), width(|it| &it.value));
            output::say!("{:name$}  {:value$}  ORIGIN", "SETTING", "VALUE");
            for it in &loaded.effective {
                output::say!("{:name$}  {:value$}  {}", it.name, it.value, it.origin);
            }
        }
    }
    Ok(exit::FINE)
}
