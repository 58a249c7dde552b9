//! `sidle check`: what is wrong with configuration files, without running anything.
//!
//! In:  files, folders, globs, `-`.   Out: every diagnostic with its line, or all as JSON; failure if one is an error.
//! Not here: the checks (`sidle-model`).

use super::{
    CliError,
    node::{NodeArgs, environment},
    output::{self, Format, Style, Terminal},
};
use crate::config::{files, lacks};
use serde::Serialize;
use sidle_model::{
    Config, Loaded,
    diagnostic::{self, Diagnostic, Severity},
    ir::{ClusterLimits, Ir, Node},
    load,
    source::Text,
};
use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

/// Arguments of `sidle check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Files, folders, globs, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    files: usize,
    errors: usize,
    warnings: usize,
    /// Clusters of services whose connections, waiting requests or requests are bounded as by default, and how many there are.
    default_limits: [usize; 2],
    diagnostics: &'a [Diagnostic],
}

/// Checks the paths. Exit code 1 if there is an error.
pub fn run(args: &CheckArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let mut loaded = load(&args.paths, &args.node.node(&environment)?);
    lacks::judge(&mut loaded);
    files::judge(&mut loaded);
    let count = |severity| loaded.diagnostics.iter().filter(|one| one.severity == severity).count();
    let report = Report {
        files: loaded.texts.len(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        default_limits: loaded.ir.as_ref().map(default_limits).unwrap_or_default(),
        diagnostics: &loaded.diagnostics,
    };
    match args.output {
        Format::Json => output::print_json(&report)?,
        Format::Table => {
            let text = diagnostic::render_all(&loaded.diagnostics, &loaded.texts, terminal.color);
            output::print(&(text + &limits(&report, terminal) + &summary(&report, terminal)))?;
        }
    }
    Ok(if report.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of the clusters of services, those with a bound as by default, whether or not somebody wrote it; and all.
fn default_limits(ir: &Ir) -> [usize; 2] {
    let defaults = ClusterLimits::default();
    let services = ir.clusters.iter().filter(|cluster| !cluster.service.host.is_empty());
    let has_default = |limits: &ClusterLimits| {
        limits.max_connections == defaults.max_connections
            || limits.max_pending_requests == defaults.max_pending_requests
            || limits.max_requests == defaults.max_requests
    };
    [services.clone().filter(|cluster| has_default(&cluster.limits)).count(), services.count()]
}

/// Where a default differs from Istio's, those who come from there are told.
fn limits(report: &Report<'_>, terminal: Terminal) -> String {
    let [defaults, all] = report.default_limits;
    if defaults == 0 {
        return String::new();
    }
    let ClusterLimits { max_connections, max_pending_requests, max_requests, .. } = ClusterLimits::default();
    let text = format!(
        "limits: where no `connectionPool` says otherwise, {max_connections} connections, {max_pending_requests} waiting requests and \
         {max_requests} requests at once ({defaults} of {} have such a limit; in Istio there is none)",
        counted(all, "cluster")
    );
    terminal.paint(Style::Faint, text) + "\n"
}

fn summary(report: &Report<'_>, terminal: Terminal) -> String {
    let style = match (report.errors, report.warnings) {
        (0, 0) => Style::Good,
        (0, _) => Style::Caution,
        _ => Style::Bad,
    };
    let Report { files, errors, warnings, .. } = report;
    let text = format!(
        "{}: {}, {}",
        counted(*files, "file"),
        counted(*errors, "error"),
        counted(*warnings, "warning")
    );
    terminal.paint(style, text) + "\n"
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The IR of `paths`, for commands that need one; prints the errors on standard error when there is none. This build need not be able
/// to run it.
pub fn load_or_report(paths: &[PathBuf], node: &Node) -> Result<Ir, CliError> {
    of_loaded(load(paths, node)).map(|(ir, _)| ir)
}

/// As [`load_or_report`], of what this build can run, with the resources that it was made of.
pub fn resources_or_report(paths: &[PathBuf], node: &Node) -> Result<(Ir, Config), CliError> {
    let mut loaded = load(paths, node);
    lacks::judge(&mut loaded);
    of_loaded(loaded)
}

fn of_loaded(loaded: Loaded) -> Result<(Ir, Config), CliError> {
    let Loaded { texts, ir, diagnostics, config, .. } = loaded;
    match ir {
        Some(ir) => Ok((ir, config)),
        None => Err(refused("the configuration", diagnostics, &texts)),
    }
}

/// Prints the errors on standard error.
pub fn refused(what: &str, mut diagnostics: Vec<Diagnostic>, texts: &[Text]) -> CliError {
    diagnostics.retain(Diagnostic::is_error);
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    output::complain(&diagnostic::render_all(&diagnostics, texts, color));
    CliError::Failed(format!("{what} has {}", counted(diagnostics.len(), "error")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts() {
        let report = Report { files: 1, errors: 0, warnings: 2, default_limits: [0, 0], diagnostics: &[] };
        assert_eq!(summary(&report, Terminal::default()), "1 file: 0 errors, 2 warnings\n");
    }
}
