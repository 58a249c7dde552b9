//! `compare`: what Sidle costs beside other proxies, on the same work.
//!
//! In:  who, what, how often.   Out: for each scenario and subject processor time of a request, requests a second, latency, memory.
//! Invariants: only proxies are on the proxy's core, with one worker each, and one of them is asked at a time; load and upstreams are processes of their own on another core; rounds
//! go through all subjects, in an order that changes from round to round, and ratios are taken round by round; every answer is checked, and a
//! run with a wrong one is void.
//! Read: [`run`] -> `chosen.rs` -> `scenarios.rs` -> `stage.rs` -> `subjects/` -> `measure.rs` -> `load/`, `upstream/` -> `results.rs` -> `shown.rs`
//! (here `earlier.rs`, measurements of before, joins in) -> `report.rs`, `conditions.rs`.

mod chosen;
mod conditions;
mod earlier;
mod keep;
pub mod load;
pub mod measure;
mod output;
pub mod relay;
mod report;
mod results;
pub mod scenarios;
mod shown;
pub mod stage;
pub mod subjects;
pub mod upstream;
mod wire;

use crate::{
    cores::{Cores, load_average},
    void::Void,
};
use clap::Args;
use keep::Keep;
use load::Figures;
use measure::{Times, measure};
use output::Output;
use results::{Results, Run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use scenarios::{Kind, Scenario};
use shown::Shown;
use stage::Stage;
use std::{path::PathBuf, time::Duration};
use subjects::{Reason, Subject};
use tokio::signal::unix::{SignalKind, signal};

/// A run that others disturbed is tried so often.
const TRIES: u32 = 3;

/// Who is compared, in what, how often.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Other proxies: all (that are installed), none, or some of envoy, haproxy, nginx, nghttpx, separated by commas
    #[arg(long, default_value = "all")]
    peers: String,
    /// Scenarios: all, or some of them, separated by commas
    #[arg(long, default_value = "all")]
    scenarios: String,
    /// Only this part of each scenario
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds that are measured of each load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The subject whose ratio to each of the others is shown
    #[arg(long, default_value = "sidle")]
    reference: String,
    /// A proxy of your own: 'name=command'; {port}, {a}, {b}, {certs}, {scenario} and so on are filled in (see the README)
    #[arg(long)]
    own: Vec<String>,
    /// Measures nothing: shows what these files of earlier measurements (--json) hold, separated by commas; of what several have, the last one's
    #[arg(
        long,
        value_delimiter = ',',
        conflicts_with_all = ["peers", "scenarios", "only", "rounds", "seconds", "own", "keep", "proxy_core", "load_core"]
    )]
    from: Vec<PathBuf>,
    /// Leaves in FOLDER/SCENARIO/SUBJECT what each subject was started with: its configuration, its command line
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Writes every round to this file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the tables to this file, too
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// The core of the proxy; the first, if not said
    #[arg(long)]
    proxy_core: Option<usize>,
    /// The core of load and upstreams; the second, if not said
    #[arg(long)]
    load_core: Option<usize>,
}

impl CompareArgs {
    fn times(&self) -> Times {
        Times { warm_up: Duration::from_secs(1), window: Duration::from_secs(self.seconds) }
    }
}

/// Compares, or shows what was compared before. The tables; whether all runs count.
///
/// # Errors
/// When there is nothing to say.
pub fn run(args: &CompareArgs) -> Result<(String, bool), Void> {
    if args.from.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(compare(args));
    }
    let earlier = earlier::read(&args.from)?;
    chosen::reference(&args.reference, &Shown(&earlier).subjects())?;
    let outputs = outputs(args)?;
    finish(args, &earlier, &serde_json::to_string_pretty(&earlier)?, outputs)
}

async fn compare(args: &CompareArgs) -> Result<(String, bool), Void> {
    let scenarios = chosen::scenarios(&args.scenarios, args.only)?;
    let subjects = chosen::subjects(&args.peers, &args.own)?;
    chosen::reference(&args.reference, &subjects.iter().map(Subject::name).collect::<Vec<_>>())?;
    let (outputs, keep) = (outputs(args)?, Keep::open(args.keep.as_deref())?);
    if cfg!(debug_assertions) {
        return Err(Void::because("an unoptimised build says nothing: run with --release"));
    }
    // Builds the program if it is not there: before anything is measured, and before this thread keeps to one core.
    sidle_test_support::sidle::path();
    let cores = Cores::choose(args.proxy_core, args.load_core).map_err(|error| {
        let chosen = args.proxy_core.is_some() || args.load_core.is_some();
        if chosen { Void::usage(error.to_string()) } else { error.into() }
    })?;
    let mut results = Results::new(args, cores, &subjects, load_average()?);
    // Whoever is started has as many descriptors as there may be.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(std::io::Error::from)?;
    let stage = Stage::set()?.keeping(keep);
    let (mut terminated, mut interrupted, mut hung_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let ended = tokio::select! {
        biased; // a signal may be for all that was started, too, and nothing of that counts any more
        _ = terminated.recv() => Some("SIGTERM"),
        _ = interrupted.recv() => Some("SIGINT"),
        _ = hung_up.recv() => Some("SIGHUP"),
        () = rounds(&stage, cores, &scenarios, &subjects, args.times(), &mut results) => None,
    };
    // Whoever was started has been ended with its future.
    if let Some(signal) = ended {
        results.end_early(signal)?;
    }
    let json = serde_json::to_string_pretty(&results)?;
    finish(args, &[results], &json, outputs)
}

/// Those of `--json` and `--markdown`.
fn outputs(args: &CompareArgs) -> Result<[Output; 2], Void> {
    Ok([Output::open(args.json.as_deref())?, Output::open(args.markdown.as_deref())?])
}

/// The tables, written where they are wanted; whether all counts.
fn finish(
    args: &CompareArgs,
    results: &[Results],
    json: &str,
    outputs: [Output; 2],
) -> Result<(String, bool), Void> {
    let shown = Shown(results);
    let tables = report::tables(&shown, &args.reference);
    let [as_json, as_markdown] = outputs;
    // Both, whatever becomes of the first.
    let written = as_json.write(json) & as_markdown.write(&tables);
    Ok((tables, written && shown.all_count()))
}

/// Does all rounds. What all subjects have done of a round stays, whenever this is dropped.
async fn rounds(
    stage: &Stage,
    cores: Cores,
    scenarios: &[Scenario],
    subjects: &[Subject],
    times: Times,
    results: &mut Results,
) {
    for round in 0..results.rounds {
        for scenario in scenarios {
            for work in scenario.work {
                let places = (0..subjects.len()).map(|at| &subjects[(at + round as usize) % subjects.len()]);
                let able: Vec<_> = places.filter(|subject| !results.skipped(scenario, subject)).collect();
                // All are there at once, and asked in turn; but memory, and what is done without being asked, is each one's own.
                let at_once = if work.kind() == Kind::Idle { 1 } else { able.len().max(1) };
                let mut whole = Vec::new();
                for some in able.chunks(at_once) {
                    let mut tries = 0;
                    let outcomes = loop {
                        tries += 1;
                        let outcomes =
                            measure(stage, cores, some, scenario, *work, times.of(work.kind())).await;
                        // A void is told, whatever else was disturbed.
                        let void = outcomes.iter().any(|outcome| matches!(outcome, Err(Reason::Void(_))));
                        if void || tries == TRIES || !outcomes.iter().flatten().any(Figures::disturbed) {
                            break outcomes;
                        }
                        eprintln!("disturbed: round {} {} once more", round + 1, scenario.name);
                    };
                    for (subject, outcome) in some.iter().zip(outcomes) {
                        let run = Run::new(round, scenario, subject, *work, outcome);
                        eprintln!("{run}");
                        whole.push(run);
                    }
                }
                results.add(whole);
            }
        }
    }
}
