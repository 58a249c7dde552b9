//! `sidle certs`: identities for development, and a look at certificates.
//!
//! Not here: how they are made and read (`sidle-identity`).

mod folder;
mod init;
mod show;

use super::{CliError, output::Terminal};
use std::process::ExitCode;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum CertsCommand {
    /// Make a certificate authority for development, and an identity for each service
    Init(init::InitArgs),
    /// Show who certificates are for, and until when
    Show(show::ShowArgs),
}

/// Makes or shows.
pub fn run(command: CertsCommand, terminal: Terminal) -> Result<ExitCode, CliError> {
    match command {
        CertsCommand::Init(args) => init::run(&args, terminal),
        CertsCommand::Show(args) => show::run(&args, terminal),
    }
}
