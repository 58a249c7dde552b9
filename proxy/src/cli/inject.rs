//! `sidle inject`: workload manifests with a sidecar beside their containers.
//!
//! In:  files, folders, globs, `-`.   Out: the manifests, on standard output or into a file; on standard error what was done to which.
//! Not here: the sidecar (`inject`).

use super::{CliError, check, output, whole_file};
use crate::inject::{self, Done, Options};
use sidle_model::{
    Diagnostic, diagnostic,
    source::{self, SizeLimit},
};
use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

/// Arguments of `sidle inject`.
#[derive(Debug, clap::Args)]
pub struct InjectArgs {
    /// Manifests: files, folders, globs, or - for standard input
    #[arg(short, long = "filename", alias = "file", required = true, num_args = 1.., value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Write here, and not to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The proxy's image
    #[arg(long, default_value = concat!("sidle:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// The image of the container that captures traffic
    #[arg(long, default_value = concat!("sidle-intercept:", env!("CARGO_PKG_VERSION")), value_name = "IMAGE")]
    intercept_image: String,
    /// Capture nothing, unless an annotation asks for it
    #[arg(long)]
    no_intercept: bool,
    /// The ConfigMap with the proxy's configuration, one for each namespace
    #[arg(long, default_value = "sidle-config", value_name = "NAME")]
    config_map: String,
    /// The Secret with the workload's identity: tls.crt, tls.key, ca.crt [default: none]
    #[arg(long, value_name = "NAME")]
    identity_secret: Option<String>,
}

/// Injects. Exit code 1 if there is an error, and then nothing is written.
pub fn run(args: InjectArgs) -> Result<ExitCode, CliError> {
    let (texts, diagnostics) = source::read(&args.file, SizeLimit::default());
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(check::refused("what was to be read", diagnostics, &texts));
    }
    let options = Options {
        image: args.image,
        intercept_image: args.intercept_image,
        intercept: !args.no_intercept,
        config_map: args.config_map,
        identity_secret: args.identity_secret,
    };
    let outcome = inject::inject(&texts, &options);
    if outcome.diagnostics.iter().any(Diagnostic::is_error) {
        return Err(check::refused("what was to be injected", outcome.diagnostics, &texts));
    }
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    output::complain(&diagnostic::render_all(&outcome.diagnostics, &texts, color));
    match &args.output {
        None => output::print(&outcome.text)?,
        Some(path) => whole_file::write(path, &outcome.text)?,
    }
    output::complain(&said(&outcome.done));
    Ok(ExitCode::SUCCESS)
}

fn said(done: &[Done]) -> String {
    if done.is_empty() {
        return "no workload found: all is as it was\n".into();
    }
    let line = |one: &Done| match &one.left_alone {
        None => format!("{}: has its sidecar\n", one.workload),
        Some(why) => format!("{}: left alone, since {why}\n", one.workload),
    };
    done.iter().map(line).collect()
}
