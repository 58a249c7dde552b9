//! `count`: how many instructions a forwarded request takes, and whether that is more than it was.
//!
//! In:  a baseline, a file in this package.   Out: a table; whether all scenarios are within [`ALLOWED`] of it.
//! Invariants: requests come one after the other, so that a busy machine counts as a quiet one does; every answer is checked; what the start
//! and the end take is not counted.
//! Why instructions: processor time differs by a sixth from one moment to the next on a shared machine, these by less than a hundredth. They
//! are those of the program, not the kernel's; `compare` says what both take.

use crate::{
    compare::{
        load::{self, Turns},
        scenarios::{SCENARIOS, Scenario},
        stage::{Setup, Stage},
        subjects::{Reason, Subject},
    },
    void::Void,
};
use clap::Args;
use sidle_test_support::{peers, process::Process};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// What is counted: the path that every request takes.
const COUNTED: [&str; 2] = ["h1", "h2"];
/// Connections, which ask in turn.
const CONNECTIONS: usize = 4;
/// Requests of a run that says what start and end take, with all that happens once.
const FEW: usize = 400;
/// How much more than the baseline is allowed, in percent.
const ALLOWED: u64 = 5;
/// How long the proxy may take to start, and to end: it runs fifty times slower than it would.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts instructions.
#[derive(Debug, Args)]
pub struct CountArgs {
    /// Requests that are counted of each scenario
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..))]
    requests: u32,
    /// Writes what was counted as the new baseline
    #[arg(long)]
    renew: bool,
    /// The baseline
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json"))]
    baseline: PathBuf,
}

/// Counts. The table; whether all is well.
///
/// # Errors
/// When there is nothing to say.
pub fn run(args: &CountArgs) -> Result<(String, bool), Void> {
    sidle_test_support::sidle::path(); // builds it if it is not there
    let Some(valgrind) = peers::look("valgrind") else {
        return match std::env::var("CI") {
            Ok(ci) if ci == "true" => Err(Void::because("valgrind is not installed")),
            _ => Ok(("skipped: needs valgrind\n".to_owned(), true)),
        };
    };
    let stage = Stage::set()?;
    let mut counted = BTreeMap::new();
    for scenario in SCENARIOS.iter().filter(|scenario| COUNTED.contains(&scenario.name)) {
        let few = instructions(&valgrind, &stage, scenario, FEW)?;
        let all = instructions(&valgrind, &stage, scenario, FEW + args.requests as usize)?;
        let each = all.saturating_sub(few) / u64::from(args.requests);
        counted.insert(scenario.name.to_owned(), each);
    }
    if args.renew {
        fs::write(&args.baseline, serde_json::to_string_pretty(&counted)? + "\n")?;
    }
    Ok(report(&counted, &serde_json::from_str(&fs::read_to_string(&args.baseline)?)?))
}

type Counts = BTreeMap<String, u64>;

fn report(counted: &Counts, baseline: &Counts) -> (String, bool) {
    let mut text =
        "| scenario | instructions of a request | baseline | change |\n|---|---|---|---|\n".to_owned();
    let mut well = true;
    for (name, &now) in counted {
        let Some(&before) = baseline.get(name) else {
            well = false;
            let _ = writeln!(text, "| {name} | {now} | none | |");
            continue;
        };
        let change = now as f64 / before as f64 - 1.0;
        let verdict = if now * 100 > before * (100 + ALLOWED) { ": too many" } else { "" };
        well &= verdict.is_empty();
        let _ = writeln!(text, "| {name} | {now} | {before} | {:+.1} %{verdict} |", change * 100.0);
    }
    (text, well)
}

/// What the proxy takes from its start to its end, with so many requests between.
fn instructions(valgrind: &Path, stage: &Stage, scenario: &Scenario, requests: usize) -> Result<u64, Void> {
    let setup = stage.setup(scenario)?;
    let output = setup.folder().join("callgrind.out");
    let mut process = Process::start(command(valgrind, &setup, &output)?);
    let begin = Instant::now();
    while TcpStream::connect(setup.address).is_err() {
        if process.exit_status().is_some() || begin.elapsed() > PATIENCE {
            return Err(Void::because(format!("does not listen: {}", process.output().trim())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let turns = Turns { target: setup.address, connections: CONNECTIONS, requests };
    load::take_turns(&turns, scenario.clients, setup.certificates)?;
    process.signal("TERM");
    let begin = Instant::now();
    while process.exit_status().is_none() {
        if begin.elapsed() > PATIENCE {
            return Err(Void::because("does not end"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    total(&fs::read_to_string(&output)?).ok_or_else(|| Void::because("valgrind says nothing"))
}

/// The subject's command, counted.
fn command(valgrind: &Path, setup: &Setup<'_>, output: &Path) -> Result<Command, Void> {
    let command = match Subject::Sidle.command(setup) {
        Ok(command) => command,
        Err(Reason::Skip(why)) => return Err(Void::because(why)),
        Err(Reason::Void(void)) => return Err(void),
    };
    let mut counted = Command::new(valgrind);
    counted.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", output.display()));
    counted.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => counted.env(name, value),
            None => counted.env_remove(name),
        };
    }
    Ok(counted)
}

/// The sum in a file of callgrind's.
fn total(file: &str) -> Option<u64> {
    let line = file.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_found() {
        assert_eq!(total("version: 1\nevents: Ir\n\nfn=(1) main\n1 2\n\ntotals: 1234\n"), Some(1234));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn a_twentieth_more_is_too_much() {
        let counts =
            |counts: &[(&str, u64)]| counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let baseline: Counts = counts(&[("h1", 1000), ("h2", 1000)]);
        let (text, well) = report(&counts(&[("h1", 1050), ("h2", 800)]), &baseline);
        assert!(well && text.contains("| h2 | 800 | 1000 | -20.0 % |"), "{text}");
        let (text, well) = report(&counts(&[("h1", 1051), ("h2", 800)]), &baseline);
        assert!(!well && text.contains("+5.1 %: too many"), "{text}");
        assert!(!report(&counts(&[("h3", 1)]), &baseline).1, "without a baseline there is no verdict");
    }
}
