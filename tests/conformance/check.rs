//! Rows about files: what `sidle check` says of a hostile one, and how soon.
//!
//! In:  a [`Case`] with `check`.   Out: a [`Row`]. Its outcomes are `exit 0`, `exit 1`, ….

use crate::{
    bytes::{Counters, Sink, perform},
    case::{Case, Expect},
    row::Row,
    verdict,
};
use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// A file that is being written.
struct File(Vec<u8>);

impl Sink for File {
    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.0.extend_from_slice(bytes);
        ControlFlow::Continue(())
    }

    fn pause(&mut self, _: Duration) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn until(&mut self, _: &[u8]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn half_close(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Runs the row.
///
/// # Panics
/// When the file cannot be written or the program not be run.
pub fn run(case: &Case) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.yaml");
    let mut file = File(Vec::new());
    let _ = perform(&case.check, &mut Counters::default(), &mut file);
    std::fs::write(&path, file.0).unwrap();
    let begin = Instant::now();
    // An address space that a file of these sizes has no right to exceed.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -v 2000000; ulimit -t 20; exec \"$0\" check \"$1\""]);
    let output = command.arg(sidle_test_support::sidle::path()).arg(&path).output().unwrap();
    let took = begin.elapsed();
    let outcome =
        output.status.code().map_or_else(|| output.status.to_string(), |code| format!("exit {code}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let judged = case.expect.all().iter().map(|expect| judge(expect, &outcome, &text, took));
    Row { wrong: judged.min_by_key(Vec::len).unwrap_or_default(), outcome, took, ..Row::default() }
}

fn judge(expect: &Expect, outcome: &str, text: &str, took: Duration) -> Vec<String> {
    let mut wrong = Vec::new();
    if !expect.outcome.all().iter().any(|wanted| wanted == outcome) {
        wrong.push(format!(
            "{outcome}, not {}: {}",
            expect.outcome.all().join(" or "),
            verdict::readable(text.as_bytes())
        ));
    }
    if let Some(most) = expect.within_ms.filter(|&most| took > Duration::from_millis(most)) {
        wrong.push(format!("took {took:.0?}, most {most} ms"));
    }
    wrong.extend(
        expect
            .has
            .all()
            .iter()
            .filter(|part| !text.contains(part.as_str()))
            .map(|part| format!("does not say {part:?}: {}", verdict::readable(text.as_bytes()))),
    );
    wrong
}
