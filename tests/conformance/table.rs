//! The generated table: one line a row, with what was seen and what it cost.
//!
//! Not here: verdicts.

use crate::{case::Case, row::Row};
use std::{fmt::Write, time::Duration};

const HEAD: &str = "| id | to | name | verdict | seen | upstream requests | took | memory | processor | probe p50/p99 | \
                    baseline p50/p99 | source |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// What became of a row.
pub enum Outcome {
    /// It ran.
    Ran(Row),
    /// There is nothing to run.
    NotApplicable(String),
}

impl Outcome {
    /// What is wrong.
    pub fn wrong(&self) -> &[String] {
        match self {
            Outcome::Ran(row) => &row.wrong,
            Outcome::NotApplicable(_) => &[],
        }
    }
}

/// The whole table, in Markdown.
pub fn markdown(rows: &[(Case, Outcome)]) -> String {
    let failed = rows.iter().filter(|(_, outcome)| !outcome.wrong().is_empty()).count();
    let applicable = rows.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Ran(_))).count();
    let mut text = format!(
        "# Conformance\n\n{} rows: {} as demanded, {failed} not, {} not applicable.\n\n{HEAD}",
        rows.len(),
        applicable - failed,
        rows.len() - applicable,
    );
    for (case, outcome) in rows {
        line(&mut text, case, outcome);
    }
    text
}

fn line(text: &mut String, case: &Case, outcome: &Outcome) {
    let (verdict, seen, figures) = match outcome {
        Outcome::NotApplicable(why) => ("not applicable".to_owned(), why.clone(), "| | | | | |".to_owned()),
        Outcome::Ran(row) => {
            let wrong = row.wrong.join("; ");
            let verdict = if wrong.is_empty() { "ok".to_owned() } else { format!("**FAILED**: {wrong}") };
            (verdict, row.outcome.clone(), figures(row))
        }
    };
    let to = if case.check.is_empty() { case.to.name() } else { "check" };
    let cells = [&*case.id, to, &*case.name, &*verdict, &*seen];
    let cells: Vec<_> = cells.iter().map(|cell| escaped(cell)).collect();
    let _ = writeln!(text, "| {} | {figures} {} |", cells.join(" | "), escaped(&case.source));
}

/// The cells from the upstream's requests to the baseline, each with its bar.
fn figures(row: &Row) -> String {
    let requests = row.requests.map(|requests| requests.to_string()).unwrap_or_default();
    let mut cells = format!("{requests} | {} |", milliseconds(row.took));
    match &row.load {
        None => cells.push_str(" | | | |"),
        Some(load) => {
            let both = |health: &crate::probe::Health| {
                format!("{} / {}", milliseconds(health.percentile(50)), milliseconds(health.percentile(99)))
            };
            let _ = write!(
                cells,
                " {} KiB | {} | {} | {} |",
                load.memory_kib,
                milliseconds(load.processor),
                both(&load.meanwhile),
                both(&load.before)
            );
        }
    }
    cells
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace(['\r', '\n'], " ")
}
