//! `sidle explain`: which rule takes a request or a connection of bytes, why others do not, and what happens then.
//!
//! In:  configuration files, a request or a connection.   Out: a [`report::Report`] as text or JSON; success if somebody takes the request.
//! Invariants: the answer comes from the tables that the proxy routes by.
//! Read: [`run`] -> `place` (listener) -> `authorization` (who may) -> `report` (rules) -> `outcome` (action) -> `own` (not here again) -> `print`.

mod authorization;
mod cluster;
mod connection;
mod outcome;
mod own;
mod place;
mod print;
mod report;
mod request;

use super::{
    CliError, check,
    client::ClientArgs,
    node::{NodeArgs, config_paths, environment},
    output::{self, Format, Terminal},
};
use connection::is_connection;
use report::Report;
pub use request::Request;
use std::{path::PathBuf, process::ExitCode};

/// Arguments of `sidle explain`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "sidle explain -c <PATH>… [OPTIONS] <METHOD> <URL>\n       sidle explain -c <PATH>… [OPTIONS] tcp://<ADDRESS>:<PORT> | tls://<NAME>:<PORT>"
)]
pub struct ExplainArgs {
    /// Files, folders, globs, or - for standard input [env: SIDLE_CONFIG, separated by `:`]
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    config: Vec<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    /// Where the request arrives: outbound, inbound, a listener's name, or a Gateway's
    #[arg(long, value_name = "LISTENER", default_value = "outbound")]
    listener: String,
    /// A header of the request: `-H 'end-user: jason'`
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Method and URL, or a captured connection of bytes: tcp://10.0.0.5:3306, tls://db.shop:443
    #[arg(value_names = ["METHOD", "URL"], num_args = 0..=2)]
    request: Vec<String>,
}

/// Explains one request. Exit code 1 also when nobody takes it.
pub fn run(args: ExplainArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let (config, asked) = split(args.config, args.request)?;
    let request = match &asked[..] {
        [url] => Request::connection(url)?,
        [method, url, ..] => Request::parse(method, url, &args.headers)?,
        [] => return Err(usage()),
    };
    let paths = config_paths(config, &environment)?;
    let (ir, _) = check::resources_or_report(&paths, &args.node.node(&environment)?)?;
    let listener = place::listener(&ir, &args.listener, &request)?;
    let report = Report::new(&ir, listener, &request, &args.client.client()?);
    match args.output {
        Format::Table => output::print(&print::text(&report, terminal))?,
        Format::Json => output::print_json(&report)?,
    }
    Ok(if report.outcome.is_taken() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `-c a b GET URL`: `-c` takes all it is given, so the request may stand at its end. Of a connection there is a URL alone.
fn split(
    mut config: Vec<PathBuf>,
    mut request: Vec<String>,
) -> Result<(Vec<PathBuf>, Vec<String>), CliError> {
    let whole = |request: &[String]| match request {
        [url] => is_connection(url),
        more => more.len() == 2,
    };
    while !whole(&request) && request.len() < 2 && config.len() > 1 {
        let Some(last) = config.pop() else { break };
        request.insert(0, last.to_string_lossy().into_owned());
    }
    if whole(&request) { Ok((config, request)) } else { Err(usage()) }
}

fn usage() -> CliError {
    CliError::Usage(
        "give a method and a URL: `sidle explain -c PATH GET http://host/path`, or a connection: tcp://10.0.0.5:3306".into(),
    )
}

#[cfg(test)]
mod tests;
