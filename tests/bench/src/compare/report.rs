//! The figures, side by side, as Markdown.

use super::{
    load::Figures,
    results::{Cell, Results},
    scenarios::{Scenario, Work},
};
use crate::statistics::Spread;
use std::fmt::Write;

/// A proxy whose core is used less was not the bottleneck.
const FULL: f64 = 0.9;

/// All tables.
pub fn tables(results: &Results) -> String {
    let mut text = conditions(results);
    text += "\n";
    for scenario in &results.scenarios {
        let _ = writeln!(text, "* `{}`: {}", scenario.name, scenario.about);
    }
    processor_time(results, &mut text);
    rates(results, &mut text);
    latencies(results, &mut text);
    idleness(results, &mut text);
    let remarks = results.remarks();
    if !remarks.is_empty() {
        text += "\n";
        for remark in remarks {
            let _ = writeln!(text, "* {remark}");
        }
    }
    text
}

fn conditions(results: &Results) -> String {
    let versions: Vec<_> =
        results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let early = results.ended_early().map_or_else(String::new, |how| format!("\n**Ended early**, {how}\n"));
    format!(
        "{}, {}, Linux {}; load average before: {:.2}. One worker each, alone on core {}; load and upstreams on core {}. {}. Median \
         (smallest–largest) of {} rounds of {} s.\n",
        results.date,
        results.processor,
        results.kernel,
        results.load_average,
        results.cores[0],
        results.cores[1],
        versions.join(", "),
        results.rounds,
        results.seconds,
    ) + &early
}

fn processor_time(results: &Results, text: &mut String) {
    let mut rows = Vec::new();
    for (scenario, work, name) in loads(results) {
        let cell = |subject: &str| {
            results.cell(scenario.name, subject, work, |figures| Some(figures.load()?.cpu_microseconds()))
        };
        rows.push(row(results, &name, |subject| text_of(&cell(subject), 1)));
        if let Cell::Figures(reference) = cell(&results.reference) {
            let ratio = |subject: &str| text_of(&ratio(cell(subject), &reference), 2);
            rows.push(row(results, &format!("{name}, ratio to {}", results.reference), ratio));
        }
    }
    table(results, "Processor time of a request, µs", rows, text);
}

fn rates(results: &Results, text: &mut String) {
    let mut rows = Vec::new();
    for (scenario, work, name) in loads(results).filter(|(_, work, _)| *work == Work::Saturation) {
        rows.push(row(results, &name, |subject| {
            let rate = results.cell(scenario.name, subject, work, |figures| Some(figures.load()?.rate()));
            let full = results.cell(scenario.name, subject, work, |figures| Some(figures.load()?.fullness()));
            let idle = spread(&full).is_some_and(|full| full.median < FULL);
            text_of(&rate, 0) + if idle { " *" } else { "" }
        }));
    }
    table(results, "Requests/s; `*`: the proxy's core was not full", rows, text);
}

fn latencies(results: &Results, text: &mut String) {
    type Figure = fn(&Figures) -> Option<f64>;
    let figures: [(&str, Figure); 4] = [
        ("p50", |figures| Some(figures.load()?.latency?.p50)),
        ("p99 of 200 in a row", |figures| Some(figures.load()?.latency?.p99_of_run)),
        ("p99", |figures| Some(figures.load()?.latency?.p99)),
        ("p99.9", |figures| Some(figures.load()?.latency?.p999)),
    ];
    let mut rows = Vec::new();
    for (scenario, work, name) in loads(results).filter(|(_, work, _)| matches!(work, Work::Rate(_))) {
        for (part, figure) in figures {
            let cell = |subject: &str| text_of(&results.cell(scenario.name, subject, work, figure), 0);
            rows.push(row(results, &format!("{name}, {part}"), cell));
        }
    }
    table(results, "Latency at a fixed rate, µs from when a request was due", rows, text);
}

fn idleness(results: &Results, text: &mut String) {
    type Figure = fn(&Figures) -> Option<f64>;
    let of_scenario: [(&str, usize, Figure); 2] = [
        ("KiB of a connection", 1, |figures| Some(figures.idle()?.bytes_of_connection() / 1024.0)),
        ("ms/s with them", 2, |figures| Some(figures.idle()?.with.cpu_milliseconds)),
    ];
    let alone: [(&str, usize, Figure); 2] = [
        ("MiB resident", 1, |figures| Some(figures.idle()?.alone.resident_bytes as f64 / f64::from(1 << 20))),
        ("processor time, ms/s", 2, |figures| Some(figures.idle()?.alone.cpu_milliseconds)),
    ];
    let mut rows = Vec::new();
    for scenario in &results.scenarios {
        for work in scenario.work.iter().filter(|work| matches!(work, Work::Idle(_))) {
            for (name, decimals, figure) in alone.into_iter().chain(of_scenario) {
                let cell =
                    |subject: &str| text_of(&results.cell(scenario.name, subject, *work, figure), decimals);
                rows.push(row(results, &format!("{}: {name}", scenario.name), cell));
            }
        }
    }
    table(results, "Doing nothing, alone and with 1,000 connections that asked once", rows, text);
}

/// Every work that asks, with a name for its row.
fn loads(results: &Results) -> impl Iterator<Item = (&Scenario, Work, String)> {
    results.scenarios.iter().flat_map(|scenario| {
        scenario.work.iter().filter_map(move |work| match work {
            Work::Saturation => Some((scenario, *work, scenario.name.to_owned())),
            Work::Rate(rate) => Some((scenario, *work, format!("{} at {rate}/s", scenario.name))),
            Work::Idle(_) => None,
        })
    })
}

/// Round by round.
fn ratio(cell: Cell, reference: &[(u32, f64)]) -> Cell {
    let Cell::Figures(figures) = cell else { return cell };
    let of = |round: u32| reference.iter().find(|(other, _)| *other == round).map(|(_, figure)| *figure);
    let ratios = figures.into_iter().filter_map(|(round, figure)| Some((round, figure / of(round)?)));
    Cell::Figures(ratios.collect())
}

fn spread(cell: &Cell) -> Option<Spread> {
    match cell {
        Cell::Figures(figures) => Spread::of(figures.iter().map(|(_, figure)| *figure)),
        Cell::Absent | Cell::Void => None,
    }
}

fn text_of(cell: &Cell, decimals: usize) -> String {
    match (cell, spread(cell)) {
        (Cell::Void, _) => "void".to_owned(),
        (_, Some(spread)) => spread.text(decimals),
        _ => "–".to_owned(),
    }
}

fn row(results: &Results, name: &str, cell: impl Fn(&str) -> String) -> String {
    let cells: Vec<_> = results.subjects.iter().map(|subject| cell(subject)).collect();
    format!("| {name} | {} |", cells.join(" | "))
}

fn table(results: &Results, title: &str, rows: Vec<String>, text: &mut String) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n| {title} | {} |", results.subjects.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(results.subjects.len()));
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::example;

    #[test]
    fn each_table_has_a_row_for_each_scenario_that_has_the_figure() {
        let text = tables(&example());
        for row in [
            "| h1 | 15.0 (10.0–20.0) | 30.0 (20.0–40.0) | – |",
            "| h1, ratio to haproxy | 0.50 (0.50–0.50) | 1.00 (1.00–1.00) | – |",
            "| h1 at 5000/s | 15.0 (10.0–20.0) | 30.0 (20.0–40.0) | – |",
            "| h1 | 30000 (30000–30000) * | 30000 (30000–30000) * | – |",
            "| h1 at 5000/s, p50 | 100 (100–100) | 100 (100–100) | – |",
            "| h1 at 5000/s, p99 of 200 in a row | 150 (150–150) | 150 (150–150) | – |",
            "| h1 at 5000/s, p99.9 | 300 (300–300) | 300 (300–300) | – |",
            "| idle: MiB resident | 10.0 (10.0–10.0) | 10.0 (10.0–10.0) | void |",
            "| idle: KiB of a connection | 2.0 (2.0–2.0) | 2.0 (2.0–2.0) | void |",
            "* void: round 1 idle nginx: wrong",
        ] {
            assert!(text.lines().any(|line| line == row), "{row}\n{text}");
        }
        assert!(text.contains("load average before: 0.25"), "{text}");
    }

    #[test]
    fn who_was_ended_early_says_how_far_it_got() {
        let mut results = example();
        assert!(!tables(&results).contains("Ended early"));
        results.end_early("SIGINT").unwrap();
        let expected = "**Ended early**, by SIGINT: the last that all had done was idle in round 1 of 2.";
        assert!(tables(&results).contains(expected), "{}", tables(&results));
    }

    #[test]
    fn without_the_reference_there_are_no_ratios() {
        let mut results = example();
        results.reference = "envoy".to_owned();
        assert!(!tables(&results).contains("ratio"));
    }

    #[test]
    fn a_ratio_is_of_two_figures_of_one_round() {
        let cell = Cell::Figures(vec![(0, 10.0), (1, 30.0), (2, 50.0)]);
        assert_eq!(ratio(cell, &[(1, 10.0), (0, 5.0)]), Cell::Figures(vec![(0, 2.0), (1, 3.0)]));
        assert_eq!(ratio(Cell::Void, &[(0, 1.0)]), Cell::Void);
    }
}
