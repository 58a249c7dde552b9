//! `sidle version`.

use super::{
    CliError,
    output::{self, Format},
};
use std::process::ExitCode;

/// Arguments of `sidle version`.
#[derive(Debug, clap::Args)]
pub struct VersionArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints what this binary is.
pub fn run(args: &VersionArgs) -> Result<ExitCode, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let build = match option_env!("SIDLE_PROFILED") {
        _ if cfg!(debug_assertions) => "debug",
        Some(_) => "profile-guided release", // of `deploy/build`
        None => "release",
    };
    match args.output {
        Format::Table => output::print(&format!("sidle {version} ({build}, {arch}-{os})\n"))?,
        Format::Json => output::print_json(&serde_json::json!({
            "version": version, "build": build, "os": os, "arch": arch,
        }))?,
    }
    Ok(ExitCode::SUCCESS)
}
