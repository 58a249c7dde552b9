//! `start`: how large the program is, how long it takes to be ready, and what it holds when nothing happens, beside Envoy.
//!
//! In:  how often.   Out: a Markdown table.
//! Invariants: Envoy runs what `sidle export envoy` makes of the same manifests; both have as many workers; the two are started in turn.

use crate::{cores::load_average, envoy, statistics::Spread, usage, void::Void};
use clap::Args;
use sidle_test_support::{
    manifest, peers, ports,
    process::Process,
    sidle::{Ports, command, http_get},
};
use std::{
    fmt, fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// Until a process is ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked.
const STEP: Duration = Duration::from_millis(1);
/// Until memory that only the start needed is given back.
const REST: Duration = Duration::from_secs(2);

/// How often.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Starts of each, after one that does not count
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Workers of each
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
}

/// One start.
struct Start {
    /// Bytes of the program's file.
    size: u64,
    milliseconds: f64,
    /// MiB.
    resident: f64,
}

/// One figure of a start.
type Figure = fn(&Start) -> f64;

/// What was found.
pub struct Report {
    conditions: String,
    /// The name of each, and its starts.
    subjects: Vec<(&'static str, Vec<Start>)>,
}

/// Measures.
///
/// # Errors
/// When a proxy does not start.
pub fn run(args: &StartArgs) -> Result<Report, Void> {
    let program = sidle_test_support::sidle::path();
    if program.components().any(|part| part.as_os_str() == "debug") {
        return Err(Void::because(
            "an unoptimised proxy says nothing: run with --release, or name one by SIDLE_BIN",
        ));
    }
    let busy = load_average()?;
    let mut subjects = vec![("Sidle", Vec::new())];
    let peer = peers::find("envoy");
    subjects.extend(peer.as_ref().map(|_| ("Envoy", Vec::new())));
    for round in 0..=args.rounds {
        for (name, starts) in &mut subjects {
            let folder = tempfile::tempdir()?;
            let own = Ports::free();
            let manifests = folder.path().join("mesh.yaml");
            let text = manifest::service("shop", "shop.test", "HTTP", &[("v1", ports::free().port())])
                + &manifest::subsets("shop", "shop.test", &["v1"], "")
                + &manifest::split("shop", "shop.test", &[("v1", 100)])
                + &own.document(&format!("  concurrency: {}\n", args.workers));
            fs::write(&manifests, text)?;
            let command = match (&peer, *name) {
                (Some(program), "Envoy") => {
                    envoy::command(program, &manifests, folder.path(), own.admin, args.workers)?
                }
                _ => {
                    let mut sidle = command();
                    sidle.arg("run").arg("-c").arg(&manifests);
                    sidle
                }
            };
            let start = one(name, command, &own)?;
            if round > 0 {
                starts.push(start);
            }
        }
    }
    let conditions = format!(
        "One service, {} workers each; load average before: {busy:.2}. Median (smallest–largest) of {} starts.",
        args.workers, args.rounds
    );
    Ok(Report { conditions, subjects })
}

fn one(name: &str, command: Command, own: &Ports) -> Result<Start, Void> {
    let begin = Instant::now();
    let mut process = Process::start(command);
    while !http_get(own.admin, "/ready").is_ok_and(|answer| answer.status == 200) {
        if process.exit_status().is_some() || begin.elapsed() > PATIENCE {
            return Err(Void::because(format!("{name} is not ready:\n{}", process.output())));
        }
        sleep(STEP);
    }
    let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
    sleep(REST);
    Ok(Start {
        size: fs::metadata(format!("/proc/{}/exe", process.id()))?.len(),
        milliseconds,
        resident: usage::resident_bytes(process.id())? as f64 / f64::from(1 << 20),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.conditions)?;
        let names: Vec<_> = self.subjects.iter().map(|(name, _)| *name).collect();
        writeln!(f, "| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()))?;
        let rows: [(&str, Figure); 3] = [
            ("program, MiB", |start| start.size as f64 / f64::from(1 << 20)),
            ("start to ready, ms", |start| start.milliseconds),
            ("resident when idle, MiB", |start| start.resident),
        ];
        for (title, figure) in rows {
            let of = |(_, starts): &(&str, Vec<Start>)| {
                Spread::of(starts.iter().map(figure)).map_or_else(String::new, |spread| spread.text(1))
            };
            let cells: Vec<_> = self.subjects.iter().map(of).collect();
            writeln!(f, "| {title} | {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}
