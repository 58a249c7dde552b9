//! `sidle routes`, `clusters`, `endpoints`, `listeners`, `config`: what a running proxy says of itself.
//!
//! In:  the address of its admin server.   Out: tables, or the admin server's JSON.
//! Invariants: the JSON is Envoy's, so these commands can also be pointed at an Envoy (but for `config`).
//! Not here: live state (`proxy/src/admin`).

mod routes;

pub use routes::routes;

use super::{
    CliError, admin,
    output::{self, Format, Style, Table, Terminal},
    value,
};
use serde_json::Value;
use std::{net::SocketAddr, process::ExitCode};

/// Arguments of the commands that look into a running proxy.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Address of its admin server
    #[arg(long, value_name = "ADDRESS", env = "SIDLE_ADMIN", default_value_t = admin::DEFAULT, value_parser = value::address)]
    admin: SocketAddr,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Arguments of `sidle config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    inspect: InspectArgs,
    /// Print all that runs, as Envoy's `config_dump`
    #[arg(long)]
    dump: bool,
}

/// Prints what `path` answers: as it is, or as the table that `table` makes of it.
fn show(
    args: &InspectArgs,
    terminal: Terminal,
    path: &str,
    table: impl FnOnce(&Value) -> Table,
) -> Result<ExitCode, CliError> {
    let answer = admin::ask_json(args.admin, path)?;
    match args.output {
        Format::Json => output::print_json(&answer)?,
        Format::Table => output::print(&table(&answer).render(terminal))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `sidle listeners`.
pub fn listeners(args: &InspectArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    show(args, terminal, "/listeners?format=json", |answer| {
        let mut table = Table::new(&["listener", "address"]);
        for listener in items(&answer["listener_statuses"]) {
            table.row([text(&listener["name"]), address(&listener["local_address"])]);
        }
        table
    })
}

/// `sidle clusters`.
pub fn clusters(args: &InspectArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    show(args, terminal, "/clusters?format=json", clusters_table)
}

fn clusters_table(answer: &Value) -> Table {
    let mut table = Table::new(&["cluster", "endpoints", "healthy", "active", "requests", "errors"]);
    for cluster in items(&answer["cluster_statuses"]) {
        let endpoints = items(&cluster["host_statuses"]);
        let sum = |name| endpoints.iter().map(|endpoint| stat(endpoint, name)).sum::<u64>().to_string();
        let healthy = endpoints.iter().filter(|endpoint| is_healthy(endpoint)).count();
        table.row([
            text(&cluster["name"]),
            endpoints.len().to_string(),
            healthy.to_string(),
            sum("rq_active"),
            sum("rq_total"),
            sum("rq_error"),
        ]);
    }
    table
}

/// `sidle endpoints`.
pub fn endpoints(args: &InspectArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    show(args, terminal, "/clusters?format=json", endpoints_table)
}

fn endpoints_table(answer: &Value) -> Table {
    let mut table = Table::new(&[
        "endpoint",
        "status",
        "outlier check",
        "priority",
        "weight",
        "active",
        "requests",
        "errors",
        "cluster",
    ]);
    for cluster in items(&answer["cluster_statuses"]) {
        for endpoint in items(&cluster["host_statuses"]) {
            let count = |name| stat(endpoint, name).to_string();
            table.row([
                address(&endpoint["address"]),
                status(endpoint),
                if failed_outlier_check(endpoint) { "FAILED".into() } else { "OK".into() },
                endpoint["priority"].as_u64().unwrap_or(0).to_string(),
                endpoint["weight"].as_u64().unwrap_or(1).to_string(),
                count("rq_active"),
                count("rq_total"),
                count("rq_error"),
                text(&cluster["name"]),
            ]);
        }
    }
    table
}

/// `sidle config`. Exit code 1 if the proxy does not run what its files say.
pub fn config(args: &ConfigArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let admin = args.inspect.admin;
    if args.dump {
        output::print_json(&admin::ask_json(admin, "/config_dump")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = admin::ask_json(admin, "/config/status")?;
    match args.inspect.output {
        Format::Json => output::print_json(&status)?,
        Format::Table => output::print(&status_text(&status, terminal))?,
    }
    let rejected = status["lastAttempt"]["result"] == "rejected";
    Ok(if rejected { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn status_text(status: &Value, terminal: Terminal) -> String {
    let attempt = &status["lastAttempt"];
    let result = text(&attempt["result"]);
    let style = if result == "rejected" { Style::Bad } else { Style::Good };
    let mut lines = vec![
        format!("version       {}", text(&status["version"])),
        format!("applied at    {}", text(&status["appliedAt"])),
        format!(
            "last attempt  {} at {} in {} ms, because of: {}",
            terminal.paint(style, result),
            text(&attempt["at"]),
            attempt["durationMs"],
            text(&attempt["cause"]),
        ),
        format!("files         {}", items(&status["files"]).len()),
    ];
    lines.extend(attempt["failure"].as_str().map(str::to_owned));
    for one in items(&attempt["diagnostics"]) {
        let file = text(&one["file"]);
        let place = match (&one["span"]["line"], &one["span"]["column"]) {
            _ if file.is_empty() => String::new(), // of none of the files
            (Value::Null, _) => file + ": ",
            (line, column) => format!("{file}:{line}:{column}: "),
        };
        let help = one["help"].as_str().map(|help| format!(" ({help})")).unwrap_or_default();
        let (severity, code) = (text(&one["severity"]), text(&one["code"]));
        lines.push(format!("{place}{severity}[{code}]: {}{help}", text(&one["message"])));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A string, or nothing. Without control characters: the terminal is not the admin server's.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").chars().filter(|character| !character.is_control()).collect()
}

/// Of `envoy.config.core.v3.Address`.
fn address(value: &Value) -> String {
    let socket = &value["socket_address"];
    if let (Some(ip), Some(port)) = (socket["address"].as_str(), socket["port_value"].as_u64()) {
        return if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    }
    text(&value["pipe"]["path"])
}

/// What health checks and service discovery say, as `istioctl` shows it.
fn status(endpoint: &Value) -> String {
    let health = &endpoint["health_status"];
    match health["failed_active_health_check"] == true {
        true => "UNHEALTHY".into(),
        false => text(&health["eds_health_status"]),
    }
}

fn failed_outlier_check(endpoint: &Value) -> bool {
    endpoint["health_status"]["failed_outlier_check"] == true
}

fn is_healthy(endpoint: &Value) -> bool {
    status(endpoint) == "HEALTHY" && !failed_outlier_check(endpoint)
}

/// Of Envoy's `SimpleMetric`s, whose values are numbers or, as in protobuf JSON, strings.
fn stat(endpoint: &Value, name: &str) -> u64 {
    let metric = items(&endpoint["stats"]).iter().find(|metric| metric["name"] == name);
    let value = metric.map_or(&Value::Null, |metric| &metric["value"]);
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
