//! `sidle authz`: authorization policies without a proxy.
//!
//! In:  configuration files, a table of requests.   Out: what the policies make of each; failure if one is not as expected.
//! Invariants: the answer comes from the policies as a proxy of this namespace and these labels has them.
//! Not here: the decision (`sidle-authz`), the form of the table (`sidle-model`).

mod simulate;

use super::{CliError, output::Terminal};
use std::process::ExitCode;

/// `sidle authz`.
#[derive(Debug, clap::Subcommand)]
pub enum AuthzCommand {
    /// Ask the policies about a table of requests
    Simulate(simulate::SimulateArgs),
}

/// Runs the command.
pub fn run(command: AuthzCommand, terminal: Terminal) -> Result<ExitCode, CliError> {
    match command {
        AuthzCommand::Simulate(args) => simulate::run(args, terminal),
    }
}
