//! `sidle export envoy`: the same configuration for Envoy.
//!
//! In:  configuration files.   Out: an Envoy bootstrap as JSON.
//! Not here: the mapping (`sidle-xds`).

use super::{
    CliError, check,
    node::{NodeArgs, config_paths, environment},
    output, whole_file,
};
use std::{path::PathBuf, process::ExitCode};

/// What to write.
#[derive(Debug, clap::Subcommand)]
pub enum ExportCommand {
    /// As an Envoy bootstrap: `envoy -c FILE` then runs the same routes
    Envoy(EnvoyArgs),
}

/// Arguments of `sidle export envoy`.
#[derive(Debug, clap::Args)]
pub struct EnvoyArgs {
    /// Files, folders, globs, or - for standard input [env: SIDLE_CONFIG, separated by `:`]
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    config: Vec<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    /// Where to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the configuration for another proxy.
pub fn run(command: ExportCommand) -> Result<ExitCode, CliError> {
    let ExportCommand::Envoy(args) = command;
    let paths = config_paths(args.config, &environment)?;
    let ir = check::load_or_report(&paths, &args.node.node(&environment)?)?;
    let json = output::json(&sidle_xds::bootstrap(&ir, &sidle_xds::ExportOptions::default()))?;
    match args.output {
        None => output::print(&json)?,
        Some(path) => whole_file::write(&path, &json)?,
    }
    Ok(ExitCode::SUCCESS)
}
