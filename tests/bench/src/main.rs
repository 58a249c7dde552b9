//! Measurements of the whole proxy: real processes, real sockets, every answer checked.
//!
//! In:  the name of a measurement and its sizes.   Out: a Markdown table, or why there is none.
//! Invariants: a run with a wrong answer is void, and so is one that takes longer than it may; all traffic stays on loopback.
//! Not here: measurements of one crate (`examples/` beside it), tests (`tests/integration`).
//! Read: [`compare`], [`scale`], [`mtls`], [`ejection`], [`count`], [`start`] and [`workers`], then [`load`] and [`upstream`] (the two ends), [`cores`] (who runs where), [`usage`] (for how long).

mod compare;
mod cores;
mod count;
mod ejection;
mod envoy;
mod http1;
mod load;
mod mtls;
mod scale;
mod start;
mod statistics;
mod upstream;
mod usage;
mod void;
mod workers;

use clap::{Parser, Subcommand};
use sidle_test_support::sidle::command;
use std::{path::Path, process::ExitCode};
use void::Void;

/// Measurements of the whole proxy.
#[derive(Debug, Parser)]
#[command(name = "sidle-bench", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// What a large configuration costs beside a small one: to start, to change, to keep, and for each request
    Scale(scale::ScaleArgs),
    /// What mutual TLS costs for each connection and each request, beside Envoy
    Mtls(mtls::MtlsArgs),
    /// What clients notice of endpoints that fail or are slow, beside Envoy
    Ejection(ejection::EjectionArgs),
    /// What the proxy costs beside others, on the same work
    Compare(compare::CompareArgs),
    /// How many instructions a request takes, and whether that is more than it was
    Count(count::CountArgs),
    /// How large the program is, how long it takes to be ready, what it holds when nothing happens, beside Envoy
    Start(start::StartArgs),
    /// What a second worker brings, on two cores that the load uses, too
    Workers(workers::WorkersArgs),
    /// The upstreams of `compare`
    #[command(hide = true)]
    Upstream,
    /// The load of `compare`
    #[command(hide = true)]
    Load,
    /// The limit of `compare`
    #[command(hide = true)]
    Relay(compare::relay::RelayArgs),
}

/// Sees that what `SIDLE_BIN` names is Sidle: anything else would only not be ready in time.
fn named_program() -> Result<(), Void> {
    let Some(named) = std::env::var_os("SIDLE_BIN") else { return Ok(()) };
    let wrong = |why: &str| Err(Void::usage(format!("SIDLE_BIN={}: {why}", named.display())));
    if !Path::new(&named).is_file() {
        return wrong("there is no such file");
    }
    match command().arg("--version").output() {
        Err(error) => wrong(&error.to_string()),
        Ok(said) if said.stdout.starts_with(b"sidle ") => Ok(()),
        Ok(_) => wrong("it is not Sidle: `--version` does not say so"),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_part =
        matches!(cli.measurement, Measurement::Upstream | Measurement::Load | Measurement::Relay(_));
    if let Some(void) = named_program().err().filter(|_| !is_part) {
        return void.tell();
    }
    // A text for standard output, and whether all runs count.
    let report = match cli.measurement {
        Measurement::Scale(args) => scale::run(&args).map(|report| (report.to_string(), true)),
        Measurement::Mtls(args) => mtls::run(&args).map(|report| (report.to_string(), true)),
        Measurement::Start(args) => start::run(&args).map(|report| (report.to_string(), true)),
        Measurement::Workers(args) => workers::run(&args).map(|report| (report.to_string(), true)),
        Measurement::Ejection(args) => ejection::run(&args).map(|report| (report.to_string(), true)),
        Measurement::Compare(args) => compare::run(&args),
        Measurement::Count(args) => count::run(&args),
        Measurement::Upstream => compare::upstream::run().map(|()| (String::new(), true)),
        Measurement::Load => compare::measure::load_process().map(|said| (said, true)),
        Measurement::Relay(args) => compare::relay::run(&args).map(|()| (String::new(), true)),
    };
    match report {
        Ok((report, all_count)) => {
            print!("{report}");
            if all_count { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(void) => void.tell(),
    }
}
