//! `sidle completions SHELL`.

use super::{Cli, CliError, output};
use clap::CommandFactory;
use std::process::ExitCode;

/// Arguments of `sidle completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the script; `source <(sidle completions bash)` uses it.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sidle", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
