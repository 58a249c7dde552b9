//! `compare`: what Sidle costs beside other proxies, on the same work.
//!
//! In:  who, what, how often.   Out: for each scenario and subject processor time of a request, requests a second, latency, memory.
//! Invariants: only proxies are on the proxy's core, with one worker each, and one of them is asked at a time; load and upstreams are processes of their own on another core; rounds
//! go through all subjects, in an order that changes from round to round, and ratios are taken round by round; every answer is checked, and a
//! run with a wrong one is void.
//! Read: [`run`] -> `scenarios.rs` -> `stage.rs` -> `subjects/` -> `measure.rs` -> `load/`, `upstream/` -> `report.rs`.

pub mod load;
pub mod measure;
pub mod relay;
mod report;
mod results;
pub mod scenarios;
pub mod stage;
pub mod subjects;
pub mod upstream;
mod wire;

use crate::{
    cores::{Cores, load_average},
    void::Void,
};
use clap::Args;
use load::Figures;
use measure::{Times, measure};
use results::{Results, Run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use scenarios::{Kind, SCENARIOS, Scenario};
use stage::Stage;
use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};
use subjects::{Own, PEERS, Reason, Subject};
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
    /// The subject that ratios refer to
    #[arg(long, default_value = "haproxy")]
    reference: String,
    /// A proxy of your own: 'name=command'; {port}, {a}, {b}, {certs}, {scenario} and so on are filled in (see the README)
    #[arg(long)]
    own: Vec<String>,
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

/// Compares. The tables; whether all runs count.
///
/// # Errors
/// When there is nothing to say.
pub fn run(args: &CompareArgs) -> Result<(String, bool), Void> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(args))
}

async fn compare(args: &CompareArgs) -> Result<(String, bool), Void> {
    let scenarios = parts(chosen_scenarios(&args.scenarios)?, args.only)?;
    let mut subjects = chosen_subjects(&args.peers)?;
    for own in &args.own {
        subjects.push(Subject::Own(Own::parse(own)?));
    }
    each_once("scenario", scenarios.iter().map(|scenario| scenario.name))?;
    each_once("subject", subjects.iter().map(Subject::name))?;
    known_reference(&args.reference, &subjects)?;
    if cfg!(debug_assertions) {
        return Err(Void::because("an unoptimised build says nothing: run with --release"));
    }
    // Builds the program if it is not there: before anything is measured, and before this thread keeps to one core.
    sidle_test_support::sidle::path();
    let cores = Cores::choose(args.proxy_core, args.load_core).map_err(|error| {
        let chosen = args.proxy_core.is_some() || args.load_core.is_some();
        if chosen { Void::usage(error.to_string()) } else { error.into() }
    })?;
    let (json, markdown) = (output(args.json.as_deref())?, output(args.markdown.as_deref())?);
    let mut results = Results::new(args, cores, &scenarios, &subjects, load_average()?);
    // Whoever is started has as many descriptors as there may be.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(std::io::Error::from)?;
    let stage = Stage::set()?;
    let times = Times { warm_up: Duration::from_secs(1), window: Duration::from_secs(args.seconds) };
    let (mut terminated, mut interrupted, mut hung_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let ended = tokio::select! {
        biased; // a signal may be for all that was started, too, and nothing of that counts any more
        _ = terminated.recv() => Some("SIGTERM"),
        _ = interrupted.recv() => Some("SIGINT"),
        _ = hung_up.recv() => Some("SIGHUP"),
        () = rounds(&stage, cores, &subjects, times, &mut results) => None,
    };
    // Whoever was started has been ended with its future.
    if let Some(signal) = ended {
        results.end_early(signal)?;
    }
    let tables = report::tables(&results);
    let mut written = true;
    for (file, path, text) in [
        (json, &args.json, serde_json::to_string_pretty(&results)?),
        (markdown, &args.markdown, tables.clone()),
    ] {
        // After an hour of rounds a full disk costs the file, not the tables.
        if let Err(error) = write(file, &text) {
            eprintln!("error: {}: {error}", path.as_deref().unwrap_or(Path::new("-")).display());
            written = false;
        }
    }
    Ok((tables, written && results.all_count()))
}

/// Does all rounds. What all subjects have done of a round stays, whenever this is dropped.
async fn rounds(stage: &Stage, cores: Cores, subjects: &[Subject], times: Times, results: &mut Results) {
    for round in 0..results.rounds {
        for scenario in results.scenarios.clone() {
            for work in scenario.work {
                let places = (0..subjects.len()).map(|at| &subjects[(at + round as usize) % subjects.len()]);
                let able: Vec<_> = places.filter(|subject| !results.skipped(&scenario, subject)).collect();
                // All are there at once, and asked in turn; but memory, and what is done without being asked, is each one's own.
                let at_once = if work.kind() == Kind::Idle { 1 } else { able.len().max(1) };
                let mut whole = Vec::new();
                for some in able.chunks(at_once) {
                    let mut tries = 0;
                    let outcomes = loop {
                        tries += 1;
                        let outcomes = measure(stage, cores, some, &scenario, *work, times).await;
                        // A void is told, whatever else was disturbed.
                        let void = outcomes.iter().any(|outcome| matches!(outcome, Err(Reason::Void(_))));
                        if void || tries == TRIES || !outcomes.iter().flatten().any(Figures::disturbed) {
                            break outcomes;
                        }
                        eprintln!("disturbed: round {} {} once more", round + 1, scenario.name);
                    };
                    for (subject, outcome) in some.iter().zip(outcomes) {
                        let run = Run::new(round, &scenario, subject, *work, outcome);
                        eprintln!("{run}");
                        whole.push(run);
                    }
                }
                results.add(whole);
            }
        }
    }
}

/// A file to write to, opened before anything is measured; what is in it stays until then.
fn output(path: Option<&Path>) -> Result<Option<File>, Void> {
    let open = |path: &Path| {
        let opened = File::options().create(true).truncate(false).write(true).open(path);
        opened.map_err(|error| Void::because(format!("{}: {error}", path.display())))
    };
    path.map(open).transpose()
}

fn write(file: Option<File>, text: &str) -> io::Result<()> {
    if let Some(mut file) = file {
        // A pipe has no length.
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        file.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// Figures of two that have one name would be taken for figures of one.
fn each_once<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Void> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(Void::usage(format!("{what} {name:?} is named twice: each needs a name of its own")));
        }
        seen.push(name);
    }
    Ok(())
}

/// One that was not asked for is fine: then there are no ratios.
fn known_reference(reference: &str, subjects: &[Subject]) -> Result<(), Void> {
    let peers = PEERS;
    let names: Vec<_> = subjects.iter().chain(&peers).map(Subject::name).collect();
    if names.contains(&reference) {
        if subjects.len() > 1 && !subjects.iter().any(|subject| subject.name() == reference) {
            eprintln!("note: {reference} is not among the subjects: there are no ratios to it");
        }
        return Ok(());
    }
    Err(Void::usage(format!("no subject {reference:?} to refer to; there are: {}", names.join(", "))))
}

fn chosen_scenarios(wanted: &str) -> Result<Vec<Scenario>, Void> {
    if wanted == "all" {
        return Ok(SCENARIOS.to_vec());
    }
    wanted
        .split(',')
        .map(|name| {
            let known = || SCENARIOS.map(|scenario| scenario.name).join(", ");
            let found = SCENARIOS.into_iter().find(|scenario| scenario.name == name);
            found.ok_or_else(|| Void::usage(format!("no scenario {name:?}; there are: {}", known())))
        })
        .collect()
}

/// The scenarios that have a part, with that part; all of all, if none is named.
fn parts(scenarios: Vec<Scenario>, only: Option<Kind>) -> Result<Vec<Scenario>, Void> {
    let Some(only) = only else { return Ok(scenarios) };
    let part = |scenario: Scenario| {
        let work = scenario.work.iter().find(|work| work.kind() == only)?;
        Some(Scenario { work: std::slice::from_ref(work), ..scenario })
    };
    let parts: Vec<_> = scenarios.into_iter().filter_map(part).collect();
    if parts.is_empty() { Err(Void::usage("none of the scenarios has that part")) } else { Ok(parts) }
}

/// Sidle, and unless nobody is wanted the limit and the others.
fn chosen_subjects(wanted: &str) -> Result<Vec<Subject>, Void> {
    let mut subjects = vec![Subject::Sidle];
    match wanted {
        "none" => return Ok(subjects),
        "all" => subjects.extend(PEERS),
        _ => {
            for name in wanted.split(',') {
                let known = || PEERS.iter().map(Subject::name).collect::<Vec<_>>().join(", ");
                let found = PEERS.into_iter().find(|subject| subject.name() == name);
                subjects.push(
                    found.ok_or_else(|| Void::usage(format!("no peer {name:?}; there are: {}", known())))?,
                );
            }
        }
    }
    subjects.push(Subject::Relay);
    Ok(subjects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_name() {
        let names =
            |wanted| chosen_scenarios(wanted).map(|all| all.iter().map(|one| one.name).collect::<Vec<_>>());
        assert_eq!(names("all").unwrap().len(), SCENARIOS.len());
        assert_eq!(names("grpc,h1").unwrap(), ["grpc", "h1"]);
        assert!(names("h3").unwrap_err().to_string().contains("h1, h2, grpc"));
    }

    #[test]
    fn a_part_may_be_chosen_of_the_scenarios_that_have_it() {
        let names = |only| {
            let parts = parts(SCENARIOS.to_vec(), only).unwrap();
            parts.iter().map(|one| (one.name, one.work.len())).collect::<Vec<_>>()
        };
        assert_eq!(names(None).len(), SCENARIOS.len());
        assert_eq!(names(Some(Kind::Idle)), [("idle", 1), ("idle-h2", 1), ("idle-tls", 1)]);
        assert!(names(Some(Kind::Rate)).contains(&("open", 1)));
        assert!(!names(Some(Kind::Saturation)).contains(&("open", 1)));
        let open = chosen_scenarios("open").unwrap();
        assert!(parts(open, Some(Kind::Idle)).is_err());
    }

    #[test]
    fn mistakes_are_told_before_anything_is_measured() {
        let wrong = known_reference("squid", &[Subject::Sidle]).unwrap_err().to_string();
        assert!(wrong.contains("squid") && wrong.contains("haproxy"), "{wrong}");
        for known in ["sidle", "haproxy"] {
            assert!(known_reference(known, &[Subject::Sidle]).is_ok());
        }
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere/x.json");
        let told = output(Some(&nowhere)).unwrap_err().to_string();
        assert!(told.contains("nowhere/x.json"), "{told}");
        let path = folder.path().join("x.json");
        std::fs::write(&path, "what was there before").unwrap();
        let file = output(Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "what was there before");
        write(file, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn two_of_one_name_are_refused() {
        assert!(each_once("subject", ["sidle", "nginx"].into_iter()).is_ok());
        let told = each_once("subject", ["sidle", "nginx", "sidle"].into_iter()).unwrap_err().to_string();
        assert!(told.contains("\"sidle\" is named twice"), "{told}");
    }

    #[test]
    fn whoever_is_compared_sidle_is_too_and_the_relay_with_others() {
        let names = |wanted: &str| {
            let subjects = chosen_subjects(wanted).map_err(|void| void.to_string())?;
            let names: Vec<_> = subjects.iter().map(|subject| subject.name().to_owned()).collect();
            Ok::<_, String>(names.join(" "))
        };
        assert_eq!(names("none"), Ok("sidle".to_owned()));
        assert_eq!(names("nginx"), Ok("sidle nginx relay".to_owned()));
        assert_eq!(names("all"), Ok("sidle envoy haproxy nginx nghttpx relay".to_owned()));
        assert!(names("squid").unwrap_err().contains("haproxy"));
    }
}
