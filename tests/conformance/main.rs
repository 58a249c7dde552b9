//! Conformance: exact bytes to the real `sidle`, and what must come of them, row by row.
//!
//! In:  `cases/*.yaml`, and words on the command line: only rows whose id or name holds one of them.   Out: a table, printed and
//! in `target/conformance.md`; exit code 1 if a row is not as demanded.
//! Invariants: rows are data; nothing here knows a single one. The upstream and the clients read bytes by the letter of the
//! standard, with no library that the proxy uses too. Loopback only, every count and every wait bounded.
//! Not here: behaviour that needs a program to tell (`tests/integration`).
//! Read: `case` (a row) -> `bytes` (what it sends) -> `row` (how it runs) -> `verdict` -> `recorder` -> `table`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![allow(missing_docs, reason = "fields of steps are documented with their variant")]

mod answer;
mod bytes;
mod case;
mod check;
mod client;
mod hpack;
mod http2_upstream;
mod priority;
mod probe;
mod recorder;
mod row;
mod stage;
mod table;
mod verdict;
mod wire;

use case::Case;
use row::Row;
use stage::{Needs, Stage};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
};
use table::Outcome;

fn main() -> ExitCode {
    hpack::check();
    wire::check();
    let words = words(std::env::args().skip(1));
    let all = case::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases"));
    let count = all.len();
    let cases: Vec<Case> = all.into_iter().filter(|case| is_chosen(case, &words)).collect();
    // A row that cannot be run says why in the table.
    std::panic::set_hook(Box::new(|_| {}));
    let mut stage = None;
    let rows: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let mut outcome = run(&case, &mut stage);
            announce(&case, &outcome);
            if !outcome.wrong().is_empty() {
                // Floods and times are measured on a machine that others may use: what is wrong is wrong twice.
                stage = None;
                outcome = run(&case, &mut stage);
                announce(&case, &outcome);
            }
            (case, outcome)
        })
        .collect();
    let table = table::markdown(&rows);
    if rows.len() == count {
        let path = sidle_test_support::peers::root().join("target/conformance.md");
        std::fs::write(path, &table).unwrap();
    }
    println!("\n{table}");
    let failed: Vec<_> = rows.iter().filter(|(_, outcome)| !outcome.wrong().is_empty()).collect();
    for (case, outcome) in &failed {
        println!("FAILED {} {} ({}): {}", case.id, case.to.name(), case.name, outcome.wrong().join("; "));
    }
    println!("{} rows, {} not as demanded", rows.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The words among the arguments; options belong to the test runner that all test programs share.
fn words(mut arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(argument) = arguments.next() {
        if matches!(argument.as_str(), "--test-threads" | "--skip" | "--color" | "--format" | "--logfile") {
            arguments.next();
        } else if !argument.starts_with('-') {
            words.push(argument);
        }
    }
    words
}

/// A word chooses a row by its whole id, by the front of it (`A3` for `A3.2`, `B` for all of the letter), or by its name.
fn is_chosen(case: &Case, words: &[String]) -> bool {
    let by = |word: &String| {
        let letter = word.len() == 1 && case.id.starts_with(word.as_str());
        letter
            || case.id == *word
            || case.id.starts_with(&format!("{word}."))
            || (word.len() > 3 && case.name.contains(word.as_str()))
    };
    words.is_empty() || words.iter().any(by)
}

fn run(case: &Case, stage: &mut Option<Stage>) -> Outcome {
    if let Some(why) = &case.not_applicable {
        return Outcome::NotApplicable(why.clone());
    }
    let row = catch_unwind(AssertUnwindSafe(|| {
        if row::is_check(case) {
            return check::run(case);
        }
        let needs = Needs::of(case);
        if case.flood || !stage.as_mut().is_some_and(|stage| stage.serves(&needs)) {
            *stage = None;
            *stage = Some(Stage::start(needs));
        }
        let row = stage.as_mut().map(|stage| row::run(case, stage)).unwrap_or_default();
        if case.flood {
            *stage = None;
        }
        row
    }));
    Outcome::Ran(row.unwrap_or_else(|panic| {
        *stage = None;
        let why =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let why = why.unwrap_or("a panic").lines().filter(|line| !line.trim().is_empty()).take(4);
        Row { wrong: vec![format!("not run: {}", why.collect::<Vec<_>>().join(" "))], ..Row::default() }
    }))
}

fn announce(case: &Case, outcome: &Outcome) {
    let (mark, seen) = match outcome {
        Outcome::Ran(row) if row.wrong.is_empty() => ("ok", row.outcome.as_str()),
        Outcome::Ran(row) => ("FAILED", row.outcome.as_str()),
        Outcome::NotApplicable(_) => ("n/a", ""),
    };
    println!("{:7} {:8} {:9} {}: {seen}", mark, case.id, case.to.name(), case.name);
}
