//! `sidle run`: the proxy.
//!
//! In:  arguments, environment.   Out: [`RunOptions`] for [`crate::app::run`], whose exit code is ours.

use super::{
    CliError,
    node::{NodeArgs, config_paths, environment},
    value,
};
use crate::{
    app::{RunOptions, TakeoverOptions, detach},
    config::Overrides,
};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

/// Arguments of `sidle run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Files, folders, globs, or - for standard input [env: SIDLE_CONFIG, separated by `:`]
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    config: Vec<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    /// Address of the admin server [default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS", env = "SIDLE_ADMIN", value_parser = value::address)]
    admin: Option<SocketAddr>,
    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", env = "SIDLE_WORKERS", value_parser = |text: &str| value::whole::<u16>(text, 1..=1024))]
    workers: Option<u16>,
    /// Take the listening sockets of the running proxy over, once this one is ready; start as usual if none runs
    #[arg(long, env = "SIDLE_TAKEOVER", value_parser = clap::builder::BoolishValueParser::new())]
    takeover: bool,
    /// The Unix socket where the two meet [default: in $RUNTIME_DIRECTORY or $XDG_RUNTIME_DIR; without them, none]
    #[arg(long, value_name = "PATH", env = "SIDLE_TAKEOVER_SOCKET")]
    takeover_socket: Option<PathBuf>,
    /// The application: started once the proxy is ready; the proxy ends with it, and with its exit code
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the proxy until it is told to stop, or its application ends.
pub fn run(args: RunArgs) -> Result<ExitCode, CliError> {
    if detach().map_err(|error| CliError::Failed(format!("the new process cannot be started: {error}")))? {
        return Ok(ExitCode::SUCCESS);
    }
    if args.takeover && !args.command.is_empty() {
        let why =
            "--takeover cannot be with a command after `--`: the application is the running proxy's child";
        return Err(CliError::Usage(why.into()));
    }
    let options = RunOptions {
        paths: config_paths(args.config, &environment)?,
        node: args.node.node(&environment)?,
        overrides: Overrides { admin: args.admin, workers: args.workers },
        command: args.command,
        takeover: TakeoverOptions { take: args.takeover, socket: args.takeover_socket },
    };
    crate::app::run(options).map_err(|error| CliError::Failed(error.to_string()))
}
