//! The figures, side by side, as Markdown.

use super::{
    conditions::{conditions, list},
    load::Figures,
    results::Cell,
    scenarios::{Kind, Scenario},
    shown::Shown,
};
use crate::statistics::Spread;
use std::fmt::Write;

/// A proxy whose core is used less was not the bottleneck.
const FULL: f64 = 0.9;
/// Fewer answers are no median of those of 200 in a row.
const MANY: u64 = 1000;
/// Nobody does less: it is no proxy to be compared with.
const LIMIT: &str = "relay";

type Figure = fn(&Figures) -> Option<f64>;

/// All tables, with the ratio of `reference` to each of the others.
pub fn tables(shown: &Shown<'_>, reference: &str) -> String {
    let mut text = conditions(shown);
    processor_time(shown, Kind::Saturation, "Processor time of a request, µs", reference, &mut text);
    processor_time(shown, Kind::Rate, "The same at a fixed rate", reference, &mut text);
    rates(shown, &mut text);
    latencies(shown, &mut text);
    idleness(shown, &mut text);
    list(shown.remarks(), &mut text);
    text
}

fn processor_time(shown: &Shown<'_>, kind: Kind, title: &str, reference: &str, text: &mut String) {
    let cost: Figure = |figures| Some(figures.load()?.cpu_microseconds());
    let mut others = shown.subjects();
    others.retain(|subject| *subject != reference && *subject != LIMIT);
    let mut columns: Vec<_> = others.iter().map(|other| format!("to {other}")).collect();
    if let Some(first) = columns.first_mut() {
        first.insert_str(0, &format!("{reference} "));
    }
    let row = |scenario: Scenario| {
        let cell = |subject: &str| shown.cell(scenario.name, subject, kind, cost);
        let costs = shown.subjects().into_iter().map(|subject| median(&cell(subject), 1));
        let ratios = others.iter().map(|other| whole(&ratio(cell(reference), cell(other)), 2));
        row(scenario.name, costs.chain(ratios))
    };
    table(shown, title, &columns, shown.scenarios(kind).map(row).collect(), text);
}

fn rates(shown: &Shown<'_>, text: &mut String) {
    let row = |scenario: Scenario| {
        let cells = shown.subjects().into_iter().map(|subject| {
            let cell = |figure: Figure| shown.cell(scenario.name, subject, Kind::Saturation, figure);
            let full = spread(&cell(|figures| Some(figures.load()?.fullness())));
            let idle = full.is_some_and(|full| full.median < FULL);
            median(&cell(|figures| Some(figures.load()?.rate())), 0) + if idle { "*" } else { "" }
        });
        row(scenario.name, cells)
    };
    let rows = shown.scenarios(Kind::Saturation).map(row).collect();
    table(shown, "Requests/s (`*`: its core was not full)", &[], rows, text);
}

fn latencies(shown: &Shown<'_>, text: &mut String) {
    let row = |scenario: Scenario| {
        let cells = shown
            .subjects()
            .into_iter()
            .map(|subject| latency(|figure| shown.cell(scenario.name, subject, Kind::Rate, figure)));
        row(scenario.name, cells)
    };
    let rows = shown.scenarios(Kind::Rate).map(row).collect();
    table(shown, "p50 / p99 of 200 in a row / p99 of all at a fixed rate, ms", &[], rows, text);
}

/// Three figures in one, if there are any.
fn latency(cell: impl Fn(Figure) -> Cell) -> String {
    let p50 = cell(|figures| Some(figures.load()?.latency?.p50 / 1e3));
    if !matches!(p50, Cell::Figures(_)) {
        return median(&p50, 2);
    }
    let p99_of_run = cell(|figures| {
        let load = figures.load().filter(|load| load.answers >= MANY)?;
        Some(load.latency?.p99_of_run / 1e3)
    });
    let p99 = cell(|figures| Some(figures.load()?.latency?.p99 / 1e3));
    format!("{} / {} / {}", median(&p50, 2), whole(&p99_of_run, 2), median(&p99, 2))
}

fn idleness(shown: &Shown<'_>, text: &mut String) {
    let alone: [(&str, usize, Figure); 2] = [
        ("MiB resident", 1, |figures| Some(figures.idle()?.alone.resident_bytes as f64 / f64::from(1 << 20))),
        ("processor time, ms/s", 2, |figures| Some(figures.idle()?.alone.cpu_milliseconds)),
    ];
    let with: [(&str, usize, Figure); 2] = [
        ("KiB of a connection", 1, |figures| Some(figures.idle()?.bytes_of_connection() / 1024.0)),
        ("ms/s with them", 2, |figures| Some(figures.idle()?.with.cpu_milliseconds)),
    ];
    let mut rows = Vec::new();
    for (number, scenario) in shown.scenarios(Kind::Idle).enumerate() {
        // Without connections, they hardly differ.
        let alone = alone.into_iter().filter(|_| number == 0);
        for (name, decimals, figure) in alone.chain(with) {
            let cells = shown
                .subjects()
                .into_iter()
                .map(|subject| median(&shown.cell(scenario.name, subject, Kind::Idle, figure), decimals));
            rows.push(row(&format!("{}: {name}", scenario.name), cells));
        }
    }
    table(shown, "Doing nothing, alone and with 1,000 connections that asked once", &[], rows, text);
}

/// Of one to the other, round by round.
fn ratio(one: Cell, other: Cell) -> Cell {
    match (one, other) {
        (Cell::Figures(one), Cell::Figures(other)) => {
            let of = |round| other.iter().find(|(same, _)| *same == round).map(|(_, figure)| *figure);
            let ratios = one.into_iter().filter_map(|(round, figure)| Some((round, figure / of(round)?)));
            Cell::Figures(ratios.collect())
        }
        (Cell::Void, _) | (_, Cell::Void) => Cell::Void,
        (Cell::Absent, _) | (_, Cell::Absent) => Cell::Absent,
    }
}

fn spread(cell: &Cell) -> Option<Spread> {
    match cell {
        Cell::Figures(figures) => Spread::of(figures.iter().map(|(_, figure)| *figure)),
        Cell::Absent | Cell::Void => None,
    }
}

/// Median, smallest and largest.
fn whole(cell: &Cell, decimals: usize) -> String {
    text_of(cell, |spread| spread.text(decimals))
}

fn median(cell: &Cell, decimals: usize) -> String {
    text_of(cell, |spread| format!("{:.decimals$}", spread.median))
}

fn text_of(cell: &Cell, text: impl Fn(Spread) -> String) -> String {
    if *cell == Cell::Void {
        return "void".to_owned();
    }
    spread(cell).map_or_else(|| "–".to_owned(), text)
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    format!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// A column for each subject, and some more.
fn table(shown: &Shown<'_>, title: &str, more: &[String], rows: Vec<String>, text: &mut String) {
    if rows.is_empty() {
        return;
    }
    let names = shown.subjects().into_iter().map(str::to_owned).chain(more.iter().cloned());
    let _ = writeln!(text, "\n{}", row(title, names));
    let _ = writeln!(text, "|---|{}", "---|".repeat(shown.subjects().len() + more.len()));
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::{Results, tests::example};

    fn text(results: &[Results], reference: &str) -> String {
        tables(&Shown(results), reference)
    }

    fn expect(text: &str, lines: &[&str]) {
        for expected in lines {
            assert!(text.lines().any(|line| line == *expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn each_table_has_a_row_for_each_scenario_that_has_the_figure() {
        let text = text(&[example()], "sidle");
        expect(
            &text,
            &[
                "| Processor time of a request, µs | sidle | haproxy | nginx | sidle to haproxy | to nginx |",
                "| h1 | 15.0 | 30.0 | – | 0.50 (0.50–0.50) | – |",
                "| The same at a fixed rate | sidle | haproxy | nginx | sidle to haproxy | to nginx |",
                "| h1 | 30000* | 30000* | – |",
                "| h1 | 0.10 / 0.15 (0.15–0.15) / 0.20 | 0.10 / 0.15 (0.15–0.15) / 0.20 | – |",
                "| idle: MiB resident | 10.0 | 10.0 | void |",
                "| idle: KiB of a connection | 2.0 | 2.0 | void |",
                "* void: round 1 idle nginx: wrong",
            ],
        );
        assert_eq!(text.matches("| h1 | 15.0 | 30.0 | – | 0.50 (0.50–0.50) | – |").count(), 2, "{text}");
    }

    #[test]
    fn ratios_are_those_of_the_reference_to_each_other_proxy() {
        let mut results = example();
        results.subjects.push("relay".to_owned());
        expect(
            &text(&[results], "haproxy"),
            &[
                "| Processor time of a request, µs | sidle | haproxy | nginx | relay | haproxy to sidle | to nginx |",
                "| h1 | 15.0 | 30.0 | – | – | 2.00 (2.00–2.00) | – |",
            ],
        );
        let mut alone = example();
        alone.subjects.truncate(1);
        expect(&text(&[alone], "sidle"), &["| Processor time of a request, µs | sidle |", "| h1 | 15.0 |"]);
    }

    #[test]
    fn few_answers_have_no_p99_of_200_in_a_row() {
        let of = |answers: u64| {
            let mut json = serde_json::to_value(example()).unwrap();
            for run in json["runs"].as_array_mut().unwrap() {
                if let Some(load) = run.pointer_mut("/outcome/Counts/Load") {
                    load["answers"] = answers.into();
                }
            }
            text(&[serde_json::from_value(json).unwrap()], "sidle")
        };
        let expected = "| h1 | 0.10 / – / 0.20 | 0.10 / – / 0.20 | – |";
        expect(&of(999), &[expected]);
        assert!(!of(1000).contains(expected));
    }

    #[test]
    fn a_ratio_is_of_two_figures_of_one_round() {
        let cell = |figures: &[(u32, f64)]| Cell::Figures(figures.to_vec());
        let one = || cell(&[(0, 10.0), (1, 30.0), (2, 50.0)]);
        assert_eq!(ratio(one(), cell(&[(1, 10.0), (0, 5.0)])), cell(&[(0, 2.0), (1, 3.0)]));
        assert_eq!(ratio(one(), Cell::Void), Cell::Void);
        assert_eq!(ratio(Cell::Void, Cell::Absent), Cell::Void);
        assert_eq!(ratio(Cell::Absent, one()), Cell::Absent);
    }
}
