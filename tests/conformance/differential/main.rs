//! Differential parsing: the same bytes to Sidle, nginx, HAProxy and Envoy, each in front of a recorder.
//!
//! In:  byte sequences, written by hand (`rows`) and made by chance from a seed (`mutation`).   Out: `target/differential.md`;
//! the test fails if one disagreement could smuggle a request.
//! Three questions are asked of each: do the others find as many requests, with the same bodies, in these bytes; do strict
//! parsers (hyper, h11, `framing`) find in what Sidle wrote just the requests that it logged; and do the other proxies, fed
//! with what Sidle wrote, see the same requests again.
//! Read: `main.rs` (a run) -> `conversation` and `recorder` (what is observed) -> `judge` (what it means).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod conversation;
mod framing;
mod judge;
mod mutation;
#[path = "../../integration/envoy_oracle/random.rs"]
mod random;
mod recorder;
mod reparse;
mod report;
mod rows;
mod subject;

use conversation::{Outcome, QUIET, VERY_QUIET};
use judge::{Evidence, Finding};
use reparse::{H11, Parsed};
use rows::Sequence;
use sidle_test_support::peers;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use subject::{Lane, Subject};

/// Where chance begins.
const SEED: u64 = 1;
/// How many sequences are made by chance; `DIFFERENTIAL` names another number.
const MUTATIONS: usize = 400;
/// How long the access log may take to be written.
const LOG_PATIENCE: Duration = Duration::from_secs(3);

#[test]
fn no_disagreement_could_smuggle_a_request() {
    let Some(python) = peers::find("python") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(others) = subject::others(folder.path()) else { return };
    let log = folder.path().join("access.log");
    let mut bench = Bench { sidle: subject::sidle(&log), others, log, h11: H11::start(&python) };
    let mutations = std::env::var("DIFFERENTIAL").map_or(MUTATIONS, |count| count.parse().unwrap());
    let mut sequences = rows::all();
    sequences.extend(mutation::all(SEED, mutations));
    assert!(sequences.len() >= 500, "{}", sequences.len());

    let asked: Vec<&Sequence> = sequences.iter().collect();
    let (forwarded, found) = bench.compare(&asked, QUIET);
    // On a busy machine an answer can come after its time and count for the next sequence: what could smuggle is asked again.
    let (mut sure, doubtful): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, finding)| !finding.smuggles || finding.class == judge::REUSE);
    let again: Vec<&Sequence> =
        asked.into_iter().filter(|one| doubtful.iter().any(|(it, _)| it.name == one.name)).collect();
    sure.extend(bench.compare(&again, VERY_QUIET).1.into_iter().filter(|(_, finding)| finding.smuggles));

    report::write(sequences.len(), forwarded, &sure);
    // Otherwise nothing was compared.
    assert!(forwarded > sequences.len() / 5, "Sidle forwarded {forwarded} of {}", sequences.len());
    let smuggling: Vec<String> = sure.iter().filter(|(_, finding)| finding.smuggles).map(told).collect();
    println!("{} sequences, {} disagreements, see target/differential.md", sequences.len(), sure.len());
    assert!(smuggling.is_empty(), "{} could smuggle:\n{}", smuggling.len(), smuggling.join("\n"));
}

/// All proxies and parsers.
struct Bench {
    sidle: Subject,
    others: Vec<Subject>,
    log: PathBuf,
    h11: H11,
}

impl Bench {
    /// Of how many sequences Sidle forwarded something, and all disagreements.
    fn compare<'a>(
        &mut self,
        sequences: &[&'a Sequence],
        quiet: Duration,
    ) -> (usize, Vec<(&'a Sequence, Finding)>) {
        let asked: Vec<&[u8]> = sequences.iter().map(|one| &*one.bytes).collect();
        let (ours, theirs) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| ask(&self.sidle, &asked, quiet));
            let theirs: Vec<_> =
                self.others.iter().map(|other| scope.spawn(|| ask(other, &asked, quiet))).collect();
            let theirs: Vec<_> = theirs.into_iter().map(|thread| thread.join().unwrap()).collect();
            (ours.join().unwrap(), theirs)
        });
        let logged = answered(&self.log, &ours);
        let behind = behind(&self.others, &ours, quiet);
        let parsed = parse(&mut self.h11, &ours);
        let mut found = Vec::new();
        for (index, sequence) in sequences.iter().enumerate() {
            let evidence = Evidence {
                bytes: &sequence.bytes,
                sidle: &ours[index],
                logged: logged[index],
                others: self
                    .others
                    .iter()
                    .zip(&theirs)
                    .map(|(other, all)| (other.name, &all[index]))
                    .collect(),
                parsers: parsed[index].clone(),
                behind: (self.others.iter().zip(&behind))
                    .filter_map(|(other, all)| Some((other.name, all.get(&index)?)))
                    .collect(),
            };
            found.extend(judge::judge(&evidence).into_iter().map(|one| (*sequence, one)));
        }
        (ours.iter().filter(|one| !one.upstream.requests.is_empty()).count(), found)
    }
}

fn told((sequence, finding): &(&Sequence, Finding)) -> String {
    format!(
        "{}: {}: {}\n    {}",
        sequence.name,
        finding.class,
        finding.detail,
        report::shown(&sequence.bytes)
    )
}

/// What a proxy does with each sequence; all its lanes at once.
fn ask(subject: &Subject, sequences: &[&[u8]], quiet: Duration) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(sequences.iter().map(|_| None).collect());
    let work = |lane: &Lane| {
        while let Some((index, bytes)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, sequences.get(index)?)))
        {
            let outcome = conversation::hold(lane.address, &lane.recorder, bytes, quiet);
            outcomes.lock().unwrap()[index] = Some(outcome);
        }
    };
    std::thread::scope(|scope| {
        for lane in &subject.lanes {
            scope.spawn(|| work(lane));
        }
    });
    outcomes.into_inner().unwrap().into_iter().map(Option::unwrap).collect()
}

/// How many requests of each conversation were answered by the upstream, by Sidle's access log.
fn answered(log: &Path, outcomes: &[Outcome]) -> Vec<usize> {
    let wanted = outcomes.iter().map(|one| one.upstream.requests.len()).sum::<usize>();
    let begin = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for connection in text.lines().filter_map(|line| line.strip_suffix(" via_upstream")) {
            *counts.entry(connection).or_default() += 1;
        }
        let all: Vec<_> =
            outcomes.iter().map(|one| counts.get(&*one.connection).copied().unwrap_or(0)).collect();
        // A log that never says as much as was sent is a finding.
        if all.iter().sum::<usize>() >= wanted || begin.elapsed() > LOG_PATIENCE {
            return all;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the others do with the bytes that Sidle wrote, by the number of the sequence.
fn behind(others: &[Subject], ours: &[Outcome], quiet: Duration) -> Vec<HashMap<usize, Outcome>> {
    let streams: Vec<(usize, &[u8])> = ours
        .iter()
        .enumerate()
        .filter(|(_, one)| one.upstream.streams.len() == 1 && one.upstream.partial.is_empty())
        .map(|(index, one)| (index, &*one.upstream.streams[0]))
        .collect();
    let bytes: Vec<&[u8]> = streams.iter().map(|(_, bytes)| *bytes).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = others.iter().map(|other| scope.spawn(|| ask(other, &bytes, quiet))).collect();
        let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
        outcomes.map(|all| streams.iter().map(|(index, _)| *index).zip(all).collect()).collect()
    })
}

/// What each parser sees in what Sidle wrote.
fn parse(h11: &mut H11, ours: &[Outcome]) -> Vec<Vec<(&'static str, Vec<Parsed>)>> {
    ours.iter()
        .map(|one| {
            let streams = &one.upstream.streams;
            let by_hyper = streams.iter().flat_map(|stream| reparse::hyper(stream)).collect();
            let by_h11 = streams.iter().flat_map(|stream| h11.parse(stream)).collect();
            vec![("hyper", by_hyper), ("h11", by_h11)]
        })
        .collect()
}
